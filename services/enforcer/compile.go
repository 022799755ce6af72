package enforcer

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/ringfence/ringfence/libs/eventlog"
	ringfencev1 "github.com/ringfence/ringfence/proto/ringfence/v1"
	"github.com/ringfence/ringfence/services/enforcer/datapath"
)

// nodeSet is the id of the set of the node's own addresses. No other set may be called so.
const nodeSet = "node"

// compiler turns policy as the log has it into policy as the datapath wants it. It keeps results while their sources are
// the same objects, so that an unchanged policy is the same pointer, and pods share sets. It is not safe for concurrent
// use.
type compiler struct {
	sets     map[string]compiledSet
	policies map[string]compiledPolicy
	node     *datapath.AddressSet
	nodeList []netip.Addr
}

type compiledSet struct {
	source *ringfencev1.AddressSet
	set    *datapath.AddressSet
	err    error
}

type compiledPolicy struct {
	source *ringfencev1.WorkloadPolicy
	// sets are the sources of the sets that the policy was made of. The compiler's own sets may be newer: another policy
	// that shares one takes its new members first.
	sets   map[string]*ringfencev1.AddressSet
	policy *datapath.Policy
	err    error
}

func newCompiler() *compiler {
	return &compiler{sets: map[string]compiledSet{}, policies: map[string]compiledPolicy{}}
}

// setNode takes the node's addresses, sorted.
func (c *compiler) setNode(addresses []netip.Addr) error {
	if c.node != nil && slices.Equal(addresses, c.nodeList) {
		return nil
	}
	raw := make([][]byte, len(addresses))
	for i, a := range addresses {
		raw[i] = a.AsSlice()
	}
	set, err := datapath.NewAddressSet(nodeSet, raw, nil)
	if err != nil {
		return fmt.Errorf("addresses of the node: %w", err)
	}
	c.node, c.nodeList = set, slices.Clone(addresses)
	return nil
}

// policy compiles the policy with an id. The error names it and what is wrong with it.
func (c *compiler) policy(p *eventlog.NodePolicy, id string) (*datapath.Policy, error) {
	source := p.Policies[id]
	if source == nil {
		return nil, fmt.Errorf("policy %s is not among the node's policies", id)
	}
	if have, ok := c.policies[id]; ok && have.source == source && c.current(p, have) {
		return have.policy, have.err
	}
	policy, err := c.compile(p, source)
	if err != nil {
		policy, err = nil, fmt.Errorf("policy %s: %w", id, err)
	}
	c.policies[id] = compiledPolicy{source, setsOf(p, source), policy, err}
	return policy, err
}

// current tells whether a compiled policy is made of the sets of p.
func (c *compiler) current(p *eventlog.NodePolicy, have compiledPolicy) bool {
	if have.policy == nil || have.policy.Node != c.node {
		return false
	}
	for id, source := range have.sets {
		if p.Sets[id] != source {
			return false
		}
	}
	return true
}

// setsOf lists the sets of p that a policy refers to.
func setsOf(p *eventlog.NodePolicy, policy *ringfencev1.WorkloadPolicy) map[string]*ringfencev1.AddressSet {
	sets := map[string]*ringfencev1.AddressSet{}
	for _, rules := range [][]*ringfencev1.PolicyRule{policy.GetInbound(), policy.GetOutbound()} {
		for _, r := range rules {
			for _, t := range r.GetTerms() {
				sets[t.GetAddressSet()] = p.Sets[t.GetAddressSet()]
			}
		}
	}
	return sets
}

func (c *compiler) compile(p *eventlog.NodePolicy, source *ringfencev1.WorkloadPolicy) (*datapath.Policy, error) {
	if err := understood(source.GetFeatures()); err != nil {
		return nil, err
	}
	mode, err := modeOf(source.GetMode())
	if err != nil {
		return nil, err
	}
	policy := &datapath.Policy{Mode: mode, Node: c.node}
	if policy.Inbound, err = c.rules(p, source.GetInbound()); err != nil {
		return nil, fmt.Errorf("inbound %w", err)
	}
	if policy.Outbound, err = c.rules(p, source.GetOutbound()); err != nil {
		return nil, fmt.Errorf("outbound %w", err)
	}
	return policy, policy.Validate()
}

