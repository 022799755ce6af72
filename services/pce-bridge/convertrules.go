package pcebridge

import (
	"fmt"
	"slices"
	"strings"

	"github.com/ringfence/ringfence/libs/pce"
	ringfencev1 "github.com/ringfence/ringfence/proto/ringfence/v1"
)

func (c *converter) ruleSet(s pce.RuleSet) (*ringfencev1.PceObject, error) {
	if err := c.begin("rule set", s.Href, s.Name); err != nil {
		return nil, err
	}
	out := &ringfencev1.RuleSet{Href: activeHref(s.Href), Name: s.Name, Enabled: s.Enabled == nil || *s.Enabled}
	for i, scope := range s.Scopes {
		entries, err := c.actors(fmt.Sprintf("scopes[%d]", i), "scope", scope)
		if err != nil {
			return nil, err
		}
		out.Scopes = append(out.Scopes, &ringfencev1.Scope{Entries: entries})
	}
	for _, r := range s.Rules {
		rule, err := c.rule("rule", r)
		if err != nil {
			return nil, err
		}
		out.Rules = append(out.Rules, rule)
	}
	for _, r := range s.DenyRules {
		rule, err := c.denyRule(r)
		if err != nil {
			return nil, err
		}
		out.Rules = append(out.Rules, rule)
	}
	// The order of rules has no meaning; a fixed one keeps equal content equal.
	slices.SortStableFunc(out.Rules, func(a, b *ringfencev1.Rule) int { return strings.Compare(a.GetHref(), b.GetHref()) })
	return c.sized(&ringfencev1.PceObject{Object: &ringfencev1.PceObject_RuleSet{RuleSet: out}})
}

// unsupported is an actor that matches nothing and says why.
func unsupported(what string) *ringfencev1.Actor {
	return &ringfencev1.Actor{Actor: &ringfencev1.Actor_Unsupported{Unsupported: what}}
}

// inert gives a rule that matches nothing, for one whose meaning cannot be expressed: all of its actors would be too
// many.
func inert(r pce.Rule, why string) *ringfencev1.Rule {
	return &ringfencev1.Rule{
		Href: activeHref(r.Href), Enabled: r.Enabled == nil || *r.Enabled,
		Consumers: []*ringfencev1.Actor{unsupported(why)}, Providers: []*ringfencev1.Actor{unsupported(why)},
	}
}

func (c *converter) denyRule(r pce.Rule) (*ringfencev1.Rule, error) {
	if r.Href == "" {
		return nil, c.fail("deny_rules.href", "is empty")
	}
	c.warn("rule %s: deny rules are not supported; it denies nothing", r.Href)
	return inert(r, "deny rule"), nil
}

func (c *converter) rule(name string, r pce.Rule) (*ringfencev1.Rule, error) {
	if r.Href == "" {
		return nil, c.fail("rules.href", "is empty")
	}
	name += " " + r.Href
	if why := narrowing(r); why != "" {
		c.warn("%s: %s is not supported; the rule matches nothing", name, why)
		return inert(r, why), nil
	}
	out := &ringfencev1.Rule{Href: activeHref(r.Href), Enabled: r.Enabled == nil || *r.Enabled, UnscopedConsumers: r.UnscopedConsumers}
	var err error
	if out.Consumers, err = c.side(name+": consumers", r.Consumers, r.ResolveLabelsAs, func(l *pce.ResolveLabelsAs) []string { return l.Consumers }); err != nil {
		return nil, err
	}
	if out.Providers, err = c.side(name+": providers", r.Providers, r.ResolveLabelsAs, func(l *pce.ResolveLabelsAs) []string { return l.Providers }); err != nil {
		return nil, err
	}
	for i, s := range r.IngressServices {
		service, err := c.ingress(fmt.Sprintf("%s: ingress_services[%d]", name, i), s)
		if err != nil {
			return nil, err
		}
		out.Services = append(out.Services, service)
	}
	return out, nil
}

