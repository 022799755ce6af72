package clas_test

import (
	"maps"
	"math/big"
	"net"
	"slices"
	"strings"

	pb "github.com/ringfence/ringfence/proto/ringfence/v1"
	"google.golang.org/protobuf/proto"
)

// The oracle is a second reading of the semantics: "may A talk to B on this port?", answered from raw facts, one rule after
// the other, with no index and no compiled state. It shares with the engine nothing but the messages, and is written to be
// read against the semantics, not to be fast.

// logged is a fact at its place in the log.
type logged struct {
	entry
	sequence uint64
}

// oracle is the world after the facts of a log.
type oracle struct {
	last    map[string]logged // by subject
	keys    map[string]string // the key of every label there ever was, by href
	objects map[string]*pb.PceObject
	chunks  map[uint32]*pb.Provisioned
	active  []*pb.Provisioned
	console map[string]*pb.PceObject // by href, of the version in force
	version int64

	// sorted and carried only remember answers, once the log has been read.
	sorted  []logged
	carried map[*pb.Pod]map[string]string
	owners  map[string]logged
}

func newOracle(log []logged) *oracle {
	o := &oracle{last: map[string]logged{}, keys: map[string]string{}, objects: map[string]*pb.PceObject{},
		chunks: map[uint32]*pb.Provisioned{}, console: map[string]*pb.PceObject{}}
	for _, f := range log {
		o.see(f)
	}
	for _, subject := range slices.Sorted(maps.Keys(o.last)) {
		o.sorted = append(o.sorted, o.last[subject])
	}
	o.carried, o.owners = map[*pb.Pod]map[string]string{}, map[string]logged{}
	return o
}

func (o *oracle) see(f logged) {
	id := f.subject[strings.LastIndex(f.subject, ".")+1:]
	isObject, isChunk := strings.HasPrefix(f.subject, "facts.pce.object."), strings.HasPrefix(f.subject, "facts.pce.provisioned.")
	switch body := f.fact.GetBody().(type) {
	case *pb.Fact_Gone:
		held, uid := uidIn(o.last[f.subject].fact), body.Gone.GetUid()
		switch {
		case isObject:
			if !slices.ContainsFunc(o.active, func(p *pb.Provisioned) bool { return lists(p, id) }) {
				delete(o.objects, id)
			}
		case isChunk:
			maps.DeleteFunc(o.chunks, func(n uint32, _ *pb.Provisioned) bool { return big.NewInt(int64(n)).String() == id })
		case uid == "" || held == "" || held == uid:
			delete(o.last, f.subject)
		}
	case *pb.Fact_PceObject:
		o.objects[id] = body.PceObject
	case *pb.Fact_Provisioned:
		o.chunks[body.Provisioned.GetChunk()] = body.Provisioned
	case *pb.Fact_Label:
		o.keys[body.Label.GetHref()] = body.Label.GetKey()
		o.last[f.subject] = f
	default:
		o.last[f.subject] = f
	}
	o.commit()
}

func lists(p *pb.Provisioned, sha string) bool {
	return slices.ContainsFunc(p.GetEntries(), func(m *pb.ManifestEntry) bool { return m.GetSha256() == sha })
}

// commit puts a version in force once its chunks and objects are all there.
func (o *oracle) commit() {
	first := o.chunks[0]
	if first == nil {
		return
	}
	var candidate []*pb.Provisioned
	console := map[string]*pb.PceObject{}
	kept := map[string]*pb.PceObject{}
	for i := range first.GetChunks() {
		c := o.chunks[i]
		if c == nil || c.GetVersion() != first.GetVersion() || c.GetChunks() != first.GetChunks() ||
			!proto.Equal(c.GetProvisionedAt(), first.GetProvisionedAt()) {
			return
		}
		candidate = append(candidate, c)
		for _, m := range c.GetEntries() {
			if o.objects[m.GetSha256()] == nil {
				return
			}
			console[m.GetHref()], kept[m.GetSha256()] = o.objects[m.GetSha256()], o.objects[m.GetSha256()]
		}
	}
	if slices.EqualFunc(candidate, o.active, func(a, b *pb.Provisioned) bool { return proto.Equal(a, b) }) {
		return
	}
	o.active, o.console, o.objects, o.version = candidate, console, kept, first.GetVersion()
}

