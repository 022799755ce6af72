package policystore

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"

	"github.com/ringfence/ringfence/libs/addresses"
	"github.com/ringfence/ringfence/libs/eventlog"
	ringfencev1 "github.com/ringfence/ringfence/proto/ringfence/v1"
)

// crowd is many enforcers, each with a connection and a node of its own.
type crowd struct {
	t       *testing.T
	windows []atomic.Uint64 // of each, the window that it holds
	pods    []atomic.Int64
	peers   []atomic.Int64 // addresses in its sets
	conns   []*nats.Conn
}

func enforcers(t *testing.T, p *process, n int) *crowd {
	t.Helper()
	c := &crowd{t: t, windows: make([]atomic.Uint64, n), pods: make([]atomic.Int64, n), peers: make([]atomic.Int64, n)}
	ctx, cancel := context.WithCancel(zerolog.Nop().WithContext(t.Context()))
	done := make(chan struct{})
	for i := range n {
		nc := p.conn(fmt.Sprintf("enforcer-%d", i))
		c.conns = append(c.conns, nc)
		go func() {
			defer func() { done <- struct{}{} }()
			_ = eventlog.Follow(ctx, nc, fmt.Sprintf("node-%d", i), func(_ context.Context, s eventlog.NodePolicy) error {
				peers := 0
				for _, set := range s.Sets {
					peers += addresses.Len(set.GetAddresses())
				}
				c.pods[i].Store(int64(len(s.Plan.GetPods())))
				c.peers[i].Store(int64(peers))
				c.windows[i].Store(s.Window)
				return nil
			})
		}()
	}
	t.Cleanup(func() {
		cancel()
		for range n {
			<-done
		}
	})
	return c
}

// hold waits until every enforcer has so many pods on its node and so many addresses in its sets.
func (c *crowd) hold(pods, peers int) {
	c.t.Helper()
	eventually(c.t, func() error {
		for i := range c.pods {
			if have, see := c.pods[i].Load(), c.peers[i].Load(); have != int64(pods) || see != int64(peers) {
				return fmt.Errorf("enforcer %d holds %d pods and %d addresses, want %d and %d", i, have, see, pods, peers)
			}
		}
		return nil
	})
}

// A thousand and one is more than a server takes of consumers by default: enforcers have none.
func TestAThousandAndOneEnforcers(t *testing.T) {
	const nodes = 1001
	p := startProcess(t, t.TempDir())
	var facts []eventlog.Draft
	for i := range nodes {
		name := fmt.Sprintf("node-%d", i)
		facts = append(facts, eventlog.Draft{Subject: eventlog.KubernetesSubject("node", "", name), Fact: &ringfencev1.Fact{Body: &ringfencev1.Fact_Node{
			Node: &ringfencev1.Node{Name: name, Uid: "uid-" + name},
		}}})
	}
	facts = append(facts, kubernetes()[1])
	for i := range nodes {
		d := pod(i)
		d.Fact.GetPod().Node = fmt.Sprintf("node-%d", i)
		facts = append(facts, d)
	}
	l := p.open("test")
	watcher := produce(t, l, "watcher", facts)
	produce(t, l, "pce-bridge", console(t))
	c := enforcers(t, p, nodes)
	c.hold(1, nodes)

	// One change reaches all of them.
	if _, err := watcher.Publish(t.Context(), eventlog.Draft{Subject: pod(7).Subject, Fact: &ringfencev1.Fact{Body: &ringfencev1.Fact_Gone{Gone: &ringfencev1.Gone{}}}}); err != nil {
		t.Fatal(err)
	}
	again := pod(7)
	again.Fact.GetPod().Node, again.Fact.GetPod().Addresses = "node-7", []string{"10.9.9.9", "10.9.9.10"}
	if _, err := watcher.Publish(t.Context(), again); err != nil {
		t.Fatal(err)
	}
	c.hold(1, nodes+1)

	// A tenth loses its connection; what happens meanwhile reaches them, too.
	for i := 0; i < nodes; i += 10 {
		if err := c.conns[i].ForceReconnect(); err != nil {
			t.Fatal(err)
		}
	}
	again.Fact.GetPod().Addresses = []string{"10.9.9.9"}
	if _, err := watcher.Publish(t.Context(), again); err != nil {
		t.Fatal(err)
	}
	c.hold(1, nodes)
}