// narrowing names what makes a rule mean less than its actors and services say. To leave it out would allow more than
// the console does.
func narrowing(r pce.Rule) string {
	switch {
	case r.SecConnect:
		return "sec_connect"
	case r.MachineAuth:
		return "machine_auth"
	case len(r.ConsumingSecurityPrincipals) > 0:
		return "consuming_security_principals"
	case r.NetworkType != "" && r.NetworkType != "brn" && r.NetworkType != "all":
		return fmt.Sprintf("network_type %q", r.NetworkType)
	default:
		return ""
	}
}

// side converts the actors of one side. Where labels stand for virtual services only, they match nothing.
func (c *converter) side(field string, actors []pce.Actor, resolve *pce.ResolveLabelsAs, of func(*pce.ResolveLabelsAs) []string) ([]*ringfencev1.Actor, error) {
	out, err := c.actors(field, field, actors)
	if err != nil || resolve == nil || len(of(resolve)) == 0 || slices.Contains(of(resolve), "workloads") {
		return out, err
	}
	what := "resolve_labels_as " + strings.Join(of(resolve), ", ")
	c.warn("%s: %s is not supported; its labels match nothing", field, what)
	out = slices.DeleteFunc(out, func(a *ringfencev1.Actor) bool { return a.GetIpList() == "" })
	return append(out, unsupported(what)), nil
}

// actors converts a list; where is how the list is called in warnings.
func (c *converter) actors(field, where string, actors []pce.Actor) ([]*ringfencev1.Actor, error) {
	var out []*ringfencev1.Actor
	for i, a := range actors {
		converted, err := c.actor(fmt.Sprintf("%s[%d]", field, i), a)
		if err != nil {
			return nil, err
		}
		if what := converted.GetUnsupported(); what != "" {
			c.warn("%s: %s is not supported; it matches nothing", where, what)
		}
		out = append(out, converted)
	}
	return out, nil
}

func (c *converter) actor(field string, a pce.Actor) (*ringfencev1.Actor, error) {
	if n := references(a); n > 1 {
		return nil, c.fail(field, "names %d actors at once", n)
	}
	switch {
	case a.Exclusion:
		return unsupported("exclusion of " + refOf(a)), nil
	case a.Label != nil && a.Label.Href == "":
		return nil, c.fail(field+".label.href", "is empty")
	case a.Label != nil:
		return &ringfencev1.Actor{Actor: &ringfencev1.Actor_Label{Label: a.Label.Href}}, nil
	case a.IPList != nil && a.IPList.Href == "":
		return nil, c.fail(field+".ip_list.href", "is empty")
	case a.IPList != nil:
		return &ringfencev1.Actor{Actor: &ringfencev1.Actor_IpList{IpList: activeHref(a.IPList.Href)}}, nil
	case a.Actors == pce.AllManagedWorkloads:
		return &ringfencev1.Actor{Actor: &ringfencev1.Actor_AllWorkloads{AllWorkloads: true}}, nil
	default:
		return unsupported(refOf(a)), nil
	}
}

// references counts the actors that one entry names.
func references(a pce.Actor) int {
	n := 0
	for _, ref := range []*pce.Ref{a.Label, a.LabelGroup, a.IPList, a.Workload, a.VirtualService} {
		if ref != nil {
			n++
		}
	}
	if a.Actors != "" {
		n++
	}
	return n
}

// refOf calls an actor by its kind and href.
func refOf(a pce.Actor) string {
	for kind, ref := range map[string]*pce.Ref{
		"label": a.Label, "label group": a.LabelGroup, "IP list": a.IPList, "workload": a.Workload, "virtual service": a.VirtualService,
	} {
		if ref != nil {
			return kind + " " + ref.Href
		}
	}
	switch {
	case a.Actors != "":
		return fmt.Sprintf("actors %q", a.Actors)
	case len(a.Unknown) > 0:
		return strings.Join(a.Unknown, ", ")
	default:
		return "an actor that names nothing"
	}
}

func (c *converter) ingress(field string, s pce.IngressService) (*ringfencev1.IngressService, error) {
	if s.Href != "" {
		return &ringfencev1.IngressService{Service: &ringfencev1.IngressService_Href{Href: activeHref(s.Href)}}, nil
	}
	port, err := c.port(field, s.ServicePort)
	if err != nil {
		return nil, err
	}
	return &ringfencev1.IngressService{Service: &ringfencev1.IngressService_Port{Port: port}}, nil
}
