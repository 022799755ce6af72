package policystore

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"

	"github.com/ringfence/ringfence/libs/clas"
	"github.com/ringfence/ringfence/libs/eventlog"
	ringfencev1 "github.com/ringfence/ringfence/proto/ringfence/v1"
)

const (
	// settle is how long a flush waits for facts that come together, such as those of one deployment.
	settle = 2 * time.Millisecond
	// flushInterval is the least time between two windows.
	flushInterval = 250 * time.Millisecond
	// backlog is how many facts wait for the engine before the reading waits.
	backlog = 4096
)

// folder folds the facts of one incarnation into policy and publishes it.
type folder struct {
	log     *eventlog.Log
	zlog    zerolog.Logger
	metrics *metrics
	keeper  *keeper
	out     *publisher

	mu     sync.Mutex // guards the engine against queries
	engine *clas.Engine

	startPolicy ringfencev1.EnforcementMode // as it was last taken out of the engine

	saveMemory func() // is called when it is live, and with each heartbeat then

	live      bool      // this run has folded all that was in the log at its start
	dirty     bool      // facts were folded since the last flush
	dirtyFrom time.Time // when the first of them came
	flushed   time.Time // when the last flush began
	garbage   uint64    // of the log, as far as it is counted
	known     uint64    // a sequence that the log had reached before

	measured  <-chan float64 // gives syncs once
	syncs     float64        // a second, of the log's disk; 0 while it is not known
	churn     churn
	silence   *bridgeSilence
	toldShort bool
	capacity  atomic.Pointer[Capacity] // for queries
}

// fold restores the engine and folds until ctx ends or the log must be opened anew.
func (h *host) fold(ctx context.Context, nc *nats.Conn, log *eventlog.Log, published *eventlog.Published) error {
	k := &keeper{log: log, zlog: h.log, metrics: h.metrics, cfg: h.cfg}
	engine, err := k.restore(ctx)
	if err != nil {
		return err
	}
	f := &folder{
		log: log, zlog: h.log, metrics: h.metrics, keeper: k, engine: engine,
		out: newPublisher(log, h.log, h.metrics, published), known: k.last,
		measured: h.measureDisk(), saveMemory: h.saveMemory,
		silence: newBridgeSilence(h.cfg.BridgeSilentAfter),
	}
	deaf, err := f.out.settlement.listen(nc)
	if err != nil {
		return fmt.Errorf("listen to the nodes' status: %w", err)
	}
	defer deaf()
	mute, err := f.silence.listen(nc)
	if err != nil {
		return err
	}
	defer mute()
	if head := published.Head.GetVersion(); head.GetIncarnation() == log.Incarnation() {
		f.known = max(f.known, head.GetSequence())
	}
	stop, err := f.answer(nc)
	if err != nil {
		return err
	}
	defer stop()
	if h.admission != nil {
		reading, cancel := context.WithCancel(ctx)
		var departures sync.WaitGroup
		departures.Go(func() { h.admission.departed.follow(reading, log, h.cfg.TokenNamespace) })
		defer departures.Wait()
		defer cancel()
	}
	err = f.run(ctx)
	k.wait()
	if ctx.Err() != nil {
		if !errors.Is(context.Cause(ctx), errRestart) {
			f.keepLast(ctx)
		}
		return ctx.Err()
	}
	if errors.Is(err, eventlog.ErrGap) {
		return f.renew(ctx, err)
	}
	return err
}

// event is a fact to fold, or the news that all that was in the log at the start has been read.
type event struct {
	entry eventlog.Entry
	live  bool
}