func uidIn(f *pb.Fact) string {
	switch body := f.GetBody().(type) {
	case *pb.Fact_Pod:
		return body.Pod.GetUid()
	case *pb.Fact_Service:
		return body.Service.GetUid()
	case *pb.Fact_Node:
		return body.Node.GetUid()
	}
	return ""
}

// each visits the facts of objects that are there.
func (o *oracle) each(visit func(logged)) {
	for _, f := range o.sorted {
		visit(f)
	}
}

func (o *oracle) pods() []*pb.Pod {
	var out []*pb.Pod
	o.each(func(f logged) {
		if p := f.fact.GetPod(); p != nil {
			out = append(out, p)
		}
	})
	return out
}

// label gives key and value of a label that exists.
func (o *oracle) label(href string) (key, value string, exists bool) {
	o.each(func(f logged) {
		if l := f.fact.GetLabel(); l != nil && l.GetHref() == href {
			key, value, exists = l.GetKey(), l.GetValue(), true
		}
	})
	return key, value, exists
}

// profile is the latest of the namespace, else the latest default one.
func (o *oracle) profile(namespace string) *pb.ContainerWorkloadProfile {
	for _, want := range []string{namespace, ""} {
		var best logged
		o.each(func(f logged) {
			if p := f.fact.GetContainerWorkloadProfile(); p != nil && p.GetNamespace() == want && f.sequence > best.sequence {
				best = f
			}
		})
		if best.fact != nil {
			return best.fact.GetContainerWorkloadProfile()
		}
	}
	return &pb.ContainerWorkloadProfile{}
}

// labelled gives the labels of something in a namespace with annotations.
func (o *oracle) labelled(namespace string, annotations map[string]string) map[string]string {
	profile := o.profile(namespace)
	out := map[string]string{}
	for _, l := range profile.GetLabels() {
		if key, value, ok := o.label(l.GetAssignment()); ok && key == l.GetKey() {
			out[key] = value
		}
	}
	for name, value := range annotations {
		key, ok := strings.CutPrefix(name, "com.illumio.")
		if ok && o.exists(key, value) && o.open(profile, key, value) {
			out[key] = value
		}
	}
	return out
}

func (o *oracle) exists(key, value string) bool {
	found := false
	o.each(func(f logged) {
		l := f.fact.GetLabel()
		found = found || l != nil && l.GetKey() == key && l.GetValue() == value
	})
	return found
}

// open tells whether the profile lets annotations choose the label.
func (o *oracle) open(profile *pb.ContainerWorkloadProfile, key, value string) bool {
	for _, l := range profile.GetLabels() {
		if l.GetKey() != key {
			continue
		}
		if l.GetAssignment() != "" {
			return false
		}
		if l.GetRestricted() {
			return slices.ContainsFunc(l.GetRestriction(), func(href string) bool {
				k, v, ok := o.label(href)
				return ok && k == key && v == value
			})
		}
	}
	return true
}

func ended(p *pb.Pod) bool {
	return p.GetPhase() == pb.PodPhase_POD_PHASE_SUCCEEDED || p.GetPhase() == pb.PodPhase_POD_PHASE_FAILED
}

// carries gives the labels of a pod that policy can name, nil for any other pod.
func (o *oracle) carries(p *pb.Pod) map[string]string {
	labels, known := o.carried[p]
	if !known {
		labels = o.labelsOf(p)
		o.carried[p] = labels
	}
	return labels
}

func (o *oracle) labelsOf(p *pb.Pod) map[string]string {
	if !o.profile(p.GetNamespace()).GetManaged() || p.GetHostNetwork() || ended(p) {
		return nil
	}
	annotations := p.GetAnnotations()
	if c := p.GetController(); c != nil {
		if f, known := o.last[k8s(strings.ToLower(c.GetKind()), p.GetNamespace(), c.GetName())]; known {
			annotations = f.fact.GetKubernetesWorkload().GetAnnotations()
		}
	}
	return o.labelled(p.GetNamespace(), annotations)
}

func backs(p *pb.Pod, s *pb.Service) bool {
	if p.GetNamespace() != s.GetNamespace() || len(s.GetSelector()) == 0 || ended(p) {
		return false
	}
	for k, v := range s.GetSelector() {
		if p.GetLabels()[k] != v {
			return false
		}
	}
	return true
}

