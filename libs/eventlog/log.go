package eventlog

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"
	"github.com/rs/zerolog"

	"github.com/ringfence/ringfence/proto/decode"
)

// apiTimeout bounds one request to JetStream; big streams on a busy machine take longer than the library's 5 s.
const apiTimeout = 30 * time.Second

// Log is one incarnation of the event log.
type Log struct {
	nc          *nats.Conn
	js          jetstream.JetStream
	incarnation string
	base        uint64
	readOnly    bool
	reconnects  uint64 // of the connection when the incarnation was learned
	garbage     atomic.Uint64
	// acknowledged is the highest sequence that any producer of this Log was told.
	acknowledged atomic.Uint64
	// facts decodes those that are read.
	facts decode.Facts
}

// Create makes the log's streams, or brings their settings up to date, and opens the log. Only policy-store calls it.
// A log without facts stream becomes a new incarnation. ErrMoved and ErrUnfinished say that a log is not here, or not yet.
func Create(ctx context.Context, nc *nats.Conn, s Sizes) (*Log, error) {
	l, err := newLog(nc)
	if err != nil {
		return nil, err
	}
	if err := l.placed(ctx); err != nil {
		return nil, err
	}
	if err := l.createAll(ctx, s); err != nil {
		return nil, err
	}
	return l, l.learn(ctx)
}

func (l *Log) createAll(ctx context.Context, s Sizes) error {
	for _, cfg := range s.streams() {
		if err := l.insistOn(ctx, s.replicated(cfg)); err != nil {
			return fmt.Errorf("stream %s: %w", cfg.Name, err)
		}
	}
	return nil
}

// Open opens the log, waiting with back-off until it is there or ctx ends.
func Open(ctx context.Context, nc *nats.Conn) (*Log, error) { return open(ctx, nc, false) }

// OpenReadOnly is Open for people, who may read and no more. Such a Log makes no consumers on the server: it gets messages
// in batches, which takes about twice the time, and notices new ones by looking. Who may make a consumer may have what it
// delivers sent to any subject, policy too.
func OpenReadOnly(ctx context.Context, nc *nats.Conn) (*Log, error) { return open(ctx, nc, true) }

func open(ctx context.Context, nc *nats.Conn, readOnly bool) (*Log, error) {
	l, err := newLog(nc)
	if err != nil {
		return nil, err
	}
	l.readOnly = readOnly
	try := func() (struct{}, error) { return struct{}{}, l.learn(ctx) }
	_, err = backoff.Retry(ctx, try, backoff.WithBackOff(patience()), backoff.WithMaxElapsedTime(0))
	if err != nil {
		return nil, fmt.Errorf("open the log: %w", err)
	}
	return l, nil
}

func newLog(nc *nats.Conn) (*Log, error) {
	js, err := jetstream.New(nc, jetstream.WithDefaultTimeout(apiTimeout))
	if err != nil {
		return nil, fmt.Errorf("open the log: %w", err)
	}
	return &Log{nc: nc, js: js}, nil
}

// insistOn makes a stream, again and again for a while: servers of a cluster that are electing do not answer.
func (l *Log) insistOn(ctx context.Context, cfg jetstream.StreamConfig) error {
	try := func() (struct{}, error) {
		return struct{}{}, call(ctx, l.nc, func(ctx context.Context) error {
			ctx, cancel := context.WithTimeout(ctx, createTimeout)
			defer cancel()
			err := l.createStream(ctx, cfg)
			var api *jetstream.APIError
			if errors.As(err, &api) && api.Code < 500 { // it answered, and will again
				return backoff.Permanent(err)
			}
			return err
		})
	}
	_, err := backoff.Retry(ctx, try, backoff.WithBackOff(patience()), backoff.WithMaxElapsedTime(apiTimeout))
	return err
}

// createTimeout bounds one attempt to make a stream.
const createTimeout = 5 * time.Second

func (l *Log) createStream(ctx context.Context, cfg jetstream.StreamConfig) error {
	cfg.Storage = jetstream.FileStorage
	cfg.Metadata = map[string]string{}
	existing, err := l.js.Stream(ctx, cfg.Name)
	switch {
	case errors.Is(err, jetstream.ErrStreamNotFound):
		cfg.Metadata[incarnationKey] = nuid.Next()
		_, err = l.js.CreateStream(ctx, cfg)
		return err
	case err != nil:
		return err
	}
	for key, value := range existing.CachedInfo().Config.Metadata {
		cfg.Metadata[key] = value
	}
	_, err = l.js.UpdateStream(ctx, cfg)
	return err
}

