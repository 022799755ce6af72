package clas

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"

	ringfencev1 "github.com/ringfence/ringfence/proto/ringfence/v1"
)

// rule is an enabled rule of an enabled rule set in force, resolved against the labels that exist.
type rule struct {
	// id is 16 hexadecimal digits of the hash of the href.
	id, href string
	// ruleSet is the name of the rule set, or its href where it has none.
	ruleSet string
	ports   portSet
	// consumerLists and providerLists are IP lists; scopes never narrow them.
	consumerLists, providerLists []*ipList
	alternatives                 []*alternative
	warnings                     []string
}

// alternative is a rule within one of the scopes of its rule set. A nil selector matches nobody.
type alternative struct {
	rule                 *rule
	consumers, providers *selector
}

// ruleBook is what the version in force says, resolved.
type ruleBook struct {
	rules    []*rule
	byID     map[string]*rule
	warnings []string
}

// side is one side of a rule before its scope is applied.
type side struct {
	labels expression
	// named says that labels constrain the side; all, that every workload is on it.
	named, all bool
	lists      []*ipList
}

// ruleResolver turns the console's rules into selectors. What it cannot find matches nothing and is reported.
type ruleResolver struct {
	labels   *catalogue
	manifest *manifest
	matcher  *matcher
	book     *ruleBook
}

// resolveRules resolves all rules in force. Selectors are interned in m.
func resolveRules(force *manifest, labels *catalogue, m *matcher) *ruleBook {
	r := ruleResolver{labels: labels, manifest: force, matcher: m, book: &ruleBook{byID: map[string]*rule{}}}
	for _, href := range slices.Sorted(maps.Keys(force.ruleSets)) {
		if set := force.ruleSets[href]; set.GetEnabled() {
			r.ruleSet(set)
		}
	}
	for _, href := range slices.Sorted(maps.Keys(force.ipLists)) {
		if list := force.ipLists[href]; len(list.fqdns) > 0 {
			r.book.warnings = append(r.book.warnings, fmt.Sprintf("IP list %s (%s): %d domain names are not supported and match nothing",
				list.name, href, len(list.fqdns)))
		}
	}
	return r.book
}

func (r ruleResolver) ruleSet(set *ringfencev1.RuleSet) {
	name := set.GetName()
	if name == "" {
		name = set.GetHref()
	}
	prefix := fmt.Sprintf("rule set %s (%s)", name, set.GetHref())
	if len(set.GetScopes()) == 0 {
		r.book.warnings = append(r.book.warnings, prefix+": has no scope; none of its rules matches anything")
	}
	var scopes []expression
	var scopeWarnings []string
	for i, scope := range set.GetScopes() {
		x, warnings := r.scope(scope)
		for _, w := range warnings {
			scopeWarnings = append(scopeWarnings, fmt.Sprintf("%s: scope %d: %s", prefix, i+1, w))
		}
		scopes = append(scopes, x)
	}
	r.book.warnings = append(r.book.warnings, scopeWarnings...)
	for _, message := range set.GetRules() {
		if message.GetEnabled() {
			r.rule(prefix, name, message, scopes)
		}
	}
}

// scope reads one scope. An entry that is no label closes it.
func (r ruleResolver) scope(scope *ringfencev1.Scope) (expression, []string) {
	var warnings []string
	for _, actor := range scope.GetEntries() {
		if words := otherThanLabel(actor); words != "" {
			warnings = append(warnings, words+" cannot narrow a scope; the scope covers nothing")
		}
	}
	if len(warnings) > 0 {
		return expression{nothing: true}, warnings
	}
	s, warnings := r.side(scope.GetEntries())
	return s.labels, warnings
}

// otherThanLabel describes an actor that is no label.
func otherThanLabel(actor *ringfencev1.Actor) string {
	switch a := actor.GetActor().(type) {
	case *ringfencev1.Actor_Label:
		return ""
	case *ringfencev1.Actor_IpList:
		return "IP list " + a.IpList
	case *ringfencev1.Actor_AllWorkloads:
		return "all workloads"
	case *ringfencev1.Actor_Unsupported:
		return a.Unsupported
	}
	return "an actor of an unknown kind"
}

