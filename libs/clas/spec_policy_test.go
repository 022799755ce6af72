package clas_test

import (
	"strconv"
	"strings"

	pb "github.com/ringfence/ringfence/proto/ringfence/v1"
)

// specPolicySteps edit the console's draft.
var specPolicySteps = map[string]func(*specRun){
	"ruleset":         (*specRun).drawRuleSet,
	"boundary":        (*specRun).drawBoundary,
	"iplist":          (*specRun).drawIPList,
	"console-service": (*specRun).drawConsoleService,
	"label-group":     (*specRun).drawLabelGroup,
	"virtual-service": (*specRun).drawVirtualService,
	"withdraw":        (*specRun).withdraw,
	"by-hand":         (*specRun).provisionByHand,
	"object":          (*specRun).writeObject,
	"chunk":           (*specRun).writeChunkByHand,
}

const activePolicy = "/orgs/1/sec_policy/active/"

func specGroup(name string) string    { return activePolicy + "label_groups/" + name }
func specBoundary(name string) string { return activePolicy + "enforcement_boundaries/" + name }
func specVirtual(name string) string  { return activePolicy + "virtual_services/" + name }
func specDeny(set, name string) string {
	return setHref(set) + "/deny_rules/" + name
}

// drawRuleSet: ruleset NAME [everywhere] [disabled] [unnamed], or ruleset NAME in LABEL... for one scope. Nested lines are further scopes
// (scope LABEL...) and the rules: rule, deny or override-deny NAME: CONSUMERS -> PROVIDERS on PORTS.
func (r *specRun) drawRuleSet() {
	p := r.phrase("in", "everywhere disabled unnamed")
	name := p.one("")
	set := &pb.RuleSet{Href: setHref(name), Name: name, Enabled: !p.has("disabled")}
	if p.has("unnamed") {
		set.Name = ""
	}
	if p.has("in") || p.has("everywhere") {
		set.Scopes = append(set.Scopes, &pb.Scope{Entries: r.actors(p.list("in"))})
	}
	for _, l := range r.at.nested {
		r.at = l
		switch l.verb {
		case "scope":
			set.Scopes = append(set.Scopes, &pb.Scope{Entries: r.actors(strings.Fields(l.text))})
		case "rule":
			rule, name := r.rule()
			rule.Href = ruleHref(p.one(""), name)
			r.console.kinds[rule.GetHref()] = "allow"
			set.Rules = append(set.Rules, rule)
		case "deny", "override-deny":
			rule, name := r.rule()
			rule.Href = specDeny(p.one(""), name)
			r.console.kinds[rule.GetHref()] = strings.ReplaceAll(l.verb, "-", " ")
			set.DenyRules = append(set.DenyRules, &pb.DenyRule{Rule: rule, Override: l.verb == "override-deny"})
		default:
			r.stop("neither a scope nor a rule")
		}
	}
	r.draw("ruleset "+name, ruleSet(set))
}

// rule reads NAME: CONSUMERS -> PROVIDERS on PORTS and clauses.
func (r *specRun) rule() (*pb.Rule, string) {
	name, rest, ok := strings.Cut(r.at.text, ": ")
	if !ok {
		r.stop("want NAME: CONSUMERS -> PROVIDERS")
	}
	r.at.text = rest
	p := r.phrase("-> on consumers-as providers-as", "extra-scope disabled")
	return &pb.Rule{Enabled: !p.has("disabled"), Consumers: r.actors(p.list("")), Providers: r.actors(p.list("->")),
		Services: r.ingress(p.list("on")), UnscopedConsumers: p.has("extra-scope"),
		ResolveConsumersAs: r.resolution(p.list("consumers-as")), ResolveProvidersAs: r.resolution(p.list("providers-as"))}, name
}

func (r *specRun) resolution(words []string) []pb.LabelResolution {
	var out []pb.LabelResolution
	for _, w := range words {
		w = strings.ReplaceAll(strings.TrimSuffix(w, ","), "-", "_")
		out = append(out, pb.LabelResolution(r.enum(pb.LabelResolution_value, "LABEL_RESOLUTION_", w)))
	}
	return out
}

