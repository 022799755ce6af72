package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/ringfence/ringfence/tools/ringfence"
)

// session is what every command works with.
type session struct {
	ctx            context.Context //nolint:containedctx // lives as long as the one command that runs
	stdout, stderr io.Writer
	address        ringfence.Address
}

// output is the flag of commands that print for people or for programs.
type output struct {
	Output string `short:"o" enum:"text,json" default:"text" help:"Print text or json."`
}

func (o output) json() bool { return o.Output == "json" }

// place is where in which log to look.
type place struct {
	Seq  uint64 `xor:"place" placeholder:"N" help:"Fold up to this sequence, included."`
	Time moment `xor:"place" placeholder:"TIME" help:"Fold what was stored up to a time: RFC 3339, or how long ago (10m)."`
	File string `type:"existingfile" placeholder:"FILE" help:"Read an exported log instead of a running one."`
}

func (p place) until() ringfence.Until {
	return ringfence.Until{Sequence: p.Seq, Time: p.Time.Time}
}

func (p place) live() bool { return p.File == "" && p.until() == ringfence.Until{} }

// fold folds the log of a place. live is nil but for a running log without a bound.
func (s *session) fold(p place) (*ringfence.Replay, *ringfence.Live, error) {
	meter := newMeter(s.stderr, "folding facts")
	defer meter.clear()
	if p.File != "" {
		r, err := s.foldFile(p, meter)
		return r, nil, err
	}
	store, err := s.address.Connect(s.ctx)
	if err != nil {
		return nil, nil, err
	}
	defer store.Close()
	var r *ringfence.Replay
	var live *ringfence.Live
	if p.live() {
		r, live, err = ringfence.ReplayLive(s.ctx, store.Log, meter.step)
	} else {
		r, err = ringfence.ReplayLog(s.ctx, store.Log, p.until(), meter.step)
	}
	if err != nil {
		return nil, nil, err
	}
	meter.clear()
	s.warn("", r)
	return r, live, nil
}

func (s *session) foldFile(p place, meter *meter) (*ringfence.Replay, error) {
	file, err := os.Open(p.File)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	r, err := ringfence.ReplayFile(file, p.until(), meter.step)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", p.File, err)
	}
	meter.clear()
	s.warn(p.File+": ", r)
	return r, nil
}

// warn says what is wrong with a log that could be folded all the same.
func (s *session) warn(where string, r *ringfence.Replay) {
	for _, line := range r.Damage {
		fmt.Fprintf(s.stderr, "ringfence: warning: %s%s\n", where, line)
	}
	for _, line := range r.Refused {
		fmt.Fprintf(s.stderr, "ringfence: warning: %srefused, the state before it stays: %s\n", where, line)
	}
}

// printJSON prints one indented JSON object.
func (s *session) printJSON(v any) error {
	encoder := json.NewEncoder(s.stdout)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	return encoder.Encode(v)
}

// interrupted says whether err is only that the user ended the command.
func (s *session) interrupted(err error) bool {
	return s.ctx.Err() != nil && errors.Is(err, s.ctx.Err())
}