// serviceCarries gives the labels of a Service, nil where its namespace is not managed.
func (o *oracle) serviceCarries(s *pb.Service) map[string]string {
	if !o.profile(s.GetNamespace()).GetManaged() {
		return nil
	}
	own := o.labelled(s.GetNamespace(), s.GetAnnotations())
	for name := range s.GetAnnotations() {
		if strings.HasPrefix(name, "com.illumio.") {
			return own
		}
	}
	var agreed map[string]string
	for _, p := range o.pods() {
		labels := o.carries(p)
		if labels == nil || !backs(p, s) {
			continue
		}
		if agreed != nil && !maps.Equal(agreed, labels) {
			return own
		}
		agreed = labels
	}
	if agreed != nil {
		return agreed
	}
	return own
}

// owner gives the pod or Service that an address belongs to.
func (o *oracle) owner(address string) (*pb.Pod, *pb.Service) {
	best, known := o.owners[address]
	if known {
		return best.fact.GetPod(), best.fact.GetService()
	}
	o.each(func(f logged) {
		p, s := f.fact.GetPod(), f.fact.GetService()
		claims := p != nil && !p.GetHostNetwork() && !ended(p) && hasIP(p.GetAddresses(), address) || s != nil && hasIP(s.GetClusterIps(), address)
		if claims && f.sequence > best.sequence {
			best = f
		}
	})
	o.owners[address] = best
	return best.fact.GetPod(), best.fact.GetService()
}

func hasIP(addresses []string, want string) bool {
	return slices.ContainsFunc(addresses, func(a string) bool { return net.ParseIP(a).Equal(net.ParseIP(want)) })
}

// satisfies tells whether labels fulfil a list of label actors: of every key named, one of the values.
func (o *oracle) satisfies(labels map[string]string, list []*pb.Actor) bool {
	fulfilled := map[string]bool{}
	for _, a := range list {
		switch x := a.GetActor().(type) {
		case *pb.Actor_Label:
			key, ever := o.keys[x.Label]
			if !ever {
				return false
			}
			_, value, exists := o.label(x.Label)
			fulfilled[key] = fulfilled[key] || exists && labels[key] == value
		case *pb.Actor_Unsupported, nil:
			return false
		}
	}
	for _, ok := range fulfilled {
		if !ok {
			return false
		}
	}
	return true
}

// within tells whether labels are in a scope.
func (o *oracle) within(labels map[string]string, s *pb.Scope) bool {
	for _, a := range s.GetEntries() {
		if a.GetLabel() == "" {
			return false
		}
	}
	return o.satisfies(labels, s.GetEntries())
}

// named tells whether a workload with the labels is among the actors.
func (o *oracle) named(labels map[string]string, list []*pb.Actor) bool {
	if labels == nil {
		return false
	}
	asks := false
	for _, a := range list {
		if a.GetAllWorkloads() {
			return true
		}
		asks = asks || a.GetLabel() != ""
	}
	return asks && o.satisfies(labels, list)
}

// listed tells whether an address is in one of the IP lists among the actors.
func (o *oracle) listed(address string, list []*pb.Actor) bool {
	for _, a := range list {
		if l := o.console[a.GetIpList()].GetIpList(); l != nil && inRanges(address, l.GetRanges(), false) && !inRanges(address, l.GetRanges(), true) {
			return true
		}
	}
	return false
}

func inRanges(address string, ranges []*pb.IpRange, exclusion bool) bool {
	ip := net.ParseIP(address)
	for _, r := range ranges {
		if r.GetExclusion() != exclusion {
			continue
		}
		if _, cidr, err := net.ParseCIDR(r.GetFromIp()); err == nil {
			if cidr.Contains(ip) {
				return true
			}
			continue
		}
		from, to := net.ParseIP(r.GetFromIp()), net.ParseIP(r.GetToIp())
		if to == nil {
			to = from
		}
		if (ip.To4() == nil) == (from.To4() == nil) && number(from).Cmp(number(ip)) <= 0 && number(ip).Cmp(number(to)) <= 0 {
			return true
		}
	}
	return false
}

func number(ip net.IP) *big.Int { return new(big.Int).SetBytes(ip.To16()) }

