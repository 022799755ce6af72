package main

import (
	"fmt"
	"strings"
)

func (s *session) printPolicies(policies []policyState, whole bool) {
	t := newTable("policy", "mode", "labels", "pods", "inbound", "outbound", "deny")
	for _, p := range policies {
		mode := p.Mode
		if p.Degraded != "" {
			mode += " (degraded: " + p.Degraded + ")"
		}
		labels := joinLabels(p.Labels)
		if p.Workload != "" {
			labels += " of " + p.Workload
		}
		t.AppendRow([]any{p.ID, mode, labels, p.Pods, p.InboundRules, p.OutboundRules, p.DenyRules})
	}
	printTable(s.stdout, t, "No workload policy: nothing is managed yet.")
	if !whole {
		return
	}
	rules := newTable("policy", "direction", "rule", "peers", "ports", "href")
	for _, p := range policies {
		for _, list := range p.lists() {
			for _, rule := range list.rules {
				appendRule(rules.AppendRow, p.ID, list.name, rule)
			}
		}
	}
	printTable(s.stdout, rules, "No rule.")
}

type ruleList struct {
	name  string
	rules []ruleState
}

// lists gives the rules in the order in which a packet meets them.
func (p policyState) lists() []ruleList {
	return []ruleList{
		{"inbound override deny", p.InboundOverrideDeny}, {"inbound", p.Inbound}, {"inbound deny", p.InboundDeny},
		{"outbound override deny", p.OutboundOverrideDeny}, {"outbound", p.Outbound}, {"outbound deny", p.OutboundDeny},
	}
}

// appendRule adds a row for each pairing of peers and ports.
func appendRule[Row ~[]any, Config any](appendRow func(Row, ...Config), policy, direction string, rule ruleState) {
	for _, term := range rule.Terms {
		appendRow(Row{policy, direction, rule.ID, term.Set, strings.Join(term.Ports, ", "), rule.Href})
	}
}

func (s *session) printSets(sets []setState, whole bool) {
	t := newTable("address set", "size", "description")
	if whole {
		t = newTable("address set", "size", "description", "members")
	}
	for _, set := range sets {
		row := []any{set.ID, set.Size, set.Description}
		if whole {
			row = append(row, strings.Join(set.Members, " "))
		}
		t.AppendRow(row)
	}
	printTable(s.stdout, t, "No address set.")
}

func (s *session) printPlans(plans []planState, whole bool) {
	if !whole {
		t := newTable("node", "pods", "addresses")
		for _, plan := range plans {
			t.AppendRow([]any{plan.Node, plan.Pods, strings.Join(plan.NodeAddresses, " ")})
		}
		printTable(s.stdout, t, "No node has a plan.")
		return
	}
	t := newTable("node", "pod", "policy", "addresses")
	for _, plan := range plans {
		if plan.NodePolicy != "" {
			t.AppendRow([]any{plan.Node, "(the node)", plan.NodePolicy, strings.Join(plan.NodeAddresses, " ")})
		}
		for _, pod := range plan.Members {
			t.AppendRow([]any{plan.Node, pod.Pod, pod.Policy, strings.Join(pod.Addresses, " ")})
		}
	}
	printTable(s.stdout, t, "No node has a pod that is managed.")
}

func (s *session) printNamespaces(namespaces []modeState) {
	t := newTable("namespace", "managed", "mode")
	for _, n := range namespaces {
		mode := n.Mode
		if !n.Managed {
			mode = "-"
		}
		t.AppendRow([]any{n.Namespace, fmt.Sprint(n.Managed), mode})
	}
	printTable(s.stdout, t, "No namespace.")
}
