package clas

import (
	"fmt"
	"slices"

	ringfencev1 "github.com/ringfence/ringfence/proto/ringfence/v1"
)

// ruleKind says what a rule does, in the order in which a packet meets the kinds.
type ruleKind uint8

const (
	overrideDeny ruleKind = iota
	allow
	deny
	ruleKinds
)

// ruleSet is a rule set or an enforcement boundary in force, resolved. Everything that it looked up is in uses: when any of that
// changes, the whole of it is resolved anew.
type ruleSet struct {
	object *storedObject
	// name is what people call it; boundary says that it is an enforcement boundary.
	name            string
	boundary, stale bool
	uses            []*reference
	grants          []*grant
	// oddities is nil where there are none.
	oddities *oddities
}

// oddities are what few rule sets have.
type oddities struct {
	marks    []markUse
	warnings []string
}

func (s *ruleSet) href() string { return s.object.href }

func (s *ruleSet) ensureOddities() *oddities {
	if s.oddities == nil {
		s.oddities = &oddities{}
	}
	return s.oddities
}

func (s *ruleSet) invalidate(e *Engine) {
	if !s.stale {
		s.stale = true
		e.stale.ruleSets = append(e.stale.ruleSets, s)
	}
}

// rule is an enabled rule of an enabled rule set in force.
type rule struct {
	id   uint64
	href string
	set  *ruleSet
	kind ruleKind
	// ports are those of its services.
	ports *portSet
	// lists are IP lists, nil where there are none; scopes never narrow them.
	lists *ruleLists
	// warnings name what it refers to in vain.
	warnings []string
}

// ruleLists are the IP lists of a rule by side.
type ruleLists struct{ consumers, providers []*ipList }

func (r *rule) consumerLists() []*ipList {
	if r.lists == nil {
		return nil
	}
	return r.lists.consumers
}

func (r *rule) providerLists() []*ipList {
	if r.lists == nil {
		return nil
	}
	return r.lists.providers
}

func (r *rule) idText() string { return hexID("", r.id) }

// grant is a rule within one of the scopes of its rule set: each of its consumers may reach, or may not, each of its providers.
type grant struct {
	rule      *rule
	consumers []*selector
	providers []provider
	// beside are addresses beside those of workloads, nil where there are none.
	beside *besides
	// outbound is the rule as policies of its consumers have it, while policies are being compiled.
	outbound *part
}

// besides are addresses of virtual services: those that answer for providers, and those that ask as consumers.
type besides struct{ answers, asking []answer }

func (g *grant) ensureBeside() *besides {
	if g.beside == nil {
		g.beside = &besides{}
	}
	return g.beside
}

// newGrant makes a grant with room for the usual one consumer and one provider.
func newGrant(r *rule) *grant {
	x := &struct {
		grant
		consumer [1]*selector
		provider [1]provider
	}{grant: grant{rule: r}}
	x.grant.consumers, x.grant.providers = x.consumer[:0], x.provider[:0]
	return &x.grant
}

// provider is a selector of workloads, and the ports at which they provide.
type provider struct {
	selector *selector
	ports    *portSet
	// services are the ports that open those of the Services among them, nil where Services do not count.
	services *portSet
	// virtual says that they are a virtual service.
	virtual bool
	// inbound is the rule as policies of the workloads have it, while policies are being compiled.
	inbound *part
}

// answer is a virtual service of the console at addresses of its own.
type answer struct {
	canonical, description string
	addresses              []addr
	ports                  *portSet
}

// ruleResolver turns one rule set into grants. What it cannot find matches nothing and is reported.
type ruleResolver struct {
	*Engine
	set *ruleSet
	// rule is the one at hand, nil for what concerns the whole set.
	rule *rule
}

// resolve makes grants of a rule set anew.
func (e *Engine) resolve(s *ruleSet) {
	e.retract(s)
	r := ruleResolver{Engine: e, set: s}
	message := s.object.message()
	switch {
	case message.GetRuleSet() != nil:
		r.ruleSet(message.GetRuleSet())
	case message.GetEnforcementBoundary() != nil:
		r.enforcementBoundary(message.GetEnforcementBoundary())
	}
	for _, g := range s.grants {
		e.enter(g)
	}
}

