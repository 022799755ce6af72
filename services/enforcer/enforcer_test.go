package enforcer

import (
	"bytes"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/ringfence/ringfence/libs/eventlog/eventlogtest"
	ringfencev1 "github.com/ringfence/ringfence/proto/ringfence/v1"
)

func TestPolicyOfTheLogIsEnforcedAndReported(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.start(w.config())
	w.publish(w.shopPolicy(full))
	s := w.awaitInForce()
	for _, p := range s.GetPods() {
		if p.GetState() != enforced || p.GetEnforcedAt() == nil || p.GetProblem() != "" {
			t.Errorf("pod %v", p)
		}
	}
	if len(s.GetPods()) != 2 || len(s.GetProblems()) != 0 {
		t.Errorf("status %v", s)
	}
	w.expect("web", "api", true)
	w.expect("intruder", "api", false)
	w.expect("api", "web", false)
	w.expect("node", "api", true)

	// A new member of a set, and a new pod, come without any other change.
	more := w.shopPolicy(full)
	more.sets["web"] = append(more.sets["web"], w.addresses("intruder")...)
	w.publish(more)
	w.awaitInForce()
	w.expect("intruder", "api", true)
	w.publish(w.shopPolicy(full))
	w.awaitInForce()
	w.expect("intruder", "api", false)
}

func TestVisibilityPassesAndModesSwitch(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.start(w.config())
	for _, step := range []struct {
		mode     ringfencev1.EnforcementMode
		intruder bool
	}{{visible, true}, {full, false}, {visible, true}} {
		w.publish(w.shopPolicy(step.mode))
		w.awaitInForce()
		w.expect("web", "api", true)
		w.expect("intruder", "api", step.intruder)
	}
}

func TestFlowsNameDecisionRuleAndDirection(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.start(w.config())
	w.publish(w.shopPolicy(full))
	w.awaitInForce()
	w.expect("web", "api", true)
	w.expect("intruder", "api", false)
	type key struct {
		pod      string
		in       bool
		from, to netip.Addr
		decision ringfencev1.FlowDecision
		rule     string
	}
	web, api, intruder := w.pods["web"], w.pods["api"], w.pods["intruder"]
	allowed, blocked := ringfencev1.FlowDecision_FLOW_DECISION_ALLOWED, ringfencev1.FlowDecision_FLOW_DECISION_BLOCKED
	want := map[key]bool{
		{"web", false, web.V4, api.V4, allowed, "aaaa0001"}: true,
		{"web", false, web.V6, api.V6, allowed, "aaaa0001"}: true,
		{"api", true, web.V4, api.V4, allowed, "aaaa0001"}:  true,
		{"api", true, web.V6, api.V6, allowed, "aaaa0001"}:  true,
		{"api", true, intruder.V4, api.V4, blocked, ""}:     true,
		{"api", true, intruder.V6, api.V6, blocked, ""}:     true,
	}
	eventlogtest.Eventually(t, func() error {
		missing := len(want)
		for batch, err := range w.log.Flows(t.Context(), time.Now().Add(-time.Hour)) {
			if err != nil {
				return err
			}
			for _, f := range batch.GetFlows() {
				from, _ := netip.AddrFromSlice(f.GetSource())
				to, _ := netip.AddrFromSlice(f.GetDestination())
				k := key{f.GetPodName(), f.GetDirection() == ringfencev1.FlowDirection_FLOW_DIRECTION_INBOUND, from, to, f.GetDecision(), f.GetRule()}
				if want[k] && f.GetPort() == 8080 && f.GetProtocol() == 6 && f.GetConnections() > 0 {
					missing--
				}
			}
		}
		if missing > 0 {
			return fmt.Errorf("%d of %d flows are missing", missing, len(want))
		}
		return nil
	})
}

func TestPodsAndPlansComeInAnyOrder(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.start(w.config())
	p := w.shopPolicy(full)
	p.pods["intruder"] = "p-api"
	w.publish(p)
	w.awaitInForce() // the version does not wait for a pod that does not run here
	w.awaitPod("intruder", pending, problemNoSandbox)
	w.expect("api", "intruder", false) // by api's own outbound policy
	w.expect("node", "intruder", true)

	w.run("intruder")
	w.awaitPod("intruder", enforced, "")
	w.expect("web", "intruder", false)

	w.cri.End("sandbox-intruder")
	w.awaitPod("intruder", pending, problemNoSandbox)
}

