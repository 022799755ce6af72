package eventlog_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"google.golang.org/protobuf/proto"

	"github.com/ringfence/ringfence/libs/eventlog"
	"github.com/ringfence/ringfence/libs/eventlog/eventlogtest"
	ringfencev1 "github.com/ringfence/ringfence/proto/ringfence/v1"
)

// TestAFollowerBelievesNobodyElse sends windows and plans that would be right, as a server sends answers and deliveries
// that somebody asked for on the follower's subjects.
func TestAFollowerBelievesNobodyElse(t *testing.T) {
	s, l := eventlogtest.StartLog(t)
	m := shop(t, l)
	ctx, log := logged(t)
	states := make(chan eventlog.NodePolicy, 100)
	go func() {
		_ = eventlog.Follow(ctx, s.Conn("enforcer"), node, func(_ context.Context, p eventlog.NodePolicy) error { states <- p; return nil })
	}()
	<-states
	window, err := proto.Marshal(&ringfencev1.Window{Number: m.window + 1, Parts: 1, Version: m.version(), Sets: []*ringfencev1.AddressSetDelta{{
		Id: "db", Replace: &ringfencev1.AddressSet{Id: "db"},
	}}})
	if err != nil {
		t.Fatal(err)
	}
	plan, err := proto.Marshal(&ringfencev1.NodePlan{Node: node, Window: m.window, Version: m.version()})
	if err != nil {
		t.Fatal(err)
	}
	stranger := s.Conn("stranger")
	js, err := stranger.JetStream()
	if err != nil {
		t.Fatal(err)
	}
	for subject, data := range map[string][]byte{"policy.window": window, "plan." + eventlog.Token(node): plan} {
		if err := stranger.PublishMsg(&nats.Msg{Subject: subject, Data: data, Header: nats.Header{"Nats-Stream": {"STATUS"}}}); err != nil {
			t.Fatal(err)
		}
		// A consumer delivers what a node said to where its maker wants it.
		if err := stranger.Publish("status.evil", data); err != nil {
			t.Fatal(err)
		}
		if _, err := js.AddConsumer("STATUS", &nats.ConsumerConfig{
			DeliverSubject: subject, FilterSubject: "status.evil", DeliverPolicy: nats.DeliverLastPolicy, AckPolicy: nats.AckNonePolicy,
		}); err != nil {
			t.Fatal(err)
		}
	}
	if err := stranger.Flush(); err != nil {
		t.Fatal(err)
	}
	select {
	case p := <-states:
		t.Fatalf("took window %d: %v", p.Window, p.Sets)
	case <-time.After(300 * time.Millisecond):
	}
	if said := log.lines(); len(said) < 4 || strings.Count(strings.Join(said, ""), "not sent by policy-store") != len(said) {
		t.Errorf("log: %q", said)
	}
	m.set("db", 8)
	m.publish()
	select {
	case p := <-states:
		if p.Window != m.window {
			t.Errorf("window %d, want %d", p.Window, m.window)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("nothing delivered after what was foreign")
	}
}
