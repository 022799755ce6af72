package main

import (
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/term"
)

const (
	// quiet is how long work goes on before it says so.
	quiet = 2 * time.Second
	// redraw is how often the line of progress changes.
	redraw = 200 * time.Millisecond
)

// meter shows progress of long work on a terminal, in one line that it rewrites.
type meter struct {
	out            io.Writer // nil when it is no terminal
	started, drawn time.Time
}

func newMeter(out io.Writer) *meter {
	m := &meter{started: time.Now()}
	if file, ok := out.(*os.File); ok && term.IsTerminal(int(file.Fd())) { //nolint:gosec // a file descriptor fits
		m.out = out
	}
	return m
}

// step says how much of all is done of some part of the work.
func (m *meter) step(what string, done, all uint64) {
	if m.out == nil || done%256 != 0 {
		return
	}
	now := time.Now()
	if now.Sub(m.started) < quiet || now.Sub(m.drawn) < redraw {
		return
	}
	m.drawn = now
	fmt.Fprintf(m.out, "\r\x1b[K%s: %d of %d (%s)", what, done, max(all, done), now.Sub(m.started).Round(time.Second))
}

// clear removes the line.
func (m *meter) clear() {
	if !m.drawn.IsZero() {
		fmt.Fprint(m.out, "\r\x1b[K")
		m.drawn = time.Time{}
	}
}