// retract takes back everything that the rule set's grants are part of.
func (e *Engine) retract(s *ruleSet) {
	for _, g := range s.grants {
		e.withdrawGrant(g)
	}
	for _, ref := range s.uses {
		e.console.leave(ref, s)
	}
	if s.oddities != nil {
		for _, m := range s.oddities.marks {
			e.unmark(m)
		}
	}
	s.uses, s.grants, s.oddities = nil, nil, nil
}

// enter puts a grant into the indexes and marks the policies that it changes.
func (e *Engine) enter(g *grant) {
	for _, sel := range g.consumers {
		sel.consuming.add(g)
		e.stale.policiesOf(sel)
	}
	for i := range g.providers {
		sel := g.providers[i].selector
		sel.providing.add(g)
		e.stale.policiesOf(sel)
	}
}

// withdrawGrant takes it out again.
func (e *Engine) withdrawGrant(g *grant) {
	for _, sel := range g.consumers {
		sel.consuming.remove(g)
		e.stale.policiesOf(sel)
		e.stale.selector(sel)
	}
	for i := range g.providers {
		sel := g.providers[i].selector
		sel.providing.remove(g)
		e.stale.policiesOf(sel)
		e.stale.selector(sel)
	}
}

func (r ruleResolver) warn(format string, args ...any) {
	text := r.prefix() + fmt.Sprintf(format, args...)
	odd := r.set.ensureOddities()
	odd.warnings = append(odd.warnings, text)
	if r.rule != nil {
		r.rule.warnings = append(r.rule.warnings, text)
	}
}

// prefix names what a warning is about.
func (r ruleResolver) prefix() string {
	switch {
	case r.set.boundary:
		return fmt.Sprintf("enforcement boundary %s (%s): ", r.set.name, r.set.href())
	case r.rule != nil:
		return fmt.Sprintf("rule set %s (%s): rule %s: ", r.set.name, r.set.href(), r.rule.href)
	}
	return fmt.Sprintf("rule set %s (%s): ", r.set.name, r.set.href())
}

// remembered is how many references of a rule set are searched before the table of all is asked.
const remembered = 12

// use notes that the rule set depends on what an href stands for.
func (r ruleResolver) use(href string) *reference {
	for _, ref := range r.set.uses[:min(len(r.set.uses), remembered)] {
		if ref.href == href {
			return ref
		}
	}
	ref := r.console.reference(href)
	if ref.users.add(r.set) {
		r.set.uses = append(r.set.uses, ref)
	}
	return ref
}

// content looks a versioned object up.
func (r ruleResolver) content(href string) any {
	r.use(href)
	if o := r.provision.force.byHref[href]; o != nil {
		return o.content
	}
	return nil
}

func (r ruleResolver) ruleSet(m *ringfencev1.RuleSet) {
	if r.set.name = m.GetName(); r.set.name == "" {
		r.set.name = m.GetHref()
	}
	if !m.GetEnabled() {
		return
	}
	if len(m.GetScopes()) == 0 {
		r.warn("has no scope; none of its rules matches anything")
	}
	var room [2]expression
	scopes := room[:0]
	for i, scope := range m.GetScopes() {
		scopes = append(scopes, r.scope(i, scope))
	}
	for _, rule := range m.GetRules() {
		if rule.GetEnabled() {
			r.grants(allow, rule, scopes)
		}
	}
	for _, d := range m.GetDenyRules() {
		kind := deny
		if d.GetOverride() {
			kind = overrideDeny
		}
		if d.GetRule().GetEnabled() {
			r.grants(kind, d.GetRule(), scopes)
		}
	}
}

func (r ruleResolver) enforcementBoundary(m *ringfencev1.EnforcementBoundary) {
	r.set.boundary = true
	if r.set.name = m.GetName(); r.set.name == "" {
		r.set.name = m.GetHref()
	}
	if m.GetEnabled() {
		r.grants(deny, &ringfencev1.Rule{Href: m.GetHref(), Enabled: true, Consumers: m.GetConsumers(), Providers: m.GetProviders(),
			Services: m.GetServices()}, []expression{{}})
	}
}

