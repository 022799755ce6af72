package eventlog

import (
	"context"
	"errors"
	"testing"

	"github.com/nats-io/nats.go/jetstream"
)

// arrival is a message of a consumer, of which arrivals look at its place alone.
type arrival struct {
	jetstream.Msg
	place uint64
}

func (a arrival) Metadata() (*jetstream.MsgMetadata, error) {
	return &jetstream.MsgMetadata{Sequence: jetstream.SequencePair{Consumer: a.place, Stream: 100 + a.place}}, nil
}
func (arrival) Subject() string { return "facts.k8s.pod.shop.web" }
func (arrival) Data() []byte    { return nil }

// TestArrivalsEndAtALoss holds that nothing is given that comes after what was lost.
func TestArrivalsEndAtALoss(t *testing.T) {
	a := newArrivals()
	defer a.close()
	for _, place := range []uint64{1, 2, 4, 3, 5} {
		a.put(arrival{place: place})
	}
	for _, want := range []uint64{101, 102} {
		if m, err := a.next(t.Context()); err != nil || m.sequence != want {
			t.Fatalf("sequence %d, %v, want %d", m.sequence, err, want)
		}
	}
	for range 2 {
		if m, err := a.next(t.Context()); !errors.Is(err, errDisordered) {
			t.Errorf("sequence %d, %v after a loss", m.sequence, err)
		}
	}
}

// TestArrivalsGiveWhatCameBeforeAnError holds that an error waits for its turn, and that the first one counts.
func TestArrivalsGiveWhatCameBeforeAnError(t *testing.T) {
	a := newArrivals()
	defer a.close()
	a.put(arrival{place: 1})
	a.fail(jetstream.ErrConsumerDeleted)
	a.fail(jetstream.ErrNoHeartbeat)
	if m, err := a.next(t.Context()); err != nil || m.sequence != 101 {
		t.Errorf("sequence %d, %v", m.sequence, err)
	}
	if _, err := a.next(t.Context()); !errors.Is(err, jetstream.ErrConsumerDeleted) {
		t.Errorf("%v, want the first error", err)
	}
}

// TestArrivalsAreBounded fills the room, and looks that the connection waits for the reader, and no longer than the reader is there.
func TestArrivalsAreBounded(t *testing.T) {
	a := newArrivals()
	put := make(chan struct{})
	go func() {
		defer close(put)
		for place := range uint64(3 * maxArrived) {
			a.put(arrival{place: place + 1})
		}
	}()
	for want := range uint64(maxArrived + 1) { // so that it was taken from twice
		if m, err := a.next(t.Context()); err != nil || m.sequence != 101+want {
			t.Fatalf("sequence %d, %v, want %d", m.sequence, err, 101+want)
		}
		if len(a.taken) >= maxArrived {
			t.Fatalf("%d messages were waiting", len(a.taken)+1)
		}
	}
	a.close()
	<-put
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	a.taken = nil
	if _, err := a.next(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("%v after the end", err)
	}
}
