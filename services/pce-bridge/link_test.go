package pcebridge

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/ringfence/ringfence/libs/eventlog"
	"github.com/ringfence/ringfence/libs/eventlog/eventlogtest"
	ringfencev1 "github.com/ringfence/ringfence/proto/ringfence/v1"
)

// The link: unknown at first, up once the console's state is in the log, down after the time without an answer, up again only
// once what the console did meanwhile is in the log; and written only when it changes.
func TestLink(t *testing.T) {
	_, log := eventlogtest.StartLog(t)
	held := ledgerOf(t, log)
	now := time.Now()
	l := newLink(time.Minute, newMetrics(prometheus.NewRegistry()))
	l.now, l.since = func() time.Time { return now }, now
	write := func(want string) {
		t.Helper()
		state, _ := l.state()
		if err := l.write(t.Context(), held, state); err != nil {
			t.Fatal(err)
		}
		got := "unknown"
		if f := held.get(eventlog.LinkSubject).GetPceLink(); f != nil {
			got = fmt.Sprint(f.GetUp(), " ", f.GetState(), " ", f.GetReason())
		}
		if got != want {
			t.Fatalf("the log has %q, want %q", got, want)
		}
	}
	const up, back = "true LINK_STATE_REACHABLE the PCE answers", "false LINK_STATE_RESYNCHRONISING the PCE answers again, and its state is being read"
	write("unknown")
	l.answer()
	write("unknown")
	l.synchronised("the PCE answers")
	write(up)
	l.fail("it hums")
	now = now.Add(59 * time.Second)
	write(up)
	now = now.Add(time.Second)
	write("false LINK_STATE_DEGRADED it hums")
	l.fail("it sings")
	write("false LINK_STATE_DEGRADED it hums")
	l.answer()
	write(back)
	l.synchronised("the PCE answers")
	write(up)
	l.synchronised("policy alone")
	write("true LINK_STATE_REACHABLE policy alone")
	if list, _ := subjects(t, log, 0); len(list) != 5 {
		t.Fatalf("%d facts", len(list))
	}
	// The next session of the log finds the link down, as policy-store leaves it where the bridge was not heard of.
	l.resume(&ringfencev1.Fact{Body: &ringfencev1.Fact_PceLink{PceLink: &ringfencev1.PceLink{Reason: "silent"}}})
	write(back)
	l.synchronised("the PCE answers")
	write(up)
	l.resume(held.get(eventlog.LinkSubject))
	write(up)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := l.keep(ctx, held); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
}
