package rounds

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/ringfence/ringfence/tools/bench/report"
)

// What the issue wants of a log that takes etcd's place. They hold at the full size.
const (
	// faster is how many times etcd's rate of durable writes ours is where many write at once.
	faster, many = 3, 64
	// cheaper is the share of etcd's processor time that a delivery may take.
	cheaper = 0.4
	// smaller is the share of etcd's memory and disk that ours may take.
	smaller = 1.0 / 3
	// replayed is how many facts a second are folded on one core.
	replayed = 150_000
	// restarted is how many seconds a start may take, to the first window.
	restarted = 3
)

// Run measures and gives the figures: medians of the rounds, with their range in the note. Targets stand beside the figures
// of a full run only.
func (b *Bench) Run(ctx context.Context, full bool) ([]report.Result, error) {
	err := b.measure(ctx)
	f := figures{bench: b, full: full}
	for _, writers := range b.Writers {
		f.write(writers)
	}
	f.fanOut()
	f.fill()
	f.list(listFigure, "1 revision", true)
	f.list(relistFigure, fmt.Sprintf("%d revisions", b.Revisions), false)
	f.disk()
	f.replay()
	f.restart()
	return f.results, err
}

// figures makes results of what was seen.
type figures struct {
	bench   *Bench
	full    bool
	results []report.Result
}

// spread is the median of some figure over the rounds of one side, and its range.
type spread struct{ median, least, most float64 }

func (f *figures) spread(figure string, of side, value func(Work) float64) (spread, bool) {
	all := f.bench.seen[figure][of]
	if len(all) == 0 {
		return spread{}, false
	}
	values := make([]float64, len(all))
	for i, w := range all {
		values[i] = value(w)
	}
	slices.Sort(values)
	return spread{values[len(values)/2], values[0], values[len(values)-1]}, true
}

func (s spread) String() string { return fmt.Sprintf("%s to %s", short(s.least), short(s.most)) }

// short writes a figure with three digits or all before the point.
func short(v float64) string {
	if v >= 100 {
		return fmt.Sprintf("%.0f", v)
	}
	return fmt.Sprintf("%.3g", v)
}

// pair is a figure of both sides.
type pair struct{ ours, theirs spread }

// both gives a figure where both sides have it.
func (f *figures) both(figure string, value func(Work) float64) (pair, bool) {
	mine, have := f.spread(figure, ours, value)
	other, has := f.spread(figure, theirs, value)
	return pair{mine, other}, have && has
}

// add keeps a result, with its target where this is a full run.
func (f *figures) add(r report.Result, target func(report.Result) report.Result) {
	if f.full && target != nil {
		r = target(r)
	}
	f.results = append(f.results, r)
}

// less is a figure beside etcd's of which less is better, more one of which more is.
func (f *figures) less(name, unit string, p pair, note string) report.Result {
	r := report.Result{Name: name, Unit: unit, Ours: p.ours.median, Note: rangeNote(p, note)}
	return r.Beside(f.bench.Theirs.Name, p.theirs.median)
}

func (f *figures) more(name, unit string, p pair, note string) report.Result {
	r := report.Result{Name: name, Unit: unit, Ours: p.ours.median, Note: rangeNote(p, note)}
	return r.BesideRate(f.bench.Theirs.Name, p.theirs.median)
}

func rangeNote(p pair, note string) string {
	text := fmt.Sprintf("ours %s, theirs %s", p.ours, p.theirs)
	if note != "" {
		text += "; " + note
	}
	return text
}

// atMost wants a share of theirs.
func atMost(share float64, words string) func(report.Result) report.Result {
	return func(r report.Result) report.Result { return r.AtMost(share*(*r.Theirs), words) }
}

func times(n float64) func(report.Result) report.Result {
	return func(r report.Result) report.Result { return r.Times(n) }
}

func rate(w Work) float64           { return float64(w.Operations) / w.Seconds }
func seconds(w Work) float64        { return w.Seconds }
func megabytes(bytes int64) float64 { return float64(bytes) / 1e6 }

// each is processor time by operation, in microseconds.
func each(of func(Work) time.Duration) func(Work) float64 {
	return func(w Work) float64 { return float64(of(w).Nanoseconds()) / 1e3 / float64(w.Operations) }
}

func serverCPU(w Work) time.Duration { return w.ServerCPU }
func clientCPU(w Work) time.Duration { return w.ClientCPU }
func bothCPU(w Work) time.Duration   { return w.ServerCPU + w.ClientCPU }

func (f *figures) write(writers int) {
	figure := writeFigure(writers)
	p, have := f.both(figure, rate)
	if !have {
		return
	}
	median := func(of side, value func(Work) float64) string {
		s, _ := f.spread(figure, of, value)
		return short(s.median)
	}
	latency := func(of side) string {
		return fmt.Sprintf("p50 %s ms, p99 %s ms, %s us of processors a write", median(of, func(w Work) float64 { return w.P50 / 1e3 }),
			median(of, func(w Work) float64 { return w.P99 / 1e3 }), median(of, each(bothCPU)))
	}
	var target func(report.Result) report.Result
	switch {
	case writers == 1:
		target = times(1)
	case writers >= many:
		target = times(faster)
	}
	f.add(f.more(fmt.Sprintf("durable writes, %d at once", writers), "facts/s", p, "ours "+latency(ours)+", "+median(ours, func(w Work) float64 { return w.Together })+" facts a sync; theirs "+latency(theirs)), target)
}

