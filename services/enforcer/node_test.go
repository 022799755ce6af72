package enforcer

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"google.golang.org/protobuf/proto"

	"github.com/ringfence/ringfence/libs/eventlog"
	ringfencev1 "github.com/ringfence/ringfence/proto/ringfence/v1"
	"github.com/ringfence/ringfence/services/enforcer/cri"
	"github.com/ringfence/ringfence/services/enforcer/datapath"
	"github.com/ringfence/ringfence/services/enforcer/flowlog"
	"github.com/ringfence/ringfence/services/enforcer/podnetns"
)

// backend stands in for the kernel, where a test is about what is asked of it.
type backend struct{}

func (backend) Attach(*podnetns.Handle) (datapath.Guard, error) {
	return nil, errors.New("nothing to attach to")
}

func testNode(t testing.TB) *node {
	t.Helper()
	sh := &shared{backend: backend{}, hosts: podnetns.Hosts{}, collector: flowlog.NewCollector(nodeName, time.Now()),
		metrics: newMetrics(prometheus.NewRegistry()), slots: make(chan struct{}, 1), changed: func() {}}
	n := newNode(t.Context(), Config{NodeName: nodeName, Programming: true}, sh, zerolog.Nop())
	t.Cleanup(n.stop)
	return n
}

// small is a policy of one pod with one rule for one set.
func small() eventlog.NodePolicy {
	return eventlog.NodePolicy{
		Plan:     &ringfencev1.NodePlan{Node: nodeName, Window: 1, Pods: []*ringfencev1.PodPlan{{Uid: "u1", Namespace: "shop", Name: "api", Policy: "p1"}}},
		Policies: map[string]*ringfencev1.WorkloadPolicy{"p1": {Id: "p1", Mode: full, Inbound: []*ringfencev1.PolicyRule{ruleOf("r1", "web", 80)}}},
		Sets:     map[string]*ringfencev1.AddressSet{"web": setMessage("web", []string{"10.0.0.1"})},
		Version:  &ringfencev1.Version{Incarnation: "i", Sequence: 1}, Window: 1,
	}
}

var api = cri.Sandbox{ID: "s1", UID: "u1", Namespace: "shop", Name: "api"}