// actors reads all, KEY=VALUE, group:NAME, !KEY=VALUE, !group:NAME, list:NAME, workload:NAME or
// workload:NAMESPACE/KIND/NAME, virtual:NAME, unsupported:WORD, unknown, not-all for all workloads that says false, and nobody
// for none.
func (r *specRun) actors(words []string) []*pb.Actor {
	var out []*pb.Actor
	for _, w := range words {
		if w != "nobody" {
			out = append(out, r.actor(w))
		}
	}
	return out
}

func (r *specRun) actor(word string) *pb.Actor {
	plain, excluded := strings.CutPrefix(word, "!")
	kind, name, ok := strings.Cut(plain, ":")
	switch {
	case plain == "all":
		return &pb.Actor{Actor: &pb.Actor_AllWorkloads{AllWorkloads: true}}
	case plain == "not-all":
		return &pb.Actor{Actor: &pb.Actor_AllWorkloads{}}
	case plain == "unknown":
		return &pb.Actor{}
	case !ok && excluded:
		return &pb.Actor{Actor: &pb.Actor_ExcludedLabel{ExcludedLabel: r.labelOf(plain)}}
	case !ok:
		return &pb.Actor{Actor: &pb.Actor_Label{Label: r.labelOf(plain)}}
	case kind == "group" && excluded:
		return &pb.Actor{Actor: &pb.Actor_ExcludedLabelGroup{ExcludedLabelGroup: specGroup(name)}}
	case kind == "group":
		return &pb.Actor{Actor: &pb.Actor_LabelGroup{LabelGroup: specGroup(name)}}
	case kind == "list":
		return &pb.Actor{Actor: &pb.Actor_IpList{IpList: listHref(name)}}
	case kind == "workload":
		return &pb.Actor{Actor: &pb.Actor_Workload{Workload: specWorkload(name)}}
	case kind == "virtual":
		return &pb.Actor{Actor: &pb.Actor_VirtualService{VirtualService: specVirtual(name)}}
	case kind == "unsupported":
		return &pb.Actor{Actor: &pb.Actor_Unsupported{Unsupported: name}}
	}
	r.stop("no actor is written %q", word)
	return nil
}

// specWorkload is that of an acknowledgement where the name has a kind, else that of a workload of the console.
func specWorkload(name string) string {
	if strings.Contains(name, "/") {
		return specAcknowledged(name)
	}
	return "/orgs/1/workloads/" + name
}

// ingress reads ports, and names of console services, which begin with a capital.
func (r *specRun) ingress(words []string) []*pb.IngressService {
	var out []*pb.IngressService
	for _, w := range words {
		if w = strings.TrimSuffix(w, ","); w[0] >= 'A' && w[0] <= 'Z' {
			out = append(out, byHref(w))
			continue
		}
		out = append(out, &pb.IngressService{Service: &pb.IngressService_Port{Port: r.portRange(w)}})
	}
	return out
}

// portRange reads any, PROTOCOL, PORT/PROTOCOL, FROM-TO/PROTOCOL, icmp:TYPE and icmp:TYPE:CODE.
func (r *specRun) portRange(word string) *pb.PortRange {
	if word == "any" {
		return &pb.PortRange{Protocol: -1}
	}
	ports, protocol, hasPorts := strings.Cut(word, "/")
	if !hasPorts {
		protocol, ports, _ = strings.Cut(word, ":")
	}
	out := &pb.PortRange{Protocol: int32(specProtocols[protocol])}
	if out.GetProtocol() == 0 {
		r.stop("%q is no port", word)
	}
	switch from, to, isRange := strings.Cut(ports, "-"); {
	case hasPorts && isRange:
		out.Port, out.ToPort = r.number(from), r.number(to)
	case hasPorts:
		out.Port = r.number(from)
	case ports != "":
		kind, code, hasCode := strings.Cut(ports, ":")
		out.IcmpType = new(r.number(kind))
		if hasCode {
			out.IcmpCode = new(r.number(code))
		}
	}
	return out
}

func (r *specRun) number(text string) uint32 {
	n, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		r.stop("%q is no number up to 65535", text)
	}
	return uint32(n)
}

