package eventlog_test

import (
	"errors"
	"iter"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/ringfence/ringfence/libs/eventlog"
	"github.com/ringfence/ringfence/libs/eventlog/eventlogtest"
	ringfencev1 "github.com/ringfence/ringfence/proto/ringfence/v1"
)

func given(entries ...eventlog.Entry) iter.Seq2[eventlog.Entry, error] {
	return func(yield func(eventlog.Entry, error) bool) {
		for _, e := range entries {
			if !yield(e, nil) {
				return
			}
		}
	}
}

func TestACopyHasTheSameFactsAtTheSamePlaces(t *testing.T) {
	_, log := eventlogtest.StartLog(t)
	publish(t, log.Producer("watcher"), namespaces(3000)...) // more than are on their way at once
	for name, from := range map[string]uint64{"all": 1, "the end": 2000, "none": 3001} {
		t.Run(name, func(t *testing.T) {
			original := eventlog.Original{Incarnation: log.Incarnation(), Base: 1, First: from, Last: 3000}
			facts := log.Read(t.Context(), from, 0)
			copied, err := eventlog.Copy(t.Context(), eventlogtest.Start(t).Conn("copy"), eventlogtest.Size, original, facts)
			if err != nil {
				t.Fatal(err)
			}
			if copied.Incarnation() != log.Incarnation() || copied.Base() != 1 {
				t.Errorf("incarnation %s from %d", copied.Incarnation(), copied.Base())
			}
			if diff := cmp.Diff(collect(t, log.Read(t.Context(), from, 0)), collect(t, copied.Read(t.Context(), from, 0))); diff != "" {
				t.Errorf("facts differ: %s", diff)
			}
			if diff := cmp.Diff(lastFact(t, log), lastFact(t, copied), protocmp.Transform()); from <= 3000 && diff != "" {
				t.Errorf("the last fact differs: %s", diff)
			}
			if last, err := copied.LastSequence(t.Context()); err != nil || last != 3000 {
				t.Errorf("it ends at %d: %v", last, err)
			}
		})
	}
}

// lastFact gives the last fact of a log, nil where it has none.
func lastFact(t *testing.T, log *eventlog.Log) (last *ringfencev1.Fact) {
	t.Helper()
	for e, err := range log.Read(t.Context(), 0, 0) {
		if err != nil {
			t.Fatal(err)
		}
		last = e.Fact
	}
	return last
}

func TestWhatIsNoCopyIsRefused(t *testing.T) {
	_, log := eventlogtest.StartLog(t)
	publish(t, log.Producer("watcher"), namespace("a"))
	var fact eventlog.Entry
	for e, err := range log.Read(t.Context(), 0, 0) {
		if err != nil {
			t.Fatal(err)
		}
		fact = e
	}
	at := func(sequence uint64, subject string) eventlog.Entry {
		return eventlog.Entry{Subject: subject, Sequence: sequence, Fact: fact.Fact}
	}
	broken := errors.New("the file ends")
	for _, c := range []struct {
		name  string
		facts iter.Seq2[eventlog.Entry, error]
		want  string
	}{
		{"a sequence twice", given(at(5, fact.Subject), at(5, fact.Subject)), "sequence 5 cannot follow 5"},
		{"before the first", given(at(3, fact.Subject)), "sequence 3 cannot follow 3"},
		{"a hole without end", given(at(1<<40, fact.Subject)), "cannot follow 3"},
		{"another stream's subject", given(at(4, "plan.node")), `subject "plan.node"`},
		{"facts that cannot be read", func(yield func(eventlog.Entry, error) bool) { yield(eventlog.Entry{}, broken) }, "the file ends"},
	} {
		t.Run(c.name, func(t *testing.T) {
			original := eventlog.Original{Incarnation: "i", Base: 1, First: 4, Last: 10}
			_, err := eventlog.Copy(t.Context(), eventlogtest.Start(t).Conn("copy"), eventlogtest.Size, original, c.facts)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want %q", err, c.want)
			}
		})
	}
}

func TestACopyIntoALogIsRefused(t *testing.T) {
	server, log := eventlogtest.StartLog(t)
	publish(t, log.Producer("watcher"), namespace("a"))
	_, err := eventlog.Copy(t.Context(), server.Conn("copy"), eventlogtest.Size, eventlog.Original{Incarnation: "i", Base: 1, First: 1}, given())
	if !errors.Is(err, eventlog.ErrExists) {
		t.Errorf("error %v, want ErrExists", err)
	}
	if last, err := log.LastSequence(t.Context()); err != nil || last != 1 {
		t.Errorf("the log ends at %d now: %v", last, err)
	}
}
