package clas_test

import (
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"

	pb "github.com/ringfence/ringfence/proto/ringfence/v1"

	"github.com/ringfence/ringfence/libs/clas"
)

// tally counts what happened, by group and name, so that a test can tell that it tested something.
type tally map[string]map[string]int

func (t tally) add(group, name string) {
	if t[group] == nil {
		t[group] = map[string]int{}
	}
	t[group][name]++
}

// decisions is how many answers of the oracle the engine agreed with.
func (t tally) decisions() int {
	n := 0
	for _, group := range []string{"outbound", "inbound"} {
		for _, count := range t[group] {
			n += count
		}
	}
	return n
}

func (t tally) String() string {
	var b strings.Builder
	for _, group := range slices.Sorted(maps.Keys(t)) {
		fmt.Fprintf(&b, "  %s:", group)
		for i, name := range slices.Sorted(maps.Keys(t[group])) {
			if i > 0 {
				b.WriteByte(',')
			}
			fmt.Fprintf(&b, " %s %d", name, t[group][name])
		}
		b.WriteByte('\n')
	}
	return b.String()
}

var modeNames = map[pb.EnforcementMode]string{pb.EnforcementMode_ENFORCEMENT_MODE_IDLE: "idle", full: "full",
	pb.EnforcementMode_ENFORCEMENT_MODE_VISIBILITY_ONLY: "visibility only", pb.EnforcementMode_ENFORCEMENT_MODE_SELECTIVE: "selective"}

// must lists what a run of the random test has to have met, by group.
func must() map[string][]string {
	kinds := []string{byIdle, byEssential, byOverride, byAllow, byDeny, byDefault}
	verdicts := []string{string(clas.Allowed), string(clas.Blocked), string(clas.PotentiallyBlocked)}
	var refusals []string
	for _, m := range malformations {
		refusals = append(refusals, m.what)
	}
	return map[string][]string{
		"full": kinds[1:], "selective": kinds[1:], "visibility only": kinds[1:],
		"outbound": kinds, "inbound": kinds, "boundary": {"outbound", "inbound"}, "reached": slices.Collect(maps.Values(wayNames)), "explained": verdicts, "refused": refusals,
		"labels from": {"label-map", "profile", "annotation", "backends", "workload", "pairing profile"},
		"actors":      {"pod", "node", "service", "external"},
		"standing":    {"open", "closed", "computed", "none", "like a known one", "known", "console is up", "no sandbox"},
		"happenings":  {"flush", "check", "restart", "repeat"},
		"worlds": {"label sets off", "legacy", "unpaired", "exposed ports", "features", "signatures", "torn signatures", "host network", "address lost",
			"unmanaged node", "plan without a node", "backends refused", "missing"},
	}
}

// missing names what never happened.
func (t tally) missing() []string {
	var out []string
	for group, names := range must() {
		for _, name := range names {
			if t[group][name] == 0 {
				out = append(out, fmt.Sprintf("%s: %s", group, name))
			}
		}
	}
	slices.Sort(out)
	return out
}

// consult asks the oracle about everything between everybody, and compares it with what the reader knows.
func (x *trial) consult(o *oracle) error {
	if x.reader.version != o.version {
		return fmt.Errorf("version %d in force, the oracle says %d", x.reader.version, o.version)
	}
	if err := x.comparePlans(o); err != nil {
		return err
	}
	if err := x.compareNamespaces(o); err != nil {
		return err
	}
	if err := x.compareSharing(o); err != nil {
		return err
	}
	if err := x.compareMissing(o); err != nil {
		return err
	}
	x.countWorld(o)
	peers, addresses := worldPeers()
	c := newCourt(o, peers, worldProbes)
	set := newSetting(x.reader, peers)
	on := x.someProbes()
	for _, end := range o.standings() {
		id := x.reader.policyOf(end.actor)
		if id == "" {
			continue // a pod without a node
		}
		if err := x.compareEnd(c, set, end, x.reader.policies[id], on); err != nil {
			return fmt.Errorf("%s: %w", end.actor.name(), err)
		}
	}
	return x.compareExplanations(c, addresses)
}

