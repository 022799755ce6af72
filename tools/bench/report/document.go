package report

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
)

// Load reads a report that Save wrote.
func Load(path string) (Report, error) {
	var r Report
	data, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(data, &r)
	}
	if err != nil {
		return r, fmt.Errorf("load the report: %w", err)
	}
	return r, nil
}

// Markdown gives the report as a part of a document: where it was measured, what has a target, and then the rest.
func (r Report) Markdown() string {
	var b strings.Builder
	e := r.Environment
	fmt.Fprintf(&b, "%s at revision %s: `%s` (%s) on %s, %s.\n", e.At.Format("2006-01-02"), e.Revision, e.Command, e.Options, e.Machine, e.Go)
	wanted := func(x Result) bool { return x.Met != nil }
	compared := func(x Result) bool { return x.Met == nil && x.Theirs != nil }
	alone := func(x Result) bool { return x.Met == nil && x.Theirs == nil }
	r.rows(&b, wanted, table.Row{"with a target", "ours", "theirs", "ratio", "target", "met", "note"}, func(x Result) table.Row {
		return table.Row{x.Name, x.amount(&x.Ours), x.amount(x.Theirs), x.ratio(), x.Target, x.verdict(), x.Note}
	})
	r.rows(&b, compared, table.Row{"beside a peer", "ours", "theirs", "ratio", "note"}, func(x Result) table.Row {
		return table.Row{x.Name, x.amount(&x.Ours), x.amount(x.Theirs), x.ratio(), x.Note}
	})
	r.rows(&b, alone, table.Row{"ours alone", "", "note"}, func(x Result) table.Row {
		return table.Row{x.Name, x.amount(&x.Ours), x.Note}
	})
	return b.String() + r.summary() + "\n"
}

// rows writes a table of those results that belong into it, if there are any.
func (r Report) rows(b *strings.Builder, belongs func(Result) bool, head table.Row, cells func(Result) table.Row) {
	t := table.NewWriter()
	t.AppendHeader(head)
	var columns []table.ColumnConfig
	for i, title := range head {
		if title == "ours" || title == "theirs" || title == "ratio" || title == "" {
			columns = append(columns, table.ColumnConfig{Number: i + 1, Align: text.AlignRight})
		}
	}
	t.SetColumnConfigs(columns)
	for _, x := range r.Results {
		if belongs(x) {
			t.AppendRow(cells(x))
		}
	}
	if t.Length() > 0 {
		b.WriteString("\n" + t.RenderMarkdown() + "\n")
	}
}

// Document puts the report into a document, in the place between the lines <!-- NAME: begin --> and <!-- NAME: end -->.
func (r Report) Document(path, name string) error {
	content, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("document: %w", err)
	}
	begin, end := "<!-- "+name+": begin -->\n", "<!-- "+name+": end -->"
	before, rest, opened := strings.Cut(string(content), begin)
	_, after, closed := strings.Cut(rest, end)
	if !opened || !closed {
		return fmt.Errorf("document %s: it lacks the lines %s and %s", path, strings.TrimSpace(begin), end)
	}
	if err := os.WriteFile(path, []byte(before+begin+r.Markdown()+end+after), 0o644); err != nil {
		return fmt.Errorf("document: %w", err)
	}
	return nil
}
