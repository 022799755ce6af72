package clas

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	ringfencev1 "github.com/ringfence/ringfence/proto/ringfence/v1"
)

// ErrUnknownEndpoint says that no pod, workload or Service of the given name is known.
var ErrUnknownEndpoint = errors.New("no such endpoint")

// ErrNoAddress says that an endpoint is known and has no address to send from or to.
var ErrNoAddress = errors.New("has no address")

// ErrNoCommonFamily says that two endpoints share neither IPv4 nor IPv6.
var ErrNoCommonFamily = errors.New("no common address family")

// Query asks whether a source may talk to a destination. An endpoint is namespace/pod, namespace/kind/name (a controller of
// pods, pod or service) or an IP address.
type Query struct {
	Source      string `json:"source"`
	Destination string `json:"destination"`
	// Port is the destination's; for ICMP it is the type, and the code is 0.
	Port uint16 `json:"port"`
	// Protocol is the IANA number.
	Protocol uint8 `json:"protocol"`
}

// Verdict is the answer to a query.
type Verdict string

// The verdicts, from best to worst.
const (
	Allowed            Verdict = "allowed"
	PotentiallyBlocked Verdict = "potentially blocked"
	Blocked            Verdict = "blocked"
)

// badness sorts verdicts; the worst of several decides.
var badness = map[Verdict]int{Allowed: 0, PotentiallyBlocked: 1, Blocked: 2}

// Decision is what one end says.
type Decision string

// The decisions of an end.
const (
	DecisionAllowed            Decision = "allowed"
	DecisionBlocked            Decision = "blocked"
	DecisionPotentiallyBlocked Decision = "potentially blocked"
	// DecisionNoPolicy says that the end is not enforced by Ringfence and has no say.
	DecisionNoPolicy Decision = "no policy"
)

// Side is the decision of one end of a connection, and what decided: a rule, or else the default.
type Side struct {
	Decision Decision `json:"decision"`
	// Mode is the enforcement mode of the end: idle, visibility_only, selective or full.
	Mode string `json:"mode,omitempty"`
	// Policy is the id of the workload policy of the end.
	Policy   string `json:"policy,omitempty"`
	RuleID   string `json:"rule_id,omitempty"`
	RuleHref string `json:"rule_href,omitempty"`
	// RuleSet is the name of the rule's rule set.
	RuleSet string `json:"rule_set,omitempty"`
	// Default says in words what decided where no rule did.
	Default string `json:"default,omitempty"`
}

// EndpointLabel is a label of an endpoint with its source.
type EndpointLabel struct {
	Key    string      `json:"key"`
	Value  string      `json:"value"`
	Source LabelSource `json:"source"`
}

// Endpoint is what the engine knows of one end.
type Endpoint struct {
	// Name is namespace/name, or the address.
	Name string `json:"name"`
	// Kind is pod, service or address.
	Kind      string          `json:"kind"`
	Workload  string          `json:"workload,omitempty"`
	Addresses []string        `json:"addresses"`
	Labels    []EndpointLabel `json:"labels,omitempty"`
	// Ignored says which annotations gave no label, and why.
	Ignored []string `json:"ignored,omitempty"`
	Policy  string   `json:"policy,omitempty"`
	Node    string   `json:"node,omitempty"`
	Managed bool     `json:"managed"`
	// Mode is the enforcement mode of the endpoint's namespace, where it is managed.
	Mode string `json:"mode,omitempty"`
}

// Path is one way from the source to the destination: a pair of addresses of one family, and for a Service the backend.
type Path struct {
	SourceAddress      string `json:"source_address"`
	DestinationAddress string `json:"destination_address"`
	// Backend is the pod behind the Service, BackendPort the port there.
	Backend     string  `json:"backend,omitempty"`
	BackendPort uint16  `json:"backend_port,omitempty"`
	Verdict     Verdict `json:"verdict"`
	Outbound    Side    `json:"outbound"`
	Inbound     Side    `json:"inbound"`
}

// Explanation is the answer to a query with its reasons. Verdict, Source, Destination and the sides are those of the worst
// path; a workload is represented by one pod for each policy that its pods have.
type Explanation struct {
	Query       Query    `json:"query"`
	Verdict     Verdict  `json:"verdict"`
	Outbound    Side     `json:"outbound"`
	Inbound     Side     `json:"inbound"`
	Source      Endpoint `json:"source"`
	Destination Endpoint `json:"destination"`
	Paths       []Path   `json:"paths"`
	// Warnings are those of the policies on the way.
	Warnings []string `json:"warnings,omitempty"`
}

