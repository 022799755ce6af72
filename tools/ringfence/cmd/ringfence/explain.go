package main

import (
	"fmt"

	"github.com/ringfence/ringfence/libs/clas"
)

type explainCommand struct {
	Source      string  `arg:"" help:"Who connects: namespace/pod, namespace/kind/name (shop/deployment/web), node/name, workload/name (one of the console's own, also by its href), or an address."`
	Destination string  `arg:"" help:"To whom: the same, namespace/service/name, or a DNS name."`
	Port        service `arg:"" placeholder:"PORT[/PROTO]" help:"Port, tcp unless a protocol follows: 8080, 53/udp; for ICMP type and code: 8.0/icmp."`
	at          `embed:""`
	output      `embed:""`
}

// Help gives the example and the exit codes.
func (explainCommand) Help() string {
	return `Exit code 0: policy allows it. Exit code 3: it does not, be it blocked or, where the mode does not block yet, potentially
blocked; also when an endpoint is not known.

Examples:

    ringfence explain shop/deployment/web shop/service/api 80
    ringfence explain shop/web-7c4f 10.1.0.9 5432/tcp --at 10m
    ringfence explain node/node-1 shop/web-7c4f 8.0/icmp
    ringfence explain shop/deployment/web api.example.com 443`
}

// Run explains.
func (c *explainCommand) Run(s *session) error {
	f, err := s.fold(c.at)
	if err != nil {
		return err
	}
	answer, err := f.Engine.Explain(c.Port.query(c.Source, c.Destination))
	if err != nil {
		return fmt.Errorf("explain at sequence %d: %w; an endpoint is namespace/pod, namespace/kind/name, node/name, workload/name or an address, as of then", f.Sequence, err)
	}
	if !c.json() {
		s.printExplanation(answer)
	} else if err := s.printJSON(answer); err != nil {
		return err
	}
	if answer.Verdict != clas.Allowed {
		return errNotAllowed
	}
	return nil
}

// printExplanation prints the engine's words, and the ids by which flows name the rules.
func (s *session) printExplanation(answer clas.Explanation) {
	fmt.Fprintln(s.stdout, answer.Text())
	if answer.Outbound.RuleID != "" {
		fmt.Fprintf(s.stdout, "  outbound rule id %s\n", answer.Outbound.RuleID)
	}
	if answer.Inbound.RuleID != "" {
		fmt.Fprintf(s.stdout, "  inbound rule id %s\n", answer.Inbound.RuleID)
	}
}
