package eventlog

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"
	"github.com/synadia-io/orbit.go/jetstreamext"

	ringfencev1 "github.com/ringfence/ringfence/proto/ringfence/v1"
)

const (
	// batchSize and batchBytes bound an atomic batch; the server's limit is 1,000 messages.
	batchSize  = 500
	batchBytes = 4 << 20
	// batchHeaders is about what the headers of a fact in a batch take.
	batchHeaders = 256
)

const (
	// answerTimeout bounds the wait for an acknowledgement; the slowest disks in use take a tenth of a second. A server
	// whose disk fails gives no answer at all.
	answerTimeout = 5 * time.Second
	// reconnectTimeout bounds how long facts wait for a lost connection: restarts and elections of the server take less,
	// and whoever publishes should know before long. It is well below the time for which the log knows ids, so that what
	// was stored without an answer is not stored again.
	reconnectTimeout = 6 * time.Second
	// fenceAttempts bounds how often a fact is sent again because its epoch was carried to another place.
	fenceAttempts = 5
)

// Producer publishes facts under one name, in order. It is safe for concurrent use: what several callers publish at once is
// gathered, so that it is calm and each fact waits for a sync of its own, or there is pressure and many share one. Nothing is
// dropped: a caller waits until its facts are stored or refused. Facts are written in a goroutine that ends when nothing
// waits.
type Producer struct {
	log     *Log
	name    string
	metrics *PublishMetrics
	epoch   *ringfencev1.Epoch // nil for one that does not lead
	fence   atomic.Uint64      // sequence of the epoch
	session string             // makes ids unique

	mu      sync.Mutex
	waiting []*pending
	writing bool
	pace    pace

	// The rest is the writing goroutine's.
	attempts   uint64
	counter    uint64
	last       uint64 // sequence of the newest acknowledgement
	reconnects uint64 // of the connection when the incarnation was last verified
}

// pending is a fact that waits to be stored.
type pending struct {
	subject  string
	encoded  []byte
	call     *publication
	since    time.Time
	sequence uint64
}

// publication is one call's facts.
type publication struct {
	ctx   context.Context
	left  int   // facts that are neither stored nor refused
	err   error // why those that are not stored are not
	done  chan struct{}
	facts []*pending
}

// Producer gives a producer of facts that writes beside whoever leads. The name is that of the service: watcher,
// pce-bridge, policy-store. Services Lead.
func (l *Log) Producer(name string) *Producer {
	return &Producer{log: l, name: name, reconnects: l.reconnects, session: nuid.Next()}
}

// Publish stores one fact and gives its sequence; without error it is on disk. Errors name the subject. While the
// connection is lost it waits for some seconds. After ErrFull, ErrNoAnswer and errors of the connection publish again,
// with back-off; after ErrIncarnation open the log anew; ErrDeposed and ErrTooLarge are final. ErrNoAnswer, errors of the
// connection and the end of ctx leave open whether the fact was stored.
func (p *Producer) Publish(ctx context.Context, d Draft) (uint64, error) {
	c, err := p.publish(ctx, []Draft{d})
	if err != nil {
		return 0, err
	}
	return c.facts[0].sequence, nil
}

// PublishAll stores facts in order. After an error the facts before the one that it names are stored.
func (p *Producer) PublishAll(ctx context.Context, ds []Draft) error {
	for len(ds) > 0 {
		n := min(len(ds), batchSize)
		if _, err := p.publish(ctx, ds[:n]); err != nil {
			return err
		}
		ds = ds[n:]
	}
	return nil
}

