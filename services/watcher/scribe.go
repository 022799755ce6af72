package watcher

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"

	"github.com/ringfence/ringfence/libs/eventlog"
	ringfencev1 "github.com/ringfence/ringfence/proto/ringfence/v1"

	"github.com/ringfence/ringfence/services/watcher/kubefact"
)

// Producer is the watcher's name in the log.
const Producer = "watcher"

// stepSize is how many objects are compared and written together, so that other work gets its turn.
const stepSize = 500

// scribe writes what changed in the cluster into the log. Run it in one goroutine at a time.
type scribe struct {
	cluster *cluster
	dirty   *dirtySet
	nc      *nats.Conn
	log     zerolog.Logger
	metrics *metrics
	// ready is told whether the log is up to date with the cluster.
	ready func(error)
	// holder names this process in the log's epochs.
	holder string
	// term is how long a lease lasts that is not renewed: by then, whoever was deposed knows.
	term time.Duration
	// synced is the incarnation in which this process last said that it is in sync.
	synced string
}

var errComparing = errors.New("bringing the log up to date with the cluster")

// Run writes until ctx ends. Whatever fails ends a session, and the next one, after a pause, begins by comparing the
// whole cluster with the log: so it does not matter what of a failed publication was stored.
func (s *scribe) Run(ctx context.Context) {
	patience := backoff.NewExponentialBackOff()
	patience.InitialInterval, patience.MaxInterval = 200*time.Millisecond, 30*time.Second
	for ctx.Err() == nil {
		s.ready(errComparing)
		inSync, err := s.session(ctx)
		if ctx.Err() != nil {
			return
		}
		s.ready(err)
		if inSync {
			patience.Reset()
		}
		wait := patience.NextBackOff()
		if errors.Is(err, eventlog.ErrDeposed) {
			wait = max(wait, s.term)
		}
		s.log.Warn().Err(err).Dur("again_in", wait).Msg("facts could not be written; cluster and log will be compared again")
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
	}
}

// session serves one incarnation of the log until something fails. It says whether it ever was in sync.
func (s *scribe) session(ctx context.Context) (inSync bool, err error) {
	log, err := eventlog.Open(s.log.WithContext(ctx), s.nc)
	if err != nil {
		return false, err
	}
	ctx, cancel := context.WithCancelCause(s.log.WithContext(ctx))
	watched := make(chan struct{})
	go func() { defer close(watched); cancel(log.Watch(ctx)) }()
	defer func() { cancel(nil); <-watched }()

	// Whoever wrote before is shut out first: nothing changes any more in what is read then.
	w := writing{scribe: s}
	if w.producer, err = log.Lead(ctx, Producer, s.holder); err != nil {
		return false, err
	}
	w.producer.Observe(s.metrics.publish)
	if w.ledger, err = readLedger(ctx, log); err != nil {
		return false, err
	}
	s.metrics.relists.Inc()
	if err := w.compareAll(ctx); err != nil {
		return false, err
	}
	if err := s.sayInSync(ctx, log, w.producer); err != nil {
		return false, err
	}
	s.ready(nil)
	return true, w.follow(ctx)
}

// compareAll brings the log up to date with the cluster.
func (w *writing) compareAll(ctx context.Context) error {
	w.dirty.Take(math.MaxInt) // for the order: all of them are marked again
	w.dirty.Mark(everything(w.cluster, w.ledger)...)
	return w.drain(ctx)
}

// follow keeps the log up to date until something fails or ctx ends.
func (w *writing) follow(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-w.dirty.Filled():
		}
		if err := w.drain(ctx); err != nil {
			return err
		}
	}
}

