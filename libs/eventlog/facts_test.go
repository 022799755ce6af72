package eventlog_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ringfence/ringfence/libs/eventlog"
	"github.com/ringfence/ringfence/libs/eventlog/eventlogtest"
	ringfencev1 "github.com/ringfence/ringfence/proto/ringfence/v1"
)

func namespace(name string) eventlog.Draft {
	return eventlog.Draft{
		Subject: eventlog.KubernetesSubject("Namespace", "", name),
		Fact:    &ringfencev1.Fact{Body: &ringfencev1.Fact_Namespace{Namespace: &ringfencev1.Namespace{Name: name}}},
	}
}

func gone(name string) eventlog.Draft {
	d := namespace(name)
	d.Fact = &ringfencev1.Fact{Body: &ringfencev1.Fact_Gone{Gone: &ringfencev1.Gone{}}}
	return d
}

func namespaces(n int) []eventlog.Draft {
	var ds []eventlog.Draft
	for i := range n {
		ds = append(ds, namespace(fmt.Sprintf("ns-%d", i)))
	}
	return ds
}

// line is an entry in short: sequence, counter, last token.
func line(e eventlog.Entry) string {
	return fmt.Sprintf("%d #%d %s", e.Sequence, e.Fact.GetCounter(), e.Subject[strings.LastIndexByte(e.Subject, '.')+1:])
}

func collect(t *testing.T, entries iter.Seq2[eventlog.Entry, error]) []string {
	t.Helper()
	var out []string
	for e, err := range entries {
		if err != nil {
			t.Fatalf("after %v: %v", out, err)
		}
		out = append(out, line(e))
	}
	return out
}

func publish(t *testing.T, p *eventlog.Producer, ds ...eventlog.Draft) {
	t.Helper()
	if err := p.PublishAll(t.Context(), ds); err != nil {
		t.Fatal(err)
	}
}

func TestFactsAreReadAsTheyWerePublished(t *testing.T) {
	_, l := eventlogtest.StartLog(t)
	p := l.Producer("watcher")
	publish(t, p, namespace("a"), namespace("b"), namespace("a"), gone("b"), namespace("c.d"))

	for _, tt := range []struct {
		name     string
		from, to uint64
		filters  []string
		want     []string
	}{
		{"everything", 0, 0, nil, []string{"1 #1 a", "2 #2 b", "3 #3 a", "4 #4 b", "5 #5 c%2Ed"}},
		{"a part", 2, 3, nil, []string{"2 #2 b", "3 #3 a"}},
		{"beyond the end", 4, 99, nil, []string{"4 #4 b", "5 #5 c%2Ed"}},
		{"nothing", 6, 0, nil, nil},
		{"one subject", 0, 0, []string{eventlog.KubernetesSubject("namespace", "", "a")}, []string{"1 #1 a", "3 #3 a"}},
		{"one subject up to a sequence of another", 0, 2, []string{"facts.k8s.*.*.a"}, []string{"1 #1 a"}},
		{"several filters", 2, 0, []string{"facts.k8s.*.*.a", "facts.k8s.*.*.b"}, []string{"2 #2 b", "3 #3 a", "4 #4 b"}},
		{"no match", 0, 0, []string{"facts.pce.>"}, nil},
	} {
		if diff := cmp.Diff(tt.want, collect(t, l.Read(t.Context(), tt.from, tt.to, tt.filters...))); diff != "" {
			t.Errorf("read %s: %s", tt.name, diff)
		}
	}
	if diff := cmp.Diff([]string{"3 #3 a", "4 #4 b", "5 #5 c%2Ed"}, collect(t, l.Latest(t.Context()))); diff != "" {
		t.Errorf("latest: %s", diff)
	}
	if diff := cmp.Diff([]string{"4 #4 b"}, collect(t, l.Latest(t.Context(), "facts.*.*.*.b"))); diff != "" {
		t.Errorf("latest of one: %s", diff)
	}
	if last, err := l.LastSequence(t.Context()); err != nil || last != 5 {
		t.Errorf("last sequence: %d, %v", last, err)
	}
}

