package clas

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	ringfencev1 "github.com/ringfence/ringfence/proto/ringfence/v1"
)

// virtualService is a virtual service as rules see it. Those that provide it carry its mark.
type virtualService struct {
	mark *label
	// labels are its own, sorted.
	labels []*label
	// ports are those at which its workloads provide it.
	ports portSet
	// ported says that the console gave it ports, be it such as are gone.
	ported bool
	// services are the ports that open those of Services that carry the mark: all where it is a Service itself.
	services *portSet
	answers  []answer
	// endpoints are those of a Service without a selector, which are nobody's pods: they are reached, and may consume.
	endpoints []answer
}

// Entries among references under which rules note that they look at all virtual services, or at all Services.
const (
	allVirtualServices = "all virtual services"
	allServices        = "all services"
)

// markUse is that the actors of a key, an href or the name of a Service, are to carry a mark.
type markUse struct {
	key  string
	mark *label
}

// serviceKey is the key of a Service among marks.
func serviceKey(v *service) string { return "service " + v.String() }

// addMark counts a use of a mark and tells who is to carry it from now on.
func (e *Engine) addMark(m markUse) {
	m.mark.clauses++ // stays interned
	if e.marks[m]++; e.marks[m] == 1 {
		e.marked[m.key] = append(e.marked[m.key], m.mark)
		e.remark(m.key)
	}
}

// unmark takes a use back.
func (e *Engine) unmark(m markUse) {
	m.mark.clauses--
	if e.marks[m]--; e.marks[m] == 0 {
		delete(e.marks, m)
		if e.marked[m.key] = slices.DeleteFunc(e.marked[m.key], func(l *label) bool { return l == m.mark }); len(e.marked[m.key]) == 0 {
			delete(e.marked, m.key)
		}
		e.remark(m.key)
	}
	e.table.collect(m.mark)
}

// remark marks those of a key to be labelled anew.
func (e *Engine) remark(key string) {
	switch actor := e.named(key).(type) {
	case *workload:
		e.stale.workload(actor)
	case *external:
		actor.invalidate(e)
	case *service:
		e.stale.service(actor)
	}
}

// named gives the workload, external workload or Service of a key among marks, nil for none.
func (e *Engine) named(key string) any {
	if a := e.console.acks[lastSegment(key)]; a != nil && a.message.GetHref() == key {
		return a.workload
	}
	if x := e.console.workloads[lastSegment(key)]; x != nil && x.href() == key {
		return x
	}
	if name, isService := cutServiceKey(key); isService {
		if v := e.cluster.services[name]; v != nil {
			return v
		}
	}
	return nil
}

func cutServiceKey(key string) (objectName, bool) {
	name, isService := strings.CutPrefix(key, "service ")
	if !isService {
		return objectName{}, false
	}
	namespace, name, ok := strings.Cut(name, "/")
	return objectName{namespace, name}, ok
}

// workloadMarks appends the marks of a Kubernetes workload.
func (e *Engine) workloadMarks(out []*label, w *workload) []*label {
	if w == nil || len(e.marked) == 0 {
		return out
	}
	for _, a := range w.acks.items {
		out = append(out, e.marked[a.message.GetHref()]...)
	}
	return out
}

// ownLabels gives the labels of a virtual service, sorted; of two of one key the first counts.
func (r ruleResolver) ownLabels(m *ringfencev1.VirtualService) []*label {
	var out []*label
	for _, href := range m.GetLabels() {
		ref := r.use(href)
		if ref.label != nil && !slices.ContainsFunc(out, func(l *label) bool { return l.key == ref.label.key }) {
			out = append(out, ref.label)
		}
	}
	slices.SortFunc(out, compareLabels)
	return out
}

// virtualService reads a virtual service of the version in force.
func (r ruleResolver) virtualService(m *ringfencev1.VirtualService) *virtualService {
	v := &virtualService{mark: r.table.label(markPrefix+"virtual service "+m.GetHref(), ""), labels: r.ownLabels(m)}
	v.ports = r.portsOf("virtual service "+m.GetHref()+": ", m.GetServices())
	v.ported = len(m.GetServices()) > 0
	if uid := m.GetServiceUid(); uid != "" {
		r.use(uidReference(uid))
		if s := r.serviceOf(uid); s != nil {
			r.standFor(v, s)
			return v
		}
	}
	v.services = r.ports.share(v.ports)
	for _, href := range m.GetWorkloads() {
		r.use(href)
		r.mark(markUse{href, v.mark})
	}
	v.answers = r.answers(m, v.ports)
	return v
}

