package policystore

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/ringfence/ringfence/libs/access"
	"github.com/ringfence/ringfence/libs/eventlog"
	ringfencev1 "github.com/ringfence/ringfence/proto/ringfence/v1"
)

func TestAWindowIsSettledOnceAllNodesEnforceIt(t *testing.T) {
	s, now := newSettlement(), time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	report := func(node, incarnation string, window uint64) {
		s.reported(&ringfencev1.NodeStatus{Node: node, Window: window, Version: &ringfencev1.Version{Incarnation: incarnation}}, now)
	}
	check := func(want uint64) {
		t.Helper()
		if got := s.window("i", 9, now); got != want {
			t.Errorf("window %d is settled, want %d", got, want)
		}
	}
	check(9) // without nodes there is nobody to wait for
	for _, node := range []string{"a", "b"} {
		s.planned(&ringfencev1.NodePlan{Node: node}, now)
	}
	check(0)
	report("a", "i", 7)
	check(0)
	report("b", "i", 8)
	check(7)
	report("stranger", "i", 1)
	check(7)
	report("a", "i", 9)
	check(8)
	if got := s.lagging("i", 9); !slices.Equal(got, []string{"b"}) {
		t.Errorf("lagging are %v", got)
	}
	report("b", "old", 20) // of another log
	check(0)
	s.planned(&ringfencev1.NodePlan{Node: "b", Removed: true}, now)
	check(9)
	s.planned(&ringfencev1.NodePlan{Node: "c"}, now)
	check(0)
	now = now.Add(silence)
	report("a", "i", 9)
	check(0)
	now = now.Add(time.Second) // c never said anything
	check(9)
	report("c", "i", 3)
	check(3)
}

// Whoever follows the policy learns which window all nodes enforce.
func TestFollowersLearnWhatIsSettled(t *testing.T) {
	p := startProcess(t, t.TempDir())
	l := p.open("test")
	watcher := produce(t, l, "watcher", kubernetes())
	produce(t, l, "pce-bridge", console(t))
	nc := p.conn("enforcer")
	f := follow(t, nc)
	settled := func(want func(s eventlog.NodePolicy) bool) {
		t.Helper()
		eventually(t, func() error {
			all := f.all()
			if len(all) == 0 || !want(all[len(all)-1]) {
				return fmt.Errorf("%d states", len(all))
			}
			return nil
		})
	}
	tell := func(s eventlog.NodePolicy) {
		t.Helper()
		if err := eventlog.PublishStatus(nc, &ringfencev1.NodeStatus{Node: node, Version: s.Version, Window: s.Window}); err != nil {
			t.Fatal(err)
		}
	}
	first := f.holds(2)
	if first.Settled != 0 {
		t.Errorf("window %d is settled before anybody reported", first.Settled)
	}
	tell(first)
	settled(func(s eventlog.NodePolicy) bool { return s.Settled == first.Window })
	if _, err := watcher.Publish(t.Context(), pod(3)); err != nil {
		t.Fatal(err)
	}
	second := f.holds(3)
	if second.Settled >= second.Window {
		t.Errorf("window %d is settled before the node reported it", second.Settled)
	}
	tell(second)
	settled(func(s eventlog.NodePolicy) bool { return s.Settled == second.Window })
	// Who joins later is told at once.
	late := follow(t, p.conn("late")).holds(3)
	if late.Settled != second.Window {
		t.Errorf("who joins is told of window %d, want %d", late.Settled, second.Window)
	}
}

// What nodes report reaches the reckoning from their account, too.
func TestNodesOfAnAccountSettleWindows(t *testing.T) {
	s := startSecured(t)
	produce(t, s.open(s.service(access.Watcher)), access.Watcher, kubernetes())
	produce(t, s.open(s.service(access.PceBridge)), access.PceBridge, console(t))
	enforcer := s.enforcer(node)
	f := follow(t, enforcer.Conn)
	first := f.holds(2)
	if err := eventlog.PublishStatus(enforcer.Conn, &ringfencev1.NodeStatus{Node: node, Version: first.Version, Window: first.Window}); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() error {
		all := f.all()
		if last := all[len(all)-1]; last.Settled != first.Window {
			return fmt.Errorf("window %d is settled, want %d", last.Settled, first.Window)
		}
		return nil
	})
}
