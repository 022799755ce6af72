package engine

import (
	"context"
	"fmt"
	"slices"

	"github.com/ringfence/ringfence/tools/bench/report"
	"github.com/ringfence/ringfence/tools/bench/workload"
)

// Mode is a way of measuring.
type Mode string

// The modes.
const (
	// ModeCold folds decoded facts in memory into an empty engine.
	ModeCold Mode = "cold"
	// ModeLog folds from a log in JetStream on the disk, with decoding.
	ModeLog Mode = "log"
	// ModeRestart restores from a snapshot and folds what came after it.
	ModeRestart Mode = "restart"
	// ModeChange makes single changes.
	ModeChange Mode = "change"
	// ModeNode takes one node's view.
	ModeNode Mode = "node"
)

// Modes lists all of them in the order in which they run.
func Modes() []Mode { return []Mode{ModeCold, ModeLog, ModeRestart, ModeChange, ModeNode} }

// Suite is what to measure.
type Suite struct {
	// Workloads are ids of the catalogue.
	Workloads []string
	Modes     []Mode
	Scale     float64
}

// Run measures one workload after the other.
func (b *Bench) Run(ctx context.Context, s Suite) ([]report.Result, error) {
	var out []report.Result
	for _, kind := range workload.Catalogue() {
		if !slices.Contains(s.Workloads, kind.ID) {
			continue
		}
		b.say("%s: make: %s", kind.ID, kind.About)
		results, err := b.workload(ctx, kind.Make(s.Scale).Log(), s)
		if err != nil {
			return out, fmt.Errorf("%s: %w", kind.ID, err)
		}
		out = append(out, results...)
	}
	return out, nil
}

func (b *Bench) workload(ctx context.Context, log *workload.Log, s Suite) ([]report.Result, error) {
	var out []report.Result
	id, whole := log.Cluster.ID, s.Scale == 1
	wants := func(m Mode) bool { return slices.Contains(s.Modes, m) && ctx.Err() == nil }
	if wants(ModeCold) {
		cold, err := b.Fold(log)
		if err != nil {
			return out, err
		}
		out = append(out, cold.results(id, whole)...)
	}
	if wants(ModeLog) || wants(ModeRestart) {
		logged, err := b.Logged(ctx, log, wants(ModeLog), wants(ModeRestart))
		if err != nil {
			return out, err
		}
		out = append(out, logged.results(id, whole)...)
	}
	if wants(ModeChange) {
		changes, err := b.Changes(log)
		if err != nil {
			return out, err
		}
		for _, c := range changes {
			out = append(out, c.results(id, whole)...)
		}
	}
	if wants(ModeNode) {
		view, err := b.Node(log)
		if err != nil {
			return out, err
		}
		out = append(out, view.results(id, whole)...)
	}
	return out, ctx.Err()
}