// features are what this enforcer understands beyond allow rules for addresses.
var features []string

// understood refuses a policy that would be enforced in part.
func understood(needed []string) error {
	for _, feature := range needed {
		if !slices.Contains(features, feature) {
			return fmt.Errorf("it needs the feature %q, which this enforcer lacks", feature)
		}
	}
	return nil
}

func modeOf(m ringfencev1.EnforcementMode) (datapath.Mode, error) {
	switch m {
	case ringfencev1.EnforcementMode_ENFORCEMENT_MODE_IDLE:
		return datapath.Idle, nil
	case ringfencev1.EnforcementMode_ENFORCEMENT_MODE_VISIBILITY_ONLY:
		return datapath.Visibility, nil
	case ringfencev1.EnforcementMode_ENFORCEMENT_MODE_SELECTIVE:
		return datapath.Selective, nil
	case ringfencev1.EnforcementMode_ENFORCEMENT_MODE_FULL:
		return datapath.Full, nil
	}
	return 0, fmt.Errorf("enforcement mode %s is not known", m)
}

func (c *compiler) rules(p *eventlog.NodePolicy, source []*ringfencev1.PolicyRule) ([]datapath.Rule, error) {
	rules := make([]datapath.Rule, 0, len(source))
	for _, r := range source {
		rule := datapath.Rule{ID: r.GetId()}
		for _, t := range r.GetTerms() {
			set, err := c.set(p, t.GetAddressSet())
			if err != nil {
				return nil, fmt.Errorf("rule %s: %w", r.GetId(), err)
			}
			rule.Terms = append(rule.Terms, datapath.Term{Peers: set, Ports: portsOf(t.GetPorts())})
		}
		rules = append(rules, rule)
	}
	return rules, nil
}

func (c *compiler) set(p *eventlog.NodePolicy, id string) (*datapath.AddressSet, error) {
	source := p.Sets[id]
	if source == nil {
		return nil, fmt.Errorf("address set %s is not among the node's sets", id)
	}
	if have, ok := c.sets[id]; ok && have.source == source {
		return have.set, have.err
	}
	s := compiledSet{source: source}
	if id == nodeSet {
		s.err = fmt.Errorf("address set %s: the name is taken", id)
	} else {
		single := slices.Collect(slices.Chunk(source.GetAddresses().GetIpv4(), 4))
		single = slices.AppendSeq(single, slices.Chunk(source.GetAddresses().GetIpv6(), 16))
		s.set, s.err = datapath.NewAddressSet(id, single, source.GetPrefixes())
	}
	c.sets[id] = s
	return s.set, s.err
}

// portsOf translates ports. What cannot be expressed stays as it is, for the datapath's validation to refuse by name.
func portsOf(source []*ringfencev1.PortRange) []datapath.Ports {
	all := make([]datapath.Ports, 0, len(source))
	for _, r := range source {
		p := datapath.Ports{Protocol: int(r.GetProtocol()), From: r.GetPort(), To: r.GetToPort(),
			ICMPType: datapath.AnyICMP, ICMPCode: datapath.AnyICMP}
		switch {
		case p.To == 0:
			p.To = p.From
		case p.From == 0 && p.To == 65535:
			p.To = 0 // every port
		}
		if r.IcmpType != nil {
			p.ICMPType = int(r.GetIcmpType())
		}
		if r.IcmpCode != nil {
			p.ICMPCode = int(r.GetIcmpCode())
		}
		all = append(all, p)
	}
	return all
}

// forget drops what p does not have any more, so that nothing of a past policy is kept.
func (c *compiler) forget(p *eventlog.NodePolicy) {
	for id := range c.sets {
		if p.Sets[id] == nil {
			delete(c.sets, id)
		}
	}
	for id := range c.policies {
		if p.Policies[id] == nil {
			delete(c.policies, id)
		}
	}
}
