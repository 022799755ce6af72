package eventlog_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/ringfence/ringfence/libs/eventlog"
	"github.com/ringfence/ringfence/libs/eventlog/eventlogtest"
	ringfencev1 "github.com/ringfence/ringfence/proto/ringfence/v1"
)

// snapshotOf writes a snapshot of the last fact of every subject up to a sequence, as policy-store does.
func snapshotOf(t *testing.T, l *eventlog.Log, sequence uint64) *ringfencev1.SnapshotInfo {
	t.Helper()
	last := map[string]*ringfencev1.SnapshotEntry{}
	for e, err := range l.Read(t.Context(), 1, sequence) {
		if err != nil {
			t.Fatal(err)
		}
		data, err := proto.Marshal(&ringfencev1.Fact{Body: e.Fact.GetBody()})
		if err != nil {
			t.Fatal(err)
		}
		last[e.Subject] = &ringfencev1.SnapshotEntry{Subject: e.Subject, Sequence: e.Sequence, Fact: data}
	}
	entries := []*ringfencev1.SnapshotEntry{{Subject: "facts.ctl.position", Sequence: sequence}}
	for _, e := range last {
		entries = append(entries, e)
	}
	slices.SortFunc(entries, func(a, b *ringfencev1.SnapshotEntry) int { return int(a.GetSequence()) - int(b.GetSequence()) })
	info, err := l.WriteSnapshot(t.Context(), sequence, eventlog.Computed{Engine: "test"}, slices.Values(entries))
	if err != nil {
		t.Fatal(err)
	}
	return info
}

// What was trimmed is still the last fact of its subject: a producer who did not see it would leave objects that are gone
// from the cluster in the policy.
func TestTheLatestOfATrimmedLogAreThoseOfItsSnapshotToo(t *testing.T) {
	s, l := eventlogtest.StartLog(t)
	p := l.Producer("watcher")
	publish(t, p, namespaces(5)...)
	snapshotOf(t, l, 5)
	publish(t, p, gone("ns-1"), namespace("ns-2"), namespace("ns-5"))
	snapshotOf(t, l, 8)
	if err := l.Trim(t.Context(), 6); err != nil {
		t.Fatal(err)
	}
	readOnly, err := eventlog.OpenReadOnly(t.Context(), s.Conn("viewer"))
	if err != nil {
		t.Fatal(err)
	}
	for _, log := range []*eventlog.Log{l, readOnly} {
		held := map[string]eventlog.Entry{}
		for e, err := range log.Latest(t.Context()) {
			if err != nil {
				t.Fatal(err)
			}
			held[e.Fact.GetNamespace().GetName()] = e
		}
		for name, sequence := range map[string]uint64{"ns-0": 1, "": 6, "ns-2": 7, "ns-3": 4, "ns-4": 5, "ns-5": 8} {
			if held[name].Sequence != sequence {
				t.Errorf("%q is last at %d, want %d", name, held[name].Sequence, sequence)
			}
		}
		if got := collect(t, log.Latest(t.Context(), "facts.*.*.*.ns-3")); !slices.Equal(got, []string{"4 #0 ns-3"}) {
			t.Errorf("one that was trimmed: %v", got)
		}
		if got := collect(t, log.Latest(t.Context(), "facts.*.*.*.other")); len(got) > 0 {
			t.Errorf("one that never was: %v", got)
		}
		for _, err := range log.Latest(t.Context()) {
			if err != nil {
				t.Error(err)
			}
			break // who has enough is not given more
		}
	}
}

func TestADamagedSnapshotIsPassedOverAndNoneIsAGap(t *testing.T) {
	s, l := eventlogtest.StartLog(t)
	p := l.Producer("watcher")
	publish(t, p, namespaces(5)...)
	snapshotOf(t, l, 5)
	publish(t, p, gone("ns-1"))
	snapshotOf(t, l, 6)
	if err := l.Trim(t.Context(), 6); err != nil {
		t.Fatal(err)
	}
	nc := s.Conn("stranger")
	for _, chunk := range []string{"snap.5.0", "snap.5.done"} {
		if _, err := nc.Request(chunk, []byte("garbage"), 5*time.Second); err != nil {
			t.Fatal(err)
		}
		if got := collect(t, l.Latest(t.Context(), "facts.*.*.*.ns-3")); !slices.Equal(got, []string{"4 #0 ns-3"}) {
			t.Errorf("with %s damaged: %v", chunk, got)
		}
	}
	if _, err := nc.Request("snap.6.0", []byte("garbage"), 5*time.Second); err != nil {
		t.Fatal(err)
	}
	var last error
	for e, err := range l.Latest(t.Context()) {
		if last = err; err == nil {
			t.Errorf("%s though facts are lost", e.Subject)
		}
	}
	if !errors.Is(last, eventlog.ErrGap) {
		t.Errorf("no snapshot: %v", last)
	}
}

func TestWhatIsTrimmedMeanwhileIsAGap(t *testing.T) {
	_, l := eventlogtest.StartLog(t)
	p := l.Producer("watcher")
	publish(t, p, namespaces(5)...)
	snapshotOf(t, l, 5)
	var last error
	for e, err := range l.Latest(t.Context()) {
		if last = err; e.Sequence == 1 {
			if err := l.Trim(t.Context(), 6); err != nil {
				t.Fatal(err)
			}
		}
	}
	if !errors.Is(last, eventlog.ErrGap) {
		t.Errorf("trimmed while it was read: %v", last)
	}
	if got := collect(t, l.Latest(t.Context())); len(got) != 5 {
		t.Errorf("read again: %v", got)
	}
}

// A subject whose last message is garbage is not as if there were nothing: whoever folds the log holds the fact before.
func TestTheLatestThatCannotBeDecodedHasNoBody(t *testing.T) {
	s, l := eventlogtest.StartLog(t)
	p := l.Producer("watcher")
	publish(t, p, namespaces(3)...)
	nc := s.Conn("stranger")
	if _, err := nc.Request(namespace("ns-1").Subject, []byte("garbage"), 5*time.Second); err != nil {
		t.Fatal(err)
	}
	readOnly, err := eventlog.OpenReadOnly(t.Context(), s.Conn("viewer"))
	if err != nil {
		t.Fatal(err)
	}
	for _, log := range []*eventlog.Log{l, readOnly} {
		if got := collect(t, log.Latest(t.Context())); !slices.Equal(got, []string{"1 #1 ns-0", "3 #3 ns-2", "4 #0 ns-1"}) {
			t.Errorf("latest: %v", got)
		}
		for e, err := range log.Latest(t.Context(), namespace("ns-1").Subject) {
			if err != nil || e.Fact == nil || e.Fact.GetBody() != nil {
				t.Errorf("garbage gives %v, %v", e.Fact, err)
			}
		}
	}
}