// scope reads one scope. An entry that is no label, label group or exclusion closes it.
func (r ruleResolver) scope(i int, scope *ringfencev1.Scope) expression {
	var s side
	for _, actor := range scope.GetEntries() {
		if !r.labelPart(&s, actor, func(format string, args ...any) {
			r.warn("scope %d: %s", i+1, fmt.Sprintf(format, args...))
		}) {
			r.warn("scope %d: %s cannot narrow a scope; the scope covers nothing", i+1, describeActor(actor))
			s.labels.nothing = true
		}
	}
	return s.labels.normal()
}

// side is one side of a rule before its scope is applied.
type side struct {
	// labels is the label part.
	labels expression
	// named says that the label part names anything; all, that every workload is on the side.
	named, all bool
	lists      []*ipList
	// workloads are the marks of single workloads.
	workloads []*label
	virtual   []*virtualService
}

// close makes the label part match nobody: what cannot be read may narrow it.
func (s *side) close() { s.named, s.labels.nothing = true, true }

// side reads a list of actors.
func (r ruleResolver) side(which string, actors []*ringfencev1.Actor) side {
	var s side
	warn := func(format string, args ...any) {
		r.warn("%s: %s", which, fmt.Sprintf(format, args...))
	}
	for _, actor := range actors {
		switch a := actor.GetActor().(type) {
		case *ringfencev1.Actor_IpList:
			if list, ok := r.content(a.IpList).(*ipList); ok {
				s.lists = append(s.lists, list)
			} else {
				warn("IP list %s is gone; it matches nothing", a.IpList)
			}
		case *ringfencev1.Actor_AllWorkloads:
			s.all = s.all || a.AllWorkloads
		case *ringfencev1.Actor_Workload:
			s.workloads = append(s.workloads, r.singleWorkload(a.Workload, warn))
		case *ringfencev1.Actor_VirtualService:
			if m, ok := r.content(a.VirtualService).(*ringfencev1.VirtualService); ok {
				s.virtual = append(s.virtual, r.virtualService(m))
			} else {
				warn("virtual service %s is gone; it matches nothing", a.VirtualService)
			}
		default:
			if !r.labelPart(&s, actor, warn) {
				warn("%s is not supported; it and the labels beside it match nothing", describeActor(actor))
				s.close()
			}
		}
	}
	if len(actors) == 0 {
		warn("none are named; the rule matches nothing")
	}
	return s
}

// labelPart takes a label, a label group or an exclusion of one into the label part, and reports whether the actor is one.
func (r ruleResolver) labelPart(s *side, actor *ringfencev1.Actor, warn func(string, ...any)) bool {
	switch a := actor.GetActor().(type) {
	case *ringfencev1.Actor_Label:
		r.label(s, a.Label, (*expression).include, warn)
	case *ringfencev1.Actor_ExcludedLabel:
		r.label(s, a.ExcludedLabel, (*expression).exclude, warn)
	case *ringfencev1.Actor_LabelGroup:
		r.group(s, a.LabelGroup, (*expression).include, warn)
	case *ringfencev1.Actor_ExcludedLabelGroup:
		r.group(s, a.ExcludedLabelGroup, (*expression).exclude, warn)
	default:
		return false
	}
	return true
}

// label adds a label to its key's alternatives or exclusions. One that is gone is one that nobody carries; if even its key was
// never known, it may be a demand, and the label part is closed.
func (r ruleResolver) label(s *side, href string, add func(*expression, string, ...*label), warn func(string, ...any)) {
	s.named = true
	ref := r.use(href)
	switch {
	case ref.key == "":
		warn("label %s is gone; it and the labels beside it match nothing", href)
		s.close()
	case ref.label == nil:
		warn("label %s is gone; it matches nothing", href)
		add(&s.labels, ref.key)
	default:
		add(&s.labels, ref.key, ref.label)
	}
}

