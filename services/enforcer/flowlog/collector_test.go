package flowlog

import (
	"fmt"
	"net/netip"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	ringfencev1 "github.com/ringfence/ringfence/proto/ringfence/v1"
)

func TestCollectorCountsEqualFlows(t *testing.T) {
	start := time.Unix(1000, 0)
	c := NewCollector("node1", start)
	if got := c.Drain(start); got != nil {
		t.Errorf("a window without events gave %v", got)
	}
	web, api := Pod{"1", "shop", "web"}, Pod{"2", "shop", "api"}
	e := Event{Direction: 1, Decision: 1, Rule: "a", Source: source4, Destination: destination4, Protocol: 6, Port: 80}
	var writers sync.WaitGroup
	for range 10 {
		writers.Go(func() {
			c.Add(web, e)
			c.Add(api, e)
			c.Lose(2)
		})
	}
	writers.Wait()
	blocked := e
	blocked.Decision, blocked.Rule = ringfencev1.FlowDecision_FLOW_DECISION_BLOCKED, ""
	c.Add(web, blocked)
	batches := c.Drain(start.Add(10 * time.Second))
	if len(batches) != 1 || len(batches[0].Flows) != 3 || batches[0].Lost != 20 {
		t.Fatalf("batches %v", batches)
	}
	if f := batches[0].Flows[0]; f.PodName != "web" || f.Connections != 10 || f.Rule != "a" || f.Port != 80 {
		t.Errorf("first flow %v", f)
	}
	if c.Drain(start) != nil || c.Lost() != 20 {
		t.Errorf("a second drain gave flows, or %d lost instead of 20", c.Lost())
	}
}

// TestBatchesFitTheLog fills the largest flows there are into batches.
func TestBatchesFitTheLog(t *testing.T) {
	c := NewCollector("node1", time.Unix(0, 0))
	pod := Pod{UID: "0123456789-0123456789-0123456789-0123456789", Namespace: long('n', 63), Name: long('p', 253)}
	for i := range flowsPerBatch*2 + 1 {
		c.Add(pod, Event{Direction: 1, Decision: 1, Rule: long('r', 64), Source: source6,
			Destination: netip.MustParseAddr(fmt.Sprintf("fd00::%x", i)), Protocol: 132, Port: 65535})
	}
	batches := c.Drain(time.Unix(10, 0))
	if len(batches) != 3 {
		t.Fatalf("%d batches of %d flows", len(batches), flowsPerBatch*2+1)
	}
	for i, b := range batches {
		if size := proto.Size(b); size > 1<<20-1024 {
			t.Errorf("batch %d has %d bytes, too many for a message of 1 MiB", i, size)
		}
	}
}

func TestCollectorIsBounded(t *testing.T) {
	c := NewCollector("node1", time.Unix(0, 0))
	for i := range maxFlows + 5 {
		c.Add(Pod{}, Event{Source: netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), Destination: destination4})
	}
	if c.Lost() != 5 {
		t.Errorf("%d lost of 5 beyond the limit", c.Lost())
	}
}

func long(c byte, n int) string {
	b := make([]byte, n)
	for i := range b {
		b[i] = c
	}
	return string(b)
}
