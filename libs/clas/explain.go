package clas

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	ringfencev1 "github.com/ringfence/ringfence/proto/ringfence/v1"
)

// ErrUnknownEndpoint says that no pod, workload, node or Service of the given name is known.
var ErrUnknownEndpoint = errors.New("no such endpoint")

// ErrNoAddress says that an endpoint is known and has no address to send from or to.
var ErrNoAddress = errors.New("has no address")

// ErrNoCommonFamily says that two endpoints share neither IPv4 nor IPv6.
var ErrNoCommonFamily = errors.New("no common address family")

// Query asks whether a source may talk to a destination. An endpoint is namespace/pod, namespace/kind/name (a controller of
// pods, pod or service), node/name, workload/name (a workload of the console, by name, host name or href) or an IP address; a
// destination may be a DNS name, too, with fqdn: before it where it could be taken for something else.
type Query struct {
	Source      string `json:"source"`
	Destination string `json:"destination"`
	// Port is the destination's; for ICMP it is the type.
	Port uint16 `json:"port"`
	// Protocol is the IANA number.
	Protocol uint8 `json:"protocol"`
	// ICMPCode is that of ICMP.
	ICMPCode uint8 `json:"icmp_code,omitempty"`
}

func (q Query) target() target { return target{q.Protocol, q.Port, q.ICMPCode} }

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

// Kinds of what decides at an end, in the order in which a packet meets them.
const (
	KindEssential    = "essential"
	KindOverrideDeny = "override deny"
	KindAllow        = "allow"
	KindDeny         = "deny"
	KindBoundary     = "enforcement boundary"
	KindDefault      = "default"
)

// Side is the decision of one end of a connection, and what decided: a rule, or else the default.
type Side struct {
	Decision Decision `json:"decision"`
	// Kind is what kind of thing decided, empty where there is no policy.
	Kind string `json:"kind,omitempty"`
	// Mode is the enforcement mode of the end: idle, visibility_only, selective or full.
	Mode string `json:"mode,omitempty"`
	// Policy is the id of the workload policy of the end.
	Policy   string `json:"policy,omitempty"`
	RuleID   string `json:"rule_id,omitempty"`
	RuleHref string `json:"rule_href,omitempty"`
	// RuleSet is the name of the rule's rule set, or of the enforcement boundary.
	RuleSet string `json:"rule_set,omitempty"`
	// AddressSet is the id of the set that the other end is in.
	AddressSet string `json:"address_set,omitempty"`
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
	// Name is namespace/name, the name of a node or workload, the DNS name or the address.
	Name string `json:"name"`
	// Kind is pod, service, node, workload, name or address.
	Kind      string          `json:"kind"`
	Workload  string          `json:"workload,omitempty"`
	Addresses []string        `json:"addresses"`
	Labels    []EndpointLabel `json:"labels,omitempty"`
	// Ignored says which annotations and LabelMap entries gave no label, and why.
	Ignored []string `json:"ignored,omitempty"`
	Policy  string   `json:"policy,omitempty"`
	Node    string   `json:"node,omitempty"`
	Managed bool     `json:"managed"`
	// Mode is the enforcement mode of the endpoint, where it is managed.
	Mode string `json:"mode,omitempty"`
	// HostNetwork says that a pod shares the network of its node, and with it labels, mode and policy.
	HostNetwork bool `json:"host_network,omitempty"`
	// Href is the console's, where it knows the endpoint.
	Href string `json:"href,omitempty"`
}

// Path is one way from the source to the destination: a pair of addresses of one family, and for a Service the backend.
type Path struct {
	SourceAddress      string `json:"source_address"`
	DestinationAddress string `json:"destination_address"`
	// Backend is the pod, or the address, behind the Service, BackendPort the port there.
	Backend     string  `json:"backend,omitempty"`
	BackendPort uint16  `json:"backend_port,omitempty"`
	Verdict     Verdict `json:"verdict"`
	Outbound    Side    `json:"outbound"`
	Inbound     Side    `json:"inbound"`

	source, destination end // as they decided
	arriving            target
}

// SetInfo names an address set and says in words what is in it.
type SetInfo struct {
	ID          string `json:"id"`
	Description string `json:"description"`
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
	// Sets are the address sets through which rules decided.
	Sets []SetInfo `json:"sets,omitempty"`
	// Changes are what would have to change for the opposite verdict: each by itself is enough.
	Changes []Change `json:"changes,omitempty"`
	// Warnings are those of the policies on the way, and of what the ends cannot see.
	Warnings []string `json:"warnings,omitempty"`
}