// serviceOf gives the Service with a uid; of several, which cannot be for long, the one of the latest fact.
func (e *Engine) serviceOf(uid string) *service {
	var best *service
	for _, s := range e.cluster.services {
		if s.message.GetUid() == uid && (best == nil || later(s, best)) {
			best = s
		}
	}
	return best
}

// standFor makes a virtual service be a Service of the cluster: its addresses, and its backends at the target ports where the
// virtual service has no ports of its own.
func (r ruleResolver) standFor(v *virtualService, s *service) {
	var ranges []portRange
	for _, port := range s.ports {
		for _, t := range port.targets {
			ranges = append(ranges, onePort(port.protocol, t))
		}
	}
	if v.services = r.ports.share(allServicePorts); !v.ported {
		v.ports = newPortSet(ranges)
	}
	r.mark(markUse{serviceKey(s), v.mark})
	if len(s.message.GetSelector()) > 0 || !r.profileOf(s.ns).managed {
		return
	}
	var endpoints []addr
	for _, x := range s.slices() {
		endpoints = append(endpoints, x.addresses...)
	}
	if len(endpoints) > 0 {
		v.endpoints = []answer{{canonical: fmt.Sprintf("endpoints %q", s), description: "endpoints of Service " + s.String(), addresses: endpoints, ports: r.ports.share(v.ports)}}
	}
}

// answers gives the addresses of a virtual service by the ports at which they answer.
func (r ruleResolver) answers(m *ringfencev1.VirtualService, ports portSet) []answer {
	at := map[uint32][]addr{}
	for _, a := range m.GetAddresses() {
		if parsed, err := parseAddr(a.GetAddress()); err == nil {
			at[a.GetPort()] = append(at[a.GetPort()], parsed)
		}
	}
	var out []answer
	for _, port := range slices.Sorted(maps.Keys(at)) {
		open, words := ports, "its ports"
		if port != 0 {
			open, words = ports.at(uint16(port)), fmt.Sprintf("port %d", port)
		}
		if !open.empty() {
			out = append(out, answer{canonical: fmt.Sprintf("virtual service %q port %d", m.GetHref(), port), addresses: at[port], ports: r.ports.share(open),
				description: fmt.Sprintf("virtual service %s (%s), answering on %s", m.GetName(), m.GetHref(), words)})
		}
	}
	return out
}

func compareNames(a, b objectName) int {
	return cmp.Or(cmp.Compare(a.namespace, b.namespace), cmp.Compare(a.name, b.name))
}

// at gives one port of every protocol with ports that the set names.
func (s portSet) at(port uint16) portSet {
	var out []portRange
	for _, r := range s.ranges {
		switch {
		case r.protocol == anyProtocol:
			for _, protocol := range []uint8{protocolTCP, protocolUDP, protocolDCCP, protocolSCTP, protocolUDPLite} {
				out = append(out, onePort(protocol, port))
			}
		case hasPorts(r.protocol):
			out = append(out, onePort(uint8(r.protocol), port))
		}
	}
	return newPortSet(out)
}

// virtualServices gives those that a side names, and those that its labels stand for, within a scope.
func (r ruleResolver) virtualServices(s side, scope expression, as []ringfencev1.LabelResolution) []*virtualService {
	var out []*virtualService
	for _, v := range s.virtual {
		if scope.holds(v.labels) {
			out = append(out, v)
		}
	}
	if !s.named && !s.all || !resolvesAs(as, ringfencev1.LabelResolution_LABEL_RESOLUTION_VIRTUAL_SERVICES) {
		return out
	}
	wanted := scope
	if !s.all {
		wanted = scope.and(s.labels)
	}
	return append(out, r.labelled(wanted.normal())...)
}

// labelled gives the virtual services for whose labels an expression holds; in legacy mode, Services are virtual services.
func (r ruleResolver) labelled(x expression) []*virtualService {
	r.use(allVirtualServices)
	var out []*virtualService
	for _, m := range r.provision.force.virtual {
		if x.holds(r.ownLabels(m)) {
			out = append(out, r.virtualService(m))
		}
	}
	if !r.settings.legacy {
		return out
	}
	r.use(allServices)
	for _, name := range slices.SortedFunc(maps.Keys(r.cluster.services), compareNames) {
		if s := r.cluster.services[name]; s.plain != nil && x.holds(s.plain.labels) {
			v := &virtualService{mark: r.table.label(markPrefix+"virtual service of "+s.String(), "")}
			r.standFor(v, s)
			out = append(out, v)
		}
	}
	return out
}