// run reads the facts in one goroutine and folds them in this one.
func (f *folder) run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	events, ended := make(chan event, backlog), make(chan error, 1)
	from := max(f.engine.Sequence()+1, f.log.Base())
	go func() {
		ended <- f.read(ctx, from, func(e event) error {
			select {
			case events <- e:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
		close(events)
	}()
	err := f.loop(ctx, events)
	cancel()
	if tailed := <-ended; err == nil {
		err = tailed
	}
	return err
}

// read gives what is in the log, then the news that this is all, then what comes. The end is told by the log's last
// sequence, whether or not the fact there can be decoded.
func (f *folder) read(ctx context.Context, from uint64, give func(event) error) error {
	last, err := f.log.Reaches(ctx, f.known)
	if err != nil {
		return err
	}
	for e, err := range f.log.Read(ctx, from, max(last, 1)) {
		if err == nil {
			err = give(event{entry: e})
		}
		if err != nil {
			return err
		}
	}
	if err := give(event{live: true}); err != nil {
		return err
	}
	return f.log.Tail(ctx, last+1, nil, func(e eventlog.Entry) error { return give(event{entry: e}) })
}

// loop folds what comes and flushes when it is time. It ends when events is closed or publishing is given up.
func (f *folder) loop(ctx context.Context, events <-chan event) error {
	flush := time.NewTimer(flushInterval)
	defer flush.Stop()
	settled, settling := time.NewTimer(settleInterval), true
	defer settled.Stop()
	heartbeat := time.NewTicker(eventlog.HeartbeatInterval)
	defer heartbeat.Stop()
	for {
		select {
		case e, open := <-events:
			if !open {
				return nil
			}
			if f.take(e) {
				flush.Reset(max(settle, time.Until(f.flushed.Add(flushInterval))))
			}
			f.keeper.consider(ctx, f)
		case <-flush.C:
			if err := f.flush(ctx); err != nil {
				return err
			}
			if f.dirty {
				flush.Reset(flushInterval)
			}
		case f.syncs = <-f.measured:
		case <-f.out.settlement.news:
			if !settling { // many nodes report at about the same time
				settling = true
				settled.Reset(settleInterval)
			}
		case <-settled.C:
			settling = false
			if !f.dirty {
				f.out.tellSettled(ctx)
			}
		case <-heartbeat.C:
			f.beat(ctx)
			f.noticeSilence(ctx)
			if f.live {
				f.saveMemory()
			}
			f.gauge(ctx)
			f.keeper.consider(ctx, f)
		}
	}
}

// take takes an event in, and says whether it is the first since the last flush.
func (f *folder) take(e event) bool {
	if e.live {
		f.live = true
		debug.FreeOSMemory() // of what reading took
		f.saveMemory()
	} else {
		f.apply(e.entry)
	}
	first := !f.dirty || e.live
	if !f.dirty {
		f.dirty, f.dirtyFrom = true, time.Now()
	}
	return first
}

func (f *folder) apply(e eventlog.Entry) {
	f.mu.Lock()
	err := f.engine.Apply(e.Subject, e.Sequence, e.Fact)
	f.mu.Unlock()
	f.log.Release(e)
	f.metrics.facts.Inc()
	f.metrics.sequence.Set(float64(e.Sequence))
	f.countGarbage()
	if err != nil {
		f.metrics.foldErrors.Inc()
		f.zlog.Error().Err(err).Str("subject", e.Subject).Uint64("sequence", e.Sequence).Msg("the fact is not taken; its object keeps its last good state")
	}
}

// countGarbage adds to the metric what the log skipped since the last time.
func (f *folder) countGarbage() {
	now := f.log.Garbage()
	f.metrics.garbage.Add(float64(now - f.garbage))
	f.garbage = now
}

// flush publishes what changed, unless this run has not yet caught up or a producer is not yet in sync. It stays dirty
// then.
func (f *folder) flush(ctx context.Context) error {
	began := time.Now() // windows begin an interval apart, however long one takes to publish
	s, ready := f.collect()
	if !ready {
		return nil
	}
	if err := f.out.publish(ctx, s); err != nil {
		return err
	}
	f.dirty = false
	if s.changed {
		f.flushed = began
		f.metrics.latency.Observe(time.Since(f.dirtyFrom).Seconds())
	}
	return nil
}

// state is what is to be published.
type state struct {
	version *ringfencev1.Version
	synced  []string
	digest  string
	delta   clas.Delta
	plans   []*ringfencev1.NodePlan // of the nodes that delta names, whole
	// namespaces are whole, nil where none of them changed.
	namespaces *ringfencev1.Namespaces
	whole      *clas.Policy // instead of delta, plans and namespaces for the first publication
	changed    bool
}

// collect takes the changes out of the engine. It does so only when they may be published, so that none are lost.
func (f *folder) collect() (state, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	synced := f.engine.Synced(f.log.Incarnation())
	inSync := eventlog.InSync(synced)
	f.metrics.inSync.Set(boolean(inSync))
	if !f.live || !inSync {
		return state{}, false
	}
	s := state{version: &ringfencev1.Version{Incarnation: f.log.Incarnation(), Sequence: f.engine.Sequence()}, synced: synced}
	s.delta = f.engine.Flush()
	if f.out.first() {
		whole := f.engine.Policy()
		s.whole = &whole
	} else {
		s.plans, s.namespaces = f.plans(s.delta.Plans), f.namespaces(s.delta)
	}
	f.startPolicy = s.delta.StartPolicy
	s.changed = s.whole != nil || !s.delta.Empty() || s.namespaces != nil || !slices.Equal(synced, f.out.head.GetSynced())
	if s.changed {
		s.digest = f.engine.Digest()
	}
	return s, true
}

// plans gives the whole plan of each node that changed: that is what the log keeps of a node.
func (f *folder) plans(changed []*ringfencev1.NodePlanDelta) []*ringfencev1.NodePlan {
	plans := make([]*ringfencev1.NodePlan, 0, len(changed))
	for _, d := range changed {
		plan, there := f.engine.Plan(d.GetNode())
		if !there {
			plan = &ringfencev1.NodePlan{Node: d.GetNode(), Removed: true}
		}
		plans = append(plans, plan)
	}
	return plans
}

// namespaces gives the whole of the namespaces if anything in it changed.
func (f *folder) namespaces(d clas.Delta) *ringfencev1.Namespaces {
	if len(d.Namespaces)+len(d.Signatures)+len(d.RemovedNamespaces) == 0 && d.StartPolicy == f.startPolicy {
		return nil
	}
	return f.engine.Namespaces()
}

func boolean(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// beat repeats the newest window's number, so that a reader who lost it learns of it.
func (f *folder) beat(ctx context.Context) {
	f.countGarbage()
	if f.dirty {
		return // the next window tells
	}
	f.out.heartbeat(ctx)
}

// renew begins a new incarnation after facts were lost. The policy stays as it is until the producers have written
// everything again.
func (f *folder) renew(ctx context.Context, gap error) error {
	lost := f.log.Incarnation()
	if err := f.log.Renew(ctx); err != nil {
		return fmt.Errorf("%w; %w", gap, err)
	}
	f.zlog.Error().Err(gap).Str("lost", lost).Str("incarnation", f.log.Incarnation()).
		Msg("facts were lost: a new incarnation begins, in which the producers write everything again; the last policy stays until then")
	return errRestart
}

// keepLast takes a snapshot at a clean stop, so that the next start need not read the log again.
func (f *folder) keepLast(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	f.keeper.snapshot(ctx, f.engine.Sequence(), computed(f.engine), f.engine.Snapshot())
}
