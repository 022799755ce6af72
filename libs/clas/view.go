package clas

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
)

// serviceView is how rules with one set of ports see the Services that a selector matches: one address set per Service port that
// the rules open, the node ports that they open, and the names of Services that are but names.
type serviceView struct {
	selector *selector
	ports    *portSet
	open     []opening // sorted
	// nodePorts are open at every node's addresses.
	nodePorts portSet
	names     *addressSet
	// partial are Services, sorted by name, of which some backends are not matched by the selector.
	partial []*service
}

// opening is a port at which Services answer, with the addresses of those that do.
type opening struct {
	protocol uint8
	port     uint16
	set      *addressSet
}

func compareOpenings(a, b opening) int {
	return cmp.Or(cmp.Compare(a.protocol, b.protocol), cmp.Compare(a.port, b.port))
}

// view gives the selector's view for the ports, up to date; nil where there are no Services to see.
func (e *Engine) view(sel *selector, ports *portSet) *serviceView {
	for _, v := range sel.views {
		if v.ports.key == ports.key {
			if !e.holds(v) {
				e.refresh(v)
			}
			return v
		}
	}
	if !slices.ContainsFunc(sel.matched.items, func(ls *labelSet) bool { return ls.rest().services.len() > 0 }) {
		return nil
	}
	v := &serviceView{selector: sel, ports: ports}
	sel.views = append(sel.views, v)
	e.refresh(v)
	return v
}

// holds tells whether the sets of a view are still there: those that no policy refers to any more go with a flush.
func (e *Engine) holds(v *serviceView) bool {
	there := func(s *addressSet) bool { return s == nil || e.sets.byID[s.id] == s }
	return there(v.names) && !slices.ContainsFunc(v.open, func(o opening) bool { return !there(o.set) })
}

// refresh brings a view up to date with its Services.
func (e *Engine) refresh(v *serviceView) {
	want := map[opening][]addr{}
	var nodePorts []portRange
	var names []string
	v.partial = nil
	for _, ls := range v.selector.matched.items {
		for _, s := range ls.rest().services.items {
			if s.message.GetType() == typeExternalName {
				if name := s.message.GetExternalName(); name != "" {
					names = append(names, canonicalName(name))
				}
				continue
			}
			if e.look(v, s, want, &nodePorts) && !s.backedBy(v.selector) {
				v.partial = append(v.partial, s)
			}
		}
	}
	slices.SortFunc(v.partial, func(a, b *service) int { return cmp.Compare(a.String(), b.String()) })
	v.open, v.nodePorts = nil, newPortSet(nodePorts)
	for x, members := range want {
		x.set = e.serviceSet(v, x)
		e.sets.fill(x.set, members, nil)
		v.open = append(v.open, x)
	}
	slices.SortFunc(v.open, compareOpenings)
	if v.names = nil; len(names) > 0 {
		v.names = e.sets.explicit(fmt.Sprintf("names %s", v.selector.canonical()), func() string { return "names of Services: " + v.selector.String() })
		e.sets.fill(v.names, nil, names)
	}
}

// look adds what a view sees of one Service and tells whether that is anything.
func (e *Engine) look(v *serviceView, s *service, want map[opening][]addr, nodePorts *[]portRange) bool {
	seen := false
	for _, port := range s.ports {
		if !v.ports.reaches(port) {
			continue
		}
		seen = true
		if len(s.owned) > 0 {
			x := opening{protocol: port.protocol, port: port.port}
			want[x] = append(want[x], s.owned...)
		}
		if s.exposes() && port.nodePort != 0 {
			*nodePorts = append(*nodePorts, onePort(port.protocol, port.nodePort))
		}
	}
	return seen
}

func (e *Engine) serviceSet(v *serviceView, x opening) *addressSet {
	port := onePort(x.protocol, x.port).String()
	return e.sets.explicit(fmt.Sprintf("services %s on %s for %s", v.selector.canonical(), port, v.ports.key), func() string {
		return fmt.Sprintf("Services: %s, answering on %s, for rules on %s", v.selector, port, v.ports.key)
	})
}

// backedBy tells whether a selector holds for all backends that policy is enforced at.
func (v *service) backedBy(sel *selector) bool {
	for _, g := range v.groups.items {
		if g.live > 0 && g.set != nil && !sel.holds(g.set) {
			return false
		}
	}
	return true
}

// same tells whether two states of a view are the same to the policies that refer to it: members of sets may differ.
func (v *serviceView) same(w *serviceView) bool {
	return slices.Equal(v.open, w.open) && v.nodePorts.key == w.nodePorts.key && v.names == w.names && slices.Equal(v.partial, w.partial)
}

// empty tells whether there is nothing to see.
func (v *serviceView) empty() bool {
	return len(v.open) == 0 && v.nodePorts.empty() && v.names == nil
}

// nodeSet is the set of the addresses of all nodes, for node ports.
func (e *Engine) nodeSet() *addressSet {
	s := e.sets.explicit("nodes", func() string { return "addresses of all nodes" })
	if e.stale.nodePorts || len(s.explicit.members) == 0 {
		e.fillNodes(s)
	}
	return s
}

func (e *Engine) fillNodes(s *addressSet) {
	var all []addr
	for _, n := range e.cluster.nodes {
		all = append(all, n.owned...)
	}
	e.sets.fill(s, all, nil)
}

// settleViews brings the views of selectors up to date whose Services changed, and marks the policies that see it.
func (e *Engine) settleViews() {
	if e.stale.nodePorts {
		if s := e.sets.byID[digits64("nodes")]; s != nil {
			e.fillNodes(s)
		}
		e.stale.nodePorts = false
	}
	for _, sel := range slices.Collect(maps.Keys(e.stale.seen)) {
		delete(e.stale.seen, sel)
		for _, v := range sel.views {
			before := *v
			if e.refresh(v); !v.same(&before) {
				e.stale.consumersOf(sel)
			}
		}
		if len(sel.views) == 0 || sel.blind {
			e.stale.consumersOf(sel)
		}
		all := len(sel.views)
		sel.views = slices.DeleteFunc(sel.views, (*serviceView).empty)
		sel.blind = len(sel.views) < all
	}
}