// name names an actor as a query does.
func (a *actor) name() string {
	switch {
	case a.pod != nil:
		return a.pod.GetNamespace() + "/" + a.pod.GetName()
	case a.node != nil:
		return "node/" + a.node.GetName()
	case a.service != nil:
		return a.service.GetNamespace() + "/service/" + a.service.GetName()
	}
	return a.machine.GetHref()
}

// policyOf gives the id of the policy that an actor's node was told.
func (r *readerState) policyOf(a *actor) string {
	if a.node != nil {
		return r.plans[a.node.GetName()].GetNodePolicy()
	}
	return r.planned(a.pod).GetPolicy()
}

func (r *readerState) planned(p *pb.Pod) *pb.PodPlan {
	for _, plan := range r.plans[p.GetNode()].GetPods() {
		if plan.GetUid() == runtimeUID(p) {
			return plan
		}
	}
	return nil
}

// setting is a reader's policy, prepared for many questions about the same peers.
type setting struct {
	*readerState
	members map[string][]bool // by set, of each peer
	ready   map[*pb.WorkloadPolicy]*[2][]line
}

// line is a term of a rule.
type line struct {
	kind  string
	rule  *pb.PolicyRule
	peers []bool
	ports []bool // of each of the probes
}

func newSetting(r *readerState, peers []string) *setting {
	s := &setting{readerState: r, members: map[string][]bool{}, ready: map[*pb.WorkloadPolicy]*[2][]line{}}
	for id, set := range r.sets {
		held := make([]bool, len(peers))
		for i, peer := range peers {
			held[i] = holds(set, peer)
		}
		s.members[id] = held
	}
	return s
}

// lines gives a policy's terms, outbound and inbound, in the order in which a packet meets them.
func (s *setting) lines(p *pb.WorkloadPolicy) *[2][]line {
	if ready := s.ready[p]; ready != nil {
		return ready
	}
	out := &[2][]line{}
	outbound, inbound := ruleLists(p)
	for direction, lists := range [2][3][]*pb.PolicyRule{outbound, inbound} {
		for i, kind := range []string{byOverride, byAllow, byDeny} {
			for _, r := range lists[i] {
				for _, t := range r.GetTerms() {
					out[direction] = append(out[direction], line{kind, r, s.members[t.GetAddressSet()], namedProbes(t.GetPorts())})
				}
			}
		}
	}
	s.ready[p] = out
	return out
}

func namedProbes(ports []*pb.PortRange) []bool {
	out := make([]bool, len(worldProbes))
	for i, p := range worldProbes {
		out[i] = portsNamed(ports, p)
	}
	return out
}

// decide is what an enforcer does with a packet that no essential rule lets pass.
func decide(lines []line, mode pb.EnforcementMode, peer, on int) (string, *pb.PolicyRule) {
	if mode == pb.EnforcementMode_ENFORCEMENT_MODE_IDLE {
		return byIdle, nil
	}
	for i := range lines {
		if l := &lines[i]; l.peers[peer] && l.ports[on] {
			return l.kind, l.rule
		}
	}
	return byDefault, nil
}

const (
	outward = 0
	inward  = 1
)

// someProbes picks what a world is asked about: worlds are worth more than questions, but where one failed.
func (x *trial) someProbes() []int {
	if x.thorough {
		return x.g.Perm(len(worldProbes))
	}
	return x.g.Perm(len(worldProbes))[:probesPerWorld]
}

const probesPerWorld = 8