// drawBoundary: boundary NAME: CONSUMERS -> PROVIDERS on PORTS [disabled] [unnamed].
func (r *specRun) drawBoundary() {
	var unnamed bool
	r.at.text, unnamed = strings.CutSuffix(r.at.text, " unnamed")
	rule, name := r.rule()
	called := name
	if unnamed {
		called = ""
	}
	r.console.kinds[specBoundary(name)] = "boundary"
	r.draw("boundary "+name, &pb.PceObject{Object: &pb.PceObject_EnforcementBoundary{EnforcementBoundary: &pb.EnforcementBoundary{
		Href: specBoundary(name), Name: called, Enabled: rule.GetEnabled(), Consumers: rule.GetConsumers(), Providers: rule.GetProviders(),
		Services: rule.GetServices()}}})
}

// drawIPList: iplist NAME RANGE... [except RANGE...] [fqdn NAME...], a range being an address, a CIDR, or FROM-TO.
func (r *specRun) drawIPList() {
	p := r.phrase("except fqdn", "")
	words := p.list("")
	list := &pb.IpList{Href: listHref(words[0]), Name: words[0], Fqdns: p.list("fqdn")}
	for _, w := range words[1:] {
		from, to, _ := strings.Cut(w, "-")
		list.Ranges = append(list.Ranges, span(from, to))
	}
	for _, w := range p.list("except") {
		from, to, _ := strings.Cut(w, "-")
		list.Ranges = append(list.Ranges, except(from, to))
	}
	r.draw("iplist "+words[0], &pb.PceObject{Object: &pb.PceObject_IpList{IpList: list}})
}

// drawConsoleService: console-service NAME PORT...
func (r *specRun) drawConsoleService() {
	words := strings.Fields(r.at.text)
	s := &pb.PceService{Href: svcHref(words[0]), Name: words[0]}
	for _, w := range words[1:] {
		s.Ports = append(s.Ports, r.portRange(w))
	}
	r.draw("console-service "+words[0], &pb.PceObject{Object: &pb.PceObject_Service{Service: s}})
}

// drawLabelGroup: label-group NAME of KEY: LABEL... group:NAME...
func (r *specRun) drawLabelGroup() {
	head, members, _ := strings.Cut(r.at.text, ":")
	name, key, ok := strings.Cut(head, " of ")
	if !ok {
		r.stop("want NAME of KEY: LABEL...")
	}
	g := &pb.LabelGroup{Href: specGroup(name), Name: name, Key: key}
	for w := range strings.FieldsSeq(members) {
		if sub, isGroup := strings.CutPrefix(w, "group:"); isGroup {
			g.SubGroups = append(g.SubGroups, specGroup(sub))
		} else {
			g.Labels = append(g.Labels, r.labelOf(w))
		}
	}
	r.draw("label-group "+name, &pb.PceObject{Object: &pb.PceObject_LabelGroup{LabelGroup: g}})
}

// drawVirtualService: virtual-service NAME [labels LABEL...] [on PORT...] [at ADDRESS[@PORT]...] [by WORKLOAD...] [for UID].
func (r *specRun) drawVirtualService() {
	p := r.phrase("labels on at by for", "")
	v := &pb.VirtualService{Href: specVirtual(p.one("")), Name: p.one(""), Labels: r.labels(p.list("labels")), Services: r.ingress(p.list("on")),
		ServiceUid: p.one("for")}
	for _, w := range p.list("at") {
		address, port, hasPort := strings.Cut(w, "@")
		a := &pb.VirtualServiceAddress{Address: address}
		if hasPort {
			a.Port = r.number(port)
		}
		v.Addresses = append(v.Addresses, a)
	}
	for _, w := range p.list("by") {
		v.Workloads = append(v.Workloads, specWorkload(w))
	}
	r.draw("virtual-service "+p.one(""), &pb.PceObject{Object: &pb.PceObject_VirtualService{VirtualService: v}})
}

// withdraw: withdraw KIND NAME takes an object out of the draft.
func (r *specRun) withdraw() {
	if r.console.draft[r.at.text] == nil {
		r.stop("the draft has no such object")
	}
	delete(r.console.draft, r.at.text)
	r.console.changed = true
}
