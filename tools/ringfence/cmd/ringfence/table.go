package main

import (
	"fmt"
	"io"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
)

// newTable gives a table without lines, which prints well and greps well.
func newTable(columns ...any) table.Writer {
	t := table.NewWriter()
	style := table.StyleDefault
	style.Options = table.OptionsNoBordersAndSeparators
	style.Box.PaddingLeft, style.Box.PaddingRight = "", "   "
	style.Format.Header = text.FormatUpper
	t.SetStyle(style)
	t.SuppressTrailingSpaces()
	t.AppendHeader(table.Row(columns))
	return t
}

// printTable prints a table after a blank line, or what to say when it is empty.
func printTable(w io.Writer, t table.Writer, empty string) {
	if t.Length() == 0 {
		fmt.Fprintf(w, "\n%s\n", empty)
		return
	}
	fmt.Fprintf(w, "\n%s\n", t.Render())
}
