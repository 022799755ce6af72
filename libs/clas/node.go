package clas

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	ringfencev1 "github.com/ringfence/ringfence/proto/ringfence/v1"
)

// node is a node that a fact or a pod names, with what its plan consists of.
type node struct {
	name string
	// message is nil while no fact of the node is there.
	message  *ringfencev1.Node
	sequence uint64
	labels   packed
	// addresses are the node's own; owned are those that it owns.
	addresses, owned []addr
	// addressTexts are the addresses as plans have them, sorted.
	addressTexts []string
	pods         []*pod
	// changed are the pods of which the plan may say something else, also such that left.
	changed []*pod
	// written are their entries, while a flush is at it.
	written []*ringfencev1.PodPlan

	requests []*label
	// set is the label set, nil while the node is not managed.
	set    *labelSet
	policy *workloadPolicy
	stale  bool // its plan may have changed
	unread bool // its labels may have changed
	// given says whether the last flush gave a plan, with this hash of the fields of the node itself.
	given     bool
	givenHash uint64
	// digest is of the pods in the plan, nil where it is not known.
	digest *sum
}

func (n *node) claim() (uint64, string) { return n.sequence, "facts.k8s.node._." + n.name }
func (n *node) labelSet() *labelSet     { return n.set }
func (n *node) ownedAddresses() []addr  { return n.owned }
func (n *node) machine() string         { return n.message.GetMachineId() }
func (n *node) exists() bool            { return n.message != nil }
func (n *node) relabel(e *Engine)       { e.stale.readNode(n) }
func (n *node) ownership(e *Engine) {
	n.owned = e.ownedBy(n, n.addresses, n.owned)
	e.stale.nodePorts = true
}
func (n *node) used() bool              { return n.exists() || len(n.pods) > 0 }
func (x *external) labelSet() *labelSet { return x.set }
func (x *external) ownership(e *Engine) { x.owned = e.ownedBy(x, x.addresses, x.owned) }
func (x *external) ownedAddresses() []addr {
	return x.owned
}

// invalidate is called when a label of the workload comes, goes or changes: it is a node's, too, where the workload is its host.
func (x *external) invalidate(e *Engine) {
	e.stale.readExternal(x)
	for _, n := range e.nodesOf(x) {
		e.stale.readNode(n)
	}
}

// node gives the node of the name, known by a fact or by a pod that names it.
func (c *cluster) node(name string) *node {
	n := c.nodes[name]
	if n == nil {
		n = &node{name: strings.Clone(name)}
		c.nodes[n.name] = n
	}
	return n
}

// ownedBy lists those of a claimant's addresses that it owns.
func (e *Engine) ownedBy(c claimant, all, before []addr) []addr {
	var out []addr
	for _, a := range all {
		if e.cluster.addresses.owner(a) == c {
			out = append(out, a)
		}
	}
	if slices.Equal(out, before) {
		return before
	}
	e.stale.hostMembers(c.labelSet())
	return out
}

func (e *Engine) putNode(s subject, sequence uint64, m *ringfencev1.Node) error {
	if err := s.names("node", "", m.GetName()); err != nil {
		return err
	}
	addresses, err := parseAddrs(m.GetAddresses(), func() string { return "node " + m.GetName() }, "addresses")
	if err != nil {
		return err
	}
	n := e.cluster.node(m.GetName())
	e.withdraw(n, n.addresses)
	e.machine(n, false)
	n.message, n.sequence, n.labels, n.addresses, n.owned = m, sequence, packPairs(m.GetLabels(), nil), addresses, nil
	e.stale.hostMembers(n.set)
	e.stale.nodePorts = true
	n.addressTexts = texts(addresses)
	slices.Sort(n.addressTexts)
	e.machine(n, true)
	for _, a := range addresses {
		e.claim(a, n)
	}
	e.stale.node(n)
	e.stale.readNode(n)
	return nil
}

