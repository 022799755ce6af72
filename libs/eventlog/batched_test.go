package eventlog_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ringfence/ringfence/libs/eventlog"
	"github.com/ringfence/ringfence/libs/eventlog/eventlogtest"
	ringfencev1 "github.com/ringfence/ringfence/proto/ringfence/v1"
)

func openReadOnly(t *testing.T, s *eventlogtest.Server) *eventlog.Log {
	t.Helper()
	l, err := eventlog.OpenReadOnly(t.Context(), s.Conn("viewer"))
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// TestReadingWithoutConsumersGivesTheSame compares it with the other way.
func TestReadingWithoutConsumersGivesTheSame(t *testing.T) {
	s, l := eventlogtest.StartLog(t)
	publish(t, l.Producer("watcher"), namespaces(2500)...) // more than one request gets
	publish(t, l.Producer("watcher"), namespaces(7)...)
	publish(t, l.Producer("pce-bridge"), eventlog.Draft{Subject: eventlog.SettingsSubject, Fact: &ringfencev1.Fact{
		Body: &ringfencev1.Fact_Settings{Settings: &ringfencev1.Settings{}},
	}})
	readOnly := openReadOnly(t, s)
	for _, filters := range [][]string{
		nil, {"facts.k8s.>"}, {"facts.*.settings"}, {"facts.ctl.*", "facts.k8s.*.*.ns-3"}, {"facts.pce.>"}, {"facts.k8s.namespace._.ns-3", "facts.none.>"},
	} {
		want, got := collect(t, l.Read(t.Context(), 3, 2505, filters...)), collect(t, readOnly.Read(t.Context(), 3, 2505, filters...))
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("read %q: %s", filters, diff)
		}
		want, got = collect(t, l.Latest(t.Context(), filters...)), collect(t, readOnly.Latest(t.Context(), filters...))
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("latest %q: %s", filters, diff)
		}
	}
	for _, err := range readOnly.Latest(t.Context()) {
		if err != nil {
			t.Error(err)
		}
		break // who has enough is left alone
	}
	if err := l.Trim(t.Context(), 100); err != nil {
		t.Fatal(err)
	}
	for _, err := range readOnly.Read(t.Context(), 3, 0) {
		if !errors.Is(err, eventlog.ErrGap) {
			t.Errorf("read from below the oldest: %v", err)
		}
	}
	if got := collect(t, readOnly.Read(t.Context(), 0, 0)); len(got) != 2508-99 {
		t.Errorf("%d facts are kept", len(got))
	}
}

func TestReadingWithoutConsumersTails(t *testing.T) {
	s, l := eventlogtest.StartLog(t)
	p := l.Producer("watcher")
	publish(t, p, namespace("a"), namespace("b"))
	readOnly := openReadOnly(t, s)
	ctx, cancel := context.WithCancel(t.Context())
	lines, end := tail(ctx, readOnly, 2)
	filtered, filteredEnd := tail(t.Context(), readOnly, 0, "facts.k8s.*.*.c", "facts.ctl.>")
	if got := next(t, lines); got != "2 #2 b" {
		t.Fatal(got)
	}
	s.Restart()
	eventlogtest.Eventually(t, func() error { _, err := p.Publish(t.Context(), namespace("c")); return err })
	for _, lines := range []<-chan string{lines, filtered} {
		if got := next(t, lines); got != "3 #3 c" {
			t.Errorf("after a restart: %s", got)
		}
	}
	cancel()
	ended(t, end, context.Canceled)
	s.Wipe()
	fresh := s.Create()
	publish(t, fresh.Producer("watcher"), namespaces(5)...)
	ended(t, filteredEnd, eventlog.ErrIncarnation)
}

func TestReadingWithoutConsumersReadsReports(t *testing.T) {
	s, l := eventlogtest.StartLog(t)
	nc := s.Conn("enforcer")
	var middle time.Time
	for n := range 4 {
		if n == 2 {
			middle = time.Now()
		}
		err := errors.Join(eventlog.PublishStatus(nc, &ringfencev1.NodeStatus{Node: fmt.Sprintf("node-%d", n%2), Window: uint64(n)}),
			eventlog.PublishFlows(nc, &ringfencev1.FlowBatch{Node: fmt.Sprintf("node-%d", n)}), nc.Flush())
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Millisecond)
	}
	readOnly := openReadOnly(t, s)
	for _, log := range []*eventlog.Log{l, readOnly} {
		var windows []uint64
		eventlogtest.Eventually(t, func() error {
			statuses, err := log.NodeStatuses(t.Context())
			windows = nil
			for _, n := range statuses {
				windows = append(windows, n.GetWindow())
			}
			if err == nil && !slices.Equal(windows, []uint64{2, 3}) {
				err = fmt.Errorf("windows %v", windows)
			}
			return err
		})
		var nodes []string
		for b, err := range log.Flows(t.Context(), middle) {
			if err != nil {
				t.Fatal(err)
			}
			nodes = append(nodes, b.GetNode())
		}
		if !slices.Equal(nodes, []string{"node-2", "node-3"}) {
			t.Errorf("flows of %v", nodes)
		}
	}
	if statuses, err := readOnly.Snapshots(t.Context()); err != nil || len(statuses) > 0 {
		t.Errorf("an empty stream: %v %v", statuses, err)
	}
}