func TestAnEmptyLogReadsAsEmpty(t *testing.T) {
	_, l := eventlogtest.StartLog(t)
	if got := collect(t, l.Read(t.Context(), 0, 0)); got != nil {
		t.Errorf("read: %v", got)
	}
	if got := collect(t, l.Latest(t.Context())); got != nil {
		t.Errorf("latest: %v", got)
	}
	if got := collect(t, l.Latest(t.Context(), "facts.k8s.pod.>")); got != nil {
		t.Errorf("latest of a kind: %v", got)
	}
}

func TestBatchesKeepTheOrder(t *testing.T) {
	_, l := eventlogtest.StartLog(t)
	p := l.Producer("watcher")
	ds := namespaces(1234)
	publish(t, p, ds...)
	publish(t, p, namespace("after"))
	i := 0
	for e, err := range l.Read(t.Context(), 0, 0) {
		if err != nil {
			t.Fatal(err)
		}
		if i++; e.Sequence != uint64(i) || e.Fact.GetCounter() != uint64(i) || (i <= len(ds) && e.Subject != ds[i-1].Subject) {
			t.Fatalf("fact %d is %s", i, line(e))
		}
	}
	if i != len(ds)+1 {
		t.Errorf("%d facts", i)
	}
}

func TestPublishingRefusesWhatCannotBeAFact(t *testing.T) {
	_, l := eventlogtest.StartLog(t)
	p := l.Producer("watcher")
	fact := namespace("a").Fact
	big := &ringfencev1.Fact{Body: &ringfencev1.Fact_Namespace{Namespace: &ringfencev1.Namespace{Name: strings.Repeat("x", 2<<20)}}}
	for _, tt := range []struct {
		name string
		d    eventlog.Draft
		want string
	}{
		{"foreign subject", eventlog.Draft{Subject: "policy.head", Fact: fact}, "policy.head"},
		{"wildcard", eventlog.Draft{Subject: "facts.k8s.pod.>", Fact: fact}, "facts.k8s.pod.>"},
		{"empty token", eventlog.Draft{Subject: "facts.k8s..a", Fact: fact}, "facts.k8s..a"},
		{"no body", eventlog.Draft{Subject: "facts.k8s.pod.a.b", Fact: &ringfencev1.Fact{}}, "facts.k8s.pod.a.b"},
		{"no fact", eventlog.Draft{Subject: "facts.k8s.pod.a.b"}, "facts.k8s.pod.a.b"},
		{"too large", eventlog.Draft{Subject: "facts.k8s.namespace._.big", Fact: big}, "facts.k8s.namespace._.big"},
	} {
		_, err := p.Publish(t.Context(), tt.d)
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v", tt.name, err)
		}
		if tt.name == "too large" && !errors.Is(err, eventlog.ErrTooLarge) {
			t.Errorf("%s: %v is not ErrTooLarge", tt.name, err)
		}
	}
	if last, err := l.LastSequence(t.Context()); err != nil || last != 0 {
		t.Errorf("something was stored: %d, %v", last, err)
	}
}

// tail runs Tail until it ends and gives the lines as they come.
func tail(ctx context.Context, l *eventlog.Log, from uint64, filters ...string) (<-chan string, <-chan error) {
	lines, end := make(chan string, 10_000), make(chan error, 1)
	go func() {
		end <- l.Tail(ctx, from, filters, func(e eventlog.Entry) error {
			lines <- line(e)
			return nil
		})
	}()
	return lines, end
}

func next(t *testing.T, lines <-chan string) string {
	t.Helper()
	select {
	case l := <-lines:
		return l
	case <-time.After(20 * time.Second):
		t.Fatal("nothing within 20 s")
		return ""
	}
}

func ended(t *testing.T, end <-chan error, want error) {
	t.Helper()
	select {
	case err := <-end:
		if !errors.Is(err, want) {
			t.Errorf("ended with %v, want %v", err, want)
		}
	case <-time.After(30 * time.Second):
		t.Errorf("not ended within 30 s, want %v", want)
	}
}