// end is a resolved endpoint: a pod, a Service, or an address that is neither.
type end struct {
	pod     *pod
	service *service
	address netip.Addr
}

// Explain answers a query from the compiled policy: the outbound side of the source, if it is a pod with a policy, and the
// inbound side of the destination, each by its own mode.
func (e *Engine) Explain(q Query) (Explanation, error) {
	e.settle()
	sources, err := e.ends(q.Source)
	if err != nil {
		return Explanation{}, fmt.Errorf("source %s: %w", q.Source, err)
	}
	destinations, err := e.ends(q.Destination)
	if err != nil {
		return Explanation{}, fmt.Errorf("destination %s: %w", q.Destination, err)
	}
	out := Explanation{Query: q}
	for _, source := range sources {
		for _, destination := range destinations {
			paths := e.paths(source, destination, q)
			for _, path := range paths {
				out.consider(path, e.endpoint(source), e.endpoint(destination))
			}
		}
	}
	if len(out.Paths) == 0 {
		return Explanation{}, fmt.Errorf("%s to %s: %w", q.Source, q.Destination, ErrNoCommonFamily)
	}
	out.Warnings = e.policyWarnings(out.Outbound.Policy, out.Inbound.Policy)
	return out, nil
}

// consider adds a path; the first of the worst paths stands for the whole.
func (x *Explanation) consider(p Path, source, destination Endpoint) {
	if len(x.Paths) == 0 || badness[p.Verdict] > badness[x.Verdict] {
		x.Verdict, x.Outbound, x.Inbound, x.Source, x.Destination = p.Verdict, p.Outbound, p.Inbound, source, destination
	}
	x.Paths = append(x.Paths, p)
}

// ends resolves the name of an endpoint.
func (e *Engine) ends(name string) ([]end, error) {
	if addr, err := parseAddress(name); err == nil {
		return []end{e.endAt(addr)}, nil
	}
	parts := strings.Split(name, "/")
	switch {
	case len(parts) == 2:
		return e.podEnd(objectName{parts[0], parts[1]})
	case len(parts) == 3 && strings.EqualFold(parts[1], "pod"):
		return e.podEnd(objectName{parts[0], parts[2]})
	case len(parts) == 3 && strings.EqualFold(parts[1], "service"):
		return e.serviceEnd(objectName{parts[0], parts[2]})
	case len(parts) == 3:
		return e.workloadEnds(workloadName{strings.ToLower(parts[1]), objectName{parts[0], parts[2]}})
	}
	return nil, fmt.Errorf("%w: neither namespace/pod, namespace/kind/name nor an IP address", ErrUnknownEndpoint)
}

func (e *Engine) endAt(addr netip.Addr) end {
	switch owner := e.cluster.owners[addr].(type) {
	case *pod:
		return end{pod: owner, address: addr}
	case *service:
		return end{service: owner, address: addr}
	}
	return end{address: addr}
}

func (e *Engine) podEnd(name objectName) ([]end, error) {
	p := e.cluster.pods[name]
	if p == nil {
		return nil, ErrUnknownEndpoint
	}
	if p.terminal() {
		return nil, fmt.Errorf("%w: the pod came to its end", ErrNoAddress)
	}
	if len(p.addresses) == 0 {
		return nil, fmt.Errorf("%w yet", ErrNoAddress)
	}
	return []end{{pod: p}}, nil
}

func (e *Engine) serviceEnd(name objectName) ([]end, error) {
	v := e.cluster.services[name]
	if v == nil {
		return nil, ErrUnknownEndpoint
	}
	if len(v.addresses) == 0 {
		return nil, fmt.Errorf("%w of its own: a headless Service is its pods", ErrNoAddress)
	}
	return []end{{service: v}}, nil
}

func (e *Engine) workloadEnds(name workloadName) ([]end, error) {
	var pods []*pod
	for p := range e.cluster.podsOf[name] {
		if !p.terminal() && len(p.addresses) > 0 {
			pods = append(pods, p)
		}
	}
	if len(pods) == 0 {
		if len(e.cluster.podsOf[name]) == 0 && e.cluster.workloads[name] == nil {
			return nil, ErrUnknownEndpoint
		}
		return nil, fmt.Errorf("%w: none of its pods has one", ErrNoAddress)
	}
	var out []end
	for _, p := range representatives(pods) {
		out = append(out, end{pod: p})
	}
	return out, nil
}

