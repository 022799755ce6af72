package main

import (
	"github.com/ringfence/ringfence/libs/addresses"
	"github.com/ringfence/ringfence/libs/clas"
	ringfencev1 "github.com/ringfence/ringfence/proto/ringfence/v1"
	"github.com/ringfence/ringfence/tools/ringfence"
)

// The states below are a compiled policy as the command line shows it. What is optional is there with --policy alone.
type policyState struct {
	ID            string      `json:"id"`
	Mode          string      `json:"mode"`
	Labels        []string    `json:"labels"`
	Pods          int         `json:"pods"`
	InboundRules  int         `json:"inbound_rules"`
	OutboundRules int         `json:"outbound_rules"`
	DenyRules     int         `json:"deny_rules"` // of both kinds and directions
	Workload      string      `json:"workload,omitempty"`
	Features      []string    `json:"features,omitempty"`
	Degraded      string      `json:"degraded,omitempty"`
	Inbound       []ruleState `json:"inbound,omitempty"`
	Outbound      []ruleState `json:"outbound,omitempty"`
	Warnings      []string    `json:"warnings,omitempty"`

	InboundDeny          []ruleState `json:"inbound_deny,omitempty"`
	OutboundDeny         []ruleState `json:"outbound_deny,omitempty"`
	InboundOverrideDeny  []ruleState `json:"inbound_override_deny,omitempty"`
	OutboundOverrideDeny []ruleState `json:"outbound_override_deny,omitempty"`
}

type ruleState struct {
	ID    string      `json:"id"`
	Href  string      `json:"href"`
	Terms []termState `json:"terms"`
}

type termState struct {
	Set   string   `json:"set"`
	Ports []string `json:"ports"`
}

type setState struct {
	ID          string   `json:"id"`
	Description string   `json:"description"`
	Size        int      `json:"size"`
	Members     []string `json:"members,omitempty"`
}

type planState struct {
	Node          string     `json:"node"`
	NodeAddresses []string   `json:"node_addresses"`
	NodePolicy    string     `json:"node_policy,omitempty"`
	Pods          int        `json:"pods"`
	Members       []podState `json:"members,omitempty"`
}

type podState struct {
	Pod       string   `json:"pod"`
	UID       string   `json:"uid"`
	Addresses []string `json:"addresses"`
	Policy    string   `json:"policy"`
}

type modeState struct {
	Namespace string `json:"namespace"`
	Managed   bool   `json:"managed"`
	Mode      string `json:"mode"`
}

func policyStates(policy clas.Policy, whole bool) []policyState {
	pods := map[string]int{}
	for _, plan := range policy.Plans {
		for _, pod := range plan.GetPods() {
			pods[pod.GetPolicy()]++
		}
	}
	states := []policyState{}
	for _, p := range policy.Policies {
		state := policyState{
			ID: p.GetId(), Mode: ringfence.ModeName(p.GetMode()), Labels: p.GetLabels(), Pods: pods[p.GetId()],
			InboundRules: len(p.GetInbound()), OutboundRules: len(p.GetOutbound()), Warnings: p.GetWarnings(),
			DenyRules: len(p.GetInboundDeny()) + len(p.GetOutboundDeny()) + len(p.GetInboundOverrideDeny()) + len(p.GetOutboundOverrideDeny()),
			Workload:  p.GetWorkload(), Features: p.GetFeatures(), Degraded: ringfence.DegradedName(p.GetDegraded()),
		}
		if whole {
			state.Inbound, state.Outbound = ruleStates(p.GetInbound()), ruleStates(p.GetOutbound())
			state.InboundDeny, state.OutboundDeny = ruleStates(p.GetInboundDeny()), ruleStates(p.GetOutboundDeny())
			state.InboundOverrideDeny, state.OutboundOverrideDeny = ruleStates(p.GetInboundOverrideDeny()), ruleStates(p.GetOutboundOverrideDeny())
		}
		states = append(states, state)
	}
	return states
}

func ruleStates(rules []*ringfencev1.PolicyRule) []ruleState {
	var states []ruleState
	for _, rule := range rules {
		state := ruleState{ID: rule.GetId(), Href: rule.GetHref()}
		for _, term := range rule.GetTerms() {
			ports := []string{}
			for _, r := range term.GetPorts() {
				ports = append(ports, ringfence.PortName(r))
			}
			state.Terms = append(state.Terms, termState{Set: term.GetAddressSet(), Ports: ports})
		}
		states = append(states, state)
	}
	return states
}

func setStates(policy clas.Policy, whole bool) []setState {
	states := []setState{}
	for _, set := range policy.Sets {
		state := setState{ID: set.GetId(), Description: set.GetDescription(), Size: addresses.Len(set.GetAddresses()) + len(set.GetPrefixes()) + len(set.GetFqdns())}
		if whole {
			for address := range addresses.All(set.GetAddresses()) {
				state.Members = append(state.Members, address.String())
			}
			state.Members = append(append(state.Members, set.GetPrefixes()...), set.GetFqdns()...)
		}
		states = append(states, state)
	}
	return states
}

func planStates(policy clas.Policy, whole bool) []planState {
	states := []planState{}
	for _, plan := range policy.Plans {
		state := planState{Node: plan.GetNode(), NodeAddresses: plan.GetNodeAddresses(), NodePolicy: plan.GetNodePolicy(), Pods: len(plan.GetPods())}
		for _, pod := range plan.GetPods() {
			if whole {
				state.Members = append(state.Members, podState{
					Pod: pod.GetNamespace() + "/" + pod.GetName(), UID: pod.GetUid(), Addresses: pod.GetAddresses(), Policy: pod.GetPolicy(),
				})
			}
		}
		states = append(states, state)
	}
	return states
}

func modeStates(policy clas.Policy) []modeState {
	states := []modeState{}
	for _, n := range policy.Namespaces.GetNamespaces() {
		states = append(states, modeState{Namespace: n.GetNamespace(), Managed: n.GetManaged(), Mode: ringfence.ModeName(n.GetMode())})
	}
	return states
}