// Explain answers a query from the compiled policy: the outbound side of the source and the inbound side of the destination, as
// far as they have a policy, each by its own mode.
func (e *Engine) Explain(q Query) (Explanation, error) {
	e.settle()
	defer e.forgetParts()
	sources, destinations, err := e.bothEnds(q)
	if err != nil {
		return Explanation{}, err
	}
	out := Explanation{Query: q}
	for _, source := range sources {
		for _, destination := range destinations {
			for _, path := range e.paths(source, destination, q.target()) {
				out.consider(path, e.endpoint(source), e.endpoint(destination))
			}
		}
	}
	if len(out.Paths) == 0 {
		return Explanation{}, fmt.Errorf("%s to %s: %w", q.Source, q.Destination, ErrNoCommonFamily)
	}
	e.complete(&out, q.target())
	return out, nil
}

// consider adds a path; the first of the worst paths stands for the whole.
func (x *Explanation) consider(p Path, source, destination Endpoint) {
	if len(x.Paths) == 0 || badness[p.Verdict] > badness[x.Verdict] {
		x.Verdict, x.Outbound, x.Inbound, x.Source, x.Destination = p.Verdict, p.Outbound, p.Inbound, source, destination
	}
	x.Paths = append(x.Paths, p)
}

// decisive is the path that stands for the whole.
func (x *Explanation) decisive() Path {
	for _, p := range x.Paths {
		if p.Verdict == x.Verdict {
			return p
		}
	}
	return x.Paths[0]
}

// complete adds what belongs to the path that decided.
func (e *Engine) complete(x *Explanation, t target) {
	path := x.decisive()
	for _, side := range []Side{x.Outbound, x.Inbound} {
		if side.AddressSet == "" || slices.ContainsFunc(x.Sets, func(s SetInfo) bool { return s.ID == side.AddressSet }) {
			continue
		}
		if s := e.setByName(side.AddressSet); s != nil {
			x.Sets = append(x.Sets, SetInfo{side.AddressSet, s.description()})
		}
	}
	for _, in := range []end{path.source, path.destination} {
		if p := in.policy(); p != nil {
			x.Warnings = append(x.Warnings, p.take(e).GetWarnings()...)
		}
	}
	x.Warnings = append(x.Warnings, e.sight(path.source, path.destination)...)
	x.Warnings = append(x.Warnings, e.sight(path.destination, path.source)...)
	slices.Sort(x.Warnings)
	x.Warnings = slices.Compact(x.Warnings)
	x.Changes = e.changes(path, t)
}

func (e *Engine) setByName(id string) *addressSet {
	number, err := strconv.ParseUint(strings.TrimPrefix(id, "s"), 16, 64)
	if err != nil {
		return nil
	}
	return e.sets.byID[number]
}

// observability is the annotation that makes the addresses of a workload's pods known to the console, and by it to its agents.
const observability = "meta.illumio.podIPObservability"

// sight says what a workload of the console, which enforces its own policy, cannot see of a pod.
func (e *Engine) sight(at, of end) []string {
	if at.external == nil || !at.external.message.GetManaged() || of.pod == nil {
		return nil
	}
	if e.settings.message.GetNetworkType() != ringfencev1.NetworkType_NETWORK_TYPE_FLAT {
		return []string{fmt.Sprintf("workload %s enforces its own policy, and sees pods of this cluster with the addresses of their nodes (networkType overlay)", at.external)}
	}
	_, annotations := of.pod.group.object()
	if value, _ := annotations.get(observability); value == "true" {
		return nil
	}
	return []string{fmt.Sprintf("workload %s enforces its own policy and does not know the address of pod %s: with networkType flat it learns it only where the pod's workload is annotated %s: \"true\"",
		at.external, of.pod, observability)}
}

// end is a resolved endpoint. Exactly one of pod, service, node, external and name is set, or none of them for an address of
// somebody unknown.
type end struct {
	pod      *pod
	service  *service
	node     *node
	external *external
	name     string
	address  addr // set where the query gave an address
}

// policy is what enforces at the end, nil for nothing.
func (x end) policy() *workloadPolicy {
	switch {
	case x.pod != nil && x.pod.group.hostNetwork:
		if x.pod.node != nil {
			return x.pod.node.policy
		}
	case x.pod != nil && x.pod.planned():
		return x.pod.group.policy
	case x.node != nil:
		return x.node.policy
	}
	return nil
}

