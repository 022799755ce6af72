package eventlog_test

import (
	"fmt"
	"testing"

	"github.com/nats-io/nats.go"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/ringfence/ringfence/libs/eventlog/eventlogtest"
	ringfencev1 "github.com/ringfence/ringfence/proto/ringfence/v1"
)

// wide is a policy of so many address sets, in two workload policies, on one node.
func wide(m *model, sets int) {
	var ids []string
	for i := range sets {
		ids = append(ids, fmt.Sprintf("s%03d", i))
		m.set(ids[i], uint32(i), uint32(i+1))
	}
	m.policy("p", ids[:sets/2]...)
	m.policy("q", ids[sets/2:]...)
	m.policy("elsewhere", ids[0])
	m.plan(node, "p", "q")
}

// requests is how much a connection sends to join, whatever the number of objects: it asks for head, plan and namespaces,
// subscribes to answers, and asks for plans anew.
const requests = 12

// TestWhoWaitsForTheFirstWindowFetchesNoObject: a thousand nodes wait for the policy of a new log, which comes to all of them
// whole.
func TestWhoWaitsForTheFirstWindowFetchesNoObject(t *testing.T) {
	s, l := eventlogtest.StartLog(t)
	m := newModel(t, l)
	nc := s.Conn("waits")
	f := follow(t, nc, node)
	eventlogtest.Eventually(t, func() error { return asked(nc, 1) }) // for the head, which is not there
	wide(m, 300)
	before := nc.Stats().OutMsgs
	m.publish()
	f.reaches(m.want(node))
	if sent := nc.Stats().OutMsgs - before; sent > requests {
		t.Errorf("%d messages were sent to join with 300 sets, want at most %d", sent, requests)
	}
}

// TestObjectsAreFetchedManyAtOnce: who joins later asks for dozens of objects in a request.
func TestObjectsAreFetchedManyAtOnce(t *testing.T) {
	s, l := eventlogtest.StartLog(t)
	m := newModel(t, l)
	wide(m, 300)
	m.publish()
	nc := s.Conn("late")
	before := nc.Stats().OutMsgs
	follow(t, nc, node).reaches(m.want(node))
	if sent := nc.Stats().OutMsgs - before; sent > requests+3*(300/64+2) {
		t.Errorf("%d messages were sent to join with 300 sets", sent)
	}
}

// TestAWaiterSkipsGarbage: what is no window, and what somebody else sent, makes nobody join, and does no harm.
func TestAWaiterSkipsGarbage(t *testing.T) {
	s, l := eventlogtest.StartLog(t)
	m := newModel(t, l)
	nc := s.Conn("waits")
	f := follow(t, nc, node)
	eventlogtest.Eventually(t, func() error { return asked(nc, 1) })
	foreign := nats.NewMsg("policy.window")
	foreign.Header.Set("Nats-Stream", "POLICY")
	for _, msg := range []*nats.Msg{foreign, {Subject: "policy.window", Data: []byte("garbage")}, {Subject: "policy.window"}} {
		if err := nc.PublishMsg(msg); err != nil {
			t.Fatal(err)
		}
	}
	wide(m, 3)
	m.publish()
	f.reaches(m.want(node))
}

// asked says whether a connection has sent so many messages.
func asked(nc *nats.Conn, messages uint64) error {
	if sent := nc.Stats().OutMsgs; sent < messages {
		return fmt.Errorf("%d messages were sent", sent)
	}
	return nil
}

// TestAWindowWithADamagedPolicyIsNotApplied: only the policies that a node needs are decoded. Where one of them cannot be, the
// node joins anew, and what it was given stays.
func TestAWindowWithADamagedPolicyIsNotApplied(t *testing.T) {
	s, l := eventlogtest.StartLog(t)
	m := newModel(t, l)
	wide(m, 4)
	m.publish()
	f := follow(t, s.Conn("node"), node)
	f.reaches(m.want(node))
	damaged := protowire.AppendString(protowire.AppendTag(nil, 1, protowire.BytesType), "p")
	damaged = protowire.AppendString(protowire.AppendTag(damaged, 4, protowire.BytesType), "no rule")
	data, err := proto.Marshal(&ringfencev1.EncodedWindow{Number: m.window + 1, Parts: 1, Version: m.version(), Policies: [][]byte{damaged}})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Conn("other").Publish("policy.window", data); err != nil {
		t.Fatal(err)
	}
	m.policy("q", "s001")
	m.publish()
	f.reaches(m.want(node))
}

// TestEncodedWindowIsAWindow holds that both read the same bytes alike.
func TestEncodedWindowIsAWindow(t *testing.T) {
	plain, encoded := (&ringfencev1.Window{}).ProtoReflect().Descriptor().Fields(), (&ringfencev1.EncodedWindow{}).ProtoReflect().Descriptor().Fields()
	if plain.Len() != encoded.Len() {
		t.Fatalf("%d and %d fields", plain.Len(), encoded.Len())
	}
	for i := range plain.Len() {
		a, b := plain.Get(i), encoded.ByNumber(plain.Get(i).Number())
		switch {
		case b == nil || a.Name() != b.Name() || a.Cardinality() != b.Cardinality():
			t.Errorf("field %d: %v and %v", a.Number(), a, b)
		case a.Name() == "policies":
			if b.Kind() != protoreflect.BytesKind {
				t.Errorf("policies are %v", b.Kind())
			}
		case a.Kind() != b.Kind() || a.Message() != b.Message():
			t.Errorf("field %s is %v and %v", a.Name(), a.Kind(), b.Kind())
		}
	}
}
