package clas

import (
	"cmp"
	"fmt"
	"slices"

	ringfencev1 "github.com/ringfence/ringfence/proto/ringfence/v1"
)

// Types of Services that answer outside of the cluster.
const (
	typeNodePort     = "NodePort"
	typeLoadBalancer = "LoadBalancer"
	typeExternalName = "ExternalName"
)

// service is a Service of a fact.
type service struct {
	ns       *namespace
	message  *ringfencev1.Service
	sequence uint64
	labels   packed
	// annotations are those that request labels.
	annotations packed
	// workload is the Service as the console names it.
	workload *workload

	// addresses are ClusterIPs and external addresses; owned are those that it owns.
	addresses, owned []addr
	// ips is how many of the addresses are ClusterIPs.
	ips int
	// groups are those whose pods its selector picks.
	groups   bag[*group]
	ports    []servicePort
	carried  []*labelSet // plain label sets of the backends
	enforced []*labelSet // label sets of those backends that policy is enforced at
	requests []*label
	// plain is the label set without marks, nil while the namespace is not managed; set is the one with them.
	plain, set *labelSet
	inherited  bool
	// marked are the virtual services that it stands for in rules.
	marked []*label
}

// servicePort is a port of a Service with the ports of the backends behind it, sorted.
type servicePort struct {
	protocol uint8
	port     uint16
	nodePort uint16
	targets  []uint16
}

func (p servicePort) equal(q servicePort) bool {
	return p.protocol == q.protocol && p.port == q.port && p.nodePort == q.nodePort && slices.Equal(p.targets, q.targets)
}

func (v *service) String() string { return v.ns.name + "/" + v.message.GetName() }
func (v *service) claim() (uint64, string) {
	return v.sequence, "facts.k8s.service." + v.ns.name + "." + v.message.GetName()
}

func (v *service) clusterIPs() []addr { return v.addresses[:v.ips] }

// labelSet is nil: addresses of Services are in sets of their own.
func (v *service) labelSet() *labelSet { return nil }

func (v *service) relabel(e *Engine) { e.stale.service(v) }

// ownership finds out anew which of its addresses the Service owns.
func (v *service) ownership(e *Engine) {
	var out []addr
	for _, a := range v.addresses {
		if e.cluster.addresses.owner(a) == claimant(v) {
			out = append(out, a)
		}
	}
	if !slices.Equal(out, v.owned) {
		v.owned = out
		e.stale.providers(v.set)
	}
}

// exposes tells whether the Service answers at node ports.
func (v *service) exposes() bool {
	return v.message.GetType() == typeNodePort || v.message.GetType() == typeLoadBalancer
}

func checkService(s subject, m *ringfencev1.Service) error {
	if m.GetNamespace() == "" {
		return fmt.Errorf("service of subject %s: namespace: empty", s.text)
	}
	if err := s.names("service", m.GetNamespace(), m.GetName()); err != nil {
		return err
	}
	object := "service " + m.GetNamespace() + "/" + m.GetName()
	for i, port := range m.GetPorts() {
		switch {
		case port.GetProtocol() < 1 || port.GetProtocol() > 255:
			return fmt.Errorf("%s: ports[%d].protocol: %d is not 1 to 255", object, i, port.GetProtocol())
		case port.GetPort() < 1 || port.GetPort() > maxPort:
			return fmt.Errorf("%s: ports[%d].port: %d is not 1 to 65535", object, i, port.GetPort())
		case port.GetTargetPort() > maxPort:
			return fmt.Errorf("%s: ports[%d].target_port: %d is above 65535", object, i, port.GetTargetPort())
		case port.GetNodePort() > maxPort:
			return fmt.Errorf("%s: ports[%d].node_port: %d is above 65535", object, i, port.GetNodePort())
		}
	}
	return nil
}

