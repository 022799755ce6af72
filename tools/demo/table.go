package demo

import (
	"fmt"
	"io"
	"strings"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
)

// WriteTable prints the reachability of every pair in every phase, expected beside observed. The ways to a destination
// (pod address, IPv6, Service) share a line; one that differs from the expectation is named.
func (r Result) WriteTable(out io.Writer) {
	seen := map[connection]map[string][]Observation{}
	for _, o := range r.Matrix {
		c := connection{o.From, o.To}
		if seen[c] == nil {
			seen[c] = map[string][]Observation{}
		}
		seen[c][o.Phase] = append(seen[c][o.Phase], o)
	}
	phases := []string{PhaseBefore, PhaseAfter, PhaseScaled, PhaseStopped}
	t := table.NewWriter()
	t.SetOutputMirror(out)
	t.SetStyle(table.StyleLight)
	t.Style().Format.Header = text.FormatDefault
	header, second := table.Row{"from", "to"}, table.Row{"", ""}
	for _, phase := range phases {
		header = append(header, phase, phase)
		second = append(second, "expected", "observed")
	}
	t.AppendHeader(header, table.RowConfig{AutoMerge: true})
	t.AppendHeader(second)
	for _, c := range pairs() {
		line := table.Row{c.from, c.to}
		for _, phase := range phases {
			expected, observed := summary(seen[c][phase])
			line = append(line, expected, observed)
		}
		t.AppendRow(line)
	}
	t.Render()
}

// summary puts the observations of one pair in one phase into words.
func summary(observations []Observation) (expected, observed string) {
	if len(observations) == 0 {
		return "", ""
	}
	expected = string(observations[0].Expected)
	var differing []string
	for _, o := range observations {
		if !o.OK() {
			differing = append(differing, fmt.Sprintf("%s via %s", o.Observed, o.Via))
		}
	}
	if len(differing) > 0 {
		return expected, "DIFFERS: " + strings.Join(differing, ", ")
	}
	return expected, fmt.Sprintf("%s (%d of %d)", expected, len(observations), len(observations))
}
