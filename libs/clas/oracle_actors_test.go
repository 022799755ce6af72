package clas_test

import (
	"net"
	"slices"
	"strings"

	pb "github.com/ringfence/ringfence/proto/ringfence/v1"
)

// Sections 3 and 5.1: who takes part, under which addresses, and what stands behind a Service.

// actor is a workload that rules can match. Exactly one of the messages is set.
type actor struct {
	index   int
	kind    string // pod, node, service or external
	pod     *pb.Pod
	node    *pb.Node
	service *pb.Service
	machine *pb.PceWorkload
	attributes
}

// ended tells whether a pod came to its end.
func ended(p *pb.Pod) bool {
	return p.GetPhase() == pb.PodPhase_POD_PHASE_SUCCEEDED || p.GetPhase() == pb.PodPhase_POD_PHASE_FAILED
}

// holdsAddresses tells whether a pod has a network of its own, now.
func holdsAddresses(p *pb.Pod) bool {
	return !ended(p) && !p.GetWithoutSandbox() && !p.GetHostNetwork()
}

// policed tells whether a pod has a policy, be its sandbox there or not.
func (o *oracle) policed(p *pb.Pod) bool {
	return o.managed(p.GetNamespace()) && !p.GetHostNetwork() && !ended(p)
}

// takePart lists the actors.
func (o *oracle) takePart() []*actor {
	var out []*actor
	add := func(a *actor) {
		a.index = len(out)
		out = append(out, a)
	}
	for _, f := range o.pods {
		if p := f.fact.GetPod(); o.policed(p) {
			add(&actor{kind: "pod", pod: p, attributes: o.ofPod(p)})
		}
	}
	for _, f := range o.nodes {
		n := f.fact.GetNode()
		if _, managed := o.nodeManaged(n); managed {
			add(&actor{kind: "node", node: n, attributes: o.ofNode(n)})
		}
	}
	for _, f := range o.services {
		if s := f.fact.GetService(); o.managed(s.GetNamespace()) {
			add(&actor{kind: "service", service: s, attributes: o.ofService(s)})
		}
	}
	for _, f := range o.machines {
		if m := f.fact.GetPceWorkload(); len(o.hosts(m)) == 0 {
			add(&actor{kind: "external", machine: m, attributes: o.ofHrefs(m.GetLabels())})
		}
	}
	return out
}

// actorOf gives the actor of a message, nil where it takes no part.
func (o *oracle) actorOf(match func(*actor) bool) *actor {
	if i := slices.IndexFunc(o.actors, match); i >= 0 {
		return o.actors[i]
	}
	return nil
}

// claim is who owns an address: a fact, and the actor that it is, if it takes part.
type claim struct {
	fact  *pb.Fact
	actor *actor
}

// owner gives the owner of an address.
func (o *oracle) owner(address string) *claim {
	if known := o.memory.owners[address]; known != nil {
		return known
	}
	best := latest(o.facts, func(f logged) bool {
		p, s, n := f.fact.GetPod(), f.fact.GetService(), f.fact.GetNode()
		return p != nil && holdsAddresses(p) && hasIP(p.GetAddresses(), address) ||
			s != nil && hasIP(s.GetClusterIps(), address) ||
			n != nil && hasIP(n.GetAddresses(), address)
	})
	if best.fact == nil {
		best = latest(o.facts, func(f logged) bool { return hasIP(f.fact.GetService().GetExternalAddresses(), address) })
	}
	if best.fact == nil {
		best = latest(o.machines, func(f logged) bool {
			m := f.fact.GetPceWorkload()
			return len(o.hosts(m)) == 0 && hasIP(m.GetAddresses(), address)
		})
	}
	out := &claim{fact: best.fact}
	out.actor = o.actorOf(func(a *actor) bool {
		return a.pod != nil && a.pod == best.fact.GetPod() || a.node != nil && a.node == best.fact.GetNode() ||
			a.service != nil && a.service == best.fact.GetService() || a.machine != nil && a.machine == best.fact.GetPceWorkload()
	})
	o.memory.owners[address] = out
	return out
}

