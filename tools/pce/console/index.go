package console

import "strings"

// index finds records by what they hold, so that neither a write nor a list scans a table for every object. It follows
// every put and drop of the state; records are immutable, so what was indexed is what is removed again.
type index struct {
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
	return index{owned: map[ownerKey]map[string]*record{}, found: map[lookup]map[string]bool{}, users: map[string]map[key]bool{}}
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

func (x *index) add(table, id string, r *record) {
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

func (x *index) remove(table, id string, r *record) {
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
