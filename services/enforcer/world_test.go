package enforcer

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/ringfence/ringfence/libs/addresses"
	"github.com/ringfence/ringfence/libs/eventlog"
	"github.com/ringfence/ringfence/libs/eventlog/eventlogtest"
	"github.com/ringfence/ringfence/libs/service"
	ringfencev1 "github.com/ringfence/ringfence/proto/ringfence/v1"
	"github.com/ringfence/ringfence/services/enforcer/internal/critest"
	"github.com/ringfence/ringfence/services/enforcer/internal/netnstest"
)

// world is a node with real network namespaces and kernel tables, a real log, and a runtime that lists the pods.
type world struct {
	t       *testing.T
	server  *eventlogtest.Server
	log     *eventlog.Log
	cri     *critest.Server
	node    *netnstest.Namespace
	pods    map[string]*netnstest.Namespace
	base    string
	window  uint64
	version int64
	stop    func()
}

const (
	nodeName = "node1"
	full     = ringfencev1.EnforcementMode_ENFORCEMENT_MODE_FULL
	visible  = ringfencev1.EnforcementMode_ENFORCEMENT_MODE_VISIBILITY_ONLY
	enforced = ringfencev1.PodState_POD_STATE_ENFORCED
	pending  = ringfencev1.PodState_POD_STATE_PENDING
	failed   = ringfencev1.PodState_POD_STATE_FAILED
)

// newWorld has pods web, api and intruder, which all serve on port 8080. The runtime runs the first two.
func newWorld(t *testing.T) *world {
	t.Helper()
	netnstest.NeedRoot(t)
	w := &world{t: t, cri: critest.Start(t), pods: map[string]*netnstest.Namespace{}, base: t.TempDir(), stop: func() {}}
	w.server, w.log = eventlogtest.StartLog(t)
	network := netnstest.NewNetwork(t, "web", "api", "intruder")
	w.node = network.Node
	for _, pod := range network.Pods {
		pod.Serve(t, 8080)
		w.pods[pod.Name] = pod
	}
	w.run("web")
	w.run("api")
	return w
}

// run has the runtime run a pod.
func (w *world) run(name string) {
	w.cri.Run(critest.Pod{ID: "sandbox-" + name, UID: "uid-" + name, Namespace: "shop", Name: name, Netns: w.pods[name].Path})
}

// config is of an enforcer that reports quickly.
func (w *world) config() Config {
	return Config{
		Config:   service.Config{LogLevel: "warn", LogURL: w.server.URL()},
		Runtime:  Runtime{CRISocket: w.cri.Socket, HostBase: w.base},
		NodeName: nodeName, Programming: true, FlowInterval: 200 * time.Millisecond, ReconcileInterval: time.Second, Workers: 2,
	}
}

// start runs an enforcer until stopEnforcer or the end of the test.
func (w *world) start(cfg Config) {
	w.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- Run(ctx, cfg) }()
	stopped := false
	w.stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-done; err != nil {
			w.t.Errorf("the enforcer ended with %v", err)
		}
	}
	w.t.Cleanup(w.stop)
}

// policy is content of a window: the plan gives every named pod the policy of its name.
type policy struct {
	sets     map[string][]string
	policies []*ringfencev1.WorkloadPolicy
	pods     map[string]string
}

// shopPolicy lets web reach api on TCP port 8080.
func (w *world) shopPolicy(mode ringfencev1.EnforcementMode) policy {
	return policy{
		sets: map[string][]string{"web": w.addresses("web"), "api": w.addresses("api")},
		policies: []*ringfencev1.WorkloadPolicy{
			{Id: "p-web", Mode: mode, Outbound: []*ringfencev1.PolicyRule{ruleOf("aaaa0001", "api", 8080)}},
			{Id: "p-api", Mode: mode, Inbound: []*ringfencev1.PolicyRule{ruleOf("aaaa0001", "web", 8080)}},
		},
		pods: map[string]string{"web": "p-web", "api": "p-api"},
	}
}

func (w *world) addresses(pod string) []string {
	return []string{w.pods[pod].V4.String(), w.pods[pod].V6.String()}
}

func ruleOf(id, set string, port uint32) *ringfencev1.PolicyRule {
	return &ringfencev1.PolicyRule{Id: id, Href: "/rules/" + id, Terms: []*ringfencev1.PeerTerm{
		{AddressSet: set, Ports: []*ringfencev1.PortRange{{Protocol: 6, Port: port}}}}}
}