// publish has facts written and waits for it. A fact that cannot be encoded leaves those before it.
func (p *Producer) publish(ctx context.Context, ds []Draft) (*publication, error) {
	c := &publication{ctx: ctx, done: make(chan struct{}), facts: make([]*pending, 0, len(ds))}
	var refused error
	now := time.Now()
	for _, d := range ds {
		encoded, err := encodeDraft(p.name, d, p.log.nc.MaxPayload())
		if refused = err; err != nil {
			break
		}
		c.facts = append(c.facts, &pending{subject: d.Subject, encoded: encoded, call: c, since: now})
	}
	if c.left = len(c.facts); c.left == 0 {
		return c, refused
	}
	p.enqueue(c)
	select {
	case <-c.done:
		if c.err != nil {
			return c, c.err
		}
		return c, refused
	case <-ctx.Done():
		return c, fmt.Errorf("%s: %w", c.facts[0].subject, ctx.Err())
	}
}

func (p *Producer) enqueue(c *publication) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.waiting = append(p.waiting, c.facts...)
	p.metrics.queued(len(p.waiting))
	if !p.writing {
		p.writing = true
		go p.write()
	}
}

// write stores what waits until nothing does.
func (p *Producer) write() {
	for facts := p.take(); len(facts) > 0; facts = p.take() {
		started := time.Now()
		last, err := p.insist(facts)
		if err == nil {
			p.took(len(facts), time.Since(started))
		}
		p.metrics.published(facts, err)
		for i, f := range facts {
			f.sequence = last - uint64(len(facts)-1-i)
			f.call.settle(f.subject, err)
		}
	}
}

// took notes how long the log took for facts.
func (p *Producer) took(facts int, d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.pace.took(facts, d)
}

// settle takes in that one more fact is stored, or that it is not. After one that is not, those behind it are not tried.
func (c *publication) settle(subject string, err error) {
	if c.err != nil {
		return
	}
	if c.left--; err == nil && c.left > 0 {
		return
	}
	if err != nil {
		c.err = fmt.Errorf("%s: %w", subject, err)
	}
	close(c.done)
}

// take gives the facts to store next: one when it is calm, else as many as a batch holds. Without any the writing ends.
func (p *Producer) take() []*pending {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.waiting = slices.DeleteFunc(p.waiting, func(f *pending) bool { return f.call.err != nil || f.call.ctx.Err() != nil })
	p.metrics.queued(len(p.waiting))
	n := len(p.waiting)
	switch {
	case n == 0:
		p.writing, p.waiting = false, nil
		return nil
	case !p.pace.batches(n):
		n = 1
	default:
		n = fitting(p.waiting[:min(n, batchSize)])
	}
	facts := p.waiting[:n:n]
	p.waiting = p.waiting[n:]
	return facts
}

// fitting says how many of the first facts one batch takes by their size.
func fitting(facts []*pending) int {
	bytes := 0
	for i, f := range facts {
		if bytes += len(f.subject) + len(f.encoded) + sealBytes + batchHeaders; bytes > batchBytes && i > 0 {
			return i
		}
	}
	return len(facts)
}

// insist stores facts, all or none, and gives the sequence of the last. It tries again where that can help: when the
// connection was lost, and when the epoch was carried to another place.
func (p *Producer) insist(facts []*pending) (uint64, error) {
	ctx, cancel := context.WithTimeout(context.Background(), reconnectTimeout)
	defer cancel()
	p.attempts++
	id := p.session + "." + strconv.FormatUint(p.attempts, 10)
	patience, fenced := patience(), 0
	for again := false; ; again = true {
		last, err := p.store(ctx, facts, id, again)
		switch {
		case err == nil:
			p.counter += uint64(len(facts))
			return last, p.follows(last)
		case isWrongLast(err) && p.epoch != nil && fenced < fenceAttempts:
			fenced++
			if err := p.adopt(ctx); err != nil {
				return 0, fmt.Errorf("not stored: %w", err)
			}
			continue
		case !isUnreachable(err) || p.log.nc.IsClosed() || !wanted(facts):
			return 0, verdict(err)
		}
		p.metrics.retried()
		if !pause(ctx, patience.NextBackOff()) {
			return 0, verdict(err)
		}
	}
}