// group adds the labels of a label group and of the groups in it.
func (r ruleResolver) group(s *side, href string, add func(*expression, string, ...*label), warn func(string, ...any)) {
	s.named = true
	group, ok := r.content(href).(*ringfencev1.LabelGroup)
	if !ok {
		warn("label group %s is gone; it and the labels beside it match nothing", href)
		s.close()
		return
	}
	labels, problem := r.members(group, group.GetKey(), nil, warn)
	if problem != "" {
		warn("label group %s: %s; it and the labels beside it match nothing", href, problem)
		s.close()
		return
	}
	add(&s.labels, group.GetKey(), labels...)
}

// members lists the labels of a key in a group and its sub-groups; above are the groups that lead to it.
func (r ruleResolver) members(group *ringfencev1.LabelGroup, key string, above []string, warn func(string, ...any)) (labels []*label, problem string) {
	if slices.Contains(above, group.GetHref()) {
		return nil, "its sub-groups form a ring"
	}
	above = append(above, group.GetHref())
	for _, href := range group.GetLabels() {
		if ref := r.use(href); ref.label != nil && ref.label.key == key {
			labels = append(labels, ref.label)
		} else {
			warn("label group %s: label %s is gone or of another key; it matches nothing", group.GetHref(), href)
		}
	}
	for _, href := range group.GetSubGroups() {
		sub, ok := r.content(href).(*ringfencev1.LabelGroup)
		if !ok || sub.GetKey() != key {
			return nil, fmt.Sprintf("its sub-group %s is gone or of another key", href)
		}
		more, problem := r.members(sub, key, above, warn)
		if problem != "" {
			return nil, problem
		}
		labels = append(labels, more...)
	}
	return labels, ""
}

// singleWorkload gives the mark that the workload of an href carries.
func (r ruleResolver) singleWorkload(href string, warn func(string, ...any)) *label {
	r.use(href)
	if r.named(href) == nil {
		warn("workload %s is not known; it matches nothing", href)
	}
	mark := r.table.label(markPrefix+"workload", href)
	r.mark(markUse{href, mark})
	return mark
}

// mark makes the actors of a key carry a label of the engine's own.
func (r ruleResolver) mark(m markUse) {
	if odd := r.set.ensureOddities(); !slices.Contains(odd.marks, m) {
		odd.marks = append(odd.marks, m)
		r.addMark(m)
	}
}

// describeActor says in words what an actor is.
func describeActor(actor *ringfencev1.Actor) string {
	switch a := actor.GetActor().(type) {
	case *ringfencev1.Actor_IpList:
		return "IP list " + a.IpList
	case *ringfencev1.Actor_AllWorkloads:
		return "all workloads"
	case *ringfencev1.Actor_Workload:
		return "workload " + a.Workload
	case *ringfencev1.Actor_VirtualService:
		return "virtual service " + a.VirtualService
	case *ringfencev1.Actor_Unsupported:
		return a.Unsupported
	}
	return "an actor of an unknown kind"
}

// grants makes the grants of one rule, one for each scope in which either side can have anyone.
func (r ruleResolver) grants(kind ruleKind, m *ringfencev1.Rule, scopes []expression) {
	out := &rule{id: digits64(m.GetHref()), href: m.GetHref(), set: r.set, kind: kind}
	r.rule = out
	consumers := r.side("consumers", m.GetConsumers())
	providers := r.side("providers", m.GetProviders())
	out.ports = r.ports.share(r.servicePorts(m.GetServices(), onlyVirtual(providers, m.GetResolveProvidersAs())))
	if len(consumers.lists)+len(providers.lists) > 0 {
		out.lists = &ruleLists{consumers.lists, providers.lists}
	}
	for _, scope := range scopes {
		reach := scope
		if m.GetUnscopedConsumers() {
			reach = expression{}
		}
		g := newGrant(out)
		r.consumers(g, consumers, reach, m.GetResolveConsumersAs())
		r.providers(g, providers, scope, m.GetResolveProvidersAs())
		if len(g.consumers)+len(g.providers) > 0 {
			r.set.grants = append(r.set.grants, g)
		}
	}
}

