package main

import (
	"errors"
	"fmt"

	"github.com/ringfence/ringfence/tools/ringfence"
)

type exportCommand struct {
	Out    string `arg:"" name:"out" type:"path" placeholder:"OUT" help:"File to write, such as incident.rflog; - is standard output."`
	From   place  `placeholder:"PLACE" help:"Place whose state the file starts with; the start of the log otherwise."`
	To     place  `placeholder:"PLACE" help:"Last place; the newest otherwise."`
	which  `embed:""`
	output `embed:""`
}

// Help gives the example.
func (exportCommand) Help() string {
	return `The file holds the state at the first place, every fact after it up to the last, and the digest of the policy there, compressed
and with a checksum over all. replay, explain, diff, bisect and facts look into it by --file, without a server; import makes a
log of it.

Example:

    ringfence export incident.rflog --from 2026-01-27T08:00:00Z --to 2026-01-27T12:00:00Z
    ringfence bisect shop/deployment/web shop/service/api 80 --good 2026-01-27T08:30:00Z --file incident.rflog`
}

// exported is what the command prints as JSON.
type exported struct {
	File        string   `json:"file"`
	Incarnation string   `json:"incarnation"`
	Start       uint64   `json:"start"`
	Last        uint64   `json:"last"`
	State       uint64   `json:"state"`
	Facts       uint64   `json:"facts"`
	Engine      string   `json:"engine"`
	Digest      string   `json:"digest"`
	Refused     []string `json:"refused"`
}

// Run exports.
func (c *exportCommand) Run(s *session) error {
	if c.Out == "-" && c.json() {
		return fmt.Errorf("%w: standard output takes the file or the JSON, not both", errUsage)
	}
	log, err := s.open(c.which)
	if err != nil {
		return err
	}
	defer log.close()
	meter := newMeter(s.stderr)
	defer meter.clear()
	var done ringfence.Exported
	if c.Out == "-" {
		done, err = ringfence.Export(s.ctx, log, c.From.Place, c.To.Place, s.stdout, meter.step)
	} else {
		done, err = ringfence.ExportFile(s.ctx, log, c.From.Place, c.To.Place, c.Out, meter.step)
	}
	if err != nil {
		return err
	}
	meter.clear()
	s.warn(nil, done.Refused)
	if c.json() {
		return s.printJSON(exported{
			File: c.Out, Incarnation: done.Incarnation, Start: done.Start, Last: done.Last, State: done.State, Facts: done.Facts,
			Engine: done.Engine, Digest: done.Digest, Refused: listed(done.Refused),
		})
	}
	what := fmt.Sprintf("the log's first %d facts", done.Facts)
	if done.Start > 0 {
		what = fmt.Sprintf("the state at %d (%d facts) and the %d facts after it", done.Start, done.State, done.Facts)
	}
	fmt.Fprintf(s.stderr, "exported %s, up to sequence %d, to %s\n", what, done.Last, c.Out)
	return nil
}

type importCommand struct {
	In     string `arg:"" name:"file" type:"existingfile" placeholder:"FILE" help:"Exported log to read."`
	Folder string `arg:"" type:"path" placeholder:"FOLDER" help:"Store folder to make; it must be new or empty."`
	output `embed:""`
}

// Help gives the example.
func (importCommand) Help() string {
	return `The log that it makes has the same incarnation, facts and sequences as the one that was exported, and its policy is compared with
the digest in the file. Its facts were stored at the time of the import: to look at times, look into the file. Never connect the
producers or enforcers of a cluster whose own log still runs.

Example:

    ringfence import incident.rflog ./log && policy-store --store-dir ./log`
}

// Run imports.
func (c *importCommand) Run(s *session) error {
	log, err := s.open(which{File: c.In})
	if err != nil {
		return err
	}
	defer log.close()
	meter := newMeter(s.stderr)
	defer meter.clear()
	gi, err := ringfence.Import(s.ctx, log.file, c.Folder, meter.step)
	if err != nil {
		if errors.Is(err, s.ctx.Err()) && s.ctx.Err() != nil {
			return fmt.Errorf("interrupted; %s was not made", c.Folder)
		}
		return err
	}
	meter.clear()
	if c.json() {
		return s.printJSON(map[string]any{
			"folder": c.Folder, "storage_gi": gi, "incarnation": log.file.Header.Incarnation, "start": log.file.Header.Start, "last": log.file.Header.Last,
			"facts": log.file.Trailer.Facts, "digest": log.file.Trailer.Digest,
		})
	}
	fmt.Fprintf(s.stderr, "imported %d facts up to sequence %d into %s; serve them with: policy-store --store-dir %s --storage-gi %d\n",
		log.file.Trailer.Facts, log.file.Header.Last, c.Folder, c.Folder, gi)
	return nil
}