// wanted tells whether anybody still waits for one of the facts.
func wanted(facts []*pending) bool {
	return slices.ContainsFunc(facts, func(f *pending) bool { return f.call.ctx.Err() == nil })
}

// isUnreachable tells whether there was nobody to store a fact, so that the next try may find somebody.
func isUnreachable(err error) bool {
	return errors.Is(err, errNotConnected) || errors.Is(err, nats.ErrNoResponders) || errors.Is(err, jetstream.ErrNoStreamResponse)
}

// store sends facts once. again says that an earlier try may have stored them.
func (p *Producer) store(ctx context.Context, facts []*pending, id string, again bool) (last uint64, err error) {
	if err := p.check(ctx); err != nil {
		return 0, err
	}
	messages := make([]*nats.Msg, len(facts))
	for i, f := range facts {
		messages[i] = nats.NewMsg(f.subject)
		messages[i].Data = seal(f.encoded, p.counter+uint64(i)+1)
	}
	// The first is enough of a batch, which is stored whole or not at all.
	messages[0].Header.Set(jetstream.MsgIDHeader, id)
	p.fenceHeaders(messages[0].Header.Set)
	err = call(ctx, p.log.nc, func(ctx context.Context) (err error) {
		ctx, cancel := context.WithTimeout(ctx, answerTimeout)
		defer cancel()
		last, err = p.send(ctx, messages)
		return err
	})
	if again && isDuplicate(err) {
		return p.confirm(ctx, messages[len(messages)-1])
	}
	return last, err
}

// confirm looks up the last message of a batch whose first the log holds, and gives its sequence. The log stores batches
// whole, but for what a power cut leaves of one.
func (p *Producer) confirm(ctx context.Context, last *nats.Msg) (uint64, error) {
	stored, sequence, err := p.log.lastFact(ctx, last.Subject)
	if err != nil {
		return 0, fmt.Errorf("look up what was stored: %w", err)
	}
	if !bytes.Equal(stored, last.Data) {
		return 0, errors.New("the log holds a part of these facts only: publish them again")
	}
	return sequence, nil
}

// send has the log store messages and gives the sequence of the last.
func (p *Producer) send(ctx context.Context, messages []*nats.Msg) (uint64, error) {
	if len(messages) > 1 {
		// Nothing is sent for the sake of the first message's own answer: the last one's says all.
		ack, err := jetstreamext.PublishMsgBatch(ctx, p.log.js, messages, jetstreamext.BatchFlowControl{AckTimeout: answerTimeout})
		if err != nil {
			return 0, err
		}
		return ack.Sequence, nil
	}
	ack, err := p.log.js.PublishMsg(ctx, messages[0], jetstream.WithExpectStream(streamFacts), jetstream.WithRetryAttempts(0))
	if err != nil {
		return 0, err
	}
	return ack.Sequence, nil
}

// isDuplicate tells whether the log refused a batch because it holds it.
func isDuplicate(err error) bool {
	var api *jetstream.APIError
	return errors.As(err, &api) && api.ErrorCode == codeBatchDuplicate
}

// check makes sure that the log is still the one that was opened: it can have become another only behind a reconnect.
func (p *Producer) check(ctx context.Context) error {
	now := p.log.nc.Stats().Reconnects
	if now == p.reconnects {
		return nil
	}
	if _, err := p.log.verify(ctx); err != nil {
		return err
	}
	p.reconnects = now
	return nil
}

// follows takes an acknowledgement in. A sequence that goes back is another log's.
func (p *Producer) follows(sequence uint64) error {
	if sequence <= p.last {
		return fmt.Errorf("%w: sequence %d after %d", ErrIncarnation, sequence, p.last)
	}
	p.last = sequence
	for known := p.log.acknowledged.Load(); known < sequence && !p.log.acknowledged.CompareAndSwap(known, sequence); {
		known = p.log.acknowledged.Load()
	}
	return nil
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
