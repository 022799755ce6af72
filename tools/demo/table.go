package demo

import (
	"io"

	"github.com/jedib0t/go-pretty/v6/table"
)

// WriteTable prints the reachability of every pair before and after enforcement, a line a pair and way.
func (r Result) WriteTable(out io.Writer) {
	type row struct {
		from, to string
		via      Via
		port     int
	}
	var rows []row
	seen := map[row]map[string]Observation{}
	for _, o := range r.Matrix {
		k := row{o.From, o.To, o.Via, o.Port}
		if seen[k] == nil {
			seen[k] = map[string]Observation{}
			rows = append(rows, k)
		}
		seen[k][o.Phase] = o
	}
	t := table.NewWriter()
	t.SetOutputMirror(out)
	t.SetStyle(table.StyleLight)
	phases := []string{PhaseBefore, PhaseAfter, PhaseScaled, PhaseStopped}
	header := table.Row{"from", "to", "via", "port"}
	for _, phase := range phases {
		header = append(header, phase+": expected", "observed")
	}
	t.AppendHeader(header)
	for _, k := range rows {
		line := table.Row{k.from, k.to, k.via, k.port}
		for _, phase := range phases {
			o, ok := seen[k][phase]
			if !ok {
				line = append(line, "", "")
				continue
			}
			observed := string(o.Observed)
			if !o.OK() {
				observed += "  <-- differs"
			}
			line = append(line, o.Expected, observed)
		}
		t.AppendRow(line)
	}
	t.Render()
}
