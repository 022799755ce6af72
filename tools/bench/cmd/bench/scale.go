package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/ringfence/ringfence/tools/bench/load"
	"github.com/ringfence/ringfence/tools/bench/report"
	"github.com/ringfence/ringfence/tools/bench/scale"
	"github.com/ringfence/ringfence/tools/bench/workload"
)

type scaleCommand struct {
	Nodes       int           `default:"1000" help:"Nodes, each with a hundred pods, and as many label sets; targets are for 1000."`
	Processes   int           `default:"4" help:"Processes that the nodes are in."`
	Rate        int           `default:"100" help:"Changes of pods a second."`
	During      time.Duration `default:"5m" help:"How long; targets are for 5m."`
	Growth      bool          `default:"true" negatable:"" help:"Measure clusters of 100 to 1,000 nodes, too."`
	Quick       bool          `help:"A small cluster for a moment, to see that everything works."`
	Dir         string        `placeholder:"DIR" help:"Where policy-store has its folder. Default: the system's place for temporary files."`
	Charts      string        `placeholder:"DIR" help:"Draw the curve into this folder."`
	PolicyStore string        `default:"out/bin/policy-store" help:"The command policy-store."`
	Output      string        `short:"o" default:"table" enum:"table,json" help:"What to print: table or json."`
	Save        string        `placeholder:"FILE" help:"Write the results as JSON into this file, too."`
}

// Run measures.
func (c *scaleCommand) Run(ctx context.Context, s streams) error {
	if c.Quick {
		c.Nodes, c.Processes, c.During, c.Growth = 20, 2, 3*time.Second, false
	}
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this command: %w", err)
	}
	b := scale.Bench{
		Server: policyStoreLine(c.PolicyStore),
		Nodes: func(address string, from, to int) []string {
			return []string{self, "load", "--url", "nats://" + address, "nodes", "--from", fmt.Sprint(from), "--to", fmt.Sprint(to)}
		},
		Shape:     workload.Shape{Pods: 100 * c.Nodes, LabelSets: c.Nodes, Rules: 10 * c.Nodes, Nodes: c.Nodes},
		Followers: c.Nodes, Processes: c.Processes, Rate: c.Rate, During: c.During, Rolling: c.Nodes, Cut: true, Dir: c.Dir, Say: progress(s.progress),
	}
	r := report.Report{Environment: report.Here(fmt.Sprintf("%d nodes in %d processes, %d changes a second for %s", c.Nodes, c.Processes, c.Rate, c.During))}
	life, failed := b.Run(ctx)
	if failed == nil {
		r.Results = b.Results(life, c.Nodes == 1000 && c.During >= 5*time.Minute)
	}
	if failed == nil && c.Growth {
		b.During = 30 * time.Second
		figure, results, err := b.Growth(ctx, []int{100, 200, 500, 1000})
		r.Results = append(r.Results, results...)
		if failed = err; err == nil && c.Charts != "" {
			failed = figure.Save(c.Charts)
		}
	}
	if c.Save != "" {
		failed = errors.Join(failed, r.Save(c.Save))
	}
	return errors.Join(failed, output(s.out, c.Output, r))
}

// policyStoreLine gives the command line of policy-store, which listens on loopback and serves nothing else.
func policyStoreLine(command string) func(dir, address string) []string {
	return func(dir, address string) []string {
		return []string{command, "--listen", address, "--store-dir", filepath.Join(dir, "log"), "--storage-gi", storage, "--http-address", "", "--log-level", "error"}
	}
}

type loadNodes struct {
	From int `default:"0"`
	To   int `default:"1"`
}

// Run follows until the input ends.
func (w *loadNodes) Run(ctx context.Context, c *commands) error {
	n := load.Nodes{Client: c.Load.client(), From: w.From, To: w.To}
	return n.Run(ctx)
}