func (e *Engine) dropNode(n *node) {
	e.withdraw(n, n.addresses)
	e.machine(n, false)
	n.message, n.labels, n.addresses, n.owned, n.addressTexts = nil, "", nil, nil, nil
	e.stale.node(n)
	e.stale.readNode(n)
	e.stale.nodePorts = true
}

// withdraw takes all addresses from a claimant.
func (e *Engine) withdraw(c claimant, addresses []addr) {
	for _, a := range addresses {
		e.release(a, c)
	}
}

// machine notes the machine that a node runs on, or that it does not any more, and tells the console's workloads of it.
func (e *Engine) machine(n *node, on bool) {
	id := n.machine()
	if id == "" {
		return
	}
	at := e.cluster.machines[id]
	if on {
		if at == nil {
			at = &bag[*node]{}
			e.cluster.machines[id] = at
		}
		at.add(n)
	} else if at.remove(n); at.len() == 0 {
		delete(e.cluster.machines, id)
	}
	e.joinMachine(id)
}

// joinMachine marks everything that the machine joins: nodes, and the console's workloads, which are external or not.
func (e *Engine) joinMachine(id string) {
	if at := e.cluster.machines[id]; at != nil {
		for _, n := range at.items {
			e.stale.readNode(n)
		}
	}
	for _, x := range e.hosts[id] {
		e.stale.readExternal(x)
		e.changed(x.href())
	}
}

// external is a workload of the console's own: one outside of the cluster, or the host that a node runs on.
type external struct {
	message   *ringfencev1.PceWorkload
	sequence  uint64
	addresses []addr
	owned     []addr
	labels    []*reference
	// set is the label set, nil while it is a node's host.
	set *labelSet
	// claiming says that its addresses are claimed: those of a node's host are the node's to claim.
	claiming bool
}

func (x *external) href() string { return x.message.GetHref() }
func (x *external) claim() (uint64, string) {
	return x.sequence, "facts.pce.workload." + lastSegment(x.href())
}

// String names the workload for people.
func (x *external) String() string {
	for _, name := range []string{x.message.GetName(), x.message.GetHostname()} {
		if name != "" {
			return name
		}
	}
	return x.href()
}

func (e *Engine) putExternal(s subject, sequence uint64, m *ringfencev1.PceWorkload) error {
	if err := s.identifies("workload", m.GetHref()); err != nil {
		return err
	}
	object := "workload " + m.GetHref()
	if err := checkMode(object, m.GetEnforcementMode()); err != nil {
		return err
	}
	addresses, err := parseAddrs(m.GetAddresses(), func() string { return object }, "addresses")
	if err != nil {
		return err
	}
	e.dropExternal(s.id())
	x := &external{message: m, sequence: sequence, addresses: addresses}
	for _, href := range m.GetLabels() {
		x.labels = append(x.labels, e.console.use(href, x))
	}
	e.console.workloads[s.id()] = x
	if id := m.GetMachineId(); id != "" {
		e.hosts[id] = append(e.hosts[id], x)
		e.joinMachine(id)
	}
	e.stale.readExternal(x)
	e.changed(x.href())
	return nil
}

func (e *Engine) dropExternal(id string) {
	x := e.console.workloads[id]
	if x == nil {
		return
	}
	delete(e.console.workloads, id)
	delete(e.stale.externals, x)
	if x.claiming {
		e.withdraw(x, x.addresses)
	}
	for _, r := range x.labels {
		e.console.leave(r, x)
	}
	carry(e, &x.set, nil, hostsOf, host(x))
	if machine := x.message.GetMachineId(); machine != "" {
		e.joinMachine(machine)
		if e.hosts[machine] = slices.DeleteFunc(e.hosts[machine], func(y *external) bool { return y == x }); len(e.hosts[machine]) == 0 {
			delete(e.hosts, machine)
		}
		delete(e.stale.externals, x)
	}
	e.changed(x.href())
}