func (e *Engine) putService(s subject, sequence uint64, m *ringfencev1.Service) error {
	if err := checkService(s, m); err != nil {
		return err
	}
	object := func() string { return "service " + m.GetNamespace() + "/" + m.GetName() }
	addresses, err := parseAddrs(m.GetClusterIps(), object, "cluster_ips")
	if err != nil {
		return err
	}
	external, err := parseAddrs(m.GetExternalAddresses(), object, "external_addresses")
	if err != nil {
		return err
	}
	name := objectName{m.GetNamespace(), m.GetName()}
	if old := e.cluster.services[name]; old != nil {
		e.dropService(name, old)
	}
	ns := e.cluster.namespace(m.GetNamespace())
	v := &service{ns: ns, message: m, sequence: sequence, labels: packPairs(m.GetLabels(), nil),
		annotations: packPairs(m.GetAnnotations(), func(name string) bool { _, asks := requestsLabel(name); return !asks })}
	v.ips = len(addresses)
	for _, a := range slices.Concat(addresses, external) {
		if !slices.Contains(v.addresses, a) {
			v.addresses = append(v.addresses, a)
		}
	}
	e.cluster.services[name] = v
	ns.services.add(v)
	v.workload = ns.workload("service", m.GetName())
	v.workload.service = v
	for _, g := range ns.groups.items {
		v.gather(g)
	}
	for _, a := range v.addresses {
		e.claim(a, v)
	}
	v.ports = v.findPorts()
	e.stale.service(v)
	e.stale.exposure(v)
	e.uidChanged(v)
	return nil
}

// uidChanged tells the rules that know the Service by its uid, as a virtual service.
func (e *Engine) uidChanged(v *service) {
	e.changed(uidReference(v.message.GetUid()))
	e.changed(allServices)
}

// uidReference is the entry among references under which rules look a Service up by its uid.
func uidReference(uid string) string { return "service uid " + uid }

func (e *Engine) dropService(name objectName, v *service) {
	e.stale.exposure(v)
	e.withdraw(v, v.addresses)
	delete(e.cluster.services, name)
	v.ns.services.remove(v)
	for _, g := range v.groups.items {
		g.services = slices.DeleteFunc(g.services, func(x *service) bool { return x == v })
		if len(v.marked) > 0 {
			e.stale.group(g)
		}
	}
	e.stale.providers(v.set)
	e.carryService(v, nil)
	v.requests = e.request(v, v.requests, nil)
	v.workload.service = nil
	e.cluster.collectWorkload(v.workload)
	delete(e.stale.services, v)
	e.uidChanged(v)
}

// gather makes the pods of a group backends if the selector picks them.
func (v *service) gather(g *group) {
	selector := v.message.GetSelector()
	if len(selector) == 0 {
		return
	}
	for key, value := range selector {
		if have, ok := g.labels.get(key); !ok || have != value {
			return
		}
	}
	v.groups.add(g)
	g.services = append(g.services, v)
}

// backends visits the pods behind a Service with a selector.
func (v *service) backends(visit func(*pod)) {
	for _, g := range v.groups.items {
		for _, p := range g.pods {
			if !p.terminal() {
				visit(p)
			}
		}
	}
}

// findPorts gives the ports of the Service with the targets behind them.
func (v *service) findPorts() []servicePort {
	out := make([]servicePort, 0, len(v.message.GetPorts()))
	for _, port := range v.message.GetPorts() {
		out = append(out, servicePort{uint8(port.GetProtocol()), uint16(port.GetPort()), uint16(port.GetNodePort()), v.targets(port)})
	}
	return out
}