// TestGarbageIsRefusedByName: each thing that makes no sense refuses the pod's new policy with words that name the pod and
// the object, so that the previous one stays.
func TestGarbageIsRefusedByName(t *testing.T) {
	term := func(p *eventlog.NodePolicy) *ringfencev1.PeerTerm { return p.Policies["p1"].Inbound[0].Terms[0] }
	for name, c := range map[string]struct {
		spoil func(*eventlog.NodePolicy)
		want  []string
	}{
		"unknown policy": {func(p *eventlog.NodePolicy) { p.Plan.Pods[0].Policy = "p9" }, []string{"policy p9"}},
		"unknown set":    {func(p *eventlog.NodePolicy) { term(p).AddressSet = "s9" }, []string{"policy p1", "rule r1", "address set s9"}},
		"no set":         {func(p *eventlog.NodePolicy) { term(p).AddressSet = "" }, []string{"policy p1", "rule r1", "address set"}},
		"address":        {func(p *eventlog.NodePolicy) { p.Sets["web"].Addresses.Ipv4 = []byte{1} }, []string{"address set web", "1 bytes"}},
		"prefix":         {func(p *eventlog.NodePolicy) { p.Sets["web"].Prefixes = []string{"10.0.0.0/33"} }, []string{"address set web", "10.0.0.0/33"}},
		"set id":         {func(p *eventlog.NodePolicy) { p.Sets["a b"] = p.Sets["web"]; term(p).AddressSet = "a b" }, []string{`address set "a b"`}},
		"the node's set": {func(p *eventlog.NodePolicy) { p.Sets["node"] = p.Sets["web"]; term(p).AddressSet = "node" }, []string{"address set node"}},
		"rule id":        {func(p *eventlog.NodePolicy) { p.Policies["p1"].Inbound[0].Id = "r 1" }, []string{`rule "r 1"`}},
		"repeated rule":  {func(p *eventlog.NodePolicy) { in := &p.Policies["p1"].Inbound; *in = append(*in, (*in)[0]) }, []string{`rule "r1"`, "twice"}},
		"protocol":       {func(p *eventlog.NodePolicy) { term(p).Ports[0].Protocol = 256 }, []string{`rule "r1"`, "protocol 256"}},
		"port":           {func(p *eventlog.NodePolicy) { term(p).Ports[0].Port = 65536 }, []string{`rule "r1"`, "65536"}},
		"backwards":      {func(p *eventlog.NodePolicy) { term(p).Ports[0].ToPort = 79 }, []string{`rule "r1"`, "80-79"}},
		"ICMP code alone": {func(p *eventlog.NodePolicy) {
			*term(p).Ports[0] = ringfencev1.PortRange{Protocol: 1, IcmpCode: proto.Uint32(1)}
		}, []string{`rule "r1"`, "code 1"}},
		"mode":             {func(p *eventlog.NodePolicy) { p.Policies["p1"].Mode = 99 }, []string{"policy p1", "99"}},
		"feature":          {func(p *eventlog.NodePolicy) { p.Policies["p1"].Features = []string{"deny"} }, []string{"policy p1", `"deny"`}},
		"unspecified mode": {func(p *eventlog.NodePolicy) { p.Policies["p1"].Mode = 0 }, []string{"policy p1", "UNSPECIFIED"}},
	} {
		t.Run(name, func(t *testing.T) {
			n := testNode(t)
			n.takePolicy(small())
			if o := n.orderFor(api, nil); o.kind != enforce {
				t.Fatalf("the good policy gives %+v", o)
			}
			bad := small()
			c.spoil(&bad)
			n.takePolicy(bad)
			o := n.orderFor(api, nil)
			if o.kind != refuse || !o.fault || o.settles {
				t.Fatalf("order %+v", o)
			}
			for _, words := range append(c.want, "pod shop/api") {
				if !strings.Contains(o.problem, words) {
					t.Errorf("%q does not name %q", o.problem, words)
				}
			}
			n.takePolicy(small())
			if o := n.orderFor(api, nil); o.kind != enforce {
				t.Errorf("the good policy again gives %+v", o)
			}
		})
	}
}

// TestAPolicyOfMissingFeaturesIsNotEnforcedInPart: a pod that never had a policy does not get the allow rules alone of one
// that denies as well, and the status says why.
func TestAPolicyOfMissingFeaturesIsNotEnforcedInPart(t *testing.T) {
	for _, feature := range []string{"deny", "override_deny", "fqdn", "of a later release"} {
		t.Run(feature, func(t *testing.T) {
			n := testNode(t)
			p := small()
			p.Policies["p1"].Features = []string{feature}
			n.takePolicy(p)
			if o := n.orderFor(api, nil); o.kind != refuse || !o.fault || o.settles {
				t.Errorf("order %+v", o)
			}
			n.takeListing([]cri.Sandbox{api}, n.at(), nil)
			awaitProblem(t, n, fmt.Sprintf("pod shop/api: policy p1: it needs the feature %q", feature))
			if s := n.status(time.Now()); s.GetVersion() != nil {
				t.Errorf("a version is reported that is in force nowhere: %v", s)
			}
		})
	}
}

func TestWithoutPlanNothingIsOpened(t *testing.T) {
	n := testNode(t)
	if o := n.orderFor(api, nil); o.kind != leaveAlone || o.settles {
		t.Errorf("without any policy: %+v", o)
	}
	empty := small()
	empty.Plan = &ringfencev1.NodePlan{Node: nodeName}
	gone := small()
	gone.Plan.Removed = true
	n.takePolicy(empty)
	if o := n.orderFor(api, nil); o.kind != leaveAlone {
		t.Errorf("without a plan: %+v", o)
	}
	n.takePolicy(small())
	for name, p := range map[string]eventlog.NodePolicy{"no plan": empty, "removed node": gone} {
		n.takePolicy(p)
		if o := n.orderFor(api, nil); o.kind != enforce {
			t.Errorf("%s after a plan: %+v", name, o)
		}
		if s := n.status(time.Now()); len(s.GetProblems()) != 2 { // and the runtime, which was never asked
			t.Errorf("%s: problems %q", name, s.GetProblems())
		}
	}
	without := small()
	without.Plan.Pods = nil
	n.takePolicy(without)
	if o := n.orderFor(api, nil); o.kind != openUp {
		t.Errorf("a plan without the pod: %+v", o)
	}
}