func (f *figures) fanOut() {
	name := fmt.Sprintf("fan-out to %d watchers", f.bench.Watchers)
	for _, part := range []struct {
		name, unit string
		value      func(Work) float64
		target     func(report.Result) report.Result
	}{
		{"processors", "us a delivery", each(bothCPU), atMost(cheaper, "<= 0.4 of theirs")},
		{"processors of the server", "us a delivery", each(serverCPU), nil},
		{"processors of the clients", "us a delivery", each(clientCPU), nil},
		{"latency p50", "ms", func(w Work) float64 { return w.P50 / 1e3 }, nil},
		{"latency p99", "ms", func(w Work) float64 { return w.P99 / 1e3 }, nil},
		{"memory of the server", "MB", func(w Work) float64 { return megabytes(w.ServerPeak) }, nil},
	} {
		p, have := f.both(fanOutFigure, part.value)
		if !have {
			return
		}
		f.add(f.less(name+", "+part.name, part.unit, p, ""), part.target)
		if followed, have := f.spread(followFigure, ours, part.value); have {
			p.ours = followed
			f.add(f.less(fmt.Sprintf("policy followed by %d nodes, %s", f.bench.Watchers, part.name), part.unit, p, "ours decoded and applied, theirs the same watch as above"), nil)
		}
	}
}

func (f *figures) fill() {
	for _, x := range []struct{ figure, what string }{{fillFigure, "bulk load, new keys"}, {reviseFigure, "bulk load, keys again"}} {
		if p, have := f.both(x.figure, rate); have {
			f.add(f.more(x.what, "facts/s", p, "once on each side, so that the range is no range"), nil)
		}
	}
}

func (f *figures) list(figure, of string, wanted bool) {
	p, have := f.both(figure, seconds)
	if !have {
		return
	}
	name := fmt.Sprintf("bootstrap of %d keys of %s", last(f.bench.seen[figure][ours]).Keys, of)
	targets := func(t func(report.Result) report.Result) func(report.Result) report.Result {
		if !wanted {
			return nil
		}
		return t
	}
	f.add(f.less(name, "s", p, ""), targets(times(1)))
	for _, part := range []struct {
		name   string
		value  func(Work) float64
		target func(report.Result) report.Result
	}{
		{"memory of server and client", func(w Work) float64 { return megabytes(w.ServerPeak + w.ClientPeak) }, atMost(smaller, "<= 1/3 of theirs")},
		{"memory of the server", func(w Work) float64 { return megabytes(w.ServerPeak) }, nil},
		{"memory of the client", func(w Work) float64 { return megabytes(w.ClientPeak) }, nil},
	} {
		if p, have := f.both(figure, part.value); have {
			f.add(f.less(name+", "+part.name, "MB", p, ""), targets(part.target))
		}
	}
}

func (f *figures) disk() {
	p, have := f.both(diskFigure, func(w Work) float64 { return megabytes(w.Bytes) })
	if !have {
		return
	}
	name := fmt.Sprintf("disk of %d keys with %d revisions", f.bench.seen[fillFigure][ours][0].Keys, f.bench.Revisions)
	f.add(f.less(name, "MB", p, "once on each side; ours with snapshots, theirs with the preallocated log"), atMost(smaller, "<= 1/3 of theirs"))
}

func (f *figures) replay() {
	for _, kind := range []struct{ figure, from string }{{replayFigure, ""}, {fileFigure, ", exported file"}} {
		s, have := f.spread(kind.figure, ours, rate)
		if !have {
			continue
		}
		cpu, _ := f.spread(kind.figure, ours, each(clientCPU))
		w := last(f.bench.seen[kind.figure][ours])
		f.add(report.Result{Name: fmt.Sprintf("replay of %d facts on one core%s", w.Operations, kind.from), Unit: "facts/s", Ours: s.median,
			Note: fmt.Sprintf("%s; %s us of processors a fact in the client; the policy is %s", s, short(cpu.median), w.Digest)},
			func(r report.Result) report.Result { return r.AtLeast(replayed) })
	}
}

func (f *figures) restart() {
	for _, kind := range []struct{ figure, after string }{{restartFigure, "a stop"}, {killFigure, "a kill"}} {
		s, have := f.spread(kind.figure, ours, func(w Work) float64 { return w.Seconds })
		if !have {
			continue
		}
		cpu, _ := f.spread(kind.figure, ours, func(w Work) float64 { return w.ServerCPU.Seconds() })
		name := fmt.Sprintf("restart after %s with %d facts, to the first window", kind.after, stored{bench: f.bench}.facts())
		f.add(report.Result{Name: name, Unit: "s", Ours: s.median, Note: fmt.Sprintf("%s; from the start of the process; %s s of processors of the server once it let clients in", s, short(cpu.median))},
			func(r report.Result) report.Result { return r.AtMost(restarted, "< 3 s") })
	}
}
