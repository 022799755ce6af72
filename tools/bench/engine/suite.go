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
	// ModeGrowth folds cities of growing size. It is not of a workload.
	ModeGrowth Mode = "growth"
)

// Modes lists all of them in the order in which they run.
func Modes() []Mode { return []Mode{ModeCold, ModeLog, ModeRestart, ModeChange, ModeNode, ModeGrowth} }

// Suite is what to measure.
type Suite struct {
	// Workloads are ids of the catalogue. Without any, all are measured, as far as their rank says.
	Workloads []string
	Modes     []Mode
	Scale     float64
	// Charts, where set, is the folder for the curves of growth.
	Charts string
	// Each, where set, is given all results so far after every workload, so that a run that breaks off was not in vain.
	Each func([]report.Result) error
}

// Run measures one workload after the other.
func (b *Bench) Run(ctx context.Context, s Suite) ([]report.Result, error) {
	var out []report.Result
	for _, kind := range workload.Catalogue() {
		modes := s.modes(kind)
		if len(modes) == 0 {
			continue
		}
		b.say("%s: make: %s", kind.ID, kind.About)
		results, err := b.workload(ctx, kind.Make(s.Scale).Log(), modes, s.Scale == 1)
		if err != nil {
			return out, fmt.Errorf("%s: %w", kind.ID, err)
		}
		out = append(out, results...)
		if s.Each != nil {
			if err := s.Each(out); err != nil {
				return out, err
			}
		}
	}
	if s.Scale == 1 {
		out = append(out, flatness(out)...)
	}
	if slices.Contains(s.Modes, ModeGrowth) {
		results, err := b.growth(ctx, s)
		if err != nil {
			return out, err
		}
		out = append(out, results...)
	}
	return out, nil
}

// modes are those of a workload.
func (s Suite) modes(kind workload.Kind) []Mode {
	if len(s.Workloads) > 0 {
		if slices.Contains(s.Workloads, kind.ID) {
			return s.ofWorkloads(Modes())
		}
		return nil
	}
	return s.ofWorkloads(map[workload.Rank][]Mode{workload.Main: Modes(), workload.Variant: {ModeCold}}[kind.Rank])
}

// ofWorkloads gives those modes that are chosen, but for growth, which is of no workload.
func (s Suite) ofWorkloads(modes []Mode) []Mode {
	return slices.DeleteFunc(modes, func(m Mode) bool { return m == ModeGrowth || !slices.Contains(s.Modes, m) })
}

// growth measures and draws the curves.
func (b *Bench) growth(ctx context.Context, s Suite) ([]report.Result, error) {
	figures, err := b.Growth(ctx, s.Scale)
	if err != nil {
		return nil, err
	}
	for _, f := range figures {
		if s.Charts == "" {
			break
		}
		if err := f.Save(s.Charts); err != nil {
			return nil, err
		}
	}
	return growthResults(figures, s.Scale == 1), nil
}

func (b *Bench) workload(ctx context.Context, log *workload.Log, modes []Mode, whole bool) ([]report.Result, error) {
	var out []report.Result
	id := log.Cluster.ID
	wants := func(m Mode) bool { return slices.Contains(modes, m) && ctx.Err() == nil }
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
