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
	out := &ringfencev1.RuleSet{Href: activeHref(s.Href), Name: s.Name, Enabled: enabled(s.Enabled)}
	for i, scope := range s.Scopes {
		entries, err := c.scope(fmt.Sprintf("scopes[%d]", i), scope)
		if err != nil {
			return nil, err
		}
		out.Scopes = append(out.Scopes, &ringfencev1.Scope{Entries: entries})
	}
	for _, r := range s.Rules {
		rule, err := c.rule("rules", r)
		if err != nil {
			return nil, err
		}
		out.Rules = append(out.Rules, rule)
	}
	for _, r := range s.DenyRules {
		rule, err := c.rule("deny_rules", r)
		if err != nil {
			return nil, err
		}
		out.DenyRules = append(out.DenyRules, &ringfencev1.DenyRule{Rule: rule, Override: r.Override})
	}
	// The order of rules has no meaning; a fixed one keeps equal content equal.
	slices.SortStableFunc(out.Rules, func(a, b *ringfencev1.Rule) int { return strings.Compare(a.GetHref(), b.GetHref()) })
	slices.SortStableFunc(out.DenyRules, func(a, b *ringfencev1.DenyRule) int {
		return strings.Compare(a.GetRule().GetHref(), b.GetRule().GetHref())
	})
	return c.sized(&ringfencev1.PceObject{Object: &ringfencev1.PceObject_RuleSet{RuleSet: out}})
}

// enabled is what an object is that does not say: enabled.
func enabled(said *bool) bool { return said == nil || *said }

// inert gives a rule that matches nothing, for one whose meaning cannot be expressed: all of its actors would be too
// many.
func inert(r pce.Rule, why string) *ringfencev1.Rule {
	return &ringfencev1.Rule{
		Href: activeHref(r.Href), Enabled: enabled(r.Enabled),
		Consumers: []*ringfencev1.Actor{unsupported(why)}, Providers: []*ringfencev1.Actor{unsupported(why)},
	}
}

// rule converts a rule of a list of the rule set: rules or deny_rules.
func (c *converter) rule(list string, r pce.Rule) (*ringfencev1.Rule, error) {
	if r.Href == "" {
		return nil, c.fail(list+".href", "is empty")
	}
	name := "rule " + r.Href
	if why := narrowing(r); why != "" {
		c.warn("%s: %s is not supported; the rule matches nothing", name, why)
		return inert(r, why), nil
	}
	out := &ringfencev1.Rule{Href: activeHref(r.Href), Enabled: enabled(r.Enabled), UnscopedConsumers: r.UnscopedConsumers}
	resolve := pce.ResolveLabelsAs{}
	if r.ResolveLabelsAs != nil {
		resolve = *r.ResolveLabelsAs
	}
	var err error
	if out.Consumers, out.ResolveConsumersAs, err = c.side(name+": consumers", r.Consumers, resolve.Consumers); err != nil {
		return nil, err
	}
	if out.Providers, out.ResolveProvidersAs, err = c.side(name+": providers", r.Providers, resolve.Providers); err != nil {
		return nil, err
	}
	out.Services, err = c.ingresses(name, r.IngressServices)
	return out, err
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
	default:
		return otherNetworks(r.NetworkType)
	}
}

// otherNetworks names networks other than those that a cluster is in.
func otherNetworks(networkType string) string {
	if networkType == "" || networkType == "brn" || networkType == "all" {
		return ""
	}
	return fmt.Sprintf("network_type %q", networkType)
}

var resolutions = map[string]ringfencev1.LabelResolution{
	"workloads":        ringfencev1.LabelResolution_LABEL_RESOLUTION_WORKLOADS,
	"virtual_services": ringfencev1.LabelResolution_LABEL_RESOLUTION_VIRTUAL_SERVICES,
}

// side converts the actors of one side and what its labels stand for. Where they stand for nothing that is known, they
// match nothing: to leave that out would have them stand for workloads.
func (c *converter) side(field string, actors []pce.Actor, resolve []string) ([]*ringfencev1.Actor, []ringfencev1.LabelResolution, error) {
	out, err := c.actors(field, actors)
	if err != nil {
		return nil, nil, err
	}
	var as []ringfencev1.LabelResolution
	for _, kind := range resolve {
		if known, ok := resolutions[kind]; ok {
			as = append(as, known)
			continue
		}
		c.warn("%s: resolve_labels_as %q is not supported; labels stand for nothing by it", field, kind)
	}
	if len(resolve) > 0 && len(as) == 0 {
		out = append(slices.DeleteFunc(out, byLabels), unsupported("resolve_labels_as "+strings.Join(resolve, ", ")))
	}
	slices.Sort(as)
	return out, slices.Compact(as), nil
}

// byLabels tells whether an actor names workloads by their labels.
func byLabels(a *ringfencev1.Actor) bool {
	switch a.GetActor().(type) {
	case *ringfencev1.Actor_Label, *ringfencev1.Actor_LabelGroup, *ringfencev1.Actor_ExcludedLabel,
		*ringfencev1.Actor_ExcludedLabelGroup, *ringfencev1.Actor_AllWorkloads:
		return true
	}
	return false
}

func (c *converter) boundary(b pce.EnforcementBoundary) (*ringfencev1.PceObject, error) {
	if err := c.begin("enforcement boundary", b.Href, b.Name); err != nil {
		return nil, err
	}
	out := &ringfencev1.EnforcementBoundary{Href: activeHref(b.Href), Name: b.Name, Enabled: enabled(b.Enabled)}
	if why := otherNetworks(b.NetworkType); why != "" {
		c.warn("%s is not supported; the boundary matches nothing", why)
		out.Consumers, out.Providers = []*ringfencev1.Actor{unsupported(why)}, []*ringfencev1.Actor{unsupported(why)}
		return c.sized(&ringfencev1.PceObject{Object: &ringfencev1.PceObject_EnforcementBoundary{EnforcementBoundary: out}})
	}
	var err error
	if out.Consumers, err = c.actors("consumers", b.Consumers); err != nil {
		return nil, err
	}
	if out.Providers, err = c.actors("providers", b.Providers); err != nil {
		return nil, err
	}
	if out.Services, err = c.ingresses("", b.IngressServices); err != nil {
		return nil, err
	}
	return c.sized(&ringfencev1.PceObject{Object: &ringfencev1.PceObject_EnforcementBoundary{EnforcementBoundary: out}})
}

// ingresses converts the services of a rule, which within an object of several has a name.
func (c *converter) ingresses(rule string, services []pce.IngressService) ([]*ringfencev1.IngressService, error) {
	if rule != "" {
		rule += ": "
	}
	var out []*ringfencev1.IngressService
	for i, s := range services {
		service, err := c.ingress(fmt.Sprintf("%singress_services[%d]", rule, i), s)
		if err != nil {
			return nil, err
		}
		out = append(out, service)
	}
	return out, nil
}

func (c *converter) ingress(field string, s pce.IngressService) (*ringfencev1.IngressService, error) {
	if s.Href != "" {
		return serviceAt(s.Href), nil
	}
	port, err := c.port(field, s.ServicePort)
	if err != nil {
		return nil, err
	}
	return &ringfencev1.IngressService{Service: &ringfencev1.IngressService_Port{Port: port}}, nil
}

func serviceAt(href string) *ringfencev1.IngressService {
	return &ringfencev1.IngressService{Service: &ringfencev1.IngressService_Href{Href: activeHref(href)}}
}
