package main

import (
	"fmt"

	"github.com/ringfence/ringfence/libs/eventlog"
	"github.com/ringfence/ringfence/tools/ringfence"
)

type factsCommand struct {
	Filter []string `placeholder:"SUBJECT" help:"Only subjects that match; NATS wildcards * and > work. Repeatable."`
	From   uint64   `placeholder:"N" help:"First sequence."`
	To     uint64   `placeholder:"N" xor:"end" help:"Last sequence."`
	Follow bool     `short:"f" xor:"end" help:"Go on with what is stored from now on, until interrupted."`
}

// Help gives the example.
func (factsCommand) Help() string {
	return "Example:\n\n    ringfence facts --filter 'facts.k8s.pod.shop.>' -f"
}

// Run prints a line a fact.
func (c *factsCommand) Run(s *session) error {
	store, err := s.address.Connect(s.ctx)
	if err != nil {
		return err
	}
	defer store.Close()
	if c.Follow {
		err = store.Log.Tail(s.ctx, c.From, c.Filter, s.printFact)
		if s.interrupted(err) {
			return nil
		}
		return err
	}
	for e, err := range store.Log.Read(s.ctx, c.From, c.To, c.Filter...) {
		if err == nil {
			err = s.printFact(e)
		}
		if err != nil {
			return fmt.Errorf("facts: %w", err)
		}
	}
	return nil
}

func (s *session) printFact(e eventlog.Entry) error {
	line, err := ringfence.Line(e)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(s.stdout, "%s\n", line)
	return err
}
