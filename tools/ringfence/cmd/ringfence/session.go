package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/ringfence/ringfence/libs/clas"
	"github.com/ringfence/ringfence/libs/eventlog"
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

// which is the log to look into.
type which struct {
	File string `type:"existingfile" placeholder:"FILE" help:"Look into an exported log, without a server."`
}

// at is a place in a log.
type at struct {
	which `embed:""`
	At    place `aliases:"seq,time" placeholder:"PLACE" help:"Look at the log as it was: a sequence (1042), a time (RFC 3339), or how long ago (10m). The newest otherwise."`
}

// opened is a log that is open.
type opened struct {
	ringfence.Source
	log   *eventlog.Log   // nil for a file
	file  *ringfence.File // nil for a running log
	close func()
}

// open opens a running or an exported log.
func (s *session) open(w which) (*opened, error) {
	if w.File == "" {
		store, err := s.address.Connect(s.ctx)
		if err != nil {
			return nil, err
		}
		return &opened{Source: store.Log, log: store.Log, close: store.Close}, nil
	}
	file, err := ringfence.OpenFile(w.File)
	if err != nil {
		return nil, err
	}
	return &opened{Source: file, file: file, close: file.Close}, nil
}

// folded is a log that was folded up to a place.
type folded struct {
	*ringfence.State
	live     *ringfence.Live // nil but for a running log without a place
	promised string          // the digest that an exported log has for its end, where this engine can compare it
}

// fold folds a log up to a place.
func (s *session) fold(a at) (f folded, err error) {
	log, err := s.open(a.which)
	if err != nil {
		return folded{}, err
	}
	defer log.close()
	meter := newMeter(s.stderr)
	defer meter.clear()
	if log.log != nil && a.At.Place == (ringfence.Place{}) {
		f.State, f.live, err = ringfence.AtLive(s.ctx, log.log, meter.step)
	} else {
		f.State, err = ringfence.At(s.ctx, log, a.At.Place, meter.step)
	}
	if err != nil {
		return folded{}, err
	}
	if log.file != nil && log.file.Header.Last == f.Sequence && log.file.Header.Engine == clas.Version {
		f.promised = log.file.Trailer.Digest
	}
	meter.clear()
	s.warn(f.Start.SetAside, f.Refused)
	return f, nil
}

// warn says what was wrong with a log that could be folded all the same.
func (s *session) warn(setAside, refused []string) {
	for _, line := range setAside {
		fmt.Fprintf(s.stderr, "ringfence: warning: set aside: %s\n", line)
	}
	for _, line := range refused {
		fmt.Fprintf(s.stderr, "ringfence: warning: refused, the state before it stays: %s\n", line)
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
