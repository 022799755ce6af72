package main

import (
	"fmt"
	"iter"
	"strings"
	"time"

	"github.com/ringfence/ringfence/libs/eventlog"
	"github.com/ringfence/ringfence/tools/ringfence"
)

type factsCommand struct {
	From   place    `placeholder:"PLACE" help:"First fact; a time stands for the first that was stored then or later."`
	To     place    `placeholder:"PLACE" xor:"end" help:"Last fact; a time stands for the last that was stored by then."`
	Filter []string `placeholder:"SUBJECT" help:"Only subjects that match; NATS wildcards * and > work. Repeatable: any of them."`
	Kind   string   `placeholder:"KIND" help:"Only this kind of object: pod, deployment, label, settings."`
	In     string   `placeholder:"NAMESPACE" help:"Only objects of this namespace of Kubernetes."`
	Object string   `placeholder:"NAME" help:"Only objects of this name, or, of the console, with this last part of their href."`
	Follow bool     `short:"f" xor:"end" help:"Go on with what is stored from now on, until interrupted."`
	which  `embed:""`
}

// Help gives the examples.
func (factsCommand) Help() string {
	return `Prints one line of JSON for each fact: its sequence, when the log stored it, its subject, and what it says. What narrows down goes
together: a fact must match all of it.

Examples:

    ringfence facts --kind pod --in shop --from 1h
    ringfence facts --filter 'facts.pce.>' --from 1042 --to 2026-01-31T12:30:00Z | jq .fact
    ringfence facts --in shop --object web-7c4f -f`
}

// Run prints a line a fact.
func (c *factsCommand) Run(s *session) error {
	for _, filter := range c.Filter {
		if err := ringfence.CheckFilter(filter); err != nil {
			return fmt.Errorf("%w: --filter: %w", errUsage, err)
		}
	}
	if c.Follow && c.File != "" {
		return fmt.Errorf("%w: nothing comes to a file: --follow is for running logs", errUsage)
	}
	log, err := s.open(c.which)
	if err != nil {
		return err
	}
	defer log.close()
	from, to, err := c.bounds(s, log)
	if err != nil {
		return fmt.Errorf("facts: %w", err)
	}
	if c.Follow {
		err = log.log.Tail(s.ctx, from, c.subjects(), func(e eventlog.Entry) error { return c.print(s, e) })
		if s.interrupted(err) {
			return nil
		}
		return err
	}
	return c.printAll(s, log.Read(s.ctx, from, to, c.subjects()...))
}

func (c *factsCommand) printAll(s *session, facts iter.Seq2[eventlog.Entry, error]) error {
	for e, err := range facts {
		if err == nil {
			err = c.print(s, e)
		}
		if err != nil {
			return fmt.Errorf("facts: %w", err)
		}
	}
	return nil
}

// bounds gives the sequences of the first and the last fact, 0 for what is not bounded.
func (c *factsCommand) bounds(s *session, log ringfence.Source) (from, to uint64, err error) {
	from = c.From.Sequence
	if !c.From.Time.IsZero() {
		before, err := log.SequenceAt(s.ctx, c.From.Time.Add(-time.Nanosecond))
		if err != nil {
			return 0, 0, err
		}
		from = before + 1
	}
	if c.To.Place == (ringfence.Place{}) {
		return from, 0, nil
	}
	to, err = ringfence.Find(s.ctx, log, c.To.Place)
	return from, to, err
}

// subjects gives what the log is asked for, which is little more than what is printed.
func (c *factsCommand) subjects() []string {
	switch {
	case c.In != "":
		return []string{"facts.k8s." + strings.Join([]string{token(strings.ToLower(c.Kind)), token(c.In), token(c.Object)}, ".")}
	case c.Kind != "" || c.Object != "":
		kind, object := token(strings.ToLower(c.Kind)), token(c.Object)
		out := []string{"facts.k8s." + kind + ".*." + object, "facts.pce." + kind + "." + object, "facts.ctl." + kind + "." + object}
		if c.Object == "" {
			out = append(out, "facts.ctl."+kind)
		}
		return out
	case len(c.Filter) == 1: // several may overlap, which the log refuses
		return c.Filter
	}
	return nil
}

// token is a token of a subject; an empty name stands for any.
func token(name string) string {
	if name == "" {
		return "*"
	}
	return eventlog.Token(name)
}

// print prints a fact that the filters let pass.
func (c *factsCommand) print(s *session, e eventlog.Entry) error {
	if !ringfence.Matches(e.Subject, c.Filter) {
		return nil
	}
	line, err := ringfence.Line(e)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(s.stdout, "%s\n", line)
	return err
}
