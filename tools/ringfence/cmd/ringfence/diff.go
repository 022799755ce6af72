package main

import (
	"fmt"
	"strings"

	"github.com/ringfence/ringfence/libs/clas"
	"github.com/ringfence/ringfence/tools/ringfence"
)

type diffCommand struct {
	From   place        `required:"" placeholder:"PLACE" help:"The earlier place."`
	To     place        `placeholder:"PLACE" help:"The later place; the newest otherwise."`
	Pair   []connection `sep:"none" placeholder:"SRC,DST,PORT" help:"Ask whether SRC may connect to DST, at both places. Repeatable."`
	All    bool         `help:"Print every line of long lists."`
	which  `embed:""`
	output `embed:""`
}

// Help gives the examples and the exit codes.
func (diffCommand) Help() string {
	return `Says which objects came, changed or went; whose labels or mode changed; which address sets, rules and plans of nodes changed; and,
for the label sets and address sets that these name, who gained or lost access to whom on which ports, as the engine decides at
both places. What no rule names changes with the mode of a label set: that is told in one line, not pair by pair.

Exit code 0: the policy is the same at both places, whatever facts came in between. Exit code 4: it differs.

Examples:

    ringfence diff --from 2026-01-27T08:00:00Z --to 2026-01-27T09:00:00Z
    ringfence diff --from 1042 --to 1100 --pair shop/deployment/web,shop/service/api,80 --file incident.rflog -o json`
}

// Run compares.
func (c *diffCommand) Run(s *session) error {
	log, err := s.open(c.which)
	if err != nil {
		return err
	}
	defer log.close()
	meter := newMeter(s.stderr)
	defer meter.clear()
	var queries []clas.Query
	for _, pair := range c.Pair {
		queries = append(queries, pair.Query)
	}
	d, err := ringfence.Diff(s.ctx, log, c.From.Place, c.To.Place, queries, meter.step)
	if err != nil {
		return fmt.Errorf("diff: %w", err)
	}
	meter.clear()
	s.warn(append(d.From.Start.SetAside, d.To.Start.SetAside...), nil)
	if !c.json() {
		s.printDiff(d, c.All)
	} else if err := s.printJSON(d); err != nil {
		return err
	}
	if !d.SamePolicy() {
		return errChanged
	}
	return nil
}

// shown is how many lines of a list text shows unless all are asked for.
const shown = 30

func (s *session) printDiff(d *ringfence.Difference, all bool) {
	for _, end := range []struct {
		name  string
		point ringfence.Point
	}{{"from", d.From}, {"to", d.To}} {
		p := end.point
		fmt.Fprintf(s.stdout, "%-10s sequence %d, stored %s, provisioned version %d, digest %.12s, by %s\n",
			end.name, p.Sequence, stamp(p.StoredAt), p.ProvisionedVersion, p.Digest, beginning(p.Start))
	}
	same := "differs"
	if d.SamePolicy() {
		same = "is the same at both"
	}
	fmt.Fprintf(s.stdout, "policy     %s\n", same)
	s.printRows("facts", len(d.Facts), all, []any{"object", "what", "facts", "last"}, func(i int) []any {
		f := d.Facts[i]
		return []any{f.Subject, f.Change, f.Facts, f.Last}
	})
	s.printRows("labels", len(d.Labels), all, []any{"workload", "before", "after"}, func(i int) []any {
		l := d.Labels[i]
		return []any{l.Workload, identities(l.Before), identities(l.After)}
	})
	s.printRows("address sets", len(d.Sets), all, []any{"address set", "what", "added", "removed", "description"}, func(i int) []any {
		set := d.Sets[i]
		return []any{set.ID, set.Change, few(set.Added, all), few(set.Removed, all), set.Description}
	})
	s.printPolicyChanges(d.Policies, all)
	s.printRows("plans", len(d.Plans), all, []any{"node", "what", "came", "went", "changed"}, func(i int) []any {
		p := d.Plans[i]
		return []any{p.Node, p.Change, few(p.Came, all), few(p.Went, all), few(p.Changed, all)}
	})
	s.printRows("verdicts", len(d.Verdicts), all, []any{"from", "to", "ports", "before", "after"}, func(i int) []any {
		v := d.Verdicts[i]
		return []any{v.Source, v.Destination, few(v.Ports, all), verdictOrNone(v.Before), verdictOrNone(v.After)}
	})
	if d.Unasked > 0 {
		fmt.Fprintf(s.stdout, "%d more pairs of label sets and ports were not asked: compare places nearer to each other, or name them with --pair\n", d.Unasked)
	}
	for _, pair := range d.Pairs {
		fmt.Fprintf(s.stdout, "\nasked      %s\n", words(pair.Query))
		s.printAnswer("from", pair.Before)
		s.printAnswer("to", pair.After)
	}
}

// printPolicyChanges prints a line for each change of mode and each rule that came or went.
func (s *session) printPolicyChanges(policies []ringfence.PolicyChange, all bool) {
	var rows [][]any
	for _, p := range policies {
		who := joinLabels(p.Labels)
		if p.Workload != "" {
			who += " of " + p.Workload
		}
		if p.ModeBefore != p.ModeAfter {
			rows = append(rows, []any{who, "mode " + orNone(p.ModeBefore) + " -> " + orNone(p.ModeAfter), "", "", ""})
		}
		for _, list := range []struct {
			what  string
			terms []ringfence.RuleTerm
		}{{ringfence.Went, p.RulesWent}, {ringfence.Came, p.RulesCame}} {
			for _, t := range list.terms {
				rows = append(rows, []any{who, list.what + ": " + t.Direction + " " + t.Kind, t.Peers, strings.Join(t.Ports, ", "), t.Href})
			}
		}
	}
	s.printRows("policies", len(rows), all, []any{"labels", "what", "peers", "ports", "rule"}, func(i int) []any { return rows[i] })
}

// printRows prints a table under its title, and how many lines it left out. An empty list is one line.
func (s *session) printRows(title string, n int, all bool, columns []any, row func(int) []any) {
	if n == 0 {
		fmt.Fprintf(s.stdout, "\n%s: no change\n", title)
		return
	}
	t := newTable(columns...)
	for i := range n {
		if i == shown && !all {
			break
		}
		t.AppendRow(row(i))
	}
	fmt.Fprintf(s.stdout, "\n%s: %d\n%s\n", title, n, t.Render())
	if n > shown && !all {
		fmt.Fprintf(s.stdout, "and %d more: --all prints them\n", n-shown)
	}
}

// fewItems is how many members of a list a cell shows.
const fewItems = 6

func few(items []string, all bool) string {
	if all || len(items) <= fewItems {
		return strings.Join(items, " ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(items[:fewItems], " "), len(items)-fewItems)
}

func identities(list []ringfence.Identity) string {
	if len(list) == 0 {
		return "none"
	}
	var texts []string
	for _, id := range list {
		mode := id.Mode
		if mode == "" {
			mode = "not managed"
		}
		texts = append(texts, joinLabels(id.Labels)+", "+mode)
	}
	return strings.Join(texts, "; ")
}

func orNone(text string) string {
	if text == "" {
		return "none"
	}
	return text
}

func verdictOrNone(v clas.Verdict) string { return orNone(string(v)) }

// beginning says in short what a fold began with.
func beginning(start ringfence.Start) string {
	if start.Snapshot == 0 {
		return "the start of the log"
	}
	return fmt.Sprintf("the snapshot at %d", start.Snapshot)
}
