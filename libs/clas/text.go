package clas

import (
	"fmt"
	"strings"
)

// Text says the verdict and its reasons in a few plain sentences.
func (x Explanation) Text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s -> %s %s", x.Verdict, x.Source.Name, x.Destination.Name, x.Query.target().words())
	fmt.Fprintf(&b, "\n  outbound, at %s: %s", x.Source.Name, x.Outbound.words())
	fmt.Fprintf(&b, "\n  inbound, at %s: %s", x.inboundName(), x.Inbound.words())
	fmt.Fprintf(&b, "\n  source %s", x.Source.words())
	fmt.Fprintf(&b, "\n  destination %s", x.Destination.words())
	for _, p := range x.Paths {
		if p.Verdict != x.Verdict {
			fmt.Fprintf(&b, "\n  but %s by way of %s", p.Verdict, p.words())
		}
	}
	for _, set := range x.Sets {
		fmt.Fprintf(&b, "\n  address set %s: %s", set.ID, set.Description)
	}
	for _, c := range x.Changes {
		fmt.Fprintf(&b, "\n  for the opposite verdict: %s: %s", c.Kind, c.Text)
	}
	for _, w := range x.Warnings {
		fmt.Fprintf(&b, "\n  warning: %s", w)
	}
	return b.String()
}

// inboundName is where the connection arrives: behind a Service, the backend of the path that decided.
func (x Explanation) inboundName() string {
	for _, p := range x.Paths {
		if p.Verdict == x.Verdict && p.Backend != "" {
			return fmt.Sprintf("%s port %d, behind the Service", p.Backend, p.BackendPort)
		}
	}
	return x.Destination.Name
}

func (s Side) words() string {
	switch {
	case s.Decision == DecisionNoPolicy:
		return "no policy, " + s.Default
	case s.RuleHref != "":
		return fmt.Sprintf("%s by %s of rule set %q (mode %s)", s.Decision, s.ruleWords(), s.RuleSet, s.Mode)
	}
	return fmt.Sprintf("%s, %s (mode %s)", s.Decision, s.Default, s.Mode)
}

// ruleWords names the rule that decided, with its kind where it is not an allow rule.
func (s Side) ruleWords() string {
	switch s.Kind {
	case KindAllow:
		return "rule " + s.RuleHref
	case KindBoundary:
		return "enforcement boundary " + s.RuleHref
	}
	return s.Kind + " rule " + s.RuleHref
}

func (p Path) words() string {
	words := p.SourceAddress + " -> " + p.DestinationAddress
	if p.Backend != "" {
		words += fmt.Sprintf(" (%s port %d)", p.Backend, p.BackendPort)
	}
	return words
}

// words lists the labels of the endpoint with their sources.
func (n Endpoint) words() string {
	switch {
	case n.Kind == "address":
		return n.Name + " is an address outside of what Ringfence manages"
	case n.Kind == "name":
		return n.Name + " is a name outside of what Ringfence manages"
	case n.Kind == "node" && !n.Managed:
		return "node " + n.Name + " is not managed"
	case n.HostNetwork && !n.Managed:
		return fmt.Sprintf("pod %s shares the network of its node, which is not managed", n.Name)
	case n.Kind != "workload" && !n.Managed:
		return fmt.Sprintf("%s %s is in a namespace that is not managed", n.Kind, n.Name)
	case len(n.Labels) == 0:
		return fmt.Sprintf("%s %s has no labels", n.Kind, n.Name) + n.footnotes()
	}
	labels := make([]string, len(n.Labels))
	for i, l := range n.Labels {
		labels[i] = fmt.Sprintf("%s=%s (%s)", l.Key, l.Value, l.Source)
	}
	return fmt.Sprintf("%s %s is labelled %s", n.Kind, n.Name, strings.Join(labels, ", ")) + n.footnotes()
}

func (n Endpoint) footnotes() string {
	if len(n.Ignored) == 0 {
		return ""
	}
	return "; ignored: " + strings.Join(n.Ignored, "; ")
}