// representatives gives the first pod by name of each policy, in the order of names.
func representatives(pods []*pod) []*pod {
	slices.SortFunc(pods, func(a, b *pod) int {
		return cmp.Or(cmp.Compare(a.namespace, b.namespace), cmp.Compare(a.name, b.name))
	})
	seen := map[*workloadPolicy]bool{}
	return slices.DeleteFunc(pods, func(p *pod) bool {
		repeated := seen[p.policy]
		seen[p.policy] = true
		return repeated
	})
}

func (x end) addresses() []netip.Addr {
	switch {
	case x.address.IsValid():
		return []netip.Addr{x.address}
	case x.pod != nil:
		return x.pod.addresses
	}
	return x.service.addresses
}

// paths lists the ways from one end to another, at most one a family and backend.
func (e *Engine) paths(source, destination end, q Query) []Path {
	var out []Path
	for _, from := range source.addresses() {
		for _, to := range destination.addresses() {
			if from.Is4() != to.Is4() {
				continue
			}
			if destination.service != nil {
				out = append(out, e.servicePaths(source, from, destination.service, to, q)...)
				continue
			}
			out = append(out, newPath(from, to, e.outbound(source, to, q.Protocol, q.Port),
				e.inbound(destination, from, q.Protocol, q.Port)))
		}
	}
	return out
}

func newPath(from, to netip.Addr, outbound, inbound Side) Path {
	return Path{SourceAddress: from.String(), DestinationAddress: to.String(), Outbound: outbound, Inbound: inbound,
		Verdict: verdict(outbound, inbound)}
}

func verdict(sides ...Side) Verdict {
	worst := Allowed
	for _, s := range sides {
		switch s.Decision {
		case DecisionBlocked:
			return Blocked
		case DecisionPotentiallyBlocked:
			worst = PotentiallyBlocked
		}
	}
	return worst
}

// servicePaths leads to the ClusterIP and from there to each kind of backend at its own port. The backend sees the source
// as it is: the ClusterIP is translated on the way.
func (e *Engine) servicePaths(source end, from netip.Addr, v *service, to netip.Addr, q Query) []Path {
	outbound := e.outbound(source, to, q.Protocol, q.Port)
	var out []Path
	for _, p := range representatives(slices.Collect(maps.Keys(v.backends))) {
		port, exposed := v.targetOf(p, q)
		if !exposed || !hasFamily(p.addresses, to.Is4()) {
			continue
		}
		path := newPath(from, to, outbound, e.inbound(end{pod: p}, from, q.Protocol, port))
		path.Backend, path.BackendPort = p.String(), port
		out = append(out, path)
	}
	if len(out) == 0 {
		nobody := Side{Decision: DecisionNoPolicy, Default: "the Service has no backend on this port"}
		out = append(out, newPath(from, to, outbound, nobody))
	}
	return out
}

func hasFamily(addresses []netip.Addr, v4 bool) bool {
	return slices.ContainsFunc(addresses, func(a netip.Addr) bool { return a.Is4() == v4 })
}

// targetOf gives the port of a backend behind the Service's port of the query.
func (v *service) targetOf(p *pod, q Query) (uint16, bool) {
	for _, port := range v.message.GetPorts() {
		if port.GetProtocol() != uint32(q.Protocol) || port.GetPort() != uint32(q.Port) {
			continue
		}
		if port.GetTargetPort() != 0 {
			return uint16(port.GetTargetPort()), true
		}
		if port.GetTargetPortName() == "" {
			return q.Port, true
		}
		for _, named := range p.message.GetPorts() {
			if named.GetName() == port.GetTargetPortName() && named.GetProtocol() == port.GetProtocol() {
				return uint16(named.GetPort()), true
			}
		}
	}
	return 0, false
}

// dnsPort is where every pod may ask for names.
const dnsPort = 53

func (e *Engine) outbound(source end, to netip.Addr, protocol uint8, port uint16) Side {
	p := source.pod
	if p == nil || p.policy == nil {
		return Side{Decision: DecisionNoPolicy, Default: source.unenforced()}
	}
	if (protocol == protocolUDP || protocol == protocolTCP) && port == dnsPort {
		return p.policy.essential("DNS outbound is always allowed")
	}
	return e.decide(p.policy, p.policy.message.GetOutbound(), to, protocol, port)
}

func (e *Engine) inbound(destination end, from netip.Addr, protocol uint8, port uint16) Side {
	p := destination.pod
	if p == nil || p.policy == nil {
		return Side{Decision: DecisionNoPolicy, Default: destination.unenforced()}
	}
	if slices.Contains(e.cluster.node(p.message.GetNode()).addresses, from) {
		return p.policy.essential("the pod's own node is always allowed, for probes")
	}
	return e.decide(p.policy, p.policy.message.GetInbound(), from, protocol, port)
}