// ends resolves the name of an endpoint.
func (e *Engine) ends(name string) ([]end, error) {
	if a, err := parseAddr(name); err == nil {
		return []end{e.endAt(a)}, nil
	}
	if dns, isName := strings.CutPrefix(name, "fqdn:"); isName && dns != "" {
		return []end{{name: canonicalName(dns)}}, nil
	}
	if strings.HasPrefix(name, "/") {
		return e.hrefEnds(name)
	}
	parts := strings.Split(name, "/")
	switch {
	case len(parts) == 1 && strings.Contains(name, "."):
		return e.nameEnds(canonicalName(name))
	case len(parts) == 2 && parts[0] == "node":
		if n := e.cluster.nodes[parts[1]]; n != nil && n.exists() {
			return withAddress(end{node: n}, n.addresses)
		}
	case parts[0] == "workload" && len(parts) > 2 && parts[1] == "":
		return e.hrefEnds(strings.TrimPrefix(name, "workload/"))
	case len(parts) == 2 && parts[0] == "workload":
		return e.externalEnds(parts[1])
	}
	switch {
	case len(parts) == 2:
		return e.podEnd(objectName{parts[0], parts[1]})
	case len(parts) == 3 && strings.EqualFold(parts[1], "pod"):
		return e.podEnd(objectName{parts[0], parts[2]})
	case len(parts) == 3 && strings.EqualFold(parts[1], "service"):
		return e.serviceEnd(objectName{parts[0], parts[2]})
	case len(parts) == 3:
		return e.workloadEnds(parts[0], workloadName{strings.ToLower(parts[1]), parts[2]})
	}
	return nil, fmt.Errorf("%w: neither namespace/pod, namespace/kind/name, node/name, workload/name, an IP address nor a DNS name", ErrUnknownEndpoint)
}

func withAddress(x end, addresses []addr) ([]end, error) {
	if len(addresses) == 0 {
		return nil, ErrNoAddress
	}
	return []end{x}, nil
}

// nameEnds takes the cluster's own name of a Service for the Service.
func (e *Engine) nameEnds(name string) ([]end, error) {
	parts := strings.Split(name, ".")
	if len(parts) >= 3 && parts[2] == "svc" {
		if e.cluster.services[objectName{parts[1], parts[0]}] != nil {
			return e.serviceEnd(objectName{parts[1], parts[0]})
		}
	}
	return []end{{name: name}}, nil
}

func (e *Engine) endAt(a addr) end {
	x := end{address: a}
	switch owner := e.cluster.addresses.owner(a).(type) {
	case *pod:
		x.pod = owner
	case *service:
		x.service = owner
	case *node:
		x.node = owner
	case *external:
		x.external = owner
	}
	return x
}

func (e *Engine) podEnd(name objectName) ([]end, error) {
	var p *pod
	if ns := e.cluster.namespaces[name.namespace]; ns != nil {
		p = e.cluster.pods.find(ns, name.name)
	}
	switch {
	case p == nil:
		return nil, ErrUnknownEndpoint
	case p.terminal():
		return nil, fmt.Errorf("%w: the pod came to its end", ErrNoAddress)
	case p.address == addr{}:
		return nil, fmt.Errorf("%w yet", ErrNoAddress)
	}
	return []end{{pod: p}}, nil
}

func (e *Engine) serviceEnd(name objectName) ([]end, error) {
	v := e.cluster.services[name]
	switch {
	case v == nil:
		return nil, ErrUnknownEndpoint
	case v.message.GetType() == typeExternalName && v.message.GetExternalName() != "":
		return []end{{name: canonicalName(v.message.GetExternalName())}}, nil
	case len(v.addresses) == 0:
		return nil, fmt.Errorf("%w of its own: a headless Service is its pods", ErrNoAddress)
	}
	return []end{{service: v}}, nil
}

func (e *Engine) workloadEnds(namespace string, name workloadName) ([]end, error) {
	var w *workload
	if ns := e.cluster.namespaces[namespace]; ns != nil {
		w = ns.workloads[name]
	}
	if w == nil {
		return nil, ErrUnknownEndpoint
	}
	var pods []*pod
	for _, g := range w.groups.items {
		for _, p := range g.pods {
			if !p.terminal() && p.address != (addr{}) {
				pods = append(pods, p)
			}
		}
	}
	if len(pods) == 0 {
		return nil, fmt.Errorf("%w: none of its pods has one", ErrNoAddress)
	}
	var out []end
	for _, p := range representatives(pods) {
		out = append(out, end{pod: p})
	}
	return out, nil
}

// hrefEnds resolves an href of the console.
func (e *Engine) hrefEnds(href string) ([]end, error) {
	switch found := e.named(href).(type) {
	case *workload:
		if found.service != nil {
			return e.serviceEnd(objectName{found.ns.name, found.name})
		}
		return e.workloadEnds(found.ns.name, workloadName{found.kind, found.name})
	case *external:
		return e.externalEnd(found)
	}
	return nil, ErrUnknownEndpoint
}

