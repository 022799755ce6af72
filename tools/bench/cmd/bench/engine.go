package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/ringfence/ringfence/tools/bench/engine"
	"github.com/ringfence/ringfence/tools/bench/report"
	"github.com/ringfence/ringfence/tools/bench/workload"
)

type engineCommand struct {
	Workloads []string      `default:"all" help:"Workloads by id, or all, of which variants are folded cold only: A1 to A5, C1, C2, G, I-100, M and so on; --list says what they are."`
	Modes     []string      `default:"all" help:"Modes, or all: cold, log, restart, change, node, growth."`
	List      bool          `help:"Say what the workloads are, and measure nothing."`
	Scale     float64       `default:"1" help:"Size of the workloads; 1 is what the peers measured."`
	Runs      int           `default:"3" help:"Runs of which the fastest counts."`
	Budget    time.Duration `default:"3s" help:"How long each kind of single change is repeated."`
	Cores     int           `default:"2" help:"GOMAXPROCS."`
	Profile   string        `placeholder:"DIR" help:"Write CPU and heap profiles into this folder."`
	Charts    string        `placeholder:"DIR" help:"Draw the curves of growth into this folder."`
	Output    string        `short:"o" default:"table" enum:"table,json" help:"What to print: table or json."`
	Save      string        `placeholder:"FILE" help:"Write the results as JSON into this file, too, anew after every workload."`
}

// Run measures.
func (c *engineCommand) Run(ctx context.Context, s streams) error {
	if c.List {
		for _, kind := range workload.Catalogue() {
			fmt.Fprintf(s.out, "%-9s %s\n", kind.ID, kind.About)
		}
		return nil
	}
	suite, err := c.suite()
	if err != nil {
		return err
	}
	if c.Profile != "" {
		if err := os.MkdirAll(c.Profile, 0o755); err != nil {
			return fmt.Errorf("profiles: %w", err)
		}
	}
	runtime.GOMAXPROCS(c.Cores)
	b := &engine.Bench{Runs: c.Runs, Budget: c.Budget, Profiles: c.Profile, Say: progress(s.progress)}
	r := report.Report{Environment: report.Here(fmt.Sprintf("GOMAXPROCS=%d, scale %g, best of %d", c.Cores, c.Scale, c.Runs))}
	suite.Each = func(results []report.Result) error {
		r.Results = results
		return c.save(r)
	}
	results, failed := b.Run(ctx, suite)
	r.Results = results
	return errors.Join(failed, c.save(r), output(s.out, c.Output, r))
}

func (c *engineCommand) save(r report.Report) error {
	if c.Save == "" {
		return nil
	}
	return r.Save(c.Save)
}

func (c *engineCommand) suite() (engine.Suite, error) {
	s := engine.Suite{Scale: c.Scale, Charts: c.Charts}
	var ids, modes []string
	for _, kind := range workload.Catalogue() {
		ids = append(ids, kind.ID)
	}
	for _, mode := range engine.Modes() {
		modes = append(modes, string(mode))
	}
	var err error
	if s.Workloads, err = chosen("workload", c.Workloads, ids); err != nil {
		return s, err
	}
	names, err := chosen("mode", c.Modes, modes)
	if err != nil {
		return s, err
	}
	if len(names) == 0 {
		names = modes
	}
	for _, mode := range names {
		s.Modes = append(s.Modes, engine.Mode(mode))
	}
	return s, nil
}

// chosen checks names against those that there are. It gives none where all are asked for.
func chosen(what string, names, known []string) ([]string, error) {
	if slices.Equal(names, []string{"all"}) {
		return nil, nil
	}
	for _, name := range names {
		if !slices.Contains(known, name) {
			return nil, fmt.Errorf("no %s %q: there are %s", what, name, strings.Join(known, ", "))
		}
	}
	return names, nil
}

// progress says what is being done, with the time since the start.
func progress(out io.Writer) func(string) {
	start := time.Now()
	return func(line string) {
		fmt.Fprintf(out, "%6.1f s  %s\n", time.Since(start).Seconds(), line)
	}
}
