package eventlog

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"
)

const (
	// idleAfter is how long a reader waits for a message before it looks whether there should be one.
	idleAfter = 2 * time.Second
	// maxStalls is how often a reader starts anew where a message should be before it calls that a gap.
	maxStalls = 3
	// consumerIdle is how long the server keeps the consumer of a reader that went away.
	consumerIdle = 30 * time.Second
	// pulled is how many messages are asked for at a time.
	pulled = 2048
)

var errIdle = errors.New("no message in time")

// message is a stored message with its place.
type message struct {
	subject  string
	sequence uint64
	storedAt time.Time
	data     []byte
}

// reader reads a stream in order by a consumer of its own. Whatever breaks the order (a connection, a server that starts again)
// ends the consumer's use; the reader checks that it still is the same stream then, and goes on by another. A batched reader
// gets messages directly instead. It is not safe for concurrent use.
type reader struct {
	nc      *nats.Conn
	js      jetstream.JetStream
	stream  string
	filters []string
	policy  jetstream.DeliverPolicy
	since   time.Time // for DeliverByStartTimePolicy
	verify  func(context.Context) (jetstream.StreamState, error)

	// batched readers make no consumer.
	batched bool
	fetched []message // by a batched reader, and not read yet

	next     uint64 // sequence that is wanted next; 0: whatever comes first
	consumer jetstream.ConsumeContext
	arrivals *arrivals // from the consumer
}

// factsReader reads facts from a sequence on, 0 being the oldest that is kept.
func (l *Log) factsReader(from uint64, filters []string) *reader {
	r := &reader{nc: l.nc, js: l.js, stream: streamFacts, filters: filters, verify: l.verify, next: from, batched: l.readOnly}
	if from > 0 {
		r.policy = jetstream.DeliverByStartSequencePolicy
	}
	return r
}

// streamReader reads a derived stream.
func (l *Log) streamReader(stream string, policy jetstream.DeliverPolicy, filters ...string) *reader {
	return &reader{nc: l.nc, js: l.js, stream: stream, filters: filters, policy: policy, batched: l.readOnly, verify: func(ctx context.Context) (jetstream.StreamState, error) {
		info, err := l.info(ctx, stream)
		if err != nil {
			return jetstream.StreamState{}, err
		}
		return info.State, nil
	}}
}

// read gives the next message, or errIdle when none came for a while. After any other error the reader is closed, and
// opens again where it was by the next call; ErrIncarnation is final.
func (r *reader) read(ctx context.Context) (message, error) {
	if r.batched {
		return r.readBatched(ctx)
	}
	if r.consumer == nil {
		if err := r.open(ctx); err != nil {
			return message{}, err
		}
	}
	m, err := r.arrivals.next(ctx)
	switch {
	case ctx.Err() != nil:
		return message{}, ctx.Err()
	case errors.Is(err, errIdle):
		return message{}, err
	case err != nil:
		r.close()
		return message{}, fmt.Errorf("read stream %s: %w", r.stream, err)
	}
	r.next = m.sequence + 1
	return m, nil
}

func (r *reader) open(ctx context.Context) error {
	if _, err := r.verify(ctx); err != nil {
		return err
	}
	var consumer jetstream.Consumer
	err := call(ctx, r.nc, func(ctx context.Context) (err error) {
		consumer, err = r.js.CreateConsumer(ctx, r.stream, r.config())
		return err
	})
	if err != nil {
		return fmt.Errorf("read stream %s: %w", r.stream, err)
	}
	a := newArrivals()
	consuming, err := consumer.Consume(a.put, jetstream.PullMaxMessages(pulled), jetstream.PullHeartbeat(time.Second), jetstream.PullExpiry(10*time.Second),
		jetstream.ConsumeErrHandler(func(_ jetstream.ConsumeContext, err error) { a.fail(err) }))
	if err != nil {
		return fmt.Errorf("read stream %s: %w", r.stream, err)
	}
	r.consumer, r.arrivals = consuming, a
	return nil
}

// config is that of a consumer which begins where the reader is.
func (r *reader) config() jetstream.ConsumerConfig {
	cfg := jetstream.ConsumerConfig{
		Name: "reader-" + nuid.Next(), DeliverPolicy: r.policy, FilterSubjects: r.filters, InactiveThreshold: consumerIdle,
		AckPolicy: jetstream.AckNonePolicy, MemoryStorage: true, Replicas: 1,
	}
	switch {
	case len(r.filters) == 1: // who may read so much and no more may make such a consumer only
		cfg.FilterSubject, cfg.FilterSubjects = r.filters[0], nil
	case len(r.filters) == 0 && r.policy == jetstream.DeliverLastPerSubjectPolicy:
		cfg.FilterSubjects = []string{">"}
	}
	switch r.policy {
	case jetstream.DeliverByStartSequencePolicy:
		cfg.OptStartSeq = r.next
	case jetstream.DeliverByStartTimePolicy:
		cfg.OptStartTime = &r.since
	}
	return cfg
}

// close lets go of the consumer; the reader goes on after the last message that it gave.
func (r *reader) close() {
	r.fetched = nil
	if r.consumer == nil {
		return
	}
	r.arrivals.close()
	r.consumer.Stop()
	r.consumer, r.arrivals = nil, nil
	if r.next > 0 {
		r.policy = jetstream.DeliverByStartSequencePolicy
	}
}

// stalled is asked when nothing came: it says whether a message up to last should have, and closes the reader then, so
// that it starts anew. Counting the stalls without progress is the caller's.
func (r *reader) stalled(last uint64) bool {
	if last < max(r.next, 1) {
		return false
	}
	r.close()
	return true
}