// opens tells whether the rule names the port.
func (o *oracle) opens(r *pb.Rule, protocol, port uint32) bool {
	for _, s := range r.GetServices() {
		ranges := o.console[s.GetHref()].GetService().GetPorts()
		if s.GetPort() != nil {
			ranges = []*pb.PortRange{s.GetPort()}
		}
		for _, p := range ranges {
			if portNamed(p, protocol, port) {
				return true
			}
		}
	}
	return false
}

func portNamed(p *pb.PortRange, protocol, port uint32) bool {
	switch {
	case p.GetProtocol() == -1:
		return true
	case p.GetProtocol() != int32(protocol):
		return false
	case protocol == 1 || protocol == 58:
		return p.IcmpType == nil || p.GetIcmpType() == port && p.GetIcmpCode() == 0
	case protocol != 6 && protocol != 17 && protocol != 132:
		return true
	case p.GetPort() == 0 && (p.GetToPort() == 0 || p.GetToPort() == 65535):
		return true
	}
	return p.GetPort() <= port && port <= max(p.GetPort(), p.GetToPort())
}

// rules visits every rule in force once for each scope of its rule set.
func (o *oracle) rules(visit func(*pb.Rule, *pb.Scope) bool) bool {
	for _, object := range o.console {
		set := object.GetRuleSet()
		if !set.GetEnabled() {
			continue
		}
		for _, s := range set.GetScopes() {
			for _, r := range set.GetRules() {
				if r.GetEnabled() && o.readable(s) && visit(r, s) {
					return true
				}
			}
		}
	}
	return false
}

// readable tells whether a scope can cover anybody: every entry is a label whose key is known, and of every key at least
// one label exists.
func (o *oracle) readable(s *pb.Scope) bool {
	alive := map[string]bool{}
	for _, a := range s.GetEntries() {
		key, ever := o.keys[a.GetLabel()]
		if !ever {
			return false
		}
		_, _, exists := o.label(a.GetLabel())
		alive[key] = alive[key] || exists
	}
	for _, ok := range alive {
		if !ok {
			return false
		}
	}
	return true
}

func (o *oracle) consumes(labels map[string]string, r *pb.Rule, s *pb.Scope) bool {
	return o.named(labels, r.GetConsumers()) && (r.GetUnscopedConsumers() || o.within(labels, s))
}

func (o *oracle) provides(labels map[string]string, r *pb.Rule, s *pb.Scope) bool {
	return o.named(labels, r.GetProviders()) && o.within(labels, s)
}

// outbound tells whether a pod with the labels may send to the address.
func (o *oracle) outbound(labels map[string]string, address string, protocol, port uint32) bool {
	pod, service := o.owner(address)
	return o.rules(func(r *pb.Rule, s *pb.Scope) bool {
		if !o.consumes(labels, r, s) {
			return false
		}
		if o.opens(r, protocol, port) && (o.listed(address, r.GetProviders()) || pod != nil && o.provides(o.carries(pod), r, s)) {
			return true
		}
		return service != nil && o.provides(o.serviceCarries(service), r, s) && o.reaches(r, service, protocol, port)
	})
}

// reaches tells whether a rule opens a port of a Service: the rule names it, or a port of a backend behind it.
func (o *oracle) reaches(r *pb.Rule, s *pb.Service, protocol, port uint32) bool {
	for _, p := range s.GetPorts() {
		if p.GetProtocol() != protocol || p.GetPort() != port {
			continue
		}
		if o.opens(r, protocol, port) || p.GetTargetPort() != 0 && o.opens(r, protocol, p.GetTargetPort()) {
			return true
		}
		if p.GetTargetPort() != 0 || p.GetTargetPortName() == "" {
			continue
		}
		for _, pod := range o.pods() {
			for _, named := range pod.GetPorts() {
				if backs(pod, s) && named.GetName() == p.GetTargetPortName() && named.GetProtocol() == protocol && o.opens(r, protocol, named.GetPort()) {
					return true
				}
			}
		}
	}
	return false
}

// inbound tells whether a pod with the labels may receive from the address.
func (o *oracle) inbound(labels map[string]string, address string, protocol, port uint32) bool {
	pod, _ := o.owner(address)
	return o.rules(func(r *pb.Rule, s *pb.Scope) bool {
		return o.provides(labels, r, s) && o.opens(r, protocol, port) &&
			(o.listed(address, r.GetConsumers()) || pod != nil && o.consumes(o.carries(pod), r, s))
	})
}