func TestUnmanagedPodsAreOpened(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.start(w.config())
	w.publish(w.shopPolicy(full))
	w.awaitInForce()
	w.expect("intruder", "api", false)
	p := w.shopPolicy(full)
	delete(p.pods, "api")
	w.publish(p)
	w.awaitInForce()
	eventlogtest.Eventually(t, func() error {
		if !w.pods["intruder"].Reaches("tcp", w.pods["api"].V4, 8080) {
			return fmt.Errorf("api left the plan and is still closed")
		}
		return nil
	})
	w.expect("intruder", "api", true)
	w.publish(w.shopPolicy(full))
	w.awaitInForce()
	w.expect("intruder", "api", false)
}

func TestRestartAndLossOfTheLogChangeNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.start(w.config())
	w.publish(w.shopPolicy(full))
	w.awaitInForce()
	holds := func() {
		t.Helper()
		w.expect("web", "api", true)
		w.expect("intruder", "api", false)
	}
	w.server.Stop()
	holds()
	w.stop()
	holds()
	w.start(w.config()) // without a log: nothing is touched
	time.Sleep(500 * time.Millisecond)
	holds()
	w.server.Restart()
	w.log = w.server.Create()
	w.publish(w.shopPolicy(full))
	w.awaitInForce()
	holds()
	more := w.shopPolicy(full)
	more.sets["web"] = append(more.sets["web"], w.addresses("intruder")...)
	w.publish(more)
	w.awaitInForce()
	w.expect("intruder", "api", true)
}

func TestBreakGlassOpensEverythingUntilItIsGone(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.start(w.config())
	w.publish(w.shopPolicy(full))
	w.awaitInForce()
	w.expect("intruder", "api", false)
	w.writeBreakGlass()
	w.awaitPod("api", pending, problemBreakGlass)
	eventlogtest.Eventually(t, func() error {
		if !w.pods["intruder"].Reaches("tcp", w.pods["api"].V4, 8080) {
			return fmt.Errorf("api is still closed")
		}
		return nil
	})
	w.stop()
	w.server.Stop()
	w.start(w.config()) // over a restart, and without a log
	w.expect("intruder", "api", true)
	w.server.Restart()
	w.awaitPod("api", pending, problemBreakGlass)
	if err := os.Remove(w.breakGlass()); err != nil {
		t.Fatal(err)
	}
	w.awaitPod("api", enforced, "")
	w.expect("intruder", "api", false)
}

func TestReleaseFreesTheNode(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.start(w.config())
	w.publish(w.shopPolicy(full))
	w.awaitInForce()
	w.expect("intruder", "api", false)
	var out bytes.Buffer
	if err := Release(t.Context(), w.config().Runtime, false, &out); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(out.String(), "2 of 2") || !strings.Contains(out.String(), w.breakGlass()) {
		t.Errorf("release said %q", out.String())
	}
	w.expect("intruder", "api", true)
	w.awaitPod("api", pending, problemBreakGlass)
	w.expect("intruder", "api", true)
	if err := os.Remove(w.breakGlass()); err != nil {
		t.Fatal(err)
	}
	w.awaitPod("api", enforced, "")
	w.expect("intruder", "api", false)
	w.stop()
	if err := Release(t.Context(), w.config().Runtime, true, &out); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(w.breakGlass()); err == nil {
		t.Error("release --once left a break-glass file")
	}
	w.expect("intruder", "api", true)
}

// TestSwitchedOffProgramsNothing is what the demo's negative test relies on: everything connects, and the status says why.
func TestSwitchedOffProgramsNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	cfg := w.config()
	cfg.Programming = false
	w.start(cfg)
	w.publish(w.shopPolicy(full))
	w.awaitPod("api", pending, problemSwitchedOff)
	w.awaitPod("web", pending, problemSwitchedOff)
	if s := w.await(func(*ringfencev1.NodeStatus) error { return nil }); s.GetVersion() != nil || s.GetWindow() != 0 {
		t.Errorf("version %v is reported as in force, window %d", s.GetVersion(), s.GetWindow())
	}
	w.expect("intruder", "api", true)
	w.expect("api", "web", true)
}

func TestOnePodThatFailsHoldsTheVersionAndNoOtherPod(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.start(w.config())
	w.publish(w.shopPolicy(full))
	w.awaitInForce()
	bad := w.shopPolicy(full)
	bad.sets["web"] = append(bad.sets["web"], w.addresses("intruder")...)
	bad.policies[0].Outbound[0].Terms[0].Ports[0].Protocol = 47 // which has no ports
	w.publish(bad)
	w.awaitPod("web", failed, "protocol 47 has no ports")
	w.awaitPod("api", enforced, "")
	w.expect("intruder", "api", true)
	w.expect("web", "api", true) // by its previous policy
	if s := w.await(func(*ringfencev1.NodeStatus) error { return nil }); s.GetWindow() != w.window-1 {
		t.Errorf("window %d is reported, %d is in force everywhere", s.GetWindow(), w.window-1)
	}
	w.publish(w.shopPolicy(full))
	w.awaitInForce()
}
