package eventlog_test

import (
	"errors"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/ringfence/ringfence/libs/eventlog"
	"github.com/ringfence/ringfence/libs/eventlog/eventlogtest"
	ringfencev1 "github.com/ringfence/ringfence/proto/ringfence/v1"
)

func lead(t *testing.T, l *eventlog.Log, holder string) *eventlog.Producer {
	t.Helper()
	p, err := l.Lead(t.Context(), "watcher", holder)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// deposed checks that nothing of a producer is stored any more, one by one or in a batch.
func deposed(t *testing.T, l *eventlog.Log, p *eventlog.Producer) {
	t.Helper()
	before, err := l.LastSequence(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Publish(t.Context(), namespace("late")); !errors.Is(err, eventlog.ErrDeposed) {
		t.Errorf("a fact of an earlier epoch: %v", err)
	}
	if err := p.PublishAll(t.Context(), namespaces(100)); !errors.Is(err, eventlog.ErrDeposed) {
		t.Errorf("a batch of an earlier epoch: %v", err)
	}
	if after, err := l.LastSequence(t.Context()); err != nil || after != before {
		t.Errorf("the log went on from %d to %d, %v", before, after, err)
	}
}

func TestAnEarlierLeaderCannotWrite(t *testing.T) {
	_, l := eventlogtest.StartLog(t)
	first := lead(t, l, "a")
	publish(t, first, namespace("a"))
	second := lead(t, l, "b")
	deposed(t, l, first)
	publish(t, second, namespaces(100)...)
	publish(t, second, namespace("b"))
	third := lead(t, l, "a") // the name alone is no right
	deposed(t, l, first)
	deposed(t, l, second)
	publish(t, third, namespace("c"))

	// Another producer's epochs are its own.
	bridge, err := l.Lead(t.Context(), "pce-bridge", "c")
	if err != nil {
		t.Fatal(err)
	}
	publish(t, bridge, namespace("d"))
	publish(t, third, namespace("e"))
	for _, err := range l.Read(t.Context(), 0, 0) { // counters that begin anew are no gap
		if err != nil {
			t.Fatal(err)
		}
	}
}

func TestAFenceOutlivesTheTrimming(t *testing.T) {
	_, l := eventlogtest.StartLog(t)
	first := lead(t, l, "a")
	second := lead(t, l, "b")
	publish(t, second, namespaces(20)...)
	last, err := l.LastSequence(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Trim(t.Context(), last); err != nil { // both epochs are below
		t.Fatal(err)
	}
	deposed(t, l, first)
	publish(t, second, namespace("one"))
	publish(t, second, namespaces(100)...)
	if err := l.Trim(t.Context(), last+2); err != nil {
		t.Fatal(err)
	}
	publish(t, second, namespaces(100)...)
	deposed(t, l, first)
	for _, err := range l.Read(t.Context(), 0, 0) {
		if err != nil {
			t.Fatal(err)
		}
	}
}

func TestANewIncarnationEndsAllEpochs(t *testing.T) {
	s, l := eventlogtest.StartLog(t)
	p := lead(t, l, "a")
	publish(t, p, namespace("a"))
	store, err := eventlog.Create(t.Context(), s.Conn("policy-store"), eventlogtest.Size)
	if err != nil {
		t.Fatal(err)
	}
	if err := store.Renew(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Publish(t.Context(), namespace("b")); !errors.Is(err, eventlog.ErrIncarnation) {
		t.Errorf("a fact for the old incarnation: %v", err)
	}
	if last := collect(t, store.Read(t.Context(), 0, 0)); last != nil {
		t.Errorf("the new incarnation begins with %v", last)
	}
	publish(t, lead(t, store, "a"), namespace("b"))
}

// A log that was damaged and put together anew can have every sequence and lack facts: the producers' counters tell it.
func TestAFactThatIsMissingOrDamagedIsAGap(t *testing.T) {
	s, l := eventlogtest.StartLog(t)
	p := lead(t, l, "a")
	publish(t, p, namespaces(3)...)
	stranger := s.Conn("stranger")
	store := func(fact *ringfencev1.Fact) {
		t.Helper()
		data, err := proto.Marshal(fact)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := stranger.Request("facts.k8s.namespace._.x", data, answerTime); err != nil {
			t.Fatal(err)
		}
	}
	check := func(from, to uint64, gap bool) {
		t.Helper()
		for _, err := range l.Read(t.Context(), from, to) {
			if (err != nil) != errors.Is(err, eventlog.ErrGap) {
				t.Fatal(err)
			}
			if err != nil {
				if !gap {
					t.Errorf("from %d to %d: %v", from, to, err)
				}
				return
			}
		}
		if gap {
			t.Errorf("from %d to %d: nothing is said to be missing", from, to)
		}
	}
	fact := namespace("x").Fact
	check(0, 4, false)
	store(&ringfencev1.Fact{Producer: "watcher", Counter: 4, Body: fact.GetBody()}) // given again: the one before was refused
	store(&ringfencev1.Fact{Producer: "watcher", Counter: 5, Body: fact.GetBody()})
	check(0, 6, false)
	store(&ringfencev1.Fact{Producer: "watcher", Counter: 7, Body: fact.GetBody()})
	check(0, 7, true)
	check(7, 7, false)
	last, err := l.LastSequence(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	damaged := storedFact(t, s, 2)
	damaged[len(damaged)/2] ^= 1
	if _, err := stranger.Request("facts.k8s.namespace._.x", damaged, answerTime); err != nil {
		t.Fatal(err)
	}
	check(last+1, 0, true)
}
