package console

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
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
)

const (
	draftTables  = "draft/"
	activeTables = "active/"
)

// provisioned are the kinds that a change set names; rules travel with their rule set.
var provisioned = []string{tableRuleSets, tableIPLists, tableServices}

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
	lastID   int64
	last     uint64 // number of the newest edit
	versions []version
	events   []event
	// numbers of the newest edits that agents wait for
	policyAt       latest
	organisationAt latest            // of what acts at once in all clusters: labels, pairing profiles
	profilesAt     map[string]uint64 // by cluster
}

func newState() *state {
	return &state{tables: map[string]map[string]*record{}, profilesAt: map[string]uint64{}}
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
		s.note(number, e.Author, p.Table, p.Record.Owner)
		s.table(p.Table)[p.ID] = p.Record
	}
	for _, k := range e.Remove {
		if r := s.get(k.Table, k.ID); r != nil {
			s.note(number, e.Author, k.Table, r.Owner)
		}
		delete(s.table(k.Table), k.ID)
	}
	if e.Provision != nil {
		s.provision(number, e)
	}
	s.events = keepNewest(append(s.events, happened))
}

func (s *state) note(number uint64, author, table, owner string) {
	switch table {
	case tableLabels, tablePairing:
		s.organisationAt.note(number, author)
	case tableProfiles:
		s.profilesAt[owner] = number
	}
}

// provision makes the drafts that e names active.
func (s *state) provision(number uint64, e *edit) {
	for _, k := range e.Provision.Drafts {
		s.activate(k.Table, k.ID)
		if k.Table != tableRuleSets {
			continue
		}
		for _, rules := range ruleTables {
			for id := range s.owned(draftTables+rules, k.ID) {
				s.activate(rules, id)
			}
		}
	}
	s.policyAt.note(number, e.Author)
	s.versions = append(s.versions, version{provision: *e.Provision, at: e.At, author: e.Author})
}

func (s *state) activate(table, id string) {
	draft := s.get(draftTables+table, id)
	if draft == nil || draft.Deleted {
		delete(s.table(draftTables+table), id)
		delete(s.table(activeTables+table), id)
		return
	}
	active := *draft
	active.Doc = draft.Doc.mapHrefs(toActive)
	s.table(activeTables + table)[id] = &active
}

func (s *state) table(name string) map[string]*record {
	t, ok := s.tables[name]
	if !ok {
		t = map[string]*record{}
		s.tables[name] = t
	}
	return t
}

func (s *state) get(table, id string) *record { return s.tables[table][id] }

// owned gives the records of a table that belong to owner.
func (s *state) owned(table, owner string) map[string]*record {
	found := map[string]*record{}
	for id, r := range s.tables[table] {
		if r.Owner == owner {
			found[id] = r
		}
	}
	return found
}

// ids of a table in the order of their numbers or, where they are UUIDs, of their creation.
func (s *state) ids(table string) []string {
	t := s.tables[table]
	return slices.SortedFunc(maps.Keys(t), func(a, b string) int {
		x, errA := strconv.ParseInt(a, 10, 64)
		y, errB := strconv.ParseInt(b, 10, 64)
		switch {
		case errA == nil && errB == nil:
			return int(x - y)
		case !t[a].CreatedAt.Equal(t[b].CreatedAt):
			return t[a].CreatedAt.Compare(t[b].CreatedAt)
		default:
			return strings.Compare(a, b)
		}
	})
}

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

// cursor is the number of the newest edit that the agent of a cluster cares for, and did not make itself: else every report
// of its would end its own poll.
func (s *state) cursor(cluster string) uint64 {
	href := hrefOf(tableClusters, cluster, "")
	return max(s.policyAt.notBy(href), s.organisationAt.notBy(href), s.profilesAt[cluster])
}

// latest is the newest edit of some kind, and the newest by anybody but its author.
type latest struct {
	at, others uint64
	author     string
}

func (l *latest) note(number uint64, author string) {
	if author != l.author {
		l.others, l.author = l.at, author
	}
	l.at = number
}

func (l *latest) notBy(author string) uint64 {
	if author == l.author {
		return l.others
	}
	return l.at
}