// hostOf gives the console's workload that a node is, the one of the latest fact, nil for none.
func (e *Engine) hostOf(n *node) *external {
	if n.machine() == "" {
		return nil
	}
	var best *external
	for _, x := range e.hosts[n.machine()] {
		if best == nil || cmp.Or(cmp.Compare(x.sequence, best.sequence), cmp.Compare(x.href(), best.href())) > 0 {
			best = x
		}
	}
	return best
}

// nodesOf gives the nodes that are the console's workload.
func (e *Engine) nodesOf(x *external) []*node {
	if at := e.cluster.machines[x.message.GetMachineId()]; at != nil && x.message.GetMachineId() != "" {
		return slices.DeleteFunc(slices.Clone(at.items), func(n *node) bool { return e.hostOf(n) != x })
	}
	return nil
}

// isHost tells whether the console's workload is a node's host.
func (e *Engine) isHost(x *external) bool { return len(e.nodesOf(x)) > 0 }

// pairing is a pairing profile.
type pairing struct {
	message  *ringfencev1.PairingProfile
	sequence uint64
	labels   []*reference
}

// invalidate is called when a label that the profile names comes, goes or changes.
func (p *pairing) invalidate(e *Engine) { e.stale.readNodes(e.cluster) }

func (e *Engine) putPairing(s subject, sequence uint64, m *ringfencev1.PairingProfile) error {
	if err := s.identifies("pairing_profile", m.GetHref()); err != nil {
		return err
	}
	object := "pairing profile " + m.GetHref()
	if err := checkMode(object, m.GetEnforcementMode()); err != nil {
		return err
	}
	if m.GetEnabled() && m.GetEnforcementMode() == ringfencev1.EnforcementMode_ENFORCEMENT_MODE_UNSPECIFIED {
		return fmt.Errorf("%s: enforcement_mode: an enabled profile needs one", object)
	}
	e.dropPairing(s.id())
	p := &pairing{message: m, sequence: sequence}
	for _, href := range m.GetLabels() {
		p.labels = append(p.labels, e.console.use(href, p))
	}
	e.console.pairings[s.id()] = p
	e.stale.readNodes(e.cluster)
	return nil
}

func (e *Engine) dropPairing(id string) {
	p := e.console.pairings[id]
	if p == nil {
		return
	}
	delete(e.console.pairings, id)
	for _, r := range p.labels {
		e.console.leave(r, p)
	}
	e.stale.readNodes(e.cluster)
}

// pairingInForce is the latest of the pairing profiles that are enabled, nil where there is none.
func (c *console) pairingInForce() *pairing {
	var best *pairing
	for _, p := range c.pairings {
		if p.message.GetEnabled() && (best == nil || cmp.Or(cmp.Compare(p.sequence, best.sequence), cmp.Compare(p.message.GetHref(), best.message.GetHref())) > 0) {
			best = p
		}
	}
	return best
}

// identifyNode works out labels and mode of a node; managed tells whether it has any say.
func (e *Engine) identifyNode(id *identity, n *node) (mode ringfencev1.EnforcementMode, managed bool) {
	id.reset()
	host := e.hostOf(n)
	profile := e.console.pairingInForce()
	if !n.exists() || host == nil && profile == nil || e.settings.unpaired {
		return mode, false
	}
	e.mapLabels(id, e.labelMap.nodes, n.labels)
	if host != nil {
		id.giveAll(host.labels, SourceWorkload)
		mode = host.message.GetEnforcementMode()
	} else {
		id.giveAll(profile.labels, SourcePairingProfile)
		mode = profile.message.GetEnforcementMode()
	}
	if mode == ringfencev1.EnforcementMode_ENFORCEMENT_MODE_UNSPECIFIED {
		mode = idle
	}
	return mode, true
}

// giveAll adds the labels that hrefs stand for.
func (i *identity) giveAll(labels []*reference, source LabelSource) {
	for _, r := range labels {
		if r.label != nil {
			i.give(r.label, source)
		}
	}
}
