package console

import (
	"encoding/json"
	"fmt"
	"strconv"
	"time"
)

// Names of tables. A versioned kind has two: its draft and its active one.
const (
	tableLabels    = "labels"
	tableRuleSets  = "rule_sets"
	tableRules     = "sec_rules"
	tableDenyRules = "deny_rules"
	tableIPLists   = "ip_lists"
	tableServices  = "services"
	tableClusters  = "container_clusters"
	tableProfiles  = "container_workload_profiles"
	tableWorkloads = "kubernetes_workloads"
	tablePairing   = "pairing_profiles"
	tablePairKeys  = "pairing_keys"
	tableKeys      = "api_keys"
	tableUsers     = "users"
	// tableContainers holds pods, for clusters that report each.
	tableContainers = "container_workloads"
	tableSettings   = "settings"
	// tableMachines are the public API's workloads: machines that a VEN manages, or that somebody told the console of.
	// tableWorkloads are those of Kubernetes.
	tableMachines   = "workloads"
	tableVENs       = "vens"
	tableBindings   = "service_bindings"
	tableDimensions = "label_dimensions"
	tableGroups     = "label_groups"
	tableBoundaries = "enforcement_boundaries"
	tableVirtual    = "virtual_services"
	tableFirewall   = "firewall_settings"
)

const (
	draftTables  = "draft/"
	activeTables = "active/"
)

// provisioned are the kinds that a change set names; rules travel with their rule set.
var provisioned = []string{
	tableRuleSets, tableIPLists, tableServices, tableGroups, tableVirtual, tableBoundaries, tableFirewall,
}

var ruleTables = []string{tableRules, tableDenyRules}

// record is one stored object.
type record struct {
	Doc document `json:"doc"`
	// Owner is the id of the object that this one belongs to: a rule's rule set, a profile's cluster.
	Owner     string    `json:"owner,omitempty"`
	CreatedAt time.Time `json:"created_at,omitzero"`
	CreatedBy string    `json:"created_by,omitempty"`
	UpdatedAt time.Time `json:"updated_at,omitzero"`
	UpdatedBy string    `json:"updated_by,omitempty"`
	// Deleted marks a draft whose removal waits for provisioning.
	Deleted bool `json:"deleted,omitempty"`
	// Revision is the number of the edit that wrote the record; a draft and its active twin are equal when theirs are.
	Revision uint64 `json:"-"`
	// refs are the hrefs in Doc, each once and in its draft form; number is the id where that is one.
	refs   []string
	number int64
}

// edit is what the journal holds: one change by one author at one time.
type edit struct {
	Event     string     `json:"event"`
	Author    string     `json:"author"`
	At        time.Time  `json:"at"`
	LastID    int64      `json:"last_id"`
	Action    *action    `json:"action,omitempty"`
	Put       []put      `json:"put,omitempty"`
	Remove    []key      `json:"remove,omitempty"`
	Provision *provision `json:"provision,omitempty"`
	// Revert lists drafts that become again what is active.
	Revert []key `json:"revert,omitempty"`
}

type key struct {
	Table string `json:"table"`
	ID    string `json:"id"`
}

type put struct {
	key
	Record *record `json:"record"`
}

// provision copies drafts to active.
type provision struct {
	Version int64          `json:"version"`
	Message string         `json:"message"`
	Drafts  []key          `json:"drafts"`
	Counts  map[string]int `json:"counts"`
}

// version describes a provisioned version.
type version struct {
	provision
	at     time.Time
	author string
}

// state is the fold of all edits. It knows no clock, no disk and no lock.
type state struct {
	tables   map[string]map[string]*record
	index    index
	history  history
	lastID   int64
	last     uint64 // number of the newest edit
	versions []version
	events   []event
	// numbers of the newest edits that agents wait for
	policyAt       uint64
	organisationAt uint64            // of what acts at once in all clusters: labels, pairing profiles
	profilesAt     map[string]uint64 // by cluster
}

func newState() *state {
	s := &state{tables: map[string]map[string]*record{}, index: newIndex(), history: history{}, profilesAt: map[string]uint64{}}
	s.builtIn()
	return s
}