// compareEnd compares what a policy says of packets from and to all peers.
func (x *trial) compareEnd(c *court, set *setting, end standing, policy *pb.WorkloadPolicy, probes []int) error {
	if err := x.comparePolicy(c.oracle, end, policy); err != nil {
		return err
	}
	if err := x.compareWarnings(c, end, policy); err != nil {
		return err
	}
	lines := set.lines(policy)
	for _, on := range probes {
		p := worldProbes[on]
		for peer, name := range c.peers {
			want := c.outbound(end, peer, on)
			got, rule := decide(lines[outward], policy.GetMode(), peer, on)
			if want.kind == byEssential {
				got = byEssential // the enforcer's own rule
			}
			if x.count("outbound", end, want); got != want.kind || !c.agrees(rule, want, func(i int) way { return c.sends(i, end, peer, on) }) {
				return fmt.Errorf("outbound to %s on %v: %s%s, the oracle says %s", name, p, got, ofRule(rule), want)
			}
			if net.ParseIP(name) == nil {
				continue
			}
			want = c.inbound(end, peer, on)
			got, rule = decide(lines[inward], policy.GetMode(), peer, on)
			if want.kind == byEssential {
				got = byEssential
			}
			if x.count("inbound", end, want); got != want.kind || !c.agrees(rule, want, func(i int) way { return c.receives(i, end, peer, on) }) {
				return fmt.Errorf("inbound from %s on %v: %s%s, the oracle says %s", name, p, got, ofRule(rule), want)
			}
		}
	}
	return nil
}

// agrees tells whether the rule that decided is one that the oracle lets decide.
func (c *court) agrees(r *pb.PolicyRule, want decision, match func(int) way) bool {
	if r == nil || want.ruling == nil || r.GetHref() == want.ruling.href {
		return true
	}
	for i, other := range c.rulings {
		if other.kind == want.kind && other.href == r.GetHref() && match(i) != nowhere {
			return true
		}
	}
	return false
}

func ofRule(r *pb.PolicyRule) string {
	if r == nil {
		return ""
	}
	return " (" + r.GetHref() + ")"
}

func (d decision) String() string {
	if d.ruling == nil {
		return d.kind
	}
	return fmt.Sprintf("%s (%s) %s", d.kind, d.ruling.href, wayNames[d.way])
}

func (x *trial) count(direction string, end standing, d decision) {
	x.tally.add(direction, d.kind)
	x.tally.add(modeNames[end.mode], d.kind)
	if d.ruling != nil {
		if d.way != here {
			x.tally.add("reached", wayNames[d.way])
		}
		if d.ruling.boundary {
			x.tally.add("boundary", direction)
		}
	}
}

// comparePolicy compares what a policy says of itself.
func (x *trial) comparePolicy(o *oracle, end standing, policy *pb.WorkloadPolicy) error {
	var labels []string
	for key, value := range end.actor.labels {
		labels = append(labels, key+"="+value)
	}
	slices.Sort(labels)
	outbound, inbound := ruleLists(policy)
	switch {
	case policy.GetMode() != end.mode:
		return fmt.Errorf("mode %s, the oracle says %s", policy.GetMode(), end.mode)
	case !slices.Equal(policy.GetLabels(), labels):
		return fmt.Errorf("labels %v, the oracle says %v", policy.GetLabels(), labels)
	case end.mode == pb.EnforcementMode_ENFORCEMENT_MODE_IDLE && len(slices.Concat(slices.Concat(outbound[:]...), slices.Concat(inbound[:]...))) > 0:
		return fmt.Errorf("idle with rules: %v", policy)
	case end.mode != pb.EnforcementMode_ENFORCEMENT_MODE_IDLE && policy.GetDegraded() != end.degraded:
		return fmt.Errorf("%s, the oracle says %s", policy.GetDegraded(), end.degraded)
	case o.byLabelSet():
		if policy.GetWorkload() != "" {
			return fmt.Errorf("computed for workload %q, with label sets enabled", policy.GetWorkload())
		}
	case end.actor.pod != nil:
		if name := workloadName(end.actor); policy.GetWorkload() != strings.Join(name[:], "/") {
			return fmt.Errorf("computed for workload %q, the oracle says %v", policy.GetWorkload(), name)
		}
	}
	return nil
}

