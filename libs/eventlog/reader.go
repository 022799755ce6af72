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
)

var errIdle = errors.New("no message in time")

// message is a stored message with its place.
type message struct {
	subject  string
	sequence uint64
	storedAt time.Time
	data     []byte
}

// reader reads a stream in order by an ordered consumer of its own, which follows the stream over reconnects and server
// restarts. The reader checks that it still is the same stream before it hands out what comes after such a break.
// A batched reader gets messages directly instead. It is not safe for concurrent use.
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
	consumer string
	messages jetstream.MessagesContext
	release  func() bool
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
	if r.messages == nil {
		if err := r.open(ctx); err != nil {
			return message{}, err
		}
	}
	wait, cancel := context.WithTimeout(ctx, idleAfter)
	defer cancel()
	msg, err := r.messages.Next(jetstream.NextContext(wait))
	switch {
	case ctx.Err() != nil:
		return message{}, ctx.Err()
	case errors.Is(err, context.DeadlineExceeded):
		return message{}, errIdle
	case err != nil:
		r.close()
		return message{}, fmt.Errorf("read stream %s: %w", r.stream, err)
	}
	return r.accept(ctx, msg)
}

func (r *reader) accept(ctx context.Context, msg jetstream.Msg) (message, error) {
	md, err := msg.Metadata()
	if err != nil {
		r.close()
		return message{}, fmt.Errorf("read stream %s: %w", r.stream, err)
	}
	if md.Consumer != r.consumer {
		if _, err := r.verify(ctx); err != nil {
			r.close()
			return message{}, err
		}
		r.consumer = md.Consumer
	}
	r.next = md.Sequence.Stream + 1
	return message{subject: msg.Subject(), sequence: md.Sequence.Stream, storedAt: md.Timestamp, data: msg.Data()}, nil
}

func (r *reader) open(ctx context.Context) error {
	if _, err := r.verify(ctx); err != nil {
		return err
	}
	cfg := jetstream.OrderedConsumerConfig{
		FilterSubjects: r.filters, DeliverPolicy: r.policy, InactiveThreshold: consumerIdle,
		NamePrefix: "reader-" + nuid.Next(), MaxResetAttempts: 1,
	}
	switch r.policy {
	case jetstream.DeliverByStartSequencePolicy:
		cfg.OptStartSeq = r.next
	case jetstream.DeliverByStartTimePolicy:
		cfg.OptStartTime = &r.since
	}
	var consumer jetstream.Consumer
	err := call(ctx, r.nc, func(ctx context.Context) (err error) {
		consumer, err = r.js.OrderedConsumer(ctx, r.stream, cfg)
		return err
	})
	if err != nil {
		return fmt.Errorf("read stream %s: %w", r.stream, err)
	}
	r.messages, err = consumer.Messages(jetstream.PullMaxMessages(2048), jetstream.PullHeartbeat(time.Second), jetstream.PullExpiry(10*time.Second))
	if err != nil {
		r.messages = nil
		return fmt.Errorf("read stream %s: %w", r.stream, err)
	}
	r.release = context.AfterFunc(ctx, r.messages.Stop)
	r.consumer = consumer.CachedInfo().Name
	return nil
}

// close lets go of the consumer; the reader goes on after the last message that it gave.
func (r *reader) close() {
	r.fetched = nil
	if r.messages == nil {
		return
	}
	r.release()
	r.messages.Stop()
	r.messages, r.consumer = nil, ""
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
