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
	// ModeCold folds decoded facts into an empty engine.
	ModeCold Mode = "cold"
)

// Modes lists all of them in the order in which they run.
func Modes() []Mode { return []Mode{ModeCold} }

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
	for _, mode := range Modes() {
		if !slices.Contains(s.Modes, mode) {
			continue
		}
		results, err := b.mode(ctx, log, mode, s.Scale == 1)
		if err != nil {
			return out, fmt.Errorf("%s: %w", mode, err)
		}
		out = append(out, results...)
	}
	return out, nil
}

func (b *Bench) mode(_ context.Context, log *workload.Log, _ Mode, whole bool) ([]report.Result, error) {
	cold, err := b.Fold(log)
	return cold.results(log.Cluster.ID, whole), err
}