func (v *service) targets(port *ringfencev1.ServicePort) []uint16 {
	var out []uint16
	switch {
	case len(v.message.GetSelector()) == 0:
		out = v.slicePorts(port)
	case port.GetTargetPort() != 0:
		return []uint16{uint16(port.GetTargetPort())}
	case port.GetTargetPortName() != "":
		for _, g := range v.groups.items {
			if g.live > 0 {
				out = append(out, g.named(port)...)
			}
		}
	default:
		return []uint16{uint16(port.GetPort())}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// named gives the ports of the group's pods that a Service's target names.
func (g *group) named(port *ringfencev1.ServicePort) []uint16 {
	var out []uint16
	for _, p := range g.ports {
		if p.name == port.GetTargetPortName() && uint32(p.protocol) == port.GetProtocol() && p.port != 0 {
			out = append(out, p.port)
		}
	}
	return out
}

// endpointSlice lists endpoints of a Service without a selector.
type endpointSlice struct {
	message   *ringfencev1.EndpointSlice
	sequence  uint64
	addresses []addr
}

// slices visits the slices of the Service in the order of their names.
func (v *service) slices() []*endpointSlice {
	var out []*endpointSlice
	for _, s := range v.ns.slices {
		if s.message.GetService() == v.message.GetName() {
			out = append(out, s)
		}
	}
	slices.SortFunc(out, func(a, b *endpointSlice) int { return cmp.Compare(a.message.GetName(), b.message.GetName()) })
	return out
}

func (v *service) slicePorts(port *ringfencev1.ServicePort) []uint16 {
	var out []uint16
	for _, s := range v.slices() {
		for _, p := range s.message.GetPorts() {
			if p.GetName() == port.GetName() && p.GetProtocol() == port.GetProtocol() && p.GetPort() != 0 {
				out = append(out, uint16(p.GetPort()))
			}
		}
	}
	return out
}

func (e *Engine) putSlice(s subject, sequence uint64, m *ringfencev1.EndpointSlice) error {
	if m.GetNamespace() == "" {
		return fmt.Errorf("endpoint slice of subject %s: namespace: empty", s.text)
	}
	if err := s.names("endpointslice", m.GetNamespace(), m.GetName()); err != nil {
		return err
	}
	object := "endpoint slice " + m.GetNamespace() + "/" + m.GetName()
	if m.GetService() == "" {
		return fmt.Errorf("%s: service: empty", object)
	}
	addresses, err := parseAddrs(m.GetAddresses(), func() string { return object }, "addresses")
	if err != nil {
		return err
	}
	for i, port := range m.GetPorts() {
		switch {
		case port.GetProtocol() < 1 || port.GetProtocol() > 255:
			return fmt.Errorf("%s: ports[%d].protocol: %d is not 1 to 255", object, i, port.GetProtocol())
		case port.GetPort() > maxPort:
			return fmt.Errorf("%s: ports[%d].port: %d is above 65535", object, i, port.GetPort())
		}
	}
	ns := e.cluster.namespace(m.GetNamespace())
	e.dropSlice(ns, m.GetName())
	if ns.slices == nil {
		ns.slices = map[string]*endpointSlice{}
	}
	ns.slices[m.GetName()] = &endpointSlice{m, sequence, addresses}
	e.sliceChanged(ns, m.GetService())
	return nil
}

func (e *Engine) dropSlice(ns *namespace, name string) {
	if s := ns.slices[name]; s != nil {
		delete(ns.slices, name)
		e.sliceChanged(ns, s.message.GetService())
	}
}

func (e *Engine) sliceChanged(ns *namespace, service string) {
	if v := e.cluster.services[objectName{ns.name, service}]; v != nil && len(v.message.GetSelector()) == 0 {
		e.stale.service(v)
		e.uidChanged(v)
	}
}

// identifyService works out the labels of a Service: those of the LabelMap, its profile and its annotations, or those of its
// backends if neither LabelMap nor annotations say anything and the backends all agree.
func (e *Engine) identifyService(id *identity, v *service, p *profile) (inherited *labelSet) {
	e.identify(id, p, v.labels, v.annotations)
	mapped := slices.ContainsFunc(id.labels, func(s sourced) bool { return s.source == SourceLabelMap })
	if v.annotations == "" && !mapped && len(v.carried) == 1 {
		return v.carried[0]
	}
	return nil
}

// backing lists label sets of the backends: the plain ones, and those of backends that policy is enforced at.
func (v *service) backing() (plain, enforced []*labelSet) {
	for _, g := range v.groups.items {
		if g.live == 0 {
			continue
		}
		if g.plain != nil && !slices.Contains(plain, g.plain) {
			plain = append(plain, g.plain)
		}
		if g.set != nil && !slices.Contains(enforced, g.set) {
			enforced = append(enforced, g.set)
		}
	}
	return plain, enforced
}
