package console

import (
	"cmp"
	"maps"
	"slices"
	"strings"
)

// index finds records by what they hold, so that neither a write nor a list scans a table for every object. It follows
// every put and drop of the state; records are immutable, so what was indexed is what is removed again.
type index struct {
	// order are the ids of a table in the order in which it is listed.
	order map[string][]string
	// owned are the ids of a table's records by their owner.
	owned map[ownerKey]map[string]*record
	// found are the ids of records by the values of a tuple of their fields.
	found map[lookup]map[string]bool
	// users are the objects that name an href, in its draft form.
	users map[string]map[key]bool
}

type ownerKey struct{ table, owner string }

// lookup is a tuple of fields with their values.
type lookup struct{ table, owner, fields, values string }

// external is what ties an object to another system's.
var external = []string{"external_data_set", "external_data_reference"}

// tuples are the fields by which the records of each kind are looked up, beside external.
var tuples = map[string][][]string{
	tableLabels:     {{"key", "value"}, {"key"}},
	tableDimensions: {{"key"}},
	tableIPLists:    {{"name"}},
	tableServices:   {{"name"}},
	tableRuleSets:   {{"name"}},
	tableGroups:     {{"name"}, {"key"}},
	tableBoundaries: {{"name"}},
	tableVirtual:    {{"name"}},
	tableClusters:   {{"name"}},
	tableProfiles:   {{"namespace"}},
	tablePairing:    {{"name"}},
	tablePairKeys:   {{hashField}},
	tableMachines:   {{"machine_id"}},
	tableBindings:   {},
	tableVENs:       {},
	tableRules:      {},
	tableDenyRules:  {},
	tableFirewall:   {},
	tableWorkloads:  {},
	tableUsers:      {{"username"}},
	tableKeys:       {{"name"}},
}

func newIndex() index {
	return index{order: map[string][]string{}, owned: map[ownerKey]map[string]*record{}, found: map[lookup]map[string]bool{}, users: map[string]map[key]bool{}}
}

func lookupOf(table string, r *record, fields []string) lookup {
	values := make([]string, len(fields))
	for i, field := range fields {
		values[i] = r.Doc.text(field)
	}
	owner := ""
	switch kindOf(table) {
	case tableProfiles, tableKeys: // a namespace is unique in its cluster, a key's name with its user, all else in the organisation
		owner = r.Owner
	}
	return lookup{table, owner, strings.Join(fields, "\x00"), strings.Join(values, "\x00")}
}

// lookups are the tuples of a record.
func lookups(table string, r *record) []lookup {
	var all []lookup
	for _, fields := range tuples[kindOf(table)] {
		all = append(all, lookupOf(table, r, fields))
	}
	if r.Doc[external[0]] == nil && r.Doc[external[1]] == nil {
		return all
	}
	if pair := lookupOf(table, r, external); pair.values != "\x00" {
		all = append(all, pair)
	}
	return all
}

// add takes in a record that has just been put in its table.
func (x *index) add(t map[string]*record, table, id string) {
	r, list := t[id], x.order[table]
	at := len(list) // nearly always: ids grow
	if at > 0 && compare(t, list[at-1], id) > 0 {
		at, _ = slices.BinarySearchFunc(list, id, func(a, b string) int { return compare(t, a, b) })
	}
	x.order[table] = slices.Insert(list, at, id)
	x.link(table, id, r)
}

func (x *index) link(table, id string, r *record) {
	at := ownerKey{table, r.Owner}
	if x.owned[at] == nil {
		x.owned[at] = map[string]*record{}
	}
	x.owned[at][id] = r
	for _, l := range lookups(table, r) {
		insert(x.found, l, id)
	}
	for _, href := range r.refs {
		insert(x.users, href, key{table, id})
	}
}

// remove forgets a record that is still in its table.
func (x *index) remove(t map[string]*record, table, id string) {
	list := x.order[table]
	if at, found := slices.BinarySearchFunc(list, id, func(a, b string) int { return compare(t, a, b) }); found {
		x.order[table] = slices.Delete(list, at, at+1)
	}
	x.unlink(table, id, t[id])
}

func (x *index) unlink(table, id string, r *record) {
	at := ownerKey{table, r.Owner}
	if delete(x.owned[at], id); len(x.owned[at]) == 0 {
		delete(x.owned, at)
	}
	for _, l := range lookups(table, r) {
		withdraw(x.found, l, id)
	}
	for _, href := range r.refs {
		withdraw(x.users, href, key{table, id})
	}
}

func insert[K, V comparable](sets map[K]map[V]bool, at K, member V) {
	if sets[at] == nil {
		sets[at] = map[V]bool{}
	}
	sets[at][member] = true
}

func withdraw[K, V comparable](sets map[K]map[V]bool, at K, member V) {
	if delete(sets[at], member); len(sets[at]) == 0 {
		delete(sets, at)
	}
}

// compare puts the ids of a table in the order of their numbers or, where they are UUIDs, of their creation.
func compare(t map[string]*record, a, b string) int {
	x, y := t[a], t[b]
	switch {
	case x.number != y.number:
		return cmp.Compare(x.number, y.number)
	case !x.CreatedAt.Equal(y.CreatedAt):
		return x.CreatedAt.Compare(y.CreatedAt)
	default:
		return strings.Compare(a, b)
	}
}

func ordered(t map[string]*record) []string {
	return slices.SortedFunc(maps.Keys(t), func(a, b string) int { return compare(t, a, b) })
}
