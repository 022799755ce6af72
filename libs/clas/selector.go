package clas

import (
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// expression is a conjunction over label keys while it is put together: of each key one of the values must hold.
type expression struct {
	clauses map[string]map[string]bool
	// nothing says that it cannot hold for anyone.
	nothing bool
}

// and gives the expression that holds where both do.
func (x expression) and(y expression) expression {
	out := expression{clauses: maps.Clone(x.clauses), nothing: x.nothing || y.nothing}
	if out.clauses == nil {
		out.clauses = map[string]map[string]bool{}
	}
	for key, values := range y.clauses {
		if mine, both := out.clauses[key]; both {
			values = maps.Clone(values)
			maps.DeleteFunc(values, func(v string, _ bool) bool { return !mine[v] })
		}
		out.clauses[key] = values
		out.nothing = out.nothing || len(values) == 0
	}
	return out
}

// clause demands one of the values for a key.
type clause struct {
	key    string
	values []string // sorted, at least one
}

// selector is an interned expression that can hold: equal expressions share one selector.
type selector struct {
	key     string
	clauses []clause // sorted by key
	// matched are the label sets for which it holds.
	matched map[*labelSet]struct{}
	// consumers and providers are the rules that use it on that side.
	consumers, providers []*alternative
	// pods is the set of addresses of the matched pods, while a policy needs it.
	pods *addressSet
	// views are its Services as rules of certain ports see them, by port set, while a policy needs them.
	views map[string]*serviceView
}

// labelSet is an interned label set with the actors that carry it.
type labelSet struct {
	key    string
	labels []label
	// matching are the selectors that hold for it.
	matching map[*selector]struct{}
	// addresses are those that pods of the label set own; an address is in one label set or in none.
	addresses map[netip.Addr]struct{}
	services  map[*service]struct{}
	// users counts the pods and Services with this label set.
	users int
}

// holds tells whether the selector holds for the label set.
func (s *selector) holds(ls *labelSet) bool {
	for _, c := range s.clauses {
		value, carried := ls.value(c.key)
		if !carried || !slices.Contains(c.values, value) {
			return false
		}
	}
	return true
}

func (ls *labelSet) value(key string) (string, bool) {
	for _, l := range ls.labels {
		if l.key == key {
			return l.value, true
		}
	}
	return "", false
}

// String describes the selector for people.
func (s *selector) String() string {
	if len(s.clauses) == 0 {
		return "all workloads"
	}
	parts := make([]string, len(s.clauses))
	for i, c := range s.clauses {
		parts[i] = c.key + "=" + strings.Join(c.values, "|")
	}
	return strings.Join(parts, " and ")
}

// matcher keeps selectors and label sets matched against each other, both ways: a new label set looks only at selectors
// that ask for one of its labels, a new selector only at label sets that carry one of its values.
type matcher struct {
	selectors map[string]*selector
	labelSets map[string]*labelSet
	// asking indexes selectors by the labels of their first clause; the zero label stands for those without clauses.
	asking map[label]map[*selector]struct{}
	// carrying indexes label sets by each of their labels; the zero label stands for all.
	carrying map[label]map[*labelSet]struct{}
}

func newMatcher() *matcher {
	return &matcher{selectors: map[string]*selector{}, labelSets: map[string]*labelSet{},
		asking: map[label]map[*selector]struct{}{}, carrying: map[label]map[*labelSet]struct{}{}}
}

// selector interns an expression; nil stands for one that holds for nobody.
func (m *matcher) selector(x expression) *selector {
	if x.nothing {
		return nil
	}
	s := newSelector(x)
	if known := m.selectors[s.key]; known != nil {
		return known
	}
	m.selectors[s.key] = s
	for _, l := range s.asks() {
		link(m.asking, l, s)
		for ls := range m.carrying[l] {
			if s.holds(ls) {
				s.matched[ls], ls.matching[s] = struct{}{}, struct{}{}
			}
		}
	}
	return s
}

func newSelector(x expression) *selector {
	s := &selector{matched: map[*labelSet]struct{}{}, views: map[string]*serviceView{}}
	var key []byte
	for _, k := range slices.Sorted(maps.Keys(x.clauses)) {
		c := clause{key: k, values: slices.Sorted(maps.Keys(x.clauses[k]))}
		s.clauses = append(s.clauses, c)
		key = append(strconv.AppendQuote(key, k), '=')
		for _, v := range c.values {
			key = append(strconv.AppendQuote(key, v), '|')
		}
		key = append(key, '&')
	}
	s.key = string(key)
	return s
}

// asks gives the labels under which the selector is indexed: a label set that it holds for carries one of them.
func (s *selector) asks() []label {
	if len(s.clauses) == 0 {
		return []label{{}}
	}
	first := s.clauses[0]
	out := make([]label, len(first.values))
	for i, v := range first.values {
		out[i] = label{first.key, v}
	}
	return out
}

// dropSelector takes a selector out of all indexes.
func (m *matcher) dropSelector(s *selector) {
	delete(m.selectors, s.key)
	for _, l := range s.asks() {
		unlink(m.asking, l, s)
	}
	for ls := range s.matched {
		delete(ls.matching, s)
	}
}

// labelSet interns sorted labels.
func (m *matcher) labelSet(labels []label) *labelSet {
	key := canonical(labels)
	if known := m.labelSets[key]; known != nil {
		return known
	}
	ls := &labelSet{key: key, labels: labels, matching: map[*selector]struct{}{},
		addresses: map[netip.Addr]struct{}{}, services: map[*service]struct{}{}}
	m.labelSets[key] = ls
	for _, l := range ls.carries() {
		link(m.carrying, l, ls)
		for s := range m.asking[l] {
			if s.holds(ls) {
				s.matched[ls], ls.matching[s] = struct{}{}, struct{}{}
			}
		}
	}
	return ls
}

// carries gives the labels under which the label set is indexed.
func (ls *labelSet) carries() []label { return append([]label{{}}, ls.labels...) }

// dropLabelSet takes a label set that nobody carries out of all indexes.
func (m *matcher) dropLabelSet(ls *labelSet) {
	delete(m.labelSets, ls.key)
	for _, l := range ls.carries() {
		unlink(m.carrying, l, ls)
	}
	for s := range ls.matching {
		delete(s.matched, ls)
	}
}

func link[K, V comparable](index map[K]map[V]struct{}, key K, value V) {
	if index[key] == nil {
		index[key] = map[V]struct{}{}
	}
	index[key][value] = struct{}{}
}

func unlink[K, V comparable](index map[K]map[V]struct{}, key K, value V) {
	delete(index[key], value)
	if len(index[key]) == 0 {
		delete(index, key)
	}
}
