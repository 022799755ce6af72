package clas_test

import (
	"fmt"
	"net"
	"slices"

	pb "github.com/ringfence/ringfence/proto/ringfence/v1"

	"github.com/ringfence/ringfence/libs/clas"
)

// explanations is how many questions are put to Explain in each world.
const explanations = 40

// compareExplanations compares the verdicts of explain between single addresses, and from addresses to names.
func (x *trial) compareExplanations(c *court, addresses int) error {
	for range explanations {
		from, to, on := x.g.IntN(addresses), x.g.IntN(len(c.peers)), x.g.IntN(len(worldProbes))
		p := worldProbes[on]
		want, comparable := c.explain(from, to, on)
		if !comparable {
			continue
		}
		got, err := x.engine.Explain(clas.Query{Source: c.peers[from], Destination: c.peers[to], Port: uint16(p.port),
			Protocol: uint8(p.protocol), ICMPCode: uint8(p.code)})
		if err != nil {
			return fmt.Errorf("explain %s to %s: %w", c.peers[from], c.peers[to], err)
		}
		if x.tally.add("explained", string(want)); got.Verdict != want {
			return fmt.Errorf("explain: %s, the oracle says %s", got.Text(), want)
		}
		if err := c.compareSides(got, from, to, on); err != nil {
			return fmt.Errorf("explain: %s: %w", got.Text(), err)
		}
	}
	return x.compareEndpoints(c)
}

// compareSides compares what explain says of each end, between ends that nothing translates.
func (c *court) compareSides(x clas.Explanation, from, to, on int) error {
	if s, has := c.standingAt(c.peers[from]); has != (x.Outbound.Kind != "") {
		return fmt.Errorf("the source has a policy: %t, the oracle says %t", !has, has)
	} else if has {
		want := c.outbound(s, to, on)
		if !c.same(x.Outbound, want, func(i int) way { return c.sends(i, s, to, on) }) {
			return fmt.Errorf("outbound decided by %s, the oracle says %s", x.Outbound.Kind, want)
		}
	}
	if net.ParseIP(c.peers[to]) == nil || c.owner(c.peers[to]).fact.GetService() != nil {
		return nil
	}
	if s, has := c.standingAt(c.peers[to]); has != (x.Inbound.Kind != "") {
		return fmt.Errorf("the destination has a policy: %t, the oracle says %t", !has, has)
	} else if has {
		want := c.inbound(s, from, on)
		if !c.same(x.Inbound, want, func(i int) way { return c.receives(i, s, from, on) }) {
			return fmt.Errorf("inbound decided by %s, the oracle says %s", x.Inbound.Kind, want)
		}
	}
	return nil
}

// same tells whether explain names what the oracle lets decide. In idle nothing is decided, and what explain says is all one.
func (c *court) same(got clas.Side, want decision, match func(int) way) bool {
	if want.kind == byIdle {
		return true
	}
	kind := got.Kind
	if kind == clas.KindBoundary {
		kind = byDeny
	}
	if kind != want.kind {
		return false
	}
	if want.ruling == nil {
		return got.RuleHref == ""
	}
	for i, r := range c.rulings {
		if r.kind == kind && r.href == got.RuleHref && r.boundary == (got.Kind == clas.KindBoundary) && match(i) != nowhere {
			return true
		}
	}
	return false
}

// explain puts the ends together, each by its own mode.
func (c *court) explain(from, to, on int) (verdictOf clas.Verdict, comparable bool) {
	source, destination := c.peers[from], c.peers[to]
	out := clas.Allowed
	if s, has := c.standingAt(source); has {
		out = verdict(c.outbound(s, to, on).kind, s.mode)
	}
	if net.ParseIP(destination) == nil {
		return out, true
	}
	if is4(source) != is4(destination) {
		return "", false
	}
	if s := c.owner(destination).fact.GetService(); s != nil {
		return worse(out, c.behind(s, from, is4(destination), worldProbes[on])), true
	}
	if s, has := c.standingAt(destination); has {
		out = worse(out, verdict(c.inbound(s, from, on).kind, s.mode))
	}
	return out, true
}

