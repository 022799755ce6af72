package journal

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"
)

// Ring is a stream beside the edits, for what there is too much of to keep: when it is full, its oldest records go. A record is
// on disk and synced when Append returns, as an edit is. It is valid as long as its journal is open, and safe for concurrent
// use.
type Ring struct {
	name   string
	js     jetstream.JetStream
	stream jetstream.Stream
}

// ringMiB is the room of a new ring where none is given.
const ringMiB = 256

// Ring opens the ring of this name, making it where there is none, with room for mib MiB. Where mib is 0 it keeps the room that
// it has.
func (j *Journal) Ring(ctx context.Context, name string, mib int64) (*Ring, error) {
	if mib == 0 {
		if s, err := j.js.Stream(ctx, name); err == nil {
			return &Ring{name: name, js: j.js, stream: s}, nil
		}
		mib = ringMiB
	}
	s, err := j.js.CreateOrUpdateStream(ctx, jetstream.StreamConfig{
		Name: name, Subjects: []string{"ring." + name}, Storage: jetstream.FileStorage, Retention: jetstream.LimitsPolicy,
		Discard: jetstream.DiscardOld, MaxBytes: mib << 20, AllowDirect: true,
	})
	if err != nil {
		return nil, fmt.Errorf("console store: %s: %w", name, err)
	}
	return &Ring{name: name, js: j.js, stream: s}, nil
}

// Append stores record and gives its number, which is larger than that of every record before.
func (r *Ring) Append(ctx context.Context, record []byte) (uint64, error) {
	if len(record) > MaxRecord {
		return 0, fmt.Errorf("a record of %d bytes is larger than the %d that the store takes at once", len(record), MaxRecord)
	}
	ack, err := r.js.Publish(ctx, "ring."+r.name, record, jetstream.WithRetryAttempts(0))
	if err != nil {
		return 0, fmt.Errorf("store in %s: %w", r.name, err)
	}
	return ack.Sequence, nil
}

// Bounds gives the numbers of the oldest and the newest record; first is above last where there is none.
func (r *Ring) Bounds(ctx context.Context) (first, last uint64, err error) {
	info, err := r.stream.Info(ctx)
	if err != nil {
		return 0, 0, fmt.Errorf("read %s: %w", r.name, err)
	}
	if info.State.Msgs == 0 {
		return info.State.LastSeq + 1, info.State.LastSeq, nil
	}
	return info.State.FirstSeq, info.State.LastSeq, nil
}

// Get reads a record; kept is false where it has gone.
func (r *Ring) Get(ctx context.Context, number uint64) (record []byte, kept bool, err error) {
	msg, err := r.stream.GetMsg(ctx, number)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, fmt.Errorf("read record %d of %s: %w", number, r.name, err)
	}
	return msg.Data, true, nil
}

// Replay calls take with every record that is kept, oldest first.
func (r *Ring) Replay(ctx context.Context, take func(number uint64, record []byte)) error {
	first, last, err := r.Bounds(ctx)
	if err != nil {
		return err
	}
	for number := first; number <= last; number++ {
		record, kept, err := r.Get(ctx, number)
		if err != nil {
			return err
		}
		if kept {
			take(number, record)
		}
	}
	return nil
}