func TestTailGoesOnAfterTheServerRestartedWhileIdle(t *testing.T) {
	s, l := eventlogtest.StartLog(t)
	p := l.Producer("watcher")
	publish(t, p, namespace("a"), namespace("b"))
	ctx, cancel := context.WithCancel(t.Context())
	lines, end := tail(ctx, l, 2)
	filtered, filteredEnd := tail(ctx, l, 0, "facts.k8s.*.*.c")
	if got := next(t, lines); got != "2 #2 b" {
		t.Fatal(got)
	}
	for round := range 2 {
		s.Restart()
		eventlogtest.Eventually(t, func() error { _, err := p.Publish(t.Context(), namespace("c")); return err })
		want := fmt.Sprintf("%d #%d c", round+3, round+3)
		if got := next(t, lines); got != want {
			t.Fatalf("after restart %d: %s, want %s", round, got, want)
		}
		if got := next(t, filtered); got != want {
			t.Fatalf("filtered, after restart %d: %s, want %s", round, got, want)
		}
	}
	cancel()
	ended(t, end, context.Canceled)
	ended(t, filteredEnd, context.Canceled)
}

func TestReopeningKeepsTheIncarnation(t *testing.T) {
	s, l := eventlogtest.StartLog(t)
	s.Restart()
	if again := s.Create(); again.Incarnation() != l.Incarnation() {
		t.Errorf("%s became %s", l.Incarnation(), again.Incarnation())
	}
	opened, err := eventlog.Open(t.Context(), s.Conn("watcher"))
	if err != nil || opened.Incarnation() != l.Incarnation() {
		t.Errorf("opened: %v, %v", opened, err)
	}
}

func TestALostStoreIsANewIncarnation(t *testing.T) {
	s, l := eventlogtest.StartLog(t)
	p := l.Producer("watcher")
	publish(t, p, namespace("a"))
	lines, end := tail(t.Context(), l, 0)
	next(t, lines)
	watched := make(chan error, 1)
	go func() { watched <- l.Watch(t.Context()) }()

	s.Wipe()
	fresh := s.Create()
	if fresh.Incarnation() == l.Incarnation() {
		t.Fatal("the incarnation stayed")
	}
	// As many facts as before and more: the tail must not take them for a continuation.
	publish(t, fresh.Producer("watcher"), namespaces(3)...)
	ended(t, end, eventlog.ErrIncarnation)
	ended(t, watched, eventlog.ErrIncarnation)
	select {
	case got := <-lines:
		t.Errorf("a fact of the other incarnation: %s", got)
	default:
	}
	eventlogtest.Eventually(t, func() error {
		if _, err := p.Publish(t.Context(), namespace("b")); !errors.Is(err, eventlog.ErrIncarnation) {
			return fmt.Errorf("the old producer: %w", err)
		}
		return nil
	})
	for _, err := range l.Read(t.Context(), 0, 0) {
		if !errors.Is(err, eventlog.ErrIncarnation) {
			t.Errorf("read: %v", err)
		}
	}
}

