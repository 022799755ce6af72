package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/ringfence/ringfence/tools/bench/bridge"
	"github.com/ringfence/ringfence/tools/bench/report"
)

type pceCommand struct {
	Labels      int           `default:"20000" help:"Labels in the console; targets are for the defaults."`
	Rules       int           `default:"5000" help:"Rules in the console, 50 to a rule set."`
	Workloads   int           `default:"2000" help:"Kubernetes workloads in the cluster, every fifth of them a Service."`
	Rounds      int           `default:"3" help:"How often the first full sync is measured; the median counts."`
	During      time.Duration `default:"3m" help:"How long nothing changes."`
	Quick       bool          `help:"Small numbers for a moment, to see that everything works; without targets."`
	Dir         string        `placeholder:"DIR" help:"Where the processes have their folders. Default: the system's place for temporary files."`
	PolicyStore string        `default:"out/bin/policy-store" help:"The command policy-store."`
	Console     string        `default:"out/bin/pce" help:"The command pce."`
	Output      string        `short:"o" default:"table" enum:"table,json" help:"What to print: table or json."`
	Save        string        `placeholder:"FILE" help:"Write the results as JSON into this file, too."`
}

const rulesEach = 50

// Run measures.
func (c *pceCommand) Run(ctx context.Context, s streams) error {
	if c.Quick {
		c.Labels, c.Rules, c.Workloads, c.Rounds, c.During = 400, 2*rulesEach, 200, 1, 2*time.Second
	}
	if c.Labels < 1 || c.Rules < rulesEach || c.Rounds < 1 {
		return errors.New("want at least one label, fifty rules and one round")
	}
	b := bridge.Bench{
		Store: policyStoreLine(c.PolicyStore),
		Console: func(dir, address, key, secret string) []string {
			return bridge.ConsoleLine(c.Console, dir, address, key, secret)
		},
		Labels: c.Labels, RuleSets: c.Rules / rulesEach, RulesEach: rulesEach, Workloads: c.Workloads, Nodes: 10,
		Rounds: c.Rounds, Changes: 10, During: c.During, Dir: c.Dir, Say: progress(s.progress),
	}
	r := report.Report{Environment: report.Here(fmt.Sprintf("%d rounds, %s without a change", b.Rounds, b.During))}
	life, failed := b.Run(ctx)
	if failed == nil {
		r.Results = b.Results(life, c.Labels >= 20_000 && c.Rules >= 5000 && c.Workloads >= 2000 && c.During >= time.Minute)
	}
	if c.Save != "" {
		failed = errors.Join(failed, r.Save(c.Save))
	}
	return errors.Join(failed, output(s.out, c.Output, r))
}
