package policyfile

import (
	"fmt"
	"io"
	"slices"
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

// String is the change of a field, in short: of a list what goes and what comes.
func (d Difference) String() string {
	before, listBefore := d.Before.([]any)
	after, listAfter := d.After.([]any)
	if !listBefore && !listAfter {
		return fmt.Sprintf("%s: %s -> %s", d.Field, short(d.Before), short(d.After))
	}
	parts := append(missing("-", before, after), missing("+", after, before)...)
	if len(parts) > 4 {
		parts = append(parts[:4], fmt.Sprintf("and %d more", len(parts)-4))
	}
	return d.Field + ": " + strings.Join(parts, " ")
}

// missing lists what other does not have.
func missing(sign string, items, other []any) (parts []string) {
	for _, item := range items {
		if !slices.ContainsFunc(other, func(o any) bool { return rank(o) == rank(item) }) {
			parts = append(parts, sign+short(item))
		}
	}
	return parts
}

// short writes a plain value on one line.
func short(v any) string {
	switch v := v.(type) {
	case nil:
		return "default"
	case []any:
		parts := make([]string, len(v))
		for i := range v {
			parts[i] = short(v[i])
		}
		return "[" + strings.Join(parts, ", ") + "]"
	case map[string]any:
		var parts []string
		for _, name := range namesOf(v) {
			parts = append(parts, name+": "+short(v[name]))
		}
		return "{" + strings.Join(parts, ", ") + "}"
	}
	return fmt.Sprint(v)
}
