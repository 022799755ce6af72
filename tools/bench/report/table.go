package report

import (
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
)

// WriteTable prints the results for people, and then which targets were missed.
func (r Report) WriteTable(w io.Writer) error {
	t := table.NewWriter()
	style := table.StyleDefault
	style.Options = table.OptionsNoBordersAndSeparators
	style.Box.PaddingLeft, style.Box.PaddingRight = "", "   "
	style.Format.Header = text.FormatUpper
	t.SetStyle(style)
	t.SuppressTrailingSpaces()
	t.AppendHeader(table.Row{"result", "ours", "theirs", "ratio", "target", "met", "peer", "note"})
	t.SetColumnConfigs([]table.ColumnConfig{{Number: 2, Align: text.AlignRight}, {Number: 3, Align: text.AlignRight}, {Number: 4, Align: text.AlignRight}})
	for _, x := range r.Results {
		t.AppendRow(table.Row{x.Name, x.amount(&x.Ours), x.amount(x.Theirs), x.ratio(), x.Target, x.verdict(), x.Peer, x.Note})
	}
	e := r.Environment
	_, err := fmt.Fprintf(w, "%s\n%s, %s, %s, revision %s\n\n%s\n%s\n", e.Command, e.Machine, e.Go, e.Options, e.Revision, t.Render(), r.summary())
	return err
}

// summary counts targets and names those that were missed.
func (r Report) summary() string {
	all, missed := 0, []string{}
	for _, x := range r.Results {
		if x.Met == nil {
			continue
		}
		if all++; !*x.Met {
			missed = append(missed, fmt.Sprintf("  %s: %s, wanted %s", x.Name, x.amount(&x.Ours), x.Target))
		}
	}
	line := fmt.Sprintf("\n%d of %d targets met.", all-len(missed), all)
	if len(missed) > 0 {
		line += " Missed:\n" + strings.Join(missed, "\n")
	}
	return line
}

func (r Result) amount(v *float64) string {
	if v == nil {
		return ""
	}
	return digits(*v) + " " + r.Unit
}

func (r Result) ratio() string {
	if r.Ratio == nil {
		return ""
	}
	return digits(*r.Ratio)
}

func (r Result) verdict() string {
	switch {
	case r.Met == nil:
		return ""
	case *r.Met:
		return "yes"
	}
	return "NO"
}

// digits writes a figure with three digits that count, or all before the point.
func digits(v float64) string {
	if v == 0 || math.IsNaN(v) || math.IsInf(v, 0) {
		return strconv.FormatFloat(v, 'f', -1, 64)
	}
	places := max(0, 2-int(math.Floor(math.Log10(math.Abs(v)))))
	text := strconv.FormatFloat(v, 'f', places, 64)
	if strings.Contains(text, ".") {
		text = strings.TrimRight(strings.TrimRight(text, "0"), ".")
	}
	return text
}