func TestOpenWaitsForTheLog(t *testing.T) {
	s := eventlogtest.Start(t)
	nc := s.Conn("watcher")
	opened := make(chan string, 1)
	go func() {
		l, err := eventlog.Open(t.Context(), nc)
		if err != nil {
			t.Error(err)
			return
		}
		opened <- l.Incarnation()
	}()
	want := s.Create().Incarnation()
	if got := next(t, opened); got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func TestAHoleIsAGap(t *testing.T) {
	_, l := eventlogtest.StartLog(t)
	p := l.Producer("watcher")
	publish(t, p, namespaces(10)...)
	if err := l.Trim(t.Context(), 5); err != nil {
		t.Fatal(err)
	}
	if _, end := tail(t.Context(), l, 3); true {
		ended(t, end, eventlog.ErrGap)
	}
	for _, err := range l.Read(t.Context(), 3, 0) {
		if !errors.Is(err, eventlog.ErrGap) {
			t.Errorf("read from below the oldest: %v", err)
		}
	}
	if got := collect(t, l.Read(t.Context(), 0, 0)); len(got) != 6 || got[0] != "5 #5 ns-4" {
		t.Errorf("read what is kept: %v", got)
	}
	if got := collect(t, l.Read(t.Context(), 3, 0, "facts.k8s.>")); len(got) != 6 {
		t.Errorf("a filtered read: %v", got)
	}
}

func TestGarbageIsSkippedAndReported(t *testing.T) {
	s, l := eventlogtest.StartLog(t)
	p := l.Producer("watcher")
	publish(t, p, namespace("a"))
	nc := s.Conn("stranger")
	for _, data := range []string{"garbage", ""} {
		if _, err := nc.Request("facts.k8s.pod.x.broken", []byte(data), 5*time.Second); err != nil {
			t.Fatal(err)
		}
	}
	publish(t, p, namespace("b"))
	ctx, log := logged(t)
	if got := collect(t, l.Read(ctx, 0, 0)); !slices.Equal(got, []string{"1 #1 a", "4 #2 b"}) {
		t.Errorf("read: %v", got)
	}
	if lines := log.lines(); len(lines) != 2 || !strings.Contains(lines[0], "facts.k8s.pod.x.broken") {
		t.Errorf("log: %v", lines)
	}
	if l.Garbage() != 2 {
		t.Errorf("garbage: %d", l.Garbage())
	}
	lines, _ := tail(t.Context(), l, 1)
	if a, b := next(t, lines), next(t, lines); a != "1 #1 a" || b != "4 #2 b" {
		t.Errorf("tail: %s, %s", a, b)
	}
}

func TestSequenceAt(t *testing.T) {
	_, l := eventlogtest.StartLog(t)
	publish(t, l.Producer("watcher"), namespaces(20)...)
	for e, err := range l.Read(t.Context(), 0, 0) {
		if err != nil {
			t.Fatal(err)
		}
		if got, err := l.SequenceAt(t.Context(), e.StoredAt); err != nil || got != e.Sequence {
			t.Errorf("at the time of %d: %d, %v", e.Sequence, got, err)
		}
		if got, err := l.SequenceAt(t.Context(), e.StoredAt.Add(-time.Nanosecond)); err != nil || got != e.Sequence-1 {
			t.Errorf("before %d: %d, %v", e.Sequence, got, err)
		}
	}
	if got, err := l.SequenceAt(t.Context(), time.Now().Add(time.Hour)); err != nil || got != 20 {
		t.Errorf("in an hour: %d, %v", got, err)
	}
}

func TestAFullLogRefusesAndKeeps(t *testing.T) {
	s := eventlogtest.Start(t)
	l, err := eventlog.Create(t.Context(), s.Conn("policy-store"), eventlog.Sizes{Bytes: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	p := l.Producer("watcher")
	padded := namespace("padded")
	padded.Fact.GetNamespace().Labels = map[string]string{"pad": strings.Repeat("x", 10_000)}
	var stored uint64
	for stored < 1000 {
		sequence, err := p.Publish(t.Context(), padded)
		if err != nil {
			if !errors.Is(err, eventlog.ErrFull) || !strings.Contains(err.Error(), padded.Subject) {
				t.Fatalf("single: %v", err)
			}
			break
		}
		stored = sequence
	}
	batch := slices.Repeat([]eventlog.Draft{padded}, 60)
	if err := p.PublishAll(t.Context(), batch); !errors.Is(err, eventlog.ErrFull) || !strings.Contains(err.Error(), padded.Subject) {
		t.Errorf("batch: %v", err)
	}
	if got := collect(t, l.Read(t.Context(), 1, 0)); uint64(len(got)) != stored || stored == 0 || stored == 1000 {
		t.Errorf("%d facts are left of %d that were acknowledged", len(got), stored)
	}
	if err := l.Trim(t.Context(), stored-1); err != nil {
		t.Fatal(err)
	}
	if sequence, err := p.Publish(t.Context(), padded); err != nil || sequence != stored+1 {
		t.Errorf("after space was made: %d, %v", sequence, err)
	}
}

func TestRenewIsANewIncarnationInPlace(t *testing.T) {
	s, l := eventlogtest.StartLog(t)
	p := l.Producer("watcher")
	publish(t, p, namespaces(5)...)
	_, end := tail(t.Context(), l, 0)
	repaired := s.Create()
	if err := repaired.Renew(t.Context()); err != nil {
		t.Fatal(err)
	}
	ended(t, end, eventlog.ErrIncarnation)
	if repaired.Incarnation() == l.Incarnation() || repaired.Base() != 6 {
		t.Errorf("incarnation %s after %s, base %d", repaired.Incarnation(), l.Incarnation(), repaired.Base())
	}
	publish(t, repaired.Producer("watcher"), namespace("a"))
	if got := collect(t, repaired.Read(t.Context(), repaired.Base(), 0)); !slices.Equal(got, []string{"6 #1 a"}) {
		t.Errorf("read: %v", got)
	}
	if again := s.Create(); again.Incarnation() != repaired.Incarnation() || again.Base() != 6 {
		t.Errorf("opened again: %s, base %d", again.Incarnation(), again.Base())
	}
}