// side reads a list of actors: labels of one key are alternatives, labels of different keys must all hold, and actors of
// other kinds are alternatives to the labels as a whole.
func (r ruleResolver) side(actors []*ringfencev1.Actor) (side, []string) {
	s := side{labels: expression{clauses: map[string]map[string]bool{}}}
	var warnings []string
	for _, actor := range actors {
		switch a := actor.GetActor().(type) {
		case *ringfencev1.Actor_Label:
			warnings = append(warnings, r.label(&s, a.Label)...)
		case *ringfencev1.Actor_IpList:
			if list := r.manifest.ipLists[a.IpList]; list != nil {
				s.lists = append(s.lists, list)
			} else {
				warnings = append(warnings, fmt.Sprintf("IP list %s is gone; it matches nothing", a.IpList))
			}
		case *ringfencev1.Actor_AllWorkloads:
			s.all = s.all || a.AllWorkloads
		default:
			warnings = append(warnings, otherThanLabel(actor)+" is not supported; it and the labels beside it match nothing")
			s.close()
		}
	}
	for _, values := range s.labels.clauses {
		s.labels.nothing = s.labels.nothing || len(values) == 0
	}
	return s, warnings
}

// close makes the label expression match nothing: what cannot be read may narrow it.
func (s *side) close() { s.named, s.labels.nothing = true, true }

// label adds a label to its key's alternatives. One that is gone is an alternative that nobody carries; if even its key
// was never known, it may be a demand, and the expression is closed.
func (r ruleResolver) label(s *side, href string) []string {
	s.named = true
	key, known := r.labels.keyOf(href)
	if !known {
		s.close()
		return []string{fmt.Sprintf("label %s is gone; it and the labels beside it match nothing", href)}
	}
	if s.labels.clauses[key] == nil {
		s.labels.clauses[key] = map[string]bool{}
	}
	l, exists := r.labels.find(href)
	if !exists {
		return []string{fmt.Sprintf("label %s is gone; it matches nothing", href)}
	}
	s.labels.clauses[key][l.value] = true
	return nil
}

func (r ruleResolver) rule(prefix, ruleSet string, message *ringfencev1.Rule, scopes []expression) {
	out := &rule{id: ruleID(message.GetHref()), href: message.GetHref(), ruleSet: ruleSet}
	warn := func(side string, warnings []string) {
		for _, w := range warnings {
			out.warnings = append(out.warnings, fmt.Sprintf("%s: rule %s: %s%s", prefix, out.href, side, w))
		}
	}
	consumers, warnings := r.side(message.GetConsumers())
	warn("consumers: ", append(warnings, emptySide(message.GetConsumers())...))
	providers, warnings := r.side(message.GetProviders())
	warn("providers: ", append(warnings, emptySide(message.GetProviders())...))
	out.ports, warnings = r.ports(message.GetServices())
	warn("", warnings)
	out.consumerLists, out.providerLists = consumers.lists, providers.lists
	for _, scope := range scopes {
		if scope.nothing {
			continue
		}
		reach := scope
		if message.GetUnscopedConsumers() {
			reach = expression{}
		}
		a := &alternative{rule: out, consumers: r.workloads(consumers, reach), providers: r.workloads(providers, scope)}
		out.alternatives = append(out.alternatives, a)
	}
	r.book.add(out)
}

func emptySide(actors []*ringfencev1.Actor) []string {
	if len(actors) > 0 {
		return nil
	}
	return []string{"none are named; the rule matches nothing"}
}

// workloads gives the selector of a side's workloads within a scope, nil where it has none.
func (r ruleResolver) workloads(s side, scope expression) *selector {
	switch {
	case s.all:
		return r.matcher.selector(scope)
	case s.named:
		return r.matcher.selector(scope.and(s.labels))
	}
	return nil
}

func (r ruleResolver) ports(services []*ringfencev1.IngressService) (portSet, []string) {
	if len(services) == 0 {
		return portSet{}, []string{"no service is named; the rule matches nothing"}
	}
	var ranges []portRange
	var warnings []string
	for _, service := range services {
		if message := service.GetPort(); message != nil {
			if port, err := parsePort(message); err == nil {
				ranges = append(ranges, port)
			}
			continue
		}
		ports, known := r.manifest.services[service.GetHref()]
		if !known {
			warnings = append(warnings, fmt.Sprintf("service %s is gone; it covers no port", service.GetHref()))
		}
		ranges = append(ranges, ports.ranges...)
	}
	return newPortSet(ranges), warnings
}

func (b *ruleBook) add(r *rule) {
	b.rules = append(b.rules, r)
	b.byID[r.id] = r
	b.warnings = append(b.warnings, r.warnings...)
	for _, a := range r.alternatives {
		if a.consumers != nil {
			a.consumers.consumers = append(a.consumers.consumers, a)
		}
		if a.providers != nil {
			a.providers.providers = append(a.providers.providers, a)
		}
	}
}

// ruleID is short enough for a log prefix in the kernel.
func ruleID(href string) string { return digits(href) }

// digits gives 16 hexadecimal digits of the SHA-256 of a canonical text.
func digits(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:8])
}