// TestUnchangedPolicyIsTheSameValue: what did not change costs nothing in the keepers.
func TestUnchangedPolicyIsTheSameValue(t *testing.T) {
	n := testNode(t)
	p := small()
	n.takePolicy(p)
	first := n.orderFor(api, nil).policy
	p.Window, p.Version = 2, &ringfencev1.Version{Incarnation: "i", Sequence: 2}
	n.takePolicy(p)
	if n.orderFor(api, nil).policy != first {
		t.Error("another version alone compiled the policy anew")
	}
	p.Sets = map[string]*ringfencev1.AddressSet{"web": setMessage("web", []string{"10.0.0.2"}), "other": setMessage("other", nil)}
	n.takePolicy(p)
	second := n.orderFor(api, nil).policy
	if second == first {
		t.Error("another set did not compile the policy anew")
	}
	n.takeAddresses([]netip.Addr{netip.MustParseAddr("192.0.2.1")}, nil)
	if third := n.orderFor(api, nil).policy; third == second || len(third.Node.V4) != 1 {
		t.Error("another address of the node did not compile the policy anew")
	}
}

func TestMarksAreBounded(t *testing.T) {
	n := testNode(t)
	for i := range uint64(10_000) {
		p := small()
		p.Window = i + 1
		n.takePolicy(p)
	}
	if len(n.marks) > maxMarks || n.marks[0].generation != 1 || n.marks[len(n.marks)-1].generation != 10_000 {
		t.Errorf("%d marks from %d to %d", len(n.marks), n.marks[0].generation, n.marks[len(n.marks)-1].generation)
	}
	for _, c := range []struct{ at, want uint64 }{{1, 1}, {5000, 1}, {10_000, 10_000}} {
		if m, ok := n.markOf(c.at); !ok || m.window != c.want {
			t.Errorf("at generation %d window %d is reported, expected %d", c.at, m.window, c.want)
		}
	}
}

// TestHostNamespaceIsRefused: a sandbox that claims the host's own network namespace is never programmed.
func TestHostNamespaceIsRefused(t *testing.T) {
	n := testNode(t)
	hosts, err := podnetns.FindHosts()
	if err != nil {
		t.Fatal(err)
	}
	n.shared.hosts = hosts
	n.takePolicy(small())
	s := api
	s.NetnsPaths = []string{"/proc/self/ns/net"}
	n.takeListing([]cri.Sandbox{s}, n.at(), nil)
	awaitProblem(t, n, podnetns.ErrHost.Error())
}

func TestSandboxWithoutDetailsFailsItsPod(t *testing.T) {
	n := testNode(t)
	n.takePolicy(small())
	s := api
	s.Err = errors.New("status of sandbox s1: no verbose info")
	n.takeListing([]cri.Sandbox{s}, n.at(), nil)
	awaitProblem(t, n, "no verbose info")
	if status := n.status(time.Now()); status.GetVersion() != nil {
		t.Errorf("a version is reported that is in force nowhere: %v", status)
	}
}

