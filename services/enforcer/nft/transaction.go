package nft

import (
	"fmt"
	"time"

	"github.com/google/nftables"

	"github.com/ringfence/ringfence/services/enforcer/datapath"
)

// elementsPerMessage keeps an element message below the 64 KiB that a netlink attribute can hold.
const elementsPerMessage = 1000

// replace flushes the table and fills it again in one transaction, then reads it back. Order matters: rules go before
// the sets and chains that they name, and come after them.
func (g *guard) replace(l layout) (datapath.Change, error) {
	old, err := g.read()
	if err != nil {
		return datapath.Change{}, err
	}
	g.clear(old, l)
	for _, c := range l.chains {
		if !old.chains[c.name] {
			g.conn.AddChain(&nftables.Chain{Name: c.name, Table: &table})
		}
	}
	change := datapath.Change{Full: true}
	for _, s := range l.sets {
		n, err := g.fill(s)
		if err != nil {
			return change, err
		}
		change.Elements += n
	}
	for _, c := range append(l.chains, l.base[:]...) {
		for _, r := range c.rules {
			g.conn.AddRule(&nftables.Rule{Table: &table, Chain: &nftables.Chain{Name: c.name}, Exprs: r.exprs})
		}
	}
	for _, d := range []direction{inbound, outbound} {
		g.addBase(d, l.closed)
	}
	if err := g.commit(); err != nil {
		return change, err
	}
	return change, g.verify(l)
}

// clear empties the table, or makes it with base chains that accept. Empty base chains must not drop, because their
// hooks work from the moment that they are made, before the rest of the transaction does.
func (g *guard) clear(old content, l layout) {
	g.conn.AddTable(&table)
	for _, d := range []direction{inbound, outbound} {
		if !old.base[d] {
			g.addBase(d, false)
		}
	}
	if !old.exists {
		return
	}
	g.conn.FlushTable(&table)
	wanted := map[string]setKind{}
	for _, s := range l.sets {
		wanted[s.key.name()] = s.key.kind
	}
	for name, kind := range old.sets {
		s := &nftables.Set{Table: &table, Name: name}
		if keep, ok := wanted[name]; ok && keep == kind {
			g.conn.FlushSet(s)
		} else {
			g.conn.DelSet(s)
		}
	}
	g.deleteChains(old.chains, l)
}

// deleteChains spares chains that stay. A packet that is being judged while the transaction commits sees the rules from
// before and the set elements from after: a verdict map must lead it into the same chain, where its rules still are,
// not into a new one of the same name, which is empty for it.
func (g *guard) deleteChains(old map[string]bool, l layout) {
	stay := map[string]bool{}
	for _, c := range l.chains {
		stay[c.name] = true
	}
	for name := range old {
		if !stay[name] {
			g.conn.DelChain(&nftables.Chain{Name: name, Table: &table})
		}
	}
}

func (g *guard) addBase(d direction, closed bool) {
	policy := nftables.ChainPolicyAccept
	if closed {
		policy = nftables.ChainPolicyDrop
	}
	g.conn.AddChain(&nftables.Chain{Name: d.baseChain(), Table: &table, Type: nftables.ChainTypeFilter,
		Hooknum: d.hook(), Priority: nftables.ChainPriorityFilter, Policy: &policy})
}

func (g *guard) fill(s set) (int, error) {
	declared := s.key.declaration(&table)
	if err := g.conn.AddSet(declared, nil); err != nil {
		return 0, fmt.Errorf("declare set %s: %w", s.key.name(), err)
	}
	elements := s.elements()
	return len(elements), g.send(declared, elements, g.conn.SetAddElements)
}

// send splits elements over messages.
func (g *guard) send(s *nftables.Set, elements []nftables.SetElement, f func(*nftables.Set, []nftables.SetElement) error) error {
	for len(elements) > 0 {
		n := min(len(elements), elementsPerMessage)
		if err := f(s, elements[:n]); err != nil {
			return fmt.Errorf("encode elements of set %s: %w", s.Name, err)
		}
		elements = elements[n:]
	}
	return nil
}

func (g *guard) commit() error {
	err := g.conn.Flush()
	switch {
	case err == nil:
		return nil
	case noSpace(err):
		return fmt.Errorf("the kernel has no memory left for the table, raise the enforcer's limit: %w", err)
	}
	return fmt.Errorf("the kernel refused the table: %w", err)
}

// verifyAttempts bounds how often a set is read back. While the kernel resizes a hash set in the background, a dump that
// takes several messages can hold elements twice or miss some.
const verifyAttempts = 5

// verify counts the elements of every set against what was sent.
func (g *guard) verify(l layout) error {
	for _, s := range l.sets {
		want, have := len(s.elements()), -1
		for attempt := 0; attempt < verifyAttempts && have != want; attempt++ {
			time.Sleep(time.Duration(attempt) * 10 * time.Millisecond)
			var err error
			if have, err = g.count(s.key); err != nil {
				return err
			}
		}
		if have != want {
			return fmt.Errorf("set %s holds %d elements in the kernel, not %d", s.key.name(), have, want)
		}
	}
	return nil
}

// count reads a set and counts its different elements.
func (g *guard) count(k setKey) (int, error) {
	elements, err := g.conn.GetSetElements(k.declaration(&table))
	if err != nil {
		return 0, fmt.Errorf("read set %s back: %w", k.name(), err)
	}
	type bound struct {
		key string
		end bool
	}
	different := make(map[bound]struct{}, len(elements))
	for _, e := range elements {
		different[bound{string(e.Key), e.IntervalEnd}] = struct{}{}
	}
	return len(different), nil
}

// exchange sends the difference of members between what is held and a layout of the same shape.
func (g *guard) exchange(l layout) (datapath.Change, error) {
	var change datapath.Change
	for i, s := range l.sets {
		old := g.held.sets[i]
		if s.key.kind == ports || s.members == old.members {
			continue
		}
		n, err := g.exchangeSet(old, s)
		if err != nil {
			return change, err
		}
		change.Elements += n
	}
	if change.Elements == 0 {
		return change, nil
	}
	return change, g.commit()
}

// exchangeSet changes single elements of a hash set. Sets of ranges are small and change seldom: they are refilled.
func (g *guard) exchangeSet(old, s set) (int, error) {
	declared := s.key.declaration(&table)
	if s.key.kind == range4 || s.key.kind == range6 {
		g.conn.FlushSet(declared)
		elements := s.elements()
		return len(elements) + 1, g.send(declared, elements, g.conn.SetAddElements)
	}
	added, removed := datapath.Diff(old.addresses(), s.addresses())
	if err := g.send(declared, hashElements(removed), g.conn.SetDeleteElements); err != nil {
		return 0, err
	}
	return len(added) + len(removed), g.send(declared, hashElements(added), g.conn.SetAddElements)
}
