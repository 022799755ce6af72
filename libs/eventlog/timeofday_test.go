package eventlog_test

import (
	"slices"
	"testing"
	"time"

	"github.com/ringfence/ringfence/libs/eventlog"
	"github.com/ringfence/ringfence/libs/eventlog/eventlogtest"
)

// times gives when each fact was stored.
func times(t *testing.T, l *eventlog.Log) map[uint64]time.Time {
	t.Helper()
	out := map[uint64]time.Time{}
	for e, err := range l.Read(t.Context(), 0, 0) {
		if err != nil {
			t.Fatal(err)
		}
		out[e.Sequence] = e.StoredAt
	}
	return out
}

// A clock that goes back an hour, and one that leaps ahead, change no order: facts are stored, read and followed as ever, and a
// time means the last place that was stored so early.
func TestAClockThatLeapsChangesNoOrder(t *testing.T) {
	s, l := eventlogtest.StartLog(t)
	p := l.Producer("watcher")
	const each = 1500
	publish(t, p, namespaces(each)...)
	s.Shift("FACTS", 1, -time.Hour) // the clock leaps ahead after these
	publish(t, l.Producer("watcher"), namespaces(each)...)
	s.Shift("FACTS", each+1, 2*time.Hour) // it was two hours ahead for these, and was set back
	lines, ended := tail(t.Context(), l, 0)
	last := uint64(2 * each)
	fresh := s.Create()
	if fresh.Incarnation() != l.Incarnation() {
		t.Fatal("another incarnation")
	}
	if sequence, err := fresh.Producer("watcher").Publish(t.Context(), namespace("ns-0")); err != nil || sequence != last+1 {
		t.Fatalf("the first after the clock went back is %d, %v", sequence, err)
	}
	publish(t, fresh.Producer("watcher"), namespaces(each)...)
	last += each + 1
	for sequence := range last {
		select {
		case <-lines:
		case err := <-ended:
			t.Fatalf("the tail ended at %d: %v", sequence, err)
		case <-time.After(10 * time.Second):
			t.Fatalf("the tail stands still at %d", sequence)
		}
	}
	at := times(t, fresh)
	if uint64(len(at)) != last || !at[each+1].After(at[last]) || !at[last].After(at[each]) {
		t.Fatalf("%d facts at %s, %s, %s: the clock did not leap", len(at), at[each], at[each+1], at[last])
	}
	if got := collect(t, fresh.Latest(t.Context())); len(got) != each || got[0] != "3002 #1 ns-0" && got[0] != "3002 #2 ns-0" {
		t.Errorf("%d subjects, the first %s", len(got), got[0])
	}
	readOnly, err := eventlog.OpenReadOnly(t.Context(), s.Conn("viewer"))
	if err != nil {
		t.Fatal(err)
	}
	for _, log := range []*eventlog.Log{fresh, readOnly} {
		wanted := map[time.Time]uint64{
			at[1].Add(-time.Nanosecond): 0, at[1]: 1, at[700]: 700, at[1024]: 1024, at[each]: each, at[each].Add(time.Minute): each,
			// While the clock was ahead it showed times that came again later, or are still to come.
			at[each+700]: last, at[last]: last, at[last].Add(-time.Nanosecond): last - 1, at[2*each+2]: 2*each + 2, time.Now(): last,
		}
		for when, want := range wanted {
			if got, err := log.SequenceAt(t.Context(), when); err != nil || got != want {
				t.Errorf("at %s: %d, %v, want %d", when, got, err, want)
			}
		}
	}
	// What is kept begins anywhere.
	if err := fresh.Trim(t.Context(), 2*each+10); err != nil {
		t.Fatal(err)
	}
	for when, want := range map[time.Time]uint64{at[each]: 2*each + 9, at[2*each+500]: 2*each + 500} {
		if got, err := fresh.SequenceAt(t.Context(), when); err != nil || got != want {
			t.Errorf("of a trimmed log, at %s: %d, %v, want %d", when, got, err, want)
		}
	}
}

// Nothing of the log goes by its age, so a clock that leaps ahead a year takes nothing away.
func TestNothingGoesByItsAge(t *testing.T) {
	s, l := eventlogtest.StartLog(t)
	publish(t, l.Producer("watcher"), namespaces(5)...)
	policy := eventlog.Computed{Engine: "clas/2", Digest: "abc"}
	if _, err := l.WriteSnapshot(t.Context(), 5, policy, slices.Values(snapshotEntries(5))); err != nil {
		t.Fatal(err)
	}
	for _, stream := range []string{"FACTS", "SNAP"} {
		s.Shift(stream, 1, -365*24*time.Hour)
	}
	fresh := s.Create()
	if got := collect(t, fresh.Read(t.Context(), 1, 0)); len(got) != 5 {
		t.Errorf("%d facts of 5 are left", len(got))
	}
	infos, err := fresh.Snapshots(t.Context())
	if err != nil || len(infos) != 1 {
		t.Fatalf("%d snapshots, %v", len(infos), err)
	}
	if entries, err := readSnapshot(t, fresh, infos[0]); err != nil || len(entries) != 5 {
		t.Errorf("%d entries, %v", len(entries), err)
	}
	js := s.Streams()
	for _, config := range js {
		if config.MaxAge != 0 {
			t.Errorf("stream %s lets messages go after %s", config.Name, config.MaxAge)
		}
	}
	if len(js) != 6 {
		t.Errorf("%d streams", len(js))
	}
}
