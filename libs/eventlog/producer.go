package eventlog

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/synadia-io/orbit.go/jetstreamext"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	ringfencev1 "github.com/ringfence/ringfence/proto/ringfence/v1"
)

const (
	// batchAbove is from how many facts on an atomic batch, whose cost is fixed, beats one sync for each fact.
	batchAbove = 50
	// batchSize and batchBytes bound an atomic batch; the server's limit is 1,000 messages.
	batchSize  = 500
	batchBytes = 4 << 20
)

// answerTimeout bounds the wait for an acknowledgement; the slowest disks in use take a tenth of a second. A server whose
// disk fails gives no answer at all.
const answerTimeout = 10 * time.Second

// Draft is a fact to publish.
type Draft struct {
	Subject string
	// Fact must have its body. The producer's fields are filled in by publishing.
	Fact *ringfencev1.Fact
	// ID makes publishing idempotent: within two minutes the log takes one fact for an id. Optional. Facts that go in a
	// batch go without it, for the log refuses a whole batch for one id that it knows.
	ID string
}

// Producer publishes facts under one name, one at a time and in order. It is safe for concurrent use.
type Producer struct {
	log  *Log
	name string

	mu         sync.Mutex
	counter    uint64
	last       uint64 // sequence of the newest acknowledgement
	reconnects uint64 // of the connection when the incarnation was last verified
}

// Producer gives a producer of facts. The name is that of the service: watcher, pce-bridge, policy-store.
func (l *Log) Producer(name string) *Producer {
	return &Producer{log: l, name: name, reconnects: l.reconnects}
}

// Publish stores one fact and gives its sequence; without error it is on disk. Errors name the subject. After ErrFull,
// ErrNoAnswer and errors of the connection publish again, with back-off; after ErrIncarnation open the log anew;
// ErrTooLarge is final. ErrNoAnswer and errors of the connection leave open whether the fact was stored.
func (p *Producer) Publish(ctx context.Context, d Draft) (uint64, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.check(ctx, d.Subject); err != nil {
		return 0, err
	}
	msg, err := p.message(d, p.counter+1)
	if err != nil {
		return 0, err
	}
	if d.ID != "" {
		msg.Header.Set(jetstream.MsgIDHeader, d.ID)
	}
	var ack *jetstream.PubAck
	err = call(ctx, p.log.nc, func(ctx context.Context) (err error) {
		ctx, cancel := context.WithTimeout(ctx, answerTimeout)
		defer cancel()
		ack, err = p.log.js.PublishMsg(ctx, msg, jetstream.WithExpectStream(streamFacts), jetstream.WithRetryAttempts(0))
		return err
	})
	if err != nil {
		return 0, refusal(d.Subject, err)
	}
	if ack.Duplicate {
		return ack.Sequence, nil
	}
	return ack.Sequence, p.stored(d.Subject, ack.Sequence, 1)
}

// PublishAll stores facts in order. Up to fifty go one by one, more in atomic batches of up to 500. After an error the
// facts before the one that it names are stored.
func (p *Producer) PublishAll(ctx context.Context, ds []Draft) error {
	if len(ds) <= batchAbove {
		for _, d := range ds {
			if _, err := p.Publish(ctx, d); err != nil {
				return err
			}
		}
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(ds) > 0 {
		n, err := p.publishBatch(ctx, ds)
		if err != nil {
			return err
		}
		ds = ds[n:]
	}
	return nil
}

// publishBatch stores as many of the first drafts as one batch takes, all or none, and says how many.
func (p *Producer) publishBatch(ctx context.Context, ds []Draft) (int, error) {
	if err := p.check(ctx, ds[0].Subject); err != nil {
		return 0, err
	}
	var messages []*nats.Msg
	bytes := 0
	for _, d := range ds[:min(len(ds), batchSize)] {
		msg, err := p.message(d, p.counter+uint64(len(messages))+1)
		if err != nil {
			return 0, err
		}
		if bytes += msg.Size(); bytes > batchBytes && len(messages) > 0 {
			break
		}
		messages = append(messages, msg)
	}
	var ack *jetstreamext.BatchAck
	err := call(ctx, p.log.nc, func(ctx context.Context) (err error) {
		ctx, cancel := context.WithTimeout(ctx, answerTimeout)
		defer cancel()
		ack, err = jetstreamext.PublishMsgBatch(ctx, p.log.js, messages)
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("batch of %d facts: %w", len(messages), refusal(ds[0].Subject, err))
	}
	return len(messages), p.stored(ds[0].Subject, ack.Sequence, uint64(len(messages)))
}

// Synced says in the log that everything that this producer knew at its start is in it, in this incarnation.
func (p *Producer) Synced(ctx context.Context) error {
	synced := &ringfencev1.Synced{Producer: p.name, Incarnation: p.log.incarnation}
	_, err := p.Publish(ctx, Draft{
		Subject: SyncedSubject(p.name),
		Fact:    &ringfencev1.Fact{Body: &ringfencev1.Fact_Synced{Synced: synced}},
	})
	return err
}

// check makes sure that the log is still the one that was opened: it can have become another only behind a reconnect.
func (p *Producer) check(ctx context.Context, subject string) error {
	now := p.log.nc.Stats().Reconnects
	if now == p.reconnects {
		return nil
	}
	if _, err := p.log.verify(ctx); err != nil {
		return fmt.Errorf("%s: not stored: %w", subject, err)
	}
	p.reconnects = now
	return nil
}

// stored takes an acknowledgement in. A sequence that goes back is another log's.
func (p *Producer) stored(subject string, sequence, facts uint64) error {
	p.counter += facts
	if sequence <= p.last {
		return fmt.Errorf("%s: %w: sequence %d after %d", subject, ErrIncarnation, sequence, p.last)
	}
	p.last = sequence
	return nil
}

// message encodes a draft, leaving the caller's fact as it is.
func (p *Producer) message(d Draft, counter uint64) (*nats.Msg, error) {
	if err := validSubject(d.Subject); err != nil {
		return nil, err
	}
	if d.Fact.GetBody() == nil {
		return nil, fmt.Errorf("%s: %w", d.Subject, errors.New("a fact needs a body"))
	}
	fact := &ringfencev1.Fact{Producer: p.name, Counter: counter, ObservedAt: timestamppb.New(time.Now()), Body: d.Fact.GetBody()}
	if at := d.Fact.GetObservedAt(); at != nil {
		fact.ObservedAt = at
	}
	data, err := proto.Marshal(fact)
	if err != nil {
		return nil, fmt.Errorf("%s: encode: %w", d.Subject, err)
	}
	if limit := p.log.nc.MaxPayload(); limit > 0 && int64(len(data))+headerRoom > limit {
		return nil, fmt.Errorf("%s: %w: %d bytes, the limit is %d", d.Subject, ErrTooLarge, len(data), limit-headerRoom)
	}
	msg := nats.NewMsg(d.Subject)
	msg.Data = data
	return msg, nil
}

// headerRoom is what the headers of a message may take of the server's limit.
const headerRoom = 1024