func (p *workloadPolicy) essential(words string) Side {
	return Side{Decision: DecisionAllowed, Mode: modeName(p.mode), Policy: p.id, Default: words}
}

// unenforced says why an end has no policy.
func (x end) unenforced() string {
	switch {
	case x.pod == nil:
		return "not a pod of the cluster"
	case x.pod.message.GetHostNetwork():
		return "the pod shares its node's network"
	case !x.pod.profile.managed:
		return "the namespace is not managed"
	}
	return "the pod is on no node yet"
}

// decide evaluates one direction of a policy for a peer.
func (e *Engine) decide(p *workloadPolicy, rules []*ringfencev1.PolicyRule, peer netip.Addr, protocol uint8, port uint16) Side {
	side := Side{Mode: modeName(p.mode), Policy: p.id}
	for _, r := range rules {
		if !e.covers(r, peer, protocol, port) {
			continue
		}
		side.Decision, side.RuleID, side.RuleHref = DecisionAllowed, r.GetId(), r.GetHref()
		if resolved := e.book.byID[r.GetId()]; resolved != nil {
			side.RuleSet = resolved.ruleSet
		}
		return side
	}
	side.Decision, side.Default = defaultOf(p.mode)
	return side
}

func (e *Engine) covers(r *ringfencev1.PolicyRule, peer netip.Addr, protocol uint8, port uint16) bool {
	return slices.ContainsFunc(r.GetTerms(), func(t *ringfencev1.PeerTerm) bool {
		return portsContain(t.GetPorts(), protocol, port) && e.sets.byID[t.GetAddressSet()].contains(peer)
	})
}

func portsContain(ports []*ringfencev1.PortRange, protocol uint8, port uint16) bool {
	return slices.ContainsFunc(ports, func(m *ringfencev1.PortRange) bool {
		r, err := parsePort(m)
		return err == nil && r.contains(protocol, port)
	})
}

// defaultOf is what a mode says of a connection that no rule allows.
func defaultOf(mode ringfencev1.EnforcementMode) (Decision, string) {
	switch mode {
	case ringfencev1.EnforcementMode_ENFORCEMENT_MODE_FULL:
		return DecisionBlocked, "no rule allows it, and enforcement is full"
	case ringfencev1.EnforcementMode_ENFORCEMENT_MODE_VISIBILITY_ONLY:
		return DecisionPotentiallyBlocked, "no rule allows it; full enforcement would block it"
	case ringfencev1.EnforcementMode_ENFORCEMENT_MODE_SELECTIVE:
		return DecisionAllowed, "no rule names it, and selective enforcement blocks only what is denied"
	}
	return DecisionAllowed, "nothing is enforced in idle"
}

func modeName(mode ringfencev1.EnforcementMode) string {
	return strings.ToLower(strings.TrimPrefix(mode.String(), "ENFORCEMENT_MODE_"))
}

func (e *Engine) policyWarnings(ids ...string) []string {
	var out []string
	for _, id := range ids {
		if m, exists := e.policies.message(id); exists {
			out = append(out, m.GetWarnings()...)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// endpoint describes an end.
func (e *Engine) endpoint(x end) Endpoint {
	switch {
	case x.pod != nil:
		out := describe(x.pod.String(), "pod", x.pod.addresses, x.pod.profile, x.pod.identity)
		out.Node = x.pod.message.GetNode()
		if w := x.pod.workload; w.kind != "pod" {
			out.Workload = w.namespace + "/" + w.kind + "/" + w.name
		}
		if x.pod.policy != nil {
			out.Policy = x.pod.policy.id
		}
		return out
	case x.service != nil:
		return describe(x.service.String(), "service", x.service.addresses, x.service.profile, x.service.identity)
	}
	return Endpoint{Name: x.address.String(), Kind: "address", Addresses: []string{x.address.String()}}
}

func describe(name, kind string, addresses []netip.Addr, p *profile, id identity) Endpoint {
	out := Endpoint{Name: name, Kind: kind, Addresses: texts(addresses), Managed: p.managed, Ignored: id.ignored}
	if p.managed {
		out.Mode = modeName(p.mode)
	}
	for _, l := range id.labels {
		out.Labels = append(out.Labels, EndpointLabel{Key: l.key, Value: l.value, Source: l.source})
	}
	return out
}
