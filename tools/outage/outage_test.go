//go:build e2e

package outage

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"google.golang.org/protobuf/proto"

	"github.com/ringfence/ringfence/libs/eventlog"
	ringfencev1 "github.com/ringfence/ringfence/proto/ringfence/v1"
)

// nodes is how many enforcers follow, and pods how many pods each of them has.
const nodes, pods = 20, 5

// duration is how long nothing may change.
func duration(t *testing.T) time.Duration {
	t.Helper()
	text := os.Getenv("RINGFENCE_OUTAGE")
	if text == "" {
		return 10 * time.Minute
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		t.Fatalf("RINGFENCE_OUTAGE: %v", err)
	}
	return d
}

// TestTheLogsDiskIsLostWhileTheConsoleIsAway deletes the log's folder while there is no console.
func TestTheLogsDiskIsLostWhileTheConsoleIsAway(t *testing.T) {
	w := newWorld(t)
	w.startStore()
	w.startBridge()
	w.startWatcher()
	enforcers := w.startEnforcers(nodes)
	before := w.settled(enforcers)
	lost, sent := w.incarnation(), listen(t, w)

	w.stopConsole()
	w.killStore()
	if err := os.RemoveAll(w.dir); err != nil {
		t.Fatal(err)
	}
	sent.forget()
	w.startStore()
	fresh := w.incarnation()
	if fresh == lost {
		t.Fatal("the log has its old incarnation: its disk was not lost, and this test tests nothing")
	}
	deliveries := 0
	for _, e := range enforcers {
		deliveries += len(e.states())
	}
	rounds := 0
	for end := time.Now().Add(duration(t)); time.Now().Before(end) || rounds == 0; rounds++ {
		w.changeAPod() // the cluster goes on
		w.frozen(nodes)
		now := 0
		for i, e := range enforcers {
			states := e.states()
			now += len(states)
			if last := states[len(states)-1]; last.content != before[i] || last.incarnation != lost {
				t.Fatalf("round %d: node %d was given another policy, of incarnation %s", rounds, i, last.incarnation)
			}
		}
		if said := sent.all(); len(said) > 0 || now != deliveries {
			t.Fatalf("round %d: policy-store sent %v, and %d states were delivered", rounds, said, now-deliveries)
		}
		if head, err := w.log().Head(t.Context()); !errors.Is(err, eventlog.ErrNotFound) {
			t.Fatalf("round %d: a head is published: %v, %v", rounds, head, err)
		}
		pause(t.Context(), time.Second)
	}
	t.Logf("%d rounds in %s: no policy changed, and status said frozen", rounds, duration(t))

	w.startConsole()
	for i, e := range enforcers {
		first := e.first(fresh)
		if first.content != before[i] {
			t.Errorf("node %d: the first policy of the new incarnation, as of fact %d, is not the one from before:\n%s\n%s", i, first.sequence, first.content, before[i])
		}
	}
	w.nothingWasEarly(sent)
}

// nothingWasEarly wants both producers to have been in sync before the first message of policy in the new incarnation.
func (w *world) nothingWasEarly(sent *messages) {
	w.t.Helper()
	marks := map[string]uint64{}
	for e, err := range w.log().Read(w.t.Context(), 1, 0, "facts.ctl.synced.*") {
		if err != nil {
			w.t.Fatal(err)
		}
		if mark := e.Fact.GetSynced(); marks[mark.GetProducer()] == 0 {
			marks[mark.GetProducer()] = e.Sequence
		}
	}
	all := sent.all()
	if len(marks) != 2 || len(all) == 0 {
		w.t.Fatalf("in sync are %v; %d messages of policy", marks, len(all))
	}
	for _, m := range all {
		for producer, mark := range marks {
			if m.sequence < mark {
				w.t.Errorf("policy as of fact %d was sent, and %s was in sync at %d", m.sequence, producer, mark)
			}
		}
	}
}

// settled waits until all is published and the console knows every workload, and gives what each enforcer was given then.
func (w *world) settled(enforcers []*enforcer) []string {
	w.t.Helper()
	w.acknowledged()
	last, err := w.log().LastSequence(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	w.published()
	contents := make([]string, len(enforcers))
	for i, e := range enforcers {
		contents[i] = e.reaches(last)
	}
	return contents
}

// acknowledged waits until the console acknowledged every pod, none of which has a controller.
func (w *world) acknowledged() {
	w.t.Helper()
	within(w.t, time.Minute, func() error {
		known := 0
		for e, err := range w.log().Latest(w.t.Context(), "facts.pce.kubernetes_workload.>") {
			if err != nil {
				return err
			}
			if e.Fact.GetGone() == nil {
				known++
			}
		}
		if known != nodes*pods {
			return fmt.Errorf("the console knows %d workloads of %d", known, nodes*pods)
		}
		return nil
	})
}

// frozen asks the command line.
func (w *world) frozen(nodes int) {
	w.t.Helper()
	var said struct {
		Policy *struct{} `json:"policy"`
		Frozen *struct {
			Nodes   int      `json:"nodes"`
			Missing []string `json:"missing"`
		} `json:"frozen"`
	}
	within(w.t, 20*time.Second, func() error {
		out := w.command("ringfence", "status", "--server", w.url(), "-o", "json")
		if err := json.Unmarshal(out, &said); err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		if said.Policy != nil || said.Frozen == nil || said.Frozen.Nodes != nodes || !slices.Equal(said.Frozen.Missing, []string{"pce-bridge"}) {
			return fmt.Errorf("status says %s", out)
		}
		return nil
	})
}

// messages are those of policy that were sent.
type messages struct {
	w   *world
	sub *nats.Subscription
	got []message
}

// message is one of policy.
type message struct {
	incarnation string
	sequence    uint64
}

// forget drops what was sent until now.
func (m *messages) forget() { m.all(); m.got = nil }

// listen keeps what is sent of policy from now on.
func listen(t *testing.T, w *world) *messages {
	t.Helper()
	nc := w.connect("listener")
	sub, err := nc.SubscribeSync("policy.window")
	if err != nil {
		t.Fatal(err)
	}
	return &messages{w: w, sub: sub}
}

func (m *messages) all() []message {
	for {
		msg, err := m.sub.NextMsg(time.Millisecond)
		if err != nil {
			return m.got
		}
		window := &ringfencev1.Window{}
		if err := proto.Unmarshal(msg.Data, window); err != nil {
			m.w.t.Fatal(err)
		}
		m.got = append(m.got, message{window.GetVersion().GetIncarnation(), window.GetVersion().GetSequence()})
	}
}

// within tries until check gives nil, for at most a while.
func within(t *testing.T, patience time.Duration, check func() error) {
	t.Helper()
	var err error
	for end := time.Now().Add(patience); time.Now().Before(end); pause(t.Context(), 50*time.Millisecond) {
		if err = check(); err == nil {
			return
		}
	}
	t.Fatalf("not within %s: %v", patience, err)
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
