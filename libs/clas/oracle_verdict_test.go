package clas_test

import (
	"maps"
	"slices"

	pb "github.com/ringfence/ringfence/proto/ringfence/v1"

	"github.com/ringfence/ringfence/libs/clas"
)

// Section 4.4: what a packet meets at one end.

// The kinds of what decides, in the order in which a packet meets them.
const (
	byIdle      = "idle"
	byEssential = "essential"
	byOverride  = "override deny"
	byAllow     = "allow"
	byDeny      = "deny"
	byDefault   = "default"
)

// ruling is a rule within one scope of its rule set.
type ruling struct {
	kind                 string // byOverride, byAllow or byDeny
	boundary             bool
	href                 string
	consumers, providers side
	ports                []*pb.PortRange
}

// rulings lists what the version in force says, in the order in which a packet meets it.
func (o *oracle) rulings() []*ruling {
	var out []*ruling
	for _, href := range slices.Sorted(maps.Keys(o.console)) {
		set, b := o.console[href].GetRuleSet(), o.console[href].GetEnforcementBoundary()
		if set.GetEnabled() {
			for _, scope := range set.GetScopes() {
				out = append(out, o.rulingsOf(set, scope)...)
			}
		}
		if b.GetEnabled() {
			out = append(out, &ruling{kind: byDeny, boundary: true, href: b.GetHref(), consumers: side{actors: b.GetConsumers()},
				providers: side{actors: b.GetProviders()}, ports: o.ports(b.GetServices())})
		}
	}
	order := []string{byOverride, byAllow, byDeny}
	slices.SortStableFunc(out, func(a, b *ruling) int { return slices.Index(order, a.kind) - slices.Index(order, b.kind) })
	return out
}

func (o *oracle) rulingsOf(set *pb.RuleSet, scope *pb.Scope) []*ruling {
	var out []*ruling
	add := func(kind string, r *pb.Rule) {
		if !r.GetEnabled() {
			return
		}
		x := &ruling{kind: kind, href: r.GetHref(), ports: o.ports(r.GetServices()),
			consumers: side{r.GetConsumers(), r.GetResolveConsumersAs(), scope}, providers: side{r.GetProviders(), r.GetResolveProvidersAs(), scope}}
		if r.GetUnscopedConsumers() {
			x.consumers.scope = nil
		}
		out = append(out, x)
	}
	for _, r := range set.GetRules() {
		add(byAllow, r)
	}
	for _, d := range set.GetDenyRules() {
		if d.GetOverride() {
			add(byOverride, d.GetRule())
		} else {
			add(byDeny, d.GetRule())
		}
	}
	return out
}

// standing is what the rules of the cluster make of one end: a policed pod, or a managed node.
type standing struct {
	actor    *actor
	mode     pb.EnforcementMode
	degraded pb.DegradedPolicy
	// own are the addresses of the pod's own node.
	own []string
}

// decision is what one end says of a packet, and why: the kind, and the ruling where one decided.
type decision struct {
	kind   string
	way    way // how the destination was reached, by an outbound rule
	ruling *ruling
}

// court answers for one world about packets between some peers, addresses or DNS names, on some ports. It remembers who is on
// which side, so that it judges all packets between all peers in little more time than it takes to find that out.
type court struct {
	*oracle
	peers   []string
	probes  []probe
	rulings []*ruling
	// Answers by ruling and by what they are about; 0 stands for one that is not known yet.
	consuming, sending, reaching, admitting [][]uint8
}

func newCourt(o *oracle, peers []string, probes []probe) *court {
	c := &court{oracle: o, peers: peers, probes: probes, rulings: o.rulings()}
	for range c.rulings {
		c.consuming = append(c.consuming, make([]uint8, len(o.actors)))
		c.sending = append(c.sending, make([]uint8, len(peers)))
		c.reaching = append(c.reaching, make([]uint8, len(peers)*len(probes)))
		c.admitting = append(c.admitting, make([]uint8, len(o.actors)*len(probes)))
	}
	return c
}

// once gives what is known, or finds it out.
func once(known *uint8, find func() uint8) uint8 {
	if *known == 0 {
		*known = 1 + find()
	}
	return *known - 1
}

func yes(is bool) uint8 {
	if is {
		return 1
	}
	return 0
}

// outbound decides at the end that sends to a peer.
func (c *court) outbound(end standing, peer, on int) decision {
	p := c.probes[on]
	dns := (p.protocol == 17 || p.protocol == 6) && p.port == 53
	return c.decide(end, dns, func(i int) way { return c.sends(i, end, peer, on) })
}

// sends tells whether a ruling matches what an end sends, and how it is reached.
func (c *court) sends(i int, end standing, peer, on int) way {
	r := c.rulings[i]
	if once(&c.consuming[i][end.actor.index], func() uint8 { return yes(c.consumes(r.consumers, end.actor)) }) == 0 {
		return nowhere
	}
	return way(once(&c.reaching[i][peer*len(c.probes)+on], func() uint8 {
		return uint8(c.reached(r.providers, r.ports, c.peers[peer], c.probes[on]))
	}))
}

// inbound decides at the end that receives from a peer.
func (c *court) inbound(end standing, peer, on int) decision {
	return c.decide(end, hasIP(end.own, c.peers[peer]), func(i int) way { return c.receives(i, end, peer, on) })
}

// receives tells whether a ruling matches what an end receives.
func (c *court) receives(i int, end standing, peer, on int) way {
	r := c.rulings[i]
	if once(&c.sending[i][peer], func() uint8 { return yes(c.sent(r.consumers, c.peers[peer])) }) == 0 ||
		once(&c.admitting[i][end.actor.index*len(c.probes)+on], func() uint8 {
			return yes(c.admits(r.providers, r.ports, end.actor, c.probes[on]))
		}) == 0 {
		return nowhere
	}
	return here
}

// arriving decides about a packet on any port.
func (c *court) arriving(end standing, from string, p probe) decision {
	return c.decide(end, hasIP(end.own, from), func(i int) way {
		if r := c.rulings[i]; c.sent(r.consumers, from) && c.admits(r.providers, r.ports, end.actor, p) {
			return here
		}
		return nowhere
	})
}

// decide lets a packet meet the rulings in their order.
func (c *court) decide(end standing, essential bool, match func(int) way) decision {
	switch {
	case end.mode == pb.EnforcementMode_ENFORCEMENT_MODE_IDLE:
		return decision{kind: byIdle}
	case essential:
		return decision{kind: byEssential}
	case end.degraded != pb.DegradedPolicy_DEGRADED_POLICY_UNSPECIFIED:
		return decision{kind: byDefault}
	}
	for i, r := range c.rulings {
		if w := match(i); w != nowhere {
			return decision{kind: r.kind, way: w, ruling: r}
		}
	}
	return decision{kind: byDefault}
}

// verdict is what comes of a kind of decision in a mode.
func verdict(kind string, mode pb.EnforcementMode) clas.Verdict {
	blocks := kind == byOverride || kind == byDeny || kind == byDefault && mode != pb.EnforcementMode_ENFORCEMENT_MODE_SELECTIVE
	switch {
	case !blocks:
		return clas.Allowed
	case mode == pb.EnforcementMode_ENFORCEMENT_MODE_VISIBILITY_ONLY:
		return clas.PotentiallyBlocked
	}
	return clas.Blocked
}

// worse gives the worse of two verdicts.
func worse(a, b clas.Verdict) clas.Verdict {
	order := []clas.Verdict{clas.Allowed, clas.PotentiallyBlocked, clas.Blocked}
	return order[max(slices.Index(order, a), slices.Index(order, b))]
}
