package clas

import (
	"encoding/binary"
	"slices"
	"strconv"
	"strings"
)

// clause demands, of one key, a label that is among the included ones (or any, where nothing is included) and not among the
// excluded ones.
type clause struct {
	key                string
	included, excluded []*label // sorted
	// open says that nothing was included, and therefore all but the excluded ones are.
	open bool
}

// expression is a conjunction of clauses, sorted by key, while it is put together.
type expression struct {
	clauses []clause
	// nothing says that it cannot hold for anyone.
	nothing bool
}

// clause gives the clause of a key, made where there is none.
func (x *expression) clause(key string) *clause {
	at, there := slices.BinarySearchFunc(x.clauses, key, func(c clause, key string) int { return strings.Compare(c.key, key) })
	if !there {
		x.clauses = slices.Insert(x.clauses, at, clause{key: key, open: true})
	}
	return &x.clauses[at]
}

// include offers labels of the key as alternatives; without any, the clause offers none.
func (x *expression) include(key string, labels ...*label) {
	c := x.clause(key)
	c.open = false
	c.included = union(c.included, labels)
}

func (x *expression) exclude(key string, labels ...*label) {
	c := x.clause(key)
	c.excluded = union(c.excluded, labels)
}

func union(a, b []*label) []*label {
	if len(a) == 0 && len(b) == 1 {
		return b[:1:1]
	}
	out := slices.Concat(a, b)
	slices.SortFunc(out, compareLabels)
	return slices.Compact(out)
}

// and gives the expression that holds where both do.
func (x expression) and(y expression) expression {
	if x.nothing || y.nothing {
		return expression{nothing: true}
	}
	if len(x.clauses) == 0 {
		return y
	}
	out := expression{clauses: append(make([]clause, 0, len(x.clauses)+len(y.clauses)), x.clauses...)}
	for _, c := range y.clauses {
		mine := out.clause(c.key)
		switch {
		case mine.open:
			mine.open, mine.included = c.open, c.included
		case !c.open:
			mine.included = slices.DeleteFunc(slices.Clone(mine.included), func(l *label) bool { return !slices.Contains(c.included, l) })
		}
		mine.excluded = union(mine.excluded, c.excluded)
	}
	return out
}

// normal takes excluded labels out of the included ones, so that equal expressions read alike, and finds out whether it can
// hold for anyone.
func (x expression) normal() expression {
	if x.nothing || !slices.ContainsFunc(x.clauses, clause.irregular) {
		return x
	}
	out := expression{clauses: slices.Clone(x.clauses)}
	for i := range out.clauses {
		c := &out.clauses[i]
		if c.open {
			continue
		}
		if len(c.excluded) > 0 {
			c.included = slices.DeleteFunc(slices.Clone(c.included), func(l *label) bool { return slices.Contains(c.excluded, l) })
			c.excluded = nil
		}
		out.nothing = out.nothing || len(c.included) == 0
	}
	return out
}

// irregular tells whether the clause can be written more simply, or cannot hold.
func (c clause) irregular() bool { return !c.open && (len(c.excluded) > 0 || len(c.included) == 0) }

// holds tells whether the expression holds for sorted labels.
func (x expression) holds(labels []*label) bool {
	if x.nothing {
		return false
	}
	for i := range x.clauses {
		if !x.clauses[i].holds(labels) {
			return false
		}
	}
	return true
}

func (c *clause) holds(labels []*label) bool {
	for _, l := range labels {
		if l.key == c.key && (c.open || slices.Contains(c.included, l)) && !slices.Contains(c.excluded, l) {
			return true
		}
	}
	return false
}

// selector is an interned expression that can hold: equal expressions share one selector.
type selector struct {
	expression
	// matched are the label sets for which it holds.
	matched bag[*labelSet]
	// consuming and providing are the grants that use it on that side.
	consuming, providing bag[*grant]
	// pods is the set of addresses of the workloads that it matches, while a policy needs it.
	pods *addressSet
	// views are its Services as rules of certain ports see them, while a policy needs them.
	views []*serviceView
	// blind says that there was a view in which nothing was to be seen: it is not kept, and made again when Services come.
	blind bool
	// index is the clause under whose labels it is found, -1 for none.
	index int32
	stale bool
}

func (s *selector) holds(ls *labelSet) bool { return s.expression.holds(ls.labels) }

