package eventlog

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"
	"google.golang.org/protobuf/proto"

	ringfencev1 "github.com/ringfence/ringfence/proto/ringfence/v1"
)

// ErrDeposed says that another process writes the producer's facts now. It is final for this one: nothing that it
// publishes is stored any more.
var ErrDeposed = errors.New("another process writes these facts now")

// EpochSubject names the facts by which one process after the other takes a producer over.
func EpochSubject(producer string) string { return epochPrefix + Token(producer) }

const epochPrefix = "facts.ctl.epoch."

// leadAttempts bounds how often a process tries to begin an epoch while others do, too.
const leadAttempts = 10

// Lead begins a new epoch of a producer and gives the only Producer that can write its facts from then on: the log refuses
// those of whoever led before, also when that one was merely paused and does not know yet (ErrDeposed). holder names the
// process for people.
func (l *Log) Lead(ctx context.Context, name, holder string) (*Producer, error) {
	p := l.Producer(name)
	p.epoch = &ringfencev1.Epoch{Producer: name, Holder: holder + "/" + nuid.Next()}
	for range leadAttempts {
		before, at, err := l.epoch(ctx, name)
		if err != nil {
			return nil, fmt.Errorf("lead as %s: %w", name, err)
		}
		p.epoch.Number = before.GetNumber() + 1
		p.fence.Store(at)
		began, err := p.Publish(ctx, Draft{Subject: EpochSubject(name), Fact: &ringfencev1.Fact{Body: &ringfencev1.Fact_Epoch{Epoch: p.epoch}}})
		switch {
		case err == nil:
			p.fence.Store(began)
			return p, nil
		case !errors.Is(err, ErrDeposed):
			return nil, fmt.Errorf("lead as %s: %w", name, err)
		}
	}
	return nil, fmt.Errorf("lead as %s: others began an epoch in each of %d attempts", name, leadAttempts)
}

// epoch gives the newest epoch of a producer and its sequence, nil and 0 where there is none.
func (l *Log) epoch(ctx context.Context, producer string) (*ringfencev1.Epoch, uint64, error) {
	data, sequence, err := l.lastFact(ctx, EpochSubject(producer))
	if errors.Is(err, ErrNotFound) {
		return nil, 0, nil
	}
	if err != nil {
		return nil, 0, fmt.Errorf("epoch of %s: %w", producer, err)
	}
	fact, err := l.decodeFact(data)
	if err != nil {
		return nil, sequence, nil // what cannot be read is nobody's
	}
	return fact.GetEpoch(), sequence, nil
}

// adopt is asked when the log refused a fact for its epoch: it takes over the place to which the epoch was carried, or says
// that the epoch is over.
func (p *Producer) adopt(ctx context.Context) error {
	if _, err := p.log.verify(ctx); err != nil {
		return err
	}
	now, at, err := p.log.epoch(ctx, p.name)
	switch {
	case err != nil:
		return err
	case now.GetNumber() != p.epoch.GetNumber() || now.GetHolder() != p.epoch.GetHolder():
		return fmt.Errorf("epoch %d of %s (%s): %w: epoch %d (%s)", p.epoch.GetNumber(), p.name, p.epoch.GetHolder(), ErrDeposed, now.GetNumber(), now.GetHolder())
	}
	p.fence.Store(at)
	return nil
}

// carryEpochs writes the newest epochs again that are below a sequence, so that trimming leaves the fences where they are.
func (l *Log) carryEpochs(ctx context.Context, below uint64) error {
	kept := func(yield func(Entry, error) bool) { l.giveKept(ctx, []string{epochPrefix + "*"}, yield) } // snapshots hold no epochs
	for e, err := range kept {
		if err != nil {
			return fmt.Errorf("epochs: %w", err)
		}
		if e.Sequence >= below || e.Fact.GetEpoch() == nil {
			continue
		}
		data, err := proto.Marshal(&ringfencev1.Fact{ObservedAt: e.Fact.GetObservedAt(), Body: e.Fact.GetBody()})
		if err != nil {
			return fmt.Errorf("%s: encode: %w", e.Subject, err)
		}
		err = call(ctx, l.nc, func(ctx context.Context) error {
			_, err := l.js.Publish(ctx, e.Subject, data, jetstream.WithExpectLastSequencePerSubject(e.Sequence), jetstream.WithRetryAttempts(0))
			return err
		})
		if err != nil && !isWrongLast(err) { // of those, a newer epoch took its place
			return refusal(e.Subject, err)
		}
	}
	return nil
}

// isWrongLast tells whether the log refused a fact because of what it expects to be the last of a subject.
func isWrongLast(err error) bool {
	var api *jetstream.APIError
	return errors.As(err, &api) && (api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence || api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequenceConstant)
}

// fenceHeaders make the log refuse a message unless the producer's epoch is the newest.
func (p *Producer) fenceHeaders(set func(key, value string)) {
	if p.epoch == nil {
		return
	}
	set(jetstream.ExpectedLastSubjSeqHeader, strconv.FormatUint(p.fence.Load(), 10))
	set(jetstream.ExpectedLastSubjSeqSubjHeader, EpochSubject(p.name))
}
