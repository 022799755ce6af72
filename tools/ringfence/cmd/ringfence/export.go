package main

import (
	"fmt"

	"github.com/ringfence/ringfence/tools/ringfence"
)

type exportCommand struct {
	File  string `short:"O" type:"path" placeholder:"FILE" help:"File to write, compressed when its name ends in .gz; standard output otherwise."`
	ToSeq uint64 `placeholder:"N" help:"Last sequence to export; the newest otherwise."`
}

// Help gives the example.
func (exportCommand) Help() string {
	return `The file has one JSON object a line: a header, every fact, and an end line with a SHA-256 of all before it. It replays
to the digest of the log that it was taken from.

Example:

    ringfence export -O shop.jsonl.gz && ringfence replay --file shop.jsonl.gz`
}

// Run exports.
func (c *exportCommand) Run(s *session) error {
	store, err := s.address.Connect(s.ctx)
	if err != nil {
		return err
	}
	defer store.Close()
	meter := newMeter(s.stderr, "exporting facts")
	defer meter.clear()
	if c.File == "" {
		_, err := ringfence.Export(s.ctx, store.Log, c.ToSeq, s.stdout, meter.step)
		return err
	}
	done, err := ringfence.ExportFile(s.ctx, store.Log, c.ToSeq, c.File, meter.step)
	if err != nil {
		return err
	}
	meter.clear()
	fmt.Fprintf(s.stderr, "exported %d facts, %d to %d, to %s\n", done.Facts, done.First, done.Last, c.File)
	return nil
}
