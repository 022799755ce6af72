package console

import (
	"strconv"
	"strings"

	"github.com/ringfence/ringfence/libs/pce"
)

// history keeps what was active, by table and id, in the order of versions. Records are immutable and mostly shared with
// the journal's newest, so that what it costs is one record for each change that was ever provisioned.
type history map[key][]revision

// revision is what became active with a version; a nil record is a removal.
type revision struct {
	version int64
	record  *record
}

// provision makes the drafts that e names active.
func (s *state) provision(number uint64, e *edit) {
	for _, k := range e.Provision.Drafts {
		s.activate(e.Provision.Version, k.Table, k.ID)
		if k.Table != tableRuleSets {
			continue
		}
		for _, rules := range ruleTables {
			for _, id := range ordered(s.owned(draftTables+rules, k.ID)) {
				s.activate(e.Provision.Version, rules, id)
			}
		}
	}
	s.policyAt = number
	s.versions = append(s.versions, version{provision: *e.Provision, at: e.At, author: e.Author})
}

func (s *state) activate(version int64, table, id string) {
	draft, active := s.get(draftTables+table, id), s.get(activeTables+table, id)
	at := key{table, id}
	switch {
	case draft == nil || draft.Deleted:
		s.drop(draftTables+table, id)
		s.drop(activeTables+table, id)
		if active != nil {
			s.history[at] = append(s.history[at], revision{version: version})
		}
	case active == nil || active.Revision != draft.Revision:
		next := *draft
		next.Doc = draft.Doc.mapHrefs(toActive)
		s.put(activeTables+table, id, &next)
		s.history[at] = append(s.history[at], revision{version, &next})
	}
}

// revert makes a draft, with its rules, what is active; without anything active the draft goes.
func (s *state) revert(table, id string) {
	if table == tableRuleSets {
		for _, rules := range ruleTables {
			for _, prefix := range []string{draftTables, activeTables} {
				for _, rule := range ordered(s.owned(prefix+rules, id)) {
					s.revert(rules, rule)
				}
			}
		}
	}
	active := s.get(activeTables+table, id)
	if active == nil {
		s.drop(draftTables+table, id)
		return
	}
	draft := *active
	draft.Doc = active.Doc.mapHrefs(toDraft)
	s.put(draftTables+table, id, &draft)
}

// asOf gives the state in which a version of the policy can be read: draft and active in s itself, a number in a state of
// its own that holds what was active then. What is not versioned is as it is now.
func (s *state) asOf(asked string) (*state, error) {
	switch asked {
	case "", pce.Draft, pce.Active:
		return s, nil
	}
	number, err := strconv.ParseInt(asked, 10, 64)
	if err != nil || number < 1 || number > s.activeVersion() || asked != strconv.FormatInt(number, 10) {
		return nil, notFound("policy version " + asked)
	}
	then := &state{tables: map[string]map[string]*record{}, index: newIndex(), versions: s.versions}
	for _, shared := range []string{tableLabels, tableDimensions, tableMachines, tableVENs} {
		then.tables[shared] = s.tables[shared]
	}
	part := "/sec_policy/" + asked + "/"
	for at, revisions := range s.history {
		if r := lastUntil(revisions, number); r != nil {
			old := *r
			old.Doc = r.Doc.mapHrefs(func(href string) string { return strings.Replace(href, activePart, part, 1) })
			then.put(asked+"/"+at.Table, at.ID, &old)
		}
	}
	return then, nil
}

func lastUntil(revisions []revision, number int64) (last *record) {
	for _, r := range revisions {
		if r.version <= number {
			last = r.record
		}
	}
	return last
}