// compareWarnings compares of which Services a policy says that connections to some of their backends are refused.
func (x *trial) compareWarnings(c *court, end standing, policy *pb.WorkloadPolicy) error {
	for i, r := range c.rulings {
		if slices.ContainsFunc(c.rulings[:i], func(before *ruling) bool { return before.href == r.href }) {
			continue
		}
		for _, a := range c.actors {
			if a.service == nil {
				continue
			}
			name := a.service.GetNamespace() + "/" + a.service.GetName()
			warned := slices.ContainsFunc(policy.GetWarnings(), func(w string) bool {
				return strings.Contains(w, r.href) && strings.Contains(w, " "+name)
			})
			if want := c.refusesSome(end, r.href, a); warned != want {
				return fmt.Errorf("rule %s and Service %s: warned %t, the oracle says %t: %q", r.href, name, warned, want, policy.GetWarnings())
			} else if want {
				x.tally.add("worlds", "backends refused")
			}
		}
	}
	return nil
}

// refusesSome tells whether an allow rule lets an end send to a Service of whose backends some do not provide.
func (c *court) refusesSome(end standing, href string, service *actor) bool {
	if end.mode == pb.EnforcementMode_ENFORCEMENT_MODE_IDLE || end.degraded != pb.DegradedPolicy_DEGRADED_POLICY_UNSPECIFIED {
		return false
	}
	return slices.ContainsFunc(c.rulings, func(r *ruling) bool {
		return r.kind == byAllow && r.href == href && c.consumes(r.consumers, end.actor) && c.opensAny(r, service) &&
			slices.ContainsFunc(c.backends(service.service), func(p *pb.Pod) bool { return !p.GetHostNetwork() && !c.provides(r.providers, p) })
	})
}

// opensAny tells whether a rule opens any port of a Service.
func (c *court) opensAny(r *ruling, a *actor) bool {
	opens := func(ranges []*pb.PortRange) bool {
		return a.service.GetType() != "ExternalName" &&
			slices.ContainsFunc(a.service.GetPorts(), func(p *pb.ServicePort) bool { return c.opens(a.service, p, ranges) })
	}
	return c.has(r.providers, a) && opens(r.ports) || slices.ContainsFunc(c.virtuals(r.providers), func(v virtual) bool {
		return v.service == nil && c.providedBy(v, a) && opens(c.ports(v.message.GetServices()))
	})
}

// provides tells whether a pod is a provider.
func (c *court) provides(s side, p *pb.Pod) bool {
	a := c.actorOf(func(a *actor) bool { return a.pod == p })
	return a != nil && (c.has(s, a) || slices.ContainsFunc(c.virtuals(s), func(v virtual) bool { return c.providedBy(v, a) }))
}

// countWorld counts what a world has.
func (x *trial) countWorld(o *oracle) {
	for _, a := range o.actors {
		x.tally.add("actors", a.kind)
		for _, source := range a.sources {
			x.tally.add("labels from", source)
		}
		if a.pod != nil {
			x.tally.add("standing", o.standingName(a))
			if a.pod.GetWithoutSandbox() {
				x.tally.add("standing", "no sandbox")
			}
			for _, address := range a.pod.GetAddresses() {
				if o.owner(address).actor != a && holdsAddresses(a.pod) {
					x.tally.add("worlds", "address lost")
				}
			}
		}
	}
	for name, is := range map[string]bool{
		"label sets off": !o.byLabelSet(),
		"legacy":         o.settings.GetClusterMode() == "legacy",
		"unpaired":       o.unpaired(),
		"host network":   slices.ContainsFunc(o.pods, func(f logged) bool { return f.fact.GetPod().GetHostNetwork() }),
		"unmanaged node": slices.ContainsFunc(o.nodes, func(f logged) bool { _, managed := o.nodeManaged(f.fact.GetNode()); return !managed }),
	} {
		if is {
			x.tally.add("worlds", name)
		}
	}
}

// standingName says what degraded mode makes of a pod.
func (o *oracle) standingName(a *actor) string {
	s, has := o.standing(a)
	switch {
	case !o.degraded:
		return "console is up"
	case o.known(workloadName(a)):
		return "known"
	case !has:
		return "none"
	case o.likeKnown(a):
		return "like a known one"
	case s.degraded == pb.DegradedPolicy_DEGRADED_POLICY_OPEN:
		return "open"
	case s.degraded == pb.DegradedPolicy_DEGRADED_POLICY_CLOSED:
		return "closed"
	}
	return "computed"
}