// onlyVirtual tells whether a side stands for nothing but virtual services, so that the rule needs no services.
func onlyVirtual(s side, as []ringfencev1.LabelResolution) bool {
	workloads := (s.named || s.all) && resolvesAs(as, ringfencev1.LabelResolution_LABEL_RESOLUTION_WORKLOADS)
	return !workloads && len(s.lists)+len(s.workloads) == 0
}

// resolvesAs tells whether labels stand for something; where nothing is said, for workloads.
func resolvesAs(as []ringfencev1.LabelResolution, what ringfencev1.LabelResolution) bool {
	if len(as) == 0 {
		return what == ringfencev1.LabelResolution_LABEL_RESOLUTION_WORKLOADS
	}
	return slices.Contains(as, what)
}

// servicePorts unites the ports of a rule's services.
func (r ruleResolver) servicePorts(services []*ringfencev1.IngressService, needless bool) portSet {
	if len(services) == 0 && !needless {
		r.warn("no service is named; the rule matches nothing")
	}
	return r.portsOf("", services)
}

// portsOf unites ports; owner is what has them, where it is not the rule, for warnings.
func (r ruleResolver) portsOf(owner string, services []*ringfencev1.IngressService) portSet {
	if len(services) == 0 {
		return portSet{}
	}
	if len(services) == 1 && services[0].GetPort() == nil {
		if ports, known := r.content(services[0].GetHref()).(portSet); known {
			return ports
		}
	}
	var room [4]portRange
	ranges := room[:0]
	for _, service := range services {
		if message := service.GetPort(); message != nil {
			if port, err := parsePort(message); err == nil {
				ranges = append(ranges, port)
			}
			continue
		}
		ports, known := r.content(service.GetHref()).(portSet)
		if !known {
			r.warn("%sservice %s is gone; it covers no port", owner, service.GetHref())
		}
		ranges = append(ranges, ports.ranges...)
	}
	return newPortSet(ranges)
}

// consumers finds the workloads that consume within a scope.
func (r ruleResolver) consumers(g *grant, s side, scope expression, as []ringfencev1.LabelResolution) {
	add := func(x expression) {
		if sel := r.table.selector(x); sel != nil && !slices.Contains(g.consumers, sel) {
			g.consumers = append(g.consumers, sel)
		}
	}
	if resolvesAs(as, ringfencev1.LabelResolution_LABEL_RESOLUTION_WORKLOADS) {
		s.asWorkloads(scope, add)
	}
	if len(s.workloads) > 0 {
		add(scope.and(marked(s.workloads)))
	}
	for _, v := range r.virtualServices(s, scope, as) {
		add(marked([]*label{v.mark}))
		if len(v.endpoints) > 0 {
			b := g.ensureBeside()
			b.asking = append(b.asking, v.endpoints...)
		}
	}
}

// asWorkloads gives the workloads that the label part, or all of them, stand for within a scope.
func (s side) asWorkloads(scope expression, add func(expression)) {
	switch {
	case s.all:
		add(scope)
	case s.named:
		add(scope.and(s.labels))
	}
}

// marked is the expression for those that carry one of the marks, which are of one key.
func marked(marks []*label) expression {
	var x expression
	x.include(marks[0].key, marks...)
	return x
}

// providers finds the workloads and virtual services that provide within a scope.
func (r ruleResolver) providers(g *grant, s side, scope expression, as []ringfencev1.LabelResolution) {
	add := func(x expression) {
		if sel := r.table.selector(x); sel != nil {
			g.providers = append(g.providers, provider{selector: sel, ports: g.rule.ports, services: g.rule.ports})
		}
	}
	if resolvesAs(as, ringfencev1.LabelResolution_LABEL_RESOLUTION_WORKLOADS) {
		s.asWorkloads(scope, add)
	}
	if len(s.workloads) > 0 {
		add(scope.and(marked(s.workloads)))
	}
	for _, v := range r.virtualServices(s, scope, as) {
		g.providers = append(g.providers, provider{selector: r.table.selector(marked([]*label{v.mark})),
			ports: r.ports.share(v.ports), services: v.services, virtual: true})
		if len(v.answers)+len(v.endpoints) > 0 {
			b := g.ensureBeside()
			b.answers = append(append(b.answers, v.answers...), v.endpoints...)
		}
	}
}
