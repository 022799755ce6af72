package policystore

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/ringfence/ringfence/libs/eventlog"
	ringfencev1 "github.com/ringfence/ringfence/proto/ringfence/v1"
)

func TestSilence(t *testing.T) {
	now := time.Now()
	up := &ringfencev1.PceLink{Up: true, State: ringfencev1.LinkState_LINK_STATE_REACHABLE}
	for name, test := range map[string]struct {
		after, quiet time.Duration
		link         *ringfencev1.PceLink
		want         bool
	}{
		"long enough":              {time.Minute, time.Minute, up, true},
		"not yet":                  {time.Minute, 59 * time.Second, up, false},
		"nobody minds":             {0, time.Hour, up, false},
		"never heard of a link":    {time.Minute, time.Hour, nil, false},
		"known already":            {time.Minute, time.Hour, &ringfencev1.PceLink{State: ringfencev1.LinkState_LINK_STATE_DEGRADED}, false},
		"a bridge that is no beat": {time.Minute, time.Hour, &ringfencev1.PceLink{Up: true}, false},
	} {
		s := newBridgeSilence(test.after)
		s.heard.Store(now.Add(-test.quiet).UnixNano())
		if _, over := s.over(test.link, now); over != test.want {
			t.Errorf("%s: %v", name, over)
		}
	}
}

// A bridge that is heard of is left alone; of one that is not, policy-store says that the console is away, once.
func TestABridgeThatIsSilentCountsAsAway(t *testing.T) {
	t.Parallel()
	p := startProcess(t, t.TempDir(), func(c *childConfig) { c.Silence = 15 * time.Second })
	nc := p.conn("test")
	var log *eventlog.Log
	eventually(t, func() (err error) { log, err = eventlog.Open(t.Context(), nc); return err })
	produce(t, log, "watcher", kubernetes())
	bridge := produce(t, log, "pce-bridge", append(console(t), eventlog.Draft{Subject: eventlog.LinkSubject, Fact: &ringfencev1.Fact{Body: &ringfencev1.Fact_PceLink{
		PceLink: &ringfencev1.PceLink{Up: true, State: ringfencev1.LinkState_LINK_STATE_REACHABLE}}}}))
	link := func() *ringfencev1.Fact {
		for e, err := range log.Latest(t.Context(), eventlog.LinkSubject) {
			if err != nil {
				t.Fatal(err)
			}
			return e.Fact
		}
		return nil
	}
	for range 25 {
		if err := nc.Publish(eventlog.AliveSubject("pce-bridge"), nil); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
	}
	if got := link(); !got.GetPceLink().GetUp() {
		t.Fatalf("a bridge that was heard of counts as away: %v", got)
	}
	eventually(t, func() error {
		if got := link(); got.GetPceLink().GetUp() || got.GetProducer() != "policy-store" || !strings.Contains(got.GetPceLink().GetReason(), "pce-bridge has not been heard of for ") {
			return fmt.Errorf("the link is %v", got)
		}
		return nil
	})
	before, err := log.LastSequence(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 12*time.Second)
	defer cancel()
	err = log.Tail(ctx, before+1, []string{eventlog.LinkSubject}, func(e eventlog.Entry) error { return fmt.Errorf("written again: %v", e.Fact) })
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Fatal(err)
	}
	if _, err := bridge.Publish(t.Context(), eventlog.Draft{Subject: eventlog.LinkSubject, Fact: &ringfencev1.Fact{Body: &ringfencev1.Fact_PceLink{
		PceLink: &ringfencev1.PceLink{Up: true, State: ringfencev1.LinkState_LINK_STATE_REACHABLE}}}}); err != nil {
		t.Fatal(err)
	}
}