// learn takes the incarnation over from the facts stream.
func (l *Log) learn(ctx context.Context) error {
	l.reconnects = l.nc.Stats().Reconnects
	info, err := l.info(ctx, streamFacts)
	if err != nil {
		return err
	}
	if err := placed(info); errors.Is(err, ErrMoved) {
		return backoff.Permanent(err)
	} else if err != nil {
		return err
	}
	l.incarnation = info.Config.Metadata[incarnationKey]
	if l.incarnation == "" {
		return backoff.Permanent(fmt.Errorf("stream %s has no incarnation in its metadata: not made by policy-store", streamFacts))
	}
	l.base = 1
	if base, err := strconv.ParseUint(info.Config.Metadata[baseKey], 10, 64); err == nil {
		l.base = base
	}
	return nil
}

// Renew gives up all facts and begins a new incarnation in the same stream: the way out when facts were lost (ErrGap), for
// producers then write everything again. Only policy-store calls it. The Log is of the new incarnation afterwards; it must
// not be in use otherwise.
func (l *Log) Renew(ctx context.Context) error {
	s, err := l.stream(ctx, streamFacts)
	if err != nil {
		return fmt.Errorf("renew: %w", err)
	}
	cfg := s.CachedInfo().Config
	if cfg.Metadata == nil {
		cfg.Metadata = map[string]string{}
	}
	cfg.Metadata[incarnationKey] = nuid.Next()
	cfg.Metadata[baseKey] = strconv.FormatUint(s.CachedInfo().State.LastSeq+1, 10)
	err = call(ctx, l.nc, func(ctx context.Context) error {
		_, err := l.js.UpdateStream(ctx, cfg)
		return err
	})
	if err == nil {
		err = l.purge(ctx, streamFacts, jetstream.WithPurgeSequence(s.CachedInfo().State.LastSeq+1))
	}
	if err == nil {
		err = l.learn(ctx)
	}
	if err != nil {
		return fmt.Errorf("renew: %w", err)
	}
	return nil
}

func (l *Log) info(ctx context.Context, stream string) (*jetstream.StreamInfo, error) {
	s, err := l.stream(ctx, stream)
	if err != nil {
		return nil, err
	}
	return s.CachedInfo(), nil
}

