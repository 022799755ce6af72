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
	}
	return x.compareEndpoints(c)
}

// explain puts the ends together, each by its own mode. It does not follow node ports.
func (c *court) explain(from, to, on int) (verdictOf clas.Verdict, comparable bool) {
	source, destination := c.peers[from], c.peers[to]
	out := clas.Allowed
	if s, has := c.standingAt(source); has {
		out = verdict(c.outbound(s, to, on).kind, s.mode)
	}
	if net.ParseIP(destination) == nil {
		return out, true
	}
	if is4(source) != is4(destination) || c.servesAt(destination, worldProbes[on]) {
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
	a := c.owner(address).actor
	if a == nil || a.pod != nil && a.pod.GetNode() == "" {
		return standing{}, false
	}
	return c.standing(a)
}

// servesAt tells whether the address is a node's, and the port some Service's there.
func (c *court) servesAt(address string, p probe) bool {
	return c.owner(address).fact.GetNode() != nil && slices.ContainsFunc(c.services, func(f logged) bool {
		s := f.fact.GetService()
		return exposes(s) && slices.ContainsFunc(s.GetPorts(), func(port *pb.ServicePort) bool {
			return port.GetProtocol() == p.protocol && port.GetNodePort() == p.port
		})
	})
}

// behind is the worst that happens at the backends of a Service.
func (c *court) behind(s *pb.Service, from int, v4 bool, p probe) clas.Verdict {
	out := clas.Allowed
	for _, pod := range c.backends(s) {
		a := c.actorOf(func(a *actor) bool { return a.pod == pod })
		if a == nil || !slices.ContainsFunc(pod.GetAddresses(), func(ip string) bool { return is4(ip) == v4 }) {
			continue
		}
		end, has := c.standing(a)
		for _, port := range s.GetPorts() {
			if !has || pod.GetNode() == "" || port.GetProtocol() != p.protocol || port.GetPort() != p.port {
				continue
			}
			for _, target := range targetsOn(pod, port) {
				on := slices.Index(worldProbes, probe{protocol: p.protocol, port: target})
				out = worse(out, verdict(c.inbound(end, from, on).kind, end.mode))
			}
		}
	}
	return out
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
	if len(addresses) == 0 {
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