func awaitProblem(t *testing.T, n *node, words string) {
	t.Helper()
	var s *ringfencev1.NodeStatus
	for range 500 {
		s = n.status(time.Now())
		if p := s.GetPods()[0]; p.GetState() == failed && strings.Contains(p.GetProblem(), words) {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("no failure with %q: %v", words, s)
}

func TestNamespacesBelongToOneSandbox(t *testing.T) {
	var c claims
	if err := errors.Join(c.take(7, "a"), c.take(7, "a"), c.take(8, "b")); err != nil {
		t.Error(err)
	}
	if err := c.take(7, "b"); err == nil {
		t.Error("two sandboxes have the same network namespace")
	}
	c.release(7)
	if err := c.take(7, "b"); err != nil {
		t.Error(err)
	}
}

func TestLogAddressComesFromTheEnvironment(t *testing.T) {
	for want, env := range map[string]map[string]string{
		defaultLogURL:           {},
		"nats://10.96.0.7:4222": {"POLICY_STORE_SERVICE_HOST": "10.96.0.7", "POLICY_STORE_SERVICE_PORT_NATS": "4222", "POLICY_STORE_SERVICE_PORT": "1"},
		"nats://[fd00::7]:4222": {"POLICY_STORE_SERVICE_HOST": "fd00::7", "POLICY_STORE_SERVICE_PORT": "4222"},
	} {
		if got := serviceURL(func(k string) string { return env[k] }); got != want {
			t.Errorf("%v: %s, expected %s", env, got, want)
		}
	}
}

// FuzzPlan applies plans, policies and sets as they decode from anything. What is accepted is valid, and what is refused
// names its pod.
func FuzzPlan(f *testing.F) {
	for _, w := range []*ringfencev1.Window{
		{Policies: []*ringfencev1.WorkloadPolicy{small().Policies["p1"]}, Sets: []*ringfencev1.AddressSetDelta{{Id: "web", Replace: small().Sets["web"]}}},
		{Policies: []*ringfencev1.WorkloadPolicy{{Id: "p", Mode: visible, Outbound: []*ringfencev1.PolicyRule{ruleOf("", "nowhere", 70000)}}}},
		{Sets: []*ringfencev1.AddressSetDelta{{Id: "web", Replace: &ringfencev1.AddressSet{Addresses: &ringfencev1.Addresses{Ipv4: []byte{1}}, Prefixes: []string{"x"}}}}},
	} {
		seed, err := proto.Marshal(w)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var w ringfencev1.Window
		if proto.Unmarshal(data, &w) != nil {
			return
		}
		n := testNode(t)
		n.takePolicy(policyOf(&w))
		for uid, pod := range n.planned {
			o := n.orderFor(cri.Sandbox{UID: uid, Namespace: pod.GetNamespace(), Name: pod.GetName()}, nil)
			switch {
			case o.kind == enforce && o.policy.Validate() != nil:
				t.Errorf("accepted %v", o.policy.Validate())
			case o.kind == refuse && !strings.Contains(o.problem, pod.GetName()):
				t.Errorf("%q does not name pod %s", o.problem, pod.GetName())
			case o.kind != enforce && o.kind != refuse:
				t.Errorf("order %+v", o)
			}
		}
	})
}

// policyOf gives every policy of a window a pod, and one pod a policy that is not there.
func policyOf(w *ringfencev1.Window) eventlog.NodePolicy {
	p := eventlog.NodePolicy{Plan: &ringfencev1.NodePlan{Window: 1, NodeAddresses: w.GetRemovedPolicies()},
		Policies: map[string]*ringfencev1.WorkloadPolicy{}, Sets: map[string]*ringfencev1.AddressSet{}}
	for i, policy := range w.GetPolicies() {
		p.Policies[policy.GetId()] = policy
		p.Plan.Pods = append(p.Plan.Pods, &ringfencev1.PodPlan{Uid: fmt.Sprint(i), Namespace: "shop", Name: fmt.Sprintf("pod%d", i), Policy: policy.GetId()})
	}
	for _, set := range w.GetSets() {
		if set.GetReplace() != nil {
			p.Sets[set.GetId()] = set.GetReplace()
		}
	}
	p.Plan.Pods = append(p.Plan.Pods, &ringfencev1.PodPlan{Uid: "x", Namespace: "shop", Name: "lost", Policy: "\x00missing"})
	return p
}
