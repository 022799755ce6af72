package clas

import (
	"cmp"
	"encoding/binary"
	"slices"
	"strconv"
	"strings"
)

// label is one value of one dimension, interned: rules and actors meet by key and value; hrefs only name. Marks are labels of
// the engine's own, which rules on single workloads and virtual services go by; their keys begin with markPrefix.
type label struct {
	key, value string
	id         uint32
	// hrefs counts the console's labels that give it, clauses the clauses of selectors that name it.
	hrefs, clauses int32
	// askers are the selectors that are indexed under the label; carriers are the label sets that carry it.
	askers   bag[*selector]
	carriers bag[*labelSet]
	// requesters are the actors that ask for it by annotation or LabelMap, whether or not they get it.
	requesters bag[labelled]
}

// labelled is an actor whose labels are derived, and derived again when what they rest on changes.
type labelled interface {
	relabel(*Engine)
}

const markPrefix = "\x01"

func (l *label) isMark() bool { return strings.HasPrefix(l.key, markPrefix) }

func (l *label) String() string { return l.key + "=" + l.value }

func compareLabels(a, b *label) int {
	return cmp.Or(cmp.Compare(a.key, b.key), cmp.Compare(a.value, b.value))
}

// unused tells whether nothing refers to the label.
func (l *label) unused() bool {
	return l.hrefs == 0 && l.clauses == 0 && l.carriers.len() == 0 && l.requesters.len() == 0
}

type labelName struct{ key, value string }

// labelSet is an interned set of labels with the actors that carry it.
type labelSet struct {
	// labels are sorted, one a key but for marks.
	labels []*label
	// plain is the set without marks; itself where there are none.
	plain *labelSet
	// matching are the selectors that hold for it.
	matching bag[*selector]
	groups   bag[*group]
	policies []*workloadPolicy
	// others are the actors other than pods, nil where there never were any.
	others *otherActors
	// dependents counts the sets whose plain one this is, not counting itself.
	dependents int32
	deserted   bool
	// digest is of the members, nil where it is not known.
	digest *sum
}

// otherActors are nodes, external workloads and Services, which few label sets have.
type otherActors struct {
	hosts    bag[host]
	services bag[*service]
}

var noOthers otherActors

// rest gives the actors other than pods; it must not be changed.
func (ls *labelSet) rest() *otherActors {
	if ls.others == nil {
		return &noOthers
	}
	return ls.others
}

// ensureOthers gives the actors other than pods, to be changed.
func (ls *labelSet) ensureOthers() *otherActors {
	if ls.others == nil {
		ls.others = &otherActors{}
	}
	return ls.others
}

// host is an actor other than a pod whose addresses are in address sets: a node or an external workload.
type host interface {
	ownedAddresses() []addr
}

// used tells whether anything carries the label set.
func (ls *labelSet) used() bool {
	return ls.groups.len()+ls.rest().hosts.len()+ls.rest().services.len()+len(ls.policies) > 0 || ls.dependents > 0
}

// addresses visits the addresses that pods, nodes and external workloads own under the label set.
func (ls *labelSet) addresses(visit func(addr)) {
	for _, g := range ls.groups.items {
		for _, p := range g.pods {
			p.owned(visit)
		}
	}
	for _, h := range ls.rest().hosts.items {
		for _, a := range h.ownedAddresses() {
			visit(a)
		}
	}
}

// appendCanonical writes the labels so that different sets never read alike.
func (ls *labelSet) appendCanonical(b []byte) []byte {
	for _, l := range ls.labels {
		b = append(strconv.AppendQuote(b, l.key), '=')
		b = append(strconv.AppendQuote(b, l.value), ',')
	}
	return b
}

// texts lists the labels but for marks as key=value.
func (ls *labelSet) texts() []string {
	out := make([]string, len(ls.plain.labels))
	for i, l := range ls.plain.labels {
		out[i] = l.String()
	}
	return out
}

// labelTable interns labels and label sets, and keeps label sets and selectors matched against each other, both ways: a new
// label set looks only at selectors that ask for one of its labels, a new selector only at label sets that carry one of its
// values; of several labels to look under, the one with the least behind it is taken.
type labelTable struct {
	labels    map[labelName]*label
	sets      map[string]*labelSet
	selectors map[string]*selector
	// open are the selectors that no single label is asked by: those for everything, and those with exclusions alone.
	open bag[*selector]
	// dimensions counts the labels of the console by key.
	dimensions map[string]int
	next       uint32
	key        []byte
	empty      *labelSet
}

func newLabelTable() *labelTable {
	t := &labelTable{labels: map[labelName]*label{}, sets: map[string]*labelSet{}, selectors: map[string]*selector{},
		dimensions: map[string]int{}}
	t.empty = t.set(nil)
	t.empty.dependents++ // stays
	return t
}

// label interns a label.
func (t *labelTable) label(key, value string) *label {
	name := labelName{key, value}
	l := t.labels[name]
	if l == nil {
		t.next++
		l = &label{key: key, value: value, id: t.next}
		t.labels[name] = l
	}
	return l
}

// collect forgets a label that nothing refers to.
func (t *labelTable) collect(l *label) {
	if l.unused() && t.labels[labelName{l.key, l.value}] == l {
		delete(t.labels, labelName{l.key, l.value})
	}
}

// set interns sorted labels. It keeps the slice of a new set's labels.
func (t *labelTable) set(labels []*label) *labelSet {
	t.key = t.key[:0]
	for _, l := range labels {
		t.key = binary.LittleEndian.AppendUint32(t.key, l.id)
	}
	if known := t.sets[string(t.key)]; known != nil {
		return known
	}
	ls := &labelSet{labels: slices.Clone(labels)}
	ls.plain = ls
	t.sets[string(t.key)] = ls
	for _, l := range labels {
		l.carriers.add(ls)
		for _, s := range l.askers.items {
			t.match(s, ls)
		}
	}
	for _, s := range t.open.items {
		t.match(s, ls)
	}
	if marked := slices.ContainsFunc(labels, (*label).isMark); marked {
		ls.plain = t.set(slices.DeleteFunc(slices.Clone(labels), (*label).isMark))
		ls.plain.dependents++
	}
	return ls
}

// lookup gives the set of sorted labels if it is interned.
func (t *labelTable) lookup(labels []*label) *labelSet {
	t.key = t.key[:0]
	for _, l := range labels {
		t.key = binary.LittleEndian.AppendUint32(t.key, l.id)
	}
	return t.sets[string(t.key)]
}

func (t *labelTable) match(s *selector, ls *labelSet) {
	if s.holds(ls) {
		s.matched.add(ls)
		ls.matching.add(s)
	}
}

// dropSet takes a label set that nothing uses out of all indexes.
func (t *labelTable) dropSet(ls *labelSet) {
	if t.lookup(ls.labels) != ls {
		return // long gone, and perhaps another of the same labels came
	}
	delete(t.sets, string(t.key))
	for _, l := range ls.labels {
		l.carriers.remove(ls)
	}
	for _, s := range ls.matching.items {
		s.matched.remove(ls)
	}
	for _, l := range ls.labels {
		t.collect(l)
	}
	if ls.plain != ls {
		if ls.plain.dependents--; !ls.plain.used() {
			t.dropSet(ls.plain)
		}
	}
}