// used tells whether a rule refers to the selector.
func (s *selector) used() bool { return s.consuming.len()+s.providing.len() > 0 }

// String describes the selector for people.
func (s *selector) String() string {
	if len(s.clauses) == 0 {
		return "all workloads"
	}
	parts := make([]string, len(s.clauses))
	for i, c := range s.clauses {
		parts[i] = c.String()
	}
	return strings.Join(parts, " and ")
}

// String says the clause in words: role=web|api, env other than dev.
func (c clause) String() string {
	key := c.key
	if words, isMark := strings.CutPrefix(key, markPrefix); isMark {
		key = words
	}
	if c.open {
		return key + " other than " + values(c.excluded)
	}
	return strings.TrimSuffix(key+"="+values(c.included), "=")
}

func values(labels []*label) string {
	out := make([]string, len(labels))
	for i, l := range labels {
		out[i] = l.value
	}
	return strings.Join(out, "|")
}

// canonical writes the selector so that different ones never read alike. It is the source of the ids of its address sets.
func (s *selector) canonical() string {
	var b []byte
	for _, c := range s.clauses {
		b = append(strconv.AppendQuote(b, c.key), '=')
		for _, l := range c.included {
			b = append(strconv.AppendQuote(b, l.value), '|')
		}
		for _, l := range c.excluded {
			b = append(strconv.AppendQuote(append(b, '!'), l.value), '|')
		}
		b = append(b, '&')
	}
	return string(b)
}

// selector interns an expression; nil stands for one that holds for nobody.
func (t *labelTable) selector(x expression) *selector {
	x = x.normal()
	if x.nothing {
		return nil
	}
	t.key = x.appendKey(t.key[:0])
	if known := t.selectors[string(t.key)]; known != nil {
		return known
	}
	s := &selector{expression: x, index: -1}
	t.selectors[string(t.key)] = s
	s.named(func(l *label) { l.clauses++ })
	s.index = t.choose(s)
	if s.index < 0 {
		t.open.add(s)
		for _, ls := range t.sets {
			t.match(s, ls)
		}
		return s
	}
	for _, l := range s.clauses[s.index].included {
		l.askers.add(s)
	}
	for _, l := range s.clauses[t.scan(s)].included {
		for _, ls := range l.carriers.items {
			t.match(s, ls)
		}
	}
	return s
}

func (x expression) appendKey(b []byte) []byte {
	for _, c := range x.clauses {
		b = appendText(b, c.key)
		for _, l := range c.included {
			b = binary.AppendUvarint(b, uint64(l.id)<<2|1)
		}
		for _, l := range c.excluded {
			b = binary.AppendUvarint(b, uint64(l.id)<<2|2)
		}
		b = append(b, 0)
	}
	return b
}

// choose gives the clause under whose labels new label sets find the selector: the one with the fewest selectors there.
func (t *labelTable) choose(s *selector) int32 {
	return s.cheapest(func(l *label) int { return 1 + l.askers.len() })
}

// scan gives the clause whose labels the fewest label sets carry.
func (t *labelTable) scan(s *selector) int32 {
	return s.cheapest(func(l *label) int { return 1 + l.carriers.len() })
}

func (s *selector) cheapest(cost func(*label) int) int32 {
	best, least := int32(-1), 0
	for i, c := range s.clauses {
		if c.open {
			continue
		}
		sum := 0
		for _, l := range c.included {
			sum += cost(l)
		}
		if best < 0 || sum < least {
			best, least = int32(i), sum
		}
	}
	return best
}

// dropSelector takes a selector that no rule uses out of all indexes.
func (t *labelTable) dropSelector(s *selector) {
	t.key = s.appendKey(t.key[:0])
	delete(t.selectors, string(t.key))
	if s.index < 0 {
		t.open.remove(s)
	} else {
		for _, l := range s.clauses[s.index].included {
			l.askers.remove(s)
		}
	}
	for _, ls := range s.matched.items {
		ls.matching.remove(s)
	}
	s.named(func(l *label) {
		l.clauses--
		t.collect(l)
	})
}

// named visits every label that the clauses name.
func (s *selector) named(visit func(*label)) {
	for _, c := range s.clauses {
		for _, l := range c.included {
			visit(l)
		}
		for _, l := range c.excluded {
			visit(l)
		}
	}
}