// fold takes one record of the journal in.
func (s *state) fold(number uint64, encoded []byte) error {
	var e edit
	if err := json.Unmarshal(encoded, &e); err != nil {
		return err
	}
	for _, p := range e.Put {
		if p.Record == nil {
			return fmt.Errorf("%s %s: the record is missing", p.Table, p.ID)
		}
	}
	s.apply(number, &e)
	return nil
}

// apply takes one edit in. The records of the edit become the state's.
func (s *state) apply(number uint64, e *edit) {
	happened := s.describe(number, e)
	s.last, s.lastID = number, e.LastID
	for _, p := range e.Put {
		if p.Table == tableKeys && p.Record.Owner == "" { // made before there were users
			p.Record.Owner = builtinUser
		}
		p.Record.Revision = number
		s.note(number, p.Table, p.Record.Owner)
		s.put(p.Table, p.ID, p.Record)
	}
	for _, k := range e.Remove {
		if r := s.get(k.Table, k.ID); r != nil {
			s.note(number, k.Table, r.Owner)
		}
		s.drop(k.Table, k.ID)
	}
	for _, k := range e.Revert {
		s.revert(k.Table, k.ID)
	}
	if e.Provision != nil {
		s.provision(number, e)
	}
	s.events = keepNewest(append(s.events, happened))
}

func (s *state) note(number uint64, table, owner string) {
	switch table {
	case tableLabels, tablePairing, tableDimensions, tableMachines, tableBindings:
		s.organisationAt = number
	case activeTables + tableVirtual: // a cluster's own, which are active without being provisioned
		s.policyAt = number
	case tableProfiles:
		s.profilesAt[owner] = number
	}
}

// put stores a record in place of the one that is there.
func (s *state) put(table, id string, r *record) {
	s.drop(table, id)
	r.refs = r.Doc.references()
	r.number, _ = strconv.ParseInt(id, 10, 64)
	t, ok := s.tables[table]
	if !ok {
		t = map[string]*record{}
		s.tables[table] = t
	}
	t[id] = r
	s.index.add(t, table, id)
}

func (s *state) drop(table, id string) {
	if s.get(table, id) != nil {
		s.index.remove(s.tables[table], table, id)
		delete(s.tables[table], id)
	}
}

func (s *state) get(table, id string) *record { return s.tables[table][id] }

// owned gives the records of a table that belong to owner. The map is the state's own.
func (s *state) owned(table, owner string) map[string]*record {
	return s.index.owned[ownerKey{table, owner}]
}

// ids of a table in the order of their numbers or, where they are UUIDs, of their creation. The list is the state's own.
func (s *state) ids(table string) []string { return s.index.order[table] }

// updateType says how a draft differs from the active policy: create, update, delete, or nothing. A rule set also
// differs by its rules.
func (s *state) updateType(table, id string) string {
	draft, active := s.get(draftTables+table, id), s.get(activeTables+table, id)
	switch {
	case draft == nil:
		return ""
	case draft.Deleted:
		return "delete"
	case active == nil:
		return "create"
	case draft.Revision != active.Revision || (table == tableRuleSets && s.rulesDiffer(id)):
		return "update"
	default:
		return ""
	}
}

func (s *state) rulesDiffer(ruleSet string) bool {
	for _, table := range ruleTables {
		for id := range s.owned(draftTables+table, ruleSet) {
			if s.updateType(table, id) != "" {
				return true
			}
		}
	}
	return false
}

// activeVersion is the newest provisioned version, 0 before the first.
func (s *state) activeVersion() int64 {
	if len(s.versions) == 0 {
		return 0
	}
	return s.versions[len(s.versions)-1].Version
}

// cursor is the number of the newest edit that the agent of a cluster cares for, its own ones included: what the console made of a
// report, such as a machine's labels, is for the cluster to read. A report that changes nothing is no edit.
func (s *state) cursor(cluster string) uint64 {
	return max(s.policyAt, s.organisationAt, s.profilesAt[cluster])
}