// externalEnds finds a workload of the console by name, host name or the end of its href.
func (e *Engine) externalEnds(name string) ([]end, error) {
	var best *external
	for _, x := range e.console.workloads {
		m := x.message
		if (m.GetName() == name || m.GetHostname() == name || lastSegment(m.GetHref()) == name) && (best == nil || x.href() < best.href()) {
			best = x
		}
	}
	if best == nil {
		return nil, ErrUnknownEndpoint
	}
	return e.externalEnd(best)
}

func (e *Engine) externalEnd(x *external) ([]end, error) {
	for _, n := range e.nodesOf(x) {
		return withAddress(end{node: n}, n.addresses)
	}
	return withAddress(end{external: x}, x.addresses)
}

// representatives gives the first pod by name of each policy, in the order of names.
func representatives(pods []*pod) []*pod {
	slices.SortFunc(pods, func(a, b *pod) int { return strings.Compare(a.String(), b.String()) })
	seen := map[*workloadPolicy]bool{}
	return slices.DeleteFunc(pods, func(p *pod) bool {
		policy := end{pod: p}.policy()
		repeated := seen[policy]
		seen[policy] = true
		return repeated
	})
}

func (x end) addresses() []addr {
	switch {
	case x.address != addr{}:
		return []addr{x.address}
	case x.pod != nil:
		return x.pod.addressList()
	case x.service != nil:
		return x.service.addresses
	case x.node != nil:
		return x.node.addresses
	case x.external != nil:
		return x.external.addresses
	}
	return nil
}

// endpoint describes an end.
func (e *Engine) endpoint(x end) Endpoint {
	out := Endpoint{Addresses: texts(x.addresses())}
	id := &identity{reasons: true}
	switch {
	case x.pod != nil:
		e.describePod(&out, id, x.pod)
	case x.service != nil:
		e.describeService(&out, id, x.service)
	case x.node != nil:
		out.Name, out.Kind, out.Node = x.node.name, "node", x.node.name
		e.describeNode(&out, id, x.node)
	case x.external != nil:
		out.Name, out.Kind, out.Href, out.Managed = x.external.String(), "workload", x.external.href(), x.external.message.GetManaged()
		id.giveAll(x.external.labels, SourceWorkload)
	case x.name != "":
		out.Name, out.Kind = x.name, "name"
	default:
		out.Name, out.Kind = x.address.String(), "address"
	}
	slices.SortFunc(id.labels, func(a, b sourced) int { return compareLabels(a.label, b.label) })
	for _, l := range id.labels {
		out.Labels = append(out.Labels, EndpointLabel{l.label.key, l.label.value, l.source})
	}
	slices.Sort(id.ignored)
	out.Ignored = id.ignored
	for _, l := range id.requests {
		e.table.collect(l)
	}
	return out
}

func (e *Engine) describePod(out *Endpoint, id *identity, p *pod) {
	out.Name, out.Kind = p.String(), "pod"
	if p.node != nil {
		out.Node = p.node.name
	}
	if p.group.controller != nil {
		out.Workload = p.group.workload.String()
	}
	if w := p.group.workload; w != nil && w.acks.len() > 0 {
		out.Href = w.acks.items[0].message.GetHref()
	}
	if out.HostNetwork = p.group.hostNetwork; out.HostNetwork {
		if p.node != nil {
			e.describeNode(out, id, p.node)
		}
		return
	}
	profile := e.profileOf(p.group.ns)
	if out.Managed = profile.managed; !profile.managed {
		return
	}
	out.Mode = modeName(profile.mode)
	labels, annotations := p.group.object()
	e.identify(id, profile, labels, annotations)
	if policy := (end{pod: p}).policy(); policy != nil {
		out.Policy = policy.text
	}
}

func (e *Engine) describeNode(out *Endpoint, id *identity, n *node) {
	mode, managed := e.identifyNode(id, n)
	if out.Managed = managed; managed {
		out.Mode = modeName(mode)
	}
	if n.policy != nil {
		out.Policy = n.policy.text
	}
	if host := e.hostOf(n); host != nil {
		out.Href = host.href()
	}
}

func (e *Engine) describeService(out *Endpoint, id *identity, v *service) {
	out.Name, out.Kind = v.String(), "service"
	profile := e.profileOf(v.ns)
	if out.Managed = profile.managed; !profile.managed {
		return
	}
	out.Mode = modeName(profile.mode)
	if inherited := e.identifyService(id, v, profile); inherited != nil {
		id.reset()
		for _, l := range inherited.labels {
			id.give(l, SourceBackends)
		}
	}
}

func modeName(mode ringfencev1.EnforcementMode) string {
	return strings.ToLower(strings.TrimPrefix(mode.String(), "ENFORCEMENT_MODE_"))
}