// stream gives a handle on a stream with what the server says of it now.
func (l *Log) stream(ctx context.Context, name string) (s jetstream.Stream, err error) {
	err = call(ctx, l.nc, func(ctx context.Context) error {
		s, err = l.js.Stream(ctx, name)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("stream %s: %w", name, err)
	}
	return s, nil
}

// Incarnation is the random name that the log was given when its disk was first used.
func (l *Log) Incarnation() string { return l.incarnation }

// Base is the first sequence of the incarnation: who has read from there on has read all of it.
func (l *Log) Base() uint64 { return l.base }

// Garbage counts the messages that this Log skipped because they could not be decoded.
func (l *Log) Garbage() uint64 { return l.garbage.Load() }

// skip reports a message that cannot be used.
func (l *Log) skip(ctx context.Context, subject string, sequence uint64, err error) {
	l.garbage.Add(1)
	zerolog.Ctx(ctx).Error().Err(err).Str("subject", subject).Uint64("sequence", sequence).Msg("skipped what cannot be decoded")
}

// behindFor is how long a server of a cluster may answer with less than was acknowledged: one that was away, and does not know
// yet that it is not up to date.
const behindFor = 15 * time.Second

// verify compares the incarnation with the stream's and gives the state of the facts.
func (l *Log) verify(ctx context.Context) (jetstream.StreamState, error) {
	return l.verifyTo(ctx, l.acknowledged.Load())
}

// verifyTo is verify for a log that is known to have reached a sequence.
func (l *Log) verifyTo(ctx context.Context, known uint64) (jetstream.StreamState, error) {
	wait := patience()
	for end := time.Now().Add(behindFor); ; {
		info, err := l.info(ctx, streamFacts)
		if errors.Is(err, jetstream.ErrStreamNotFound) {
			return jetstream.StreamState{}, fmt.Errorf("%w: %s is gone", ErrIncarnation, l.incarnation)
		}
		if err != nil {
			return jetstream.StreamState{}, err
		}
		if now := info.Config.Metadata[incarnationKey]; now != l.incarnation {
			return jetstream.StreamState{}, fmt.Errorf("%w: %s took the place of %s", ErrIncarnation, now, l.incarnation)
		}
		if info.State.LastSeq >= known {
			return info.State, nil
		}
		if info.Config.Replicas <= 1 || time.Now().After(end) {
			return jetstream.StreamState{}, fmt.Errorf("%w: sequence %d was acknowledged and it ends at %d", ErrGap, known, info.State.LastSeq)
		}
		if !pause(ctx, wait.NextBackOff()) {
			return jetstream.StreamState{}, ctx.Err()
		}
	}
}

// Reaches gives the sequence of the newest fact of a log that is known to have reached one; ErrGap where it does not any more.
func (l *Log) Reaches(ctx context.Context, known uint64) (uint64, error) {
	state, err := l.verifyTo(ctx, max(known, l.acknowledged.Load()))
	return state.LastSeq, err
}

// LastSequence is the sequence of the newest fact, 0 when there was none yet.
func (l *Log) LastSequence(ctx context.Context) (uint64, error) {
	state, err := l.verify(ctx)
	return state.LastSeq, err
}

// Usage is how much of their room the facts take.
type Usage struct {
	Facts    uint64 // number of facts
	First    uint64 // sequence of the oldest fact that is kept
	Last     uint64 // sequence of the newest
	Bytes    uint64
	MaxBytes int64
}

// Usage says how full the log is.
func (l *Log) Usage(ctx context.Context) (Usage, error) { return l.usage(ctx, streamFacts) }

// SnapshotUsage says how much of their room the snapshots take; what Usage calls facts are their messages.
func (l *Log) SnapshotUsage(ctx context.Context) (Usage, error) { return l.usage(ctx, streamSnap) }

func (l *Log) usage(ctx context.Context, stream string) (Usage, error) {
	info, err := l.info(ctx, stream)
	if err != nil {
		return Usage{}, err
	}
	st := info.State
	return Usage{Facts: st.Msgs, First: st.FirstSeq, Last: st.LastSeq, Bytes: st.Bytes, MaxBytes: info.Config.MaxBytes}, nil
}

// LastHole is the highest sequence below the newest that the log does not hold though it should, 0 when there is none.
func (l *Log) LastHole(ctx context.Context) (uint64, error) {
	usage, err := l.Usage(ctx)
	if err != nil || usage.Facts == 0 || usage.Facts == usage.Last-usage.First+1 {
		return 0, err
	}
	s, err := l.stream(ctx, streamFacts)
	if err != nil {
		return 0, err
	}
	var hole uint64
	err = call(ctx, l.nc, func(ctx context.Context) error {
		info, err := s.Info(ctx, jetstream.WithDeletedDetails(true))
		if err == nil {
			hole = slices.Max(append(info.State.Deleted, 0))
		}
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("holes of the facts: %w", err)
	}
	return hole, nil
}

// Trim removes the facts below sequence. Only policy-store calls it, and only below a verified snapshot. The epochs of those
// who lead are written again first.
func (l *Log) Trim(ctx context.Context, sequence uint64) error {
	if err := l.carryEpochs(ctx, sequence); err != nil {
		return fmt.Errorf("trim: %w", err)
	}
	return l.purge(ctx, streamFacts, jetstream.WithPurgeSequence(sequence))
}

func (l *Log) purge(ctx context.Context, stream string, opts ...jetstream.StreamPurgeOpt) error {
	s, err := l.stream(ctx, stream)
	if err == nil {
		err = call(ctx, l.nc, func(ctx context.Context) error { return s.Purge(ctx, opts...) })
	}
	if err != nil {
		return fmt.Errorf("purge: %w", err)
	}
	return nil
}

// Watch returns ErrIncarnation once the log is another one, ErrGap once it lacks what it acknowledged to a producer of this
// Log, or ctx's error when that ends. A producer that has nothing to publish learns by it that it must open the log anew and
// write what is missing.
func (l *Log) Watch(ctx context.Context) error {
	for pause(ctx, watchInterval) {
		if _, err := l.verify(ctx); errors.Is(err, ErrIncarnation) || errors.Is(err, ErrGap) {
			return err
		}
	}
	return ctx.Err()
}

// watchInterval bounds how long a new incarnation goes unnoticed by those who read or write nothing.
const watchInterval = 2 * time.Second
