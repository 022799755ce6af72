package engine

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/ringfence/ringfence/libs/clas"
	"github.com/ringfence/ringfence/tools/bench/curve"
	"github.com/ringfence/ringfence/tools/bench/peer"
	"github.com/ringfence/ringfence/tools/bench/report"
	"github.com/ringfence/ringfence/tools/bench/workload"
)

// middle is the city of which one size at a time is varied.
var middle = workload.Shape{Pods: 20_000, LabelSets: 500, Rules: 2_000, Nodes: 200}

// dimension is a size that is varied.
type dimension struct {
	name  string
	sizes []int
	make  func(n int) *workload.Cluster
}

func dimensions(scale float64) []dimension {
	vary := func(set func(s *workload.Shape, n int)) func(n int) *workload.Cluster {
		return func(n int) *workload.Cluster {
			shape := middle
			shape.Pods, shape.LabelSets, shape.Rules = small(shape.Pods, scale), small(shape.LabelSets, scale), small(shape.Rules, scale)
			set(&shape, n)
			return workload.City(shape)
		}
	}
	out := []dimension{
		{"pods", []int{5_000, 10_000, 20_000, 50_000, 100_000, 200_000}, vary(func(s *workload.Shape, n int) { s.Pods = n })},
		{"label sets", []int{100, 200, 500, 1_000, 2_000, 5_000, 10_000}, vary(func(s *workload.Shape, n int) { s.LabelSets = n })},
		{"rules", []int{500, 1_000, 2_000, 5_000, 10_000, 20_000, 50_000}, vary(func(s *workload.Shape, n int) { s.Rules = n })},
		{"nodes", []int{20, 50, 100, 200, 500, 1_000, 2_000, 5_000}, vary(func(s *workload.Shape, n int) { s.Nodes = n })},
		{"selectors", []int{100, 1_000, 10_000, 100_000}, func(n int) *workload.Cluster { return workload.Selectors(n, small(10_000, scale)) }},
	}
	for _, d := range out {
		for i := range d.sizes {
			d.sizes[i] = small(d.sizes[i], scale)
		}
	}
	return out
}

// small scales a size, and keeps what is small already.
func small(n int, scale float64) int { return max(min(n, 50), int(float64(n)*scale)) }

// Growth measures cities of growing size, one dimension after the other: the cold fold, and single changes.
func (b *Bench) Growth(ctx context.Context, scale float64) ([]curve.Figure, error) {
	var out []curve.Figure
	for _, d := range dimensions(scale) {
		f := curve.Figure{File: "growth-" + fileName(d.name), Title: "Cost against " + d.name, Size: d.name, Cost: "microseconds"}
		for _, n := range slices.Compact(d.sizes) {
			if ctx.Err() != nil {
				return out, ctx.Err()
			}
			b.say("growth: %d %s", n, d.name)
			if err := b.grow(&f, n, d.make(n)); err != nil {
				return out, fmt.Errorf("growth, %d %s: %w", n, d.name, err)
			}
		}
		if d.name == "selectors" {
			f.Lines = append(f.Lines, theirs(f.Lines[0]))
		}
		out = append(out, f)
	}
	return out, nil
}

func fileName(words string) string {
	text := []byte(words)
	for i := range text {
		if text[i] == ' ' {
			text[i] = '-'
		}
	}
	return string(text)
}

// coldLine is of processor time, and of single changes the fastest counts: runs of different sizes are minutes apart, and
// others may use the machine.
const coldLine = "cold fold, processor time"

// grow measures one size.
func (b *Bench) grow(f *curve.Figure, n int, cluster *workload.Cluster) error {
	log := cluster.Log()
	quiet := *b
	quiet.Say, quiet.Profiles = nil, ""
	cold, err := quiet.Fold(log)
	if err != nil {
		return err
	}
	add(f, coldLine, n, cmp.Or(cold.CPU, cold.Total()))
	e, err := quiet.warm(log)
	if err != nil {
		return err
	}
	changes := log.Changes()
	for _, next := range []func() workload.Round{changes.Pod, changes.Policy} {
		seen, err := quiet.shortSeries(e, next)
		if err != nil {
			return err
		}
		for _, s := range seen {
			c := s.summary()
			if c.Kind == workload.PodAdded || c.Kind == workload.PolicyAdded {
				add(f, c.Kind, n, c.Best)
			}
		}
	}
	return nil
}

// shortSeries takes half the time of a series.
func (b *Bench) shortSeries(e *clas.Engine, next func() workload.Round) (samples, error) {
	short := *b
	short.Budget /= 2
	return short.series("", e, next)
}

// add puts a point on the line of the name.
func add(f *curve.Figure, name string, size int, cost time.Duration) {
	point := curve.Point{Size: float64(size), Cost: micros(cost)}
	for i := range f.Lines {
		if f.Lines[i].Name == name {
			f.Lines[i].Points = append(f.Lines[i].Points, point)
			return
		}
	}
	f.Lines = append(f.Lines, curve.Line{Name: name, Points: []curve.Point{point}})
}

// theirs is Calico's figure for one pod against so many selectors, as far as it was measured.
func theirs(like curve.Line) curve.Line {
	l := curve.Line{Name: "Calico, one pod"}
	for _, p := range like.Points {
		if cost, measured := peer.WorkloadUpdateMicros[int(p.Size)]; measured {
			l.Points = append(l.Points, curve.Point{Size: p.Size, Cost: cost})
		}
	}
	return l
}

const (
	// linear allows for caches that get too small.
	linear = 1.15
	// flat is what a change may cost more where it is one among more, for the same reason.
	flat = 0.25
)

// growthResults gives the exponent of every curve.
func growthResults(figures []curve.Figure, whole bool) []report.Result {
	var out []report.Result
	for _, f := range figures {
		for _, l := range f.Lines {
			if len(l.Points) < 2 || l.Name == "Calico, one pod" {
				continue
			}
			first, last := l.Points[0], l.Points[len(l.Points)-1]
			r := report.Result{Name: fmt.Sprintf("growth of %s with %s", l.Name, f.Size), Unit: "exponent", Ours: l.Slope(),
				Note: fmt.Sprintf("%.4g us at %.0f, %.4g us at %.0f", first.Cost, first.Size, last.Cost, last.Size)}
			if whole && l.Name == workload.PodAdded {
				r = r.AtMost(flat, "flat: at most 0.25")
			} else if whole {
				r = r.AtMost(linear, "linear: at most 1.15")
			}
			out = append(out, r)
		}
	}
	return out
}