func hasIP(addresses []string, want string) bool {
	ip := net.ParseIP(want)
	return slices.ContainsFunc(addresses, func(a string) bool { return ip != nil && ip.Equal(net.ParseIP(a)) })
}

// backs tells whether a Service's selector picks a pod.
func backs(p *pb.Pod, s *pb.Service) bool {
	if p.GetNamespace() != s.GetNamespace() || len(s.GetSelector()) == 0 || ended(p) {
		return false
	}
	for key, value := range s.GetSelector() {
		if have, there := p.GetLabels()[key]; !there || have != value {
			return false
		}
	}
	return true
}

// backends are the pods behind a Service with a selector.
func (o *oracle) backends(s *pb.Service) []*pb.Pod {
	var out []*pb.Pod
	for _, f := range o.pods {
		if p := f.fact.GetPod(); backs(p, s) {
			out = append(out, p)
		}
	}
	return out
}

// slicesOf are the EndpointSlices behind a Service without a selector.
func (o *oracle) slicesOf(s *pb.Service) []*pb.EndpointSlice {
	var out []*pb.EndpointSlice
	for _, f := range o.slices {
		if x := f.fact.GetEndpointSlice(); len(s.GetSelector()) == 0 && x.GetNamespace() == s.GetNamespace() && x.GetService() == s.GetName() {
			out = append(out, x)
		}
	}
	return out
}

// targetsOn gives the ports that a Service's port leads to at one backend. A backend's port 0 is none.
func targetsOn(p *pb.Pod, port *pb.ServicePort) []uint32 {
	switch {
	case port.GetTargetPort() != 0:
		return []uint32{port.GetTargetPort()}
	case port.GetTargetPortName() == "":
		return []uint32{port.GetPort()}
	}
	var out []uint32
	for _, named := range p.GetPorts() {
		if named.GetName() == port.GetTargetPortName() && named.GetProtocol() == port.GetProtocol() && named.GetPort() != 0 {
			out = append(out, named.GetPort())
		}
	}
	return out
}

// targets gives the ports behind a Service's port.
func (o *oracle) targets(s *pb.Service, port *pb.ServicePort) []uint32 {
	var out []uint32
	if len(s.GetSelector()) == 0 {
		for _, x := range o.slicesOf(s) {
			for _, p := range x.GetPorts() {
				if p.GetName() == port.GetName() && p.GetProtocol() == port.GetProtocol() && p.GetPort() != 0 {
					out = append(out, p.GetPort())
				}
			}
		}
		return out
	}
	if port.GetTargetPort() != 0 || port.GetTargetPortName() == "" {
		return targetsOn(nil, port)
	}
	for _, p := range o.backends(s) {
		out = append(out, targetsOn(p, port)...)
	}
	return out
}

// exposes tells whether a Service answers at the nodes.
func exposes(s *pb.Service) bool { return s.GetType() == "NodePort" || s.GetType() == "LoadBalancer" }

// acknowledges names the Kubernetes workload that an acknowledgement is about: namespace, kind in lower case, name.
func acknowledges(f logged) [3]string {
	a := f.fact.GetAcknowledgedWorkload()
	return [3]string{a.GetNamespace(), strings.ToLower(a.GetKind()), a.GetName()}
}

// names tells whether the href of a single workload names the actor.
func (o *oracle) names(href string, a *actor) bool {
	switch {
	case a.machine != nil:
		return a.machine.GetHref() == href
	case a.node != nil:
		host := o.host(a.node)
		return host != nil && host.GetHref() == href
	}
	return slices.ContainsFunc(o.acks, func(f logged) bool {
		return f.fact.GetAcknowledgedWorkload().GetHref() == href && acknowledges(f) == workloadName(a)
	})
}

// workloadName names the Kubernetes workload of a pod or Service.
func workloadName(a *actor) [3]string {
	if a.service != nil {
		return [3]string{a.service.GetNamespace(), "service", a.service.GetName()}
	}
	kind, name := workloadOf(a.pod)
	return [3]string{a.pod.GetNamespace(), kind, name}
}
