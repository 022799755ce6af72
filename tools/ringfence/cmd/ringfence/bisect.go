package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/ringfence/ringfence/libs/clas"
	"github.com/ringfence/ringfence/tools/ringfence"
)

type bisectCommand struct {
	Source      string  `arg:"" help:"Who connects, as explain has it. Name workloads rather than pods, which come and go."`
	Destination string  `arg:"" help:"To whom."`
	Port        service `arg:"" placeholder:"PORT[/PROTO]" help:"Port, tcp unless a protocol follows."`
	Good        place   `required:"" placeholder:"PLACE" help:"Place at which the verdict was the one that was wanted."`
	Bad         place   `placeholder:"PLACE" help:"Place at which it is another; the newest otherwise."`
	which       `embed:""`
	output      `embed:""`
}

// Help gives the example and the exit codes.
func (bisectCommand) Help() string {
	return `Prints the first fact after which the verdict was no more that of the good place, with the verdict and the rules that decided
before and after it. The good place may be the later one; then it is the fact that made it good. An endpoint that is not known
somewhere has no verdict there: that counts as a verdict of its own if it is so at the good or the bad place, and is passed over
in between. A change that was soon undone is not looked for.

Exit code 3: the verdict is the same at both places, or a place is not in the log.

Examples:

    ringfence bisect shop/deployment/web shop/service/api 80 --good 2026-01-27T08:00:00Z --bad 2026-01-27T09:00:00Z
    ringfence bisect shop/deployment/web shop/service/api 80 --good 1042 --file incident.rflog -o json`
}

// foundFact is what the command prints as JSON.
type foundFact struct {
	Incarnation string           `json:"incarnation"`
	Query       clas.Query       `json:"query"`
	Fact        json.RawMessage  `json:"fact"` // a line as facts prints it
	Before      ringfence.Answer `json:"before"`
	After       ringfence.Answer `json:"after"`
	Good        ringfence.Answer `json:"good"`
	Bad         ringfence.Answer `json:"bad"`
	Folded      uint64           `json:"folded"` // facts that were folded to find it
	Asked       uint64           `json:"asked"`
}

// Run searches.
func (c *bisectCommand) Run(s *session) error {
	log, err := s.open(c.which)
	if err != nil {
		return err
	}
	defer log.close()
	meter := newMeter(s.stderr)
	defer meter.clear()
	query := c.Port.query(c.Source, c.Destination)
	found, err := ringfence.Bisect(s.ctx, log, query, c.Good.Place, c.Bad.Place, meter.step)
	if err != nil {
		return fmt.Errorf("bisect %s: %w", words(query), err)
	}
	meter.clear()
	line, err := ringfence.Line(found.Fact)
	if err != nil {
		return err
	}
	if c.json() {
		return s.printJSON(foundFact{
			Incarnation: found.Incarnation, Query: query, Fact: line, Before: found.Before, After: found.After, Good: found.Good, Bad: found.Bad,
			Folded: found.Facts, Asked: found.Asked,
		})
	}
	fmt.Fprintf(s.stdout, "asked      %s\n", words(query))
	fmt.Fprintf(s.stdout, "good       sequence %d: %s\n", found.Good.Sequence, verdictOf(found.Good))
	fmt.Fprintf(s.stdout, "bad        sequence %d: %s\n", found.Bad.Sequence, verdictOf(found.Bad))
	fmt.Fprintf(s.stdout, "found      sequence %d, stored %s, incarnation %s (%d facts folded, %d questions)\n",
		found.Fact.Sequence, found.Fact.StoredAt.UTC().Format(time.RFC3339Nano), found.Incarnation, found.Facts, found.Asked)
	fmt.Fprintf(s.stdout, "\n%s\n", line)
	s.printAnswer("before", found.Before)
	s.printAnswer("after", found.After)
	return nil
}

// verdictOf says the verdict of an answer, or why there is none.
func verdictOf(a ringfence.Answer) string {
	if a.Explanation == nil {
		return "no verdict (" + a.Unknown + ")"
	}
	return string(a.Verdict())
}

// printAnswer prints an answer with its reasons.
func (s *session) printAnswer(when string, a ringfence.Answer) {
	text := verdictOf(a)
	if a.Explanation != nil {
		text = a.Explanation.Text()
	}
	fmt.Fprintf(s.stdout, "\n%s (sequence %d)\n  %s\n", when, a.Sequence, strings.ReplaceAll(text, "\n", "\n  "))
}
