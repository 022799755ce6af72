package eventlog

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strconv"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"google.golang.org/protobuf/proto"
)

// ErrExists says that a server holds a log already.
var ErrExists = errors.New("there is a log already")

const (
	// copyWindow is how many messages of a copy are on their way at once.
	copyWindow = 1024
	// maxHole bounds how many messages in a row a log may lack that a copy is made of.
	maxHole = 4096
)

// unreadableSubject is where a copy has a message for one of the original that could not be decoded. Nor can this one.
const unreadableSubject = "facts.ctl.unreadable"

// Original names the log that a copy is made of, and the part that the copy holds.
type Original struct {
	Incarnation string
	Base        uint64
	// First and Last are the sequences of the first and the last fact. Last may be First - 1.
	First, Last uint64
}

// Copy makes a log of facts that were read from another one, on a server that has none (else ErrExists). The copy has the
// original's incarnation and its facts, byte for byte, at the same sequences; when they were stored is the time of copying. It
// is a copy to look into, or to go on with where the original is lost: two logs of one incarnation must never both be written.
// Facts come in ascending sequence; an error among them ends the copy. What an error leaves behind is no log: remove it.
func Copy(ctx context.Context, nc *nats.Conn, s Sizes, original Original, facts iter.Seq2[Entry, error]) (*Log, error) {
	l, err := newLog(nc)
	if err != nil {
		return nil, err
	}
	switch _, err := l.js.Stream(ctx, streamFacts); {
	case err == nil:
		return nil, ErrExists
	case !errors.Is(err, jetstream.ErrStreamNotFound):
		return nil, fmt.Errorf("stream %s: %w", streamFacts, err)
	}
	if err := l.createCopy(ctx, s, original); err != nil {
		return nil, err
	}
	c := copier{log: l, next: original.First}
	if err := c.all(ctx, original.Last, facts); err != nil {
		return nil, err
	}
	return l, l.learn(ctx)
}

func (l *Log) createCopy(ctx context.Context, s Sizes, original Original) error {
	for _, cfg := range s.streams() {
		cfg.Storage, cfg.Replicas = jetstream.FileStorage, 1
		if cfg.Name == streamFacts {
			cfg.Metadata = map[string]string{incarnationKey: original.Incarnation, baseKey: strconv.FormatUint(original.Base, 10)}
		}
		if _, err := l.js.CreateStream(ctx, cfg); err != nil {
			return fmt.Errorf("stream %s: %w", cfg.Name, err)
		}
	}
	if original.First <= 1 {
		return nil
	}
	return l.purge(ctx, streamFacts, jetstream.WithPurgeSequence(original.First)) // from there on an empty stream counts
}

// copier writes messages in order, some ahead of their acknowledgements.
type copier struct {
	log  *Log
	next uint64 // sequence of the next message
	sent []sentCopy
}

type sentCopy struct {
	subject  string
	sequence uint64
	ack      jetstream.PubAckFuture
}

func (c *copier) all(ctx context.Context, last uint64, facts iter.Seq2[Entry, error]) error {
	for e, err := range facts {
		if err != nil {
			return err
		}
		if err := c.fill(ctx, e.Sequence); err != nil {
			return err
		}
		data, err := proto.Marshal(e.Fact)
		if err != nil {
			return fmt.Errorf("%s: encode: %w", e.Subject, err)
		}
		if err := c.send(ctx, e.Subject, data); err != nil {
			return err
		}
	}
	if err := c.fill(ctx, last+1); err != nil {
		return err
	}
	return c.await(ctx, 0)
}

// fill takes the places up to a sequence that the original has nothing readable at.
func (c *copier) fill(ctx context.Context, sequence uint64) error {
	if sequence < c.next || sequence-c.next > maxHole {
		return fmt.Errorf("copy: sequence %d cannot follow %d", sequence, c.next-1)
	}
	for c.next < sequence {
		if err := c.send(ctx, unreadableSubject, nil); err != nil {
			return err
		}
	}
	return nil
}

func (c *copier) send(ctx context.Context, subject string, data []byte) error {
	if err := validSubject(subject); err != nil {
		return err
	}
	ack, err := c.log.js.PublishMsgAsync(&nats.Msg{Subject: subject, Data: data}, jetstream.WithExpectStream(streamFacts))
	if err != nil {
		return refusal(subject, err)
	}
	c.sent = append(c.sent, sentCopy{subject, c.next, ack})
	c.next++
	return c.await(ctx, copyWindow)
}

// await waits until no more than some messages are on their way.
func (c *copier) await(ctx context.Context, most int) error {
	for len(c.sent) > most {
		s := c.sent[0]
		select {
		case <-ctx.Done():
			return ctx.Err()
		case err := <-s.ack.Err():
			return refusal(s.subject, err)
		case ack := <-s.ack.Ok():
			if ack.Sequence != s.sequence {
				return fmt.Errorf("%s: the copy is at sequence %d, the original is at %d", s.subject, ack.Sequence, s.sequence)
			}
		}
		c.sent = c.sent[1:]
	}
	return nil
}