func setMessage(id string, texts []string) *ringfencev1.AddressSet {
	var members []netip.Addr
	for _, a := range texts {
		members = append(members, netip.MustParseAddr(a))
	}
	return &ringfencev1.AddressSet{Id: id, Addresses: addresses.Of(members...)}
}

// publish sends the policy as one window, the way policy-store does.
func (w *world) publish(p policy) {
	w.t.Helper()
	w.window++
	w.version++
	version := &ringfencev1.Version{Incarnation: w.log.Incarnation(), Sequence: w.window * 10}
	window := &ringfencev1.Window{Number: w.window, Version: version, Policies: p.policies, ProvisionedVersion: w.version}
	objects := eventlog.Objects{Policies: p.policies, Namespaces: &ringfencev1.Namespaces{}}
	for id, addresses := range p.sets {
		set := setMessage(id, addresses)
		objects.Sets = append(objects.Sets, set)
		window.Sets = append(window.Sets, &ringfencev1.AddressSetDelta{Id: id, Replace: set})
	}
	head := &ringfencev1.PolicyHead{Version: version, ProvisionedVersion: w.version, Synced: []string{"pce-bridge", "watcher"}}
	if err := w.log.PublishWindow(w.t.Context(), window, objects, head, []*ringfencev1.NodePlan{w.plan(p, version)}); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) plan(p policy, version *ringfencev1.Version) *ringfencev1.NodePlan {
	plan := &ringfencev1.NodePlan{Node: nodeName, Version: version, Window: w.window, ProvisionedVersion: w.version,
		NodeAddresses: []string{w.node.V4.String(), w.node.V6.String()}}
	for name, id := range p.pods {
		plan.Pods = append(plan.Pods, &ringfencev1.PodPlan{Uid: "uid-" + name, Namespace: "shop", Name: name, Policy: id})
	}
	return plan
}

// await waits for a status that check accepts.
func (w *world) await(check func(*ringfencev1.NodeStatus) error) *ringfencev1.NodeStatus {
	w.t.Helper()
	var last *ringfencev1.NodeStatus
	eventlogtest.Eventually(w.t, func() error {
		statuses, err := w.log.NodeStatuses(w.t.Context())
		if err != nil {
			return err
		}
		if len(statuses) == 0 {
			return errors.New("no status")
		}
		last = statuses[0]
		if err := check(last); err != nil {
			return fmt.Errorf("%w in %v", err, last)
		}
		return nil
	})
	return last
}

// awaitInForce waits until the newest window is reported as in force.
func (w *world) awaitInForce() *ringfencev1.NodeStatus {
	w.t.Helper()
	return w.await(func(s *ringfencev1.NodeStatus) error {
		if s.GetWindow() != w.window || s.GetProvisionedVersion() != w.version || s.GetVersion().GetSequence() != w.window*10 {
			return fmt.Errorf("not at window %d", w.window)
		}
		return nil
	})
}

// awaitPod waits for a state of a pod, with a problem that contains some words.
func (w *world) awaitPod(name string, state ringfencev1.PodState, problem string) {
	w.t.Helper()
	w.await(func(s *ringfencev1.NodeStatus) error {
		for _, p := range s.GetPods() {
			if p.GetName() == name && p.GetState() == state && strings.Contains(p.GetProblem(), problem) {
				return nil
			}
		}
		return fmt.Errorf("pod %s is not %s with %q", name, state, problem)
	})
}

// expect probes TCP port 8080 between pods, over both families.
func (w *world) expect(from, to string, want bool) {
	w.t.Helper()
	source := w.pods[from]
	if from == "node" {
		source = w.node
	}
	for _, address := range w.addresses(to) {
		if got := source.Reaches("tcp", netip.MustParseAddr(address), 8080); got != want {
			w.t.Errorf("%s to %s at %s: reached %t, expected %t", from, to, address, got, want)
		}
	}
}

func (w *world) breakGlass() string { return Runtime{HostBase: w.base}.breakGlass() }

func (w *world) writeBreakGlass() {
	w.t.Helper()
	if err := errors.Join(os.MkdirAll(w.base+"/ringfence", 0o755), os.WriteFile(w.breakGlass(), nil, 0o644)); err != nil {
		w.t.Fatal(err)
	}
}