func is4(address string) bool { return net.ParseIP(address).To4() != nil }

// standingAt gives the end that owns an address, if it has a policy that somebody enforces.
func (c *court) standingAt(address string) (standing, bool) {
	return c.enforced(c.owner(address).actor)
}

func (c *court) enforced(a *actor) (standing, bool) {
	if a == nil || a.pod != nil && a.pod.GetNode() == "" {
		return standing{}, false
	}
	return c.standing(a)
}

// behind is the worst that happens behind a Service, on a port that it has.
func (c *court) behind(s *pb.Service, from int, v4 bool, p probe) clas.Verdict {
	out := clas.Allowed
	at := func(end standing, has bool, port uint32) {
		if has {
			out = worse(out, verdict(c.arriving(end, c.peers[from], probe{protocol: p.protocol, port: port}).kind, end.mode))
		}
	}
	for _, port := range s.GetPorts() {
		if port.GetProtocol() != p.protocol || port.GetPort() != p.port {
			continue
		}
		for _, pod := range c.backends(s) {
			if slices.ContainsFunc(pod.GetAddresses(), func(ip string) bool { return is4(ip) == v4 }) {
				end, has := c.endOf(pod)
				for _, target := range targetsOn(pod, port) {
					at(end, has, target)
				}
			}
		}
		for _, x := range c.slicesOf(s) {
			for _, p := range x.GetPorts() {
				for _, address := range x.GetAddresses() {
					if p.GetName() == port.GetName() && p.GetProtocol() == port.GetProtocol() && p.GetPort() != 0 && is4(address) == v4 {
						end, has := c.standingAt(address)
						at(end, has, p.GetPort())
					}
				}
			}
		}
	}
	return out
}

// endOf gives what is enforced at a pod: on the host network, its node's policy.
func (c *court) endOf(pod *pb.Pod) (standing, bool) {
	return c.enforced(c.actorOf(func(a *actor) bool {
		return a.pod == pod || pod.GetHostNetwork() && a.node != nil && a.node.GetName() == pod.GetNode()
	}))
}

// compareEndpoints compares what explain says of the actors themselves: labels with their sources, and the policy.
func (x *trial) compareEndpoints(c *court) error {
	for _, a := range c.actors {
		got, err := x.endpoint(a)
		if err != nil {
			return fmt.Errorf("explain %s: %w", a.name(), err)
		}
		if got == nil {
			continue
		}
		if len(got.Labels) != len(a.labels) {
			return fmt.Errorf("explain %s: labels %v, the oracle says %v", a.name(), got.Labels, a.labels)
		}
		for _, l := range got.Labels {
			if a.labels[l.Key] != l.Value || a.sources[l.Key] != string(l.Source) {
				return fmt.Errorf("explain %s: labels %v, the oracle says %v from %v", a.name(), got.Labels, a.labels, a.sources)
			}
		}
		if a.service == nil && got.Policy != x.reader.policyOf(a) {
			return fmt.Errorf("explain %s: policy %q, its node was told %q", a.name(), got.Policy, x.reader.policyOf(a))
		}
	}
	return nil
}

// endpoint asks explain about an actor, nil where it has no address to ask about.
func (x *trial) endpoint(a *actor) (*clas.Endpoint, error) {
	q := clas.Query{Source: a.name(), Destination: "db.example.com", Port: 80, Protocol: 6}
	addresses := slices.Concat(a.pod.GetAddresses(), a.node.GetAddresses(), a.machine.GetAddresses(), a.service.GetClusterIps(), a.service.GetExternalAddresses())
	if len(addresses) == 0 || a.service.GetType() == "ExternalName" {
		return nil, nil
	}
	if a.service != nil {
		q.Source, q.Destination = "192.0.2.1", a.name()
		if !is4(addresses[0]) {
			q.Source = "2001:db8::1"
		}
	}
	got, err := x.engine.Explain(q)
	if a.service != nil {
		return &got.Destination, err
	}
	return &got.Source, err
}
