package policyfile

import (
	"fmt"
	"io"
	"strings"

	"github.com/jedib0t/go-pretty/v6/table"
	words "github.com/jedib0t/go-pretty/v6/text"
)

// WriteTable prints the plan for people.
func (p *Plan) WriteTable(w io.Writer) error {
	t := table.NewWriter()
	style := table.StyleDefault
	style.Options = table.OptionsNoBordersAndSeparators
	style.Box.PaddingLeft, style.Box.PaddingRight = "", "   "
	style.Format.Header = words.FormatUpper
	t.SetStyle(style)
	t.SuppressTrailingSpaces()
	t.AppendHeader(table.Row{"action", "kind", "name", "changes"})
	counts := map[string]int{}
	for _, c := range p.Changes {
		counts[c.Action]++
		var fields []string
		for _, d := range c.Fields {
			fields = append(fields, d.String())
		}
		t.AppendRow(table.Row{c.Action, c.Kind, c.Name, strings.Join(fields, ", ")})
	}
	if len(p.Changes) > 0 {
		if _, err := fmt.Fprintln(w, t.Render()); err != nil {
			return err
		}
	}
	for _, note := range p.Notes {
		if _, err := fmt.Fprintln(w, "note:", note); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintf(w, "%d to create, %d to update, %d to delete, %d unchanged\n", counts[Create], counts[Update], counts[Delete], p.Unchanged)
	return err
}

// String is the change of a field, in short.
func (d Difference) String() string {
	return fmt.Sprintf("%s: %s -> %s", d.Field, short(d.Before), short(d.After))
}

// short writes a plain value on one line, and long ones only by their size.
func short(v any) string {
	switch v := v.(type) {
	case nil:
		return "-"
	case []any:
		parts := make([]string, len(v))
		for i := range v {
			parts[i] = short(v[i])
		}
		if out := "[" + strings.Join(parts, ", ") + "]"; len(out) <= 60 {
			return out
		}
		return fmt.Sprintf("[%d entries]", len(v))
	case map[string]any:
		var parts []string
		for _, name := range sortedNames(v) {
			parts = append(parts, name+": "+short(v[name]))
		}
		return "{" + strings.Join(parts, ", ") + "}"
	}
	return fmt.Sprint(v)
}