// everything names what either side knows, in the order of kinds, then by name.
func everything(c *cluster, l *ledger) []kubefact.Key {
	rank := map[string]int{kubefact.KindLabelMap: -1}
	for i, k := range kinds {
		rank[k.kind] = i
	}
	keys := append(c.Keys(), l.Keys()...)
	slices.SortFunc(keys, func(a, b kubefact.Key) int {
		return cmp.Or(cmp.Compare(rank[a.Kind], rank[b.Kind]), cmp.Compare(a.Kind, b.Kind),
			cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	return slices.Compact(keys)
}

func (s *scribe) sayInSync(ctx context.Context, log *eventlog.Log, producer *eventlog.Producer) error {
	if s.synced == log.Incarnation() {
		return nil
	}
	if err := producer.Synced(ctx); err != nil {
		return fmt.Errorf("say that the log is in sync: %w", err)
	}
	s.synced = log.Incarnation()
	s.log.Info().Str("incarnation", s.synced).Msg("the log is in sync with the cluster")
	return nil
}

// writing is a session's part in writing.
type writing struct {
	*scribe
	producer *eventlog.Producer
	ledger   *ledger
}

// intent is a fact to be written. Its draft has no idempotence id: a failed publication is not repeated but looked up,
// and an id of object and resource version would make the log refuse a state that came back after a tombstone.
type intent struct {
	mark
	draft eventlog.Draft
	// record is what the log holds afterwards, nil after a tombstone.
	record *record
}

// drain writes until no object waits. Objects that were taken and not written are not put back: the session ends with
// the error, and the next one looks at every object.
func (w *writing) drain(ctx context.Context) error {
	for {
		marks := w.dirty.Take(stepSize)
		w.metrics.queue.Set(float64(w.dirty.Len()))
		if len(marks) == 0 {
			return nil
		}
		if err := w.write(ctx, w.intents(marks)); err != nil {
			return err
		}
	}
}

func (w *writing) intents(marks []mark) []intent {
	var intents []intent
	for _, m := range marks {
		i, err := w.intent(m)
		if err != nil {
			w.metrics.refused.WithLabelValues(m.key.Kind).Inc()
			w.log.Error().Err(err).Msg("object refused; its last fact stays")
			continue
		}
		if i != nil {
			intents = append(intents, *i)
		}
	}
	return intents
}

// intent compares an object with what the log holds of it: nil when that is right.
func (w *writing) intent(m mark) (*intent, error) {
	held, isHeld := w.ledger.Get(m.key)
	seen, err := w.observe(m.key, held)
	switch {
	case err != nil:
		return nil, err
	case seen == nil && (!isHeld || w.ledger.HasPods(m.key)):
		return nil, nil
	case seen == nil:
		return w.tombstone(m, held), nil
	case isHeld && seen.UID == held.uid && seen.Digest == held.digest:
		return nil, nil
	}
	return &intent{
		mark:   m,
		draft:  eventlog.Draft{Subject: m.key.Subject(), Fact: seen.Fact},
		record: &record{uid: seen.UID, digest: seen.Digest, controller: seen.Fact.GetPod().GetController()},
	}, nil
}

func (w *writing) observe(key kubefact.Key, held record) (*kubefact.Observation, error) {
	object, found := w.cluster.Get(key)
	if !found {
		return nil, nil
	}
	known := held.controller
	if held.uid != string(object.GetUID()) {
		known = nil
	}
	return w.cluster.Observe(object, known)
}

func (w *writing) tombstone(m mark, held record) *intent {
	gone := &ringfencev1.Fact{Body: &ringfencev1.Fact_Gone{Gone: &ringfencev1.Gone{Uid: held.uid}}}
	return &intent{mark: m, draft: eventlog.Draft{Subject: m.key.Subject(), Fact: gone}}
}

// write publishes intents and takes them into the ledger.
func (w *writing) write(ctx context.Context, intents []intent) error {
	if len(intents) == 0 {
		return nil
	}
	drafts := make([]eventlog.Draft, len(intents))
	for i := range intents {
		drafts[i] = intents[i].draft
	}
	if err := w.producer.PublishAll(ctx, drafts); err != nil {
		if cause := context.Cause(ctx); cause != nil {
			return cause
		}
		return err
	}
	for _, i := range intents {
		w.written(i)
	}
	return nil
}

func (w *writing) written(i intent) {
	change := "seen"
	var controller kubefact.Key
	var podless bool
	if i.record == nil {
		change = "gone"
		controller, podless = w.ledger.Remove(i.key)
	} else {
		controller, podless = w.ledger.Set(i.key, *i.record)
	}
	if podless { // its own tombstone may have waited for this
		w.dirty.Mark(controller)
	}
	w.metrics.facts.WithLabelValues(i.key.Kind, change).Inc()
	w.metrics.lag.Observe(time.Since(i.since).Seconds())
}
