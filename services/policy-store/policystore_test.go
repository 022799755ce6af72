package policystore

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/ringfence/ringfence/libs/addresses"
	"github.com/ringfence/ringfence/libs/clas"
	"github.com/ringfence/ringfence/libs/eventlog"
	ringfencev1 "github.com/ringfence/ringfence/proto/ringfence/v1"
)

const node = "node-1"

func pod(n int) eventlog.Draft {
	name := fmt.Sprintf("web-%d", n)
	return eventlog.Draft{
		Subject: eventlog.KubernetesSubject("pod", "shop", name),
		Fact: &ringfencev1.Fact{Body: &ringfencev1.Fact_Pod{Pod: &ringfencev1.Pod{
			Namespace: "shop", Name: name, Uid: "uid-" + name, Node: node, Phase: ringfencev1.PodPhase_POD_PHASE_RUNNING, Ready: true,
			Addresses: []string{fmt.Sprintf("10.0.%d.%d", n/250, n%250+1)},
		}}},
	}
}

// kubernetes is what watcher knows at its start.
func kubernetes() []eventlog.Draft {
	return []eventlog.Draft{
		{Subject: eventlog.KubernetesSubject("node", "", node), Fact: &ringfencev1.Fact{Body: &ringfencev1.Fact_Node{
			Node: &ringfencev1.Node{Name: node, Uid: "uid-node", Addresses: []string{"192.0.2.1"}},
		}}},
		{Subject: eventlog.KubernetesSubject("namespace", "", "shop"), Fact: &ringfencev1.Fact{Body: &ringfencev1.Fact_Namespace{
			Namespace: &ringfencev1.Namespace{Name: "shop", Uid: "uid-shop"},
		}}},
		pod(1), pod(2),
	}
}

// console is what pce-bridge knows: everybody in shop may reach everybody on port 80.
func console(t *testing.T) []eventlog.Draft {
	everyone := []*ringfencev1.Actor{{Actor: &ringfencev1.Actor_AllWorkloads{AllWorkloads: true}}}
	object := &ringfencev1.PceObject{Object: &ringfencev1.PceObject_RuleSet{RuleSet: &ringfencev1.RuleSet{
		Href: "/orgs/1/sec_policy/active/rule_sets/1", Name: "shop", Enabled: true, Scopes: []*ringfencev1.Scope{{}},
		Rules: []*ringfencev1.Rule{{
			Href: "/orgs/1/sec_policy/active/rule_sets/1/sec_rules/1", Enabled: true, Consumers: everyone, Providers: everyone,
			Services: []*ringfencev1.IngressService{{Service: &ringfencev1.IngressService_Port{Port: &ringfencev1.PortRange{Protocol: 6, Port: 80}}}},
		}},
	}}}
	encoded, err := proto.MarshalOptions{Deterministic: true}.Marshal(object)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(encoded)
	digest := hex.EncodeToString(sum[:])
	return []eventlog.Draft{
		{Subject: eventlog.ProfileSubject("1"), Fact: &ringfencev1.Fact{Body: &ringfencev1.Fact_ContainerWorkloadProfile{
			ContainerWorkloadProfile: &ringfencev1.ContainerWorkloadProfile{
				Href: "/orgs/1/container_clusters/c/container_workload_profiles/1", Name: "shop", Namespace: "shop", Managed: true,
				EnforcementMode: ringfencev1.EnforcementMode_ENFORCEMENT_MODE_FULL,
			},
		}}},
		{Subject: eventlog.ObjectSubject(digest), Fact: &ringfencev1.Fact{Body: &ringfencev1.Fact_PceObject{PceObject: object}}},
		{Subject: eventlog.ProvisionedSubject(0), Fact: &ringfencev1.Fact{Body: &ringfencev1.Fact_Provisioned{
			Provisioned: &ringfencev1.Provisioned{Version: 7, Chunks: 1, Entries: []*ringfencev1.ManifestEntry{
				{Href: object.GetRuleSet().GetHref(), Sha256: digest},
			}},
		}}},
	}
}

// produce writes what a producer knows and its mark.
func produce(t *testing.T, l *eventlog.Log, name string, ds []eventlog.Draft) *eventlog.Producer {
	t.Helper()
	p := l.Producer(name)
	if err := p.PublishAll(t.Context(), ds); err != nil {
		t.Fatal(err)
	}
	if err := p.Synced(t.Context()); err != nil {
		t.Fatal(err)
	}
	return p
}

// follower keeps every state that is delivered for the node.
type follower struct {
	t  *testing.T
	mu sync.Mutex
	// states, the newest last
	states []eventlog.NodePolicy
}

func follow(t *testing.T, nc *nats.Conn) *follower {
	f := &follower{t: t}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = eventlog.Follow(ctx, nc, node, func(_ context.Context, p eventlog.NodePolicy) error {
			f.mu.Lock()
			defer f.mu.Unlock()
			f.states = append(f.states, p)
			return nil
		})
	}()
	t.Cleanup(func() { cancel(); <-done })
	return f
}

func (f *follower) all() []eventlog.NodePolicy {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.states)
}

// holds waits for a state with as many pods, all of which are in the set that their policy refers to.
func (f *follower) holds(pods int) eventlog.NodePolicy {
	f.t.Helper()
	var last eventlog.NodePolicy
	eventually(f.t, func() error {
		states := f.all()
		if len(states) == 0 {
			return errors.New("nothing delivered")
		}
		last = states[len(states)-1]
		if len(last.Plan.GetPods()) != pods || len(last.Sets) != 1 {
			return fmt.Errorf("window %d: %d pods, %d sets", last.Window, len(last.Plan.GetPods()), len(last.Sets))
		}
		for id, set := range last.Sets {
			if addresses.Len(set.GetAddresses()) != pods {
				return fmt.Errorf("window %d: set %s has %d addresses", last.Window, id, addresses.Len(set.GetAddresses()))
			}
		}
		return nil
	})
	return last
}

func TestPolicyAppearsOnlyWhenBothProducersAreInSync(t *testing.T) {
	p := startProcess(t, t.TempDir())
	l := p.open("test")
	f := follow(t, p.conn("enforcer"))
	produce(t, l, "watcher", kubernetes())
	last, err := l.LastSequence(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	nc := p.conn("operator")
	eventually(t, func() error {
		if s := p.status(nc); s.Sequence != last || s.Window != 0 || !slices.Equal(s.Synced, []string{"watcher"}) {
			return fmt.Errorf("status %+v", s)
		}
		return nil
	})
	if _, err := l.Head(t.Context()); !errors.Is(err, eventlog.ErrNotFound) || len(f.all()) > 0 {
		t.Fatalf("published without pce-bridge: head %v, %d states", err, len(f.all()))
	}
	bridge := produce(t, l, "pce-bridge", console(t))
	state := f.holds(2)
	head, err := l.Head(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	s := p.status(nc)
	if s.Digest != head.GetDigest() || s.Window != head.GetWindow() || s.Engine != clas.Version || s.ProvisionedVersion != 7 || s.Facts != 9 {
		t.Errorf("status %+v with head %v", s, head)
	}
	if state.ProvisionedVersion != 7 || state.Version.GetIncarnation() != l.Incarnation() {
		t.Errorf("state %+v", state)
	}
	if _, err := bridge.Publish(t.Context(), pod(3)); err != nil {
		t.Fatal(err)
	}
	f.holds(3)
}

func TestExplain(t *testing.T) {
	p := startProcess(t, t.TempDir())
	l := p.open("test")
	produce(t, l, "watcher", kubernetes())
	produce(t, l, "pce-bridge", console(t))
	nc := p.conn("operator")
	eventually(t, func() error {
		if s := p.status(nc); s.Window == 0 {
			return errors.New("no policy yet")
		}
		return nil
	})
	ask := func(q string) (clas.Explanation, string) {
		msg, err := nc.Request(ExplainSubject, []byte(q), 5*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		var e clas.Explanation
		if said := msg.Header.Get("Nats-Service-Error"); said != "" {
			return e, said
		}
		if err := json.Unmarshal(msg.Data, &e); err != nil {
			t.Fatal(err)
		}
		return e, ""
	}
	query := `{"source":"shop/web-1","destination":"shop/web-2","port":%d,"protocol":6}`
	if e, said := ask(fmt.Sprintf(query, 80)); said != "" || e.Verdict != clas.Allowed {
		t.Errorf("port 80: %s %s", e.Verdict, said)
	}
	if e, said := ask(fmt.Sprintf(query, 81)); said != "" || e.Verdict != clas.Blocked {
		t.Errorf("port 81: %s %s", e.Verdict, said)
	}
	for _, bad := range []string{"garbage", `{"source":"shop/none","destination":"shop/web-1","port":80,"protocol":6}`} {
		if _, said := ask(bad); said == "" {
			t.Errorf("%s was answered", bad)
		}
	}
}

// published is the head, as soon as the connection is back.
func published(t *testing.T, l *eventlog.Log) (head *ringfencev1.PolicyHead) {
	t.Helper()
	eventually(t, func() (err error) { head, err = l.Head(t.Context()); return err })
	return head
}

// replayed is the digest that the facts of the log give to another engine.
func replayed(t *testing.T, l *eventlog.Log) string {
	t.Helper()
	engine := clas.New()
	for e, err := range l.Read(t.Context(), 0, 0) {
		if err != nil {
			t.Fatal(err)
		}
		if err := engine.Apply(e.Subject, e.Sequence, e.Fact); err != nil {
			t.Fatal(err)
		}
	}
	return engine.Digest()
}

func TestACleanStopLeavesASnapshot(t *testing.T) {
	p := startProcess(t, t.TempDir())
	l := p.open("test")
	f := follow(t, p.conn("enforcer"))
	produce(t, l, "watcher", kubernetes())
	produce(t, l, "pce-bridge", console(t))
	before := f.holds(2)
	p.stop()
	p.start()
	nc := p.conn("operator")
	eventually(t, func() error {
		if s := p.status(nc); s.Window == 0 {
			return errors.New("not published yet")
		}
		return nil
	})
	if len(p.lines("restored from a snapshot", `"sequence":9`)) != 1 {
		t.Error("no snapshot was used")
	}
	if head := published(t, l); head.GetDigest() != replayed(t, l) {
		t.Errorf("head %v", head)
	}
	eventually(t, func() error {
		states := f.all()
		after := states[len(states)-1]
		if after.Window == before.Window {
			return errors.New("not joined again")
		}
		if diff := cmp.Diff(before.Policies, after.Policies, protocmp.Transform()); diff != "" {
			t.Errorf("policies: %s", diff)
		}
		return nil
	})
}

func TestADamagedSnapshotIsSetAside(t *testing.T) {
	p := startProcess(t, t.TempDir())
	l := p.open("test")
	produce(t, l, "watcher", kubernetes())
	produce(t, l, "pce-bridge", console(t))
	p.stop()
	p.start()
	nc := p.conn("operator")
	digest := p.status(nc).Digest
	newer := &ringfencev1.SnapshotInfo{
		Version: &ringfencev1.Version{Incarnation: l.Incarnation(), Sequence: 1000}, Chunks: 1, Facts: 1, Format: eventlog.SnapshotFormat,
	}
	unknown := proto.CloneOf(newer)
	unknown.Version.Sequence, unknown.Format = 2000, 99
	for _, info := range []*ringfencev1.SnapshotInfo{newer, unknown} {
		data, err := proto.Marshal(info)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := nc.Request(fmt.Sprintf("snap.%d.done", info.GetVersion().GetSequence()), data, 5*time.Second); err != nil {
			t.Fatal(err)
		}
	}
	p.kill()
	p.start()
	if s := p.status(nc); s.Digest != digest || s.Sequence != 9 {
		t.Errorf("status %+v, want digest %s", s, digest)
	}
	if n := len(p.lines("the snapshot is set aside")); n != 2 {
		t.Errorf("%d lines about snapshots that cannot be used, want 2", n)
	}
}

// A snapshot proves that its facts give the policy that they gave, where the same engine computed it; where another did,
// there is nothing to compare, and the facts are good.
func TestASnapshotMustGiveThePolicyThatItWasTakenOf(t *testing.T) {
	p := startProcess(t, t.TempDir())
	l := p.open("test")
	produce(t, l, "watcher", kubernetes())
	produce(t, l, "pce-bridge", console(t))
	nc := p.conn("operator")
	eventually(t, func() error {
		if s := p.status(nc); s.Sequence != 9 {
			return fmt.Errorf("status %+v, want sequence 9", s)
		}
		return nil
	})
	p.stop()
	p.start()
	digest := p.status(nc).Digest
	var infos []*ringfencev1.SnapshotInfo
	eventually(t, func() (err error) { infos, err = l.Snapshots(t.Context()); return err })
	if len(infos) != 1 || infos[0].GetDigest() != digest || infos[0].GetEngine() != clas.Version {
		t.Fatalf("snapshots %v, the digest is %s", infos, digest)
	}
	var entries []*ringfencev1.SnapshotEntry
	for entry, err := range l.ReadSnapshot(t.Context(), infos[0]) {
		if err != nil {
			t.Fatal(err)
		}
		entries = append(entries, entry)
	}
	for _, c := range []struct {
		policy          eventlog.Computed
		aside, restored int
	}{
		{eventlog.Computed{Engine: clas.Version, Digest: "another"}, 1, 0},
		{eventlog.Computed{Engine: "clas/0", Digest: "another"}, 0, 1},
		{eventlog.Computed{Engine: clas.Version, Digest: digest}, 0, 1},
	} {
		eventually(t, func() error { // as soon as the connection is back
			_, err := l.WriteSnapshot(t.Context(), 9, c.policy, slices.Values(entries))
			return err
		})
		asides, restores := len(p.lines("the snapshot is set aside", "another")), len(p.lines("restored from a snapshot"))
		p.kill()
		p.start()
		if s := p.status(nc); s.Digest != digest || s.Sequence != 9 {
			t.Errorf("%v: status %+v, want digest %s", c.policy, s, digest)
		}
		if n := len(p.lines("the snapshot is set aside", "another")) - asides; n != c.aside {
			t.Errorf("%v: set aside %d times, want %d", c.policy, n, c.aside)
		}
		if n := len(p.lines("restored from a snapshot")) - restores; n != c.restored {
			t.Errorf("%v: restored %d times, want %d", c.policy, n, c.restored)
		}
	}
	if n := len(p.lines("its digest cannot be compared", "clas/0")); n != 1 {
		t.Errorf("%d lines about the other engine, want 1", n)
	}
}

// A change of one pod, namespace or setting is published with everything that the log keeps whole.
func TestWhatChangedIsPublishedWhole(t *testing.T) {
	p := startProcess(t, t.TempDir())
	l := p.open("test")
	f := follow(t, p.conn("enforcer"))
	watcher := produce(t, l, "watcher", kubernetes())
	bridge := produce(t, l, "pce-bridge", console(t))
	f.holds(2)
	say := func(by *eventlog.Producer, ds ...eventlog.Draft) {
		t.Helper()
		for _, d := range ds {
			if _, err := by.Publish(t.Context(), d); err != nil {
				t.Fatal(err)
			}
		}
	}
	say(watcher, pod(3))
	f.holds(3)
	say(watcher, eventlog.Draft{
		Subject: eventlog.KubernetesSubject("namespace", "", "lab"),
		Fact:    &ringfencev1.Fact{Body: &ringfencev1.Fact_Namespace{Namespace: &ringfencev1.Namespace{Name: "lab", Uid: "uid-lab"}}},
	})
	names := func(ns *ringfencev1.Namespaces) (names []string) {
		for _, n := range ns.GetNamespaces() {
			names = append(names, n.GetNamespace())
		}
		return names
	}
	awaits := func(what string, check func(eventlog.NodePolicy) bool) {
		t.Helper()
		eventually(t, func() error {
			states := f.all()
			if last := states[len(states)-1]; !check(last) {
				return fmt.Errorf("%s: window %d: namespaces %v", what, last.Window, last.Namespaces)
			}
			return nil
		})
	}
	awaits("a namespace that came", func(p eventlog.NodePolicy) bool { return slices.Equal(names(p.Namespaces), []string{"lab", "shop"}) })
	say(bridge, eventlog.Draft{Subject: eventlog.SettingsSubject, Fact: &ringfencev1.Fact{Body: &ringfencev1.Fact_Settings{
		Settings: &ringfencev1.Settings{ClusterId: "c", StartPolicy: ringfencev1.EnforcementMode_ENFORCEMENT_MODE_FULL},
	}}})
	awaits("the start policy", func(p eventlog.NodePolicy) bool {
		return p.Namespaces.GetStartPolicy() == ringfencev1.EnforcementMode_ENFORCEMENT_MODE_FULL && len(p.Namespaces.GetNamespaces()) == 2
	})
	say(watcher, eventlog.Draft{Subject: eventlog.KubernetesSubject("namespace", "", "lab"), Fact: &ringfencev1.Fact{Body: &ringfencev1.Fact_Gone{Gone: &ringfencev1.Gone{}}}})
	awaits("a namespace that left", func(p eventlog.NodePolicy) bool { return slices.Equal(names(p.Namespaces), []string{"shop"}) })
	f.holds(3)
}

func TestNamespacesFitAMessage(t *testing.T) {
	whole := &ringfencev1.Namespaces{StartPolicy: ringfencev1.EnforcementMode_ENFORCEMENT_MODE_FULL}
	for i, signatures := range []int{3, 30_000, 100} {
		n := &ringfencev1.NamespacePolicy{Namespace: fmt.Sprintf("ns-%d", i), Managed: true}
		for j := range signatures {
			n.Signatures = append(n.Signatures, &ringfencev1.PodSignature{Hash: fmt.Sprintf("%016x", j), Policy: "p0123456789abcdef"})
		}
		whole.Namespaces = append(whole.Namespaces, n)
	}
	before := proto.CloneOf(whole)
	p := &publisher{zlog: zerolog.Nop()}
	fits := p.bounded(whole)
	if n := proto.Size(fits); n > namespacesBytes {
		t.Errorf("%d bytes", n)
	}
	want := proto.CloneOf(whole)
	want.Namespaces[1].Signatures = nil
	if !proto.Equal(fits, want) || !proto.Equal(whole, before) {
		t.Errorf("not what fits, or the engine's own object was changed: %d bytes of %d", proto.Size(fits), proto.Size(whole))
	}
	if again := p.bounded(fits); again != fits {
		t.Error("what fits was copied")
	}
}

func TestALostStoreChangesNothingUntilAllIsThereAgain(t *testing.T) {
	dir := t.TempDir()
	p := startProcess(t, dir)
	l := p.open("test")
	f := follow(t, p.conn("enforcer"))
	produce(t, l, "watcher", kubernetes())
	produce(t, l, "pce-bridge", console(t))
	before := f.holds(2)
	p.kill()
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	p.start()
	fresh := p.open("test")
	if fresh.Incarnation() == l.Incarnation() {
		t.Fatal("the incarnation stayed")
	}
	nc := p.conn("operator")
	produce(t, fresh, "watcher", kubernetes()[:2])
	eventually(t, func() error {
		if s := p.status(nc); !slices.Equal(s.Synced, []string{"watcher"}) {
			return fmt.Errorf("status %+v", s)
		}
		return nil
	})
	time.Sleep(2 * flushInterval)
	if states := f.all(); states[len(states)-1].Version.GetIncarnation() != l.Incarnation() || len(states[len(states)-1].Plan.GetPods()) != 2 {
		t.Errorf("the follower went to %+v before pce-bridge was in sync", states[len(states)-1])
	}
	if err := fresh.Producer("watcher").PublishAll(t.Context(), kubernetes()[2:]); err != nil {
		t.Fatal(err)
	}
	produce(t, fresh, "pce-bridge", console(t))
	eventually(t, func() error {
		states := f.all()
		if got := states[len(states)-1]; got.Version.GetIncarnation() != fresh.Incarnation() {
			return fmt.Errorf("still in %s", got.Version.GetIncarnation())
		}
		return nil
	})
	after := f.holds(2)
	if diff := cmp.Diff(before.Sets, after.Sets, protocmp.Transform()); diff != "" {
		t.Errorf("sets: %s", diff)
	}
}

func TestGarbageOnAFactSubjectChangesNothing(t *testing.T) {
	p := startProcess(t, t.TempDir())
	l := p.open("test")
	produce(t, l, "watcher", kubernetes())
	produce(t, l, "pce-bridge", console(t))
	nc := p.conn("operator")
	eventually(t, func() error {
		if s := p.status(nc); s.Window == 0 {
			return errors.New("not published yet")
		}
		return nil
	})
	digest := p.status(nc).Digest
	garbage := eventlog.KubernetesSubject("pod", "shop", "web-1")
	if _, err := nc.Request(garbage, []byte("\xff\xff garbage"), 5*time.Second); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() error {
		if len(p.lines("skipped what cannot be decoded", garbage)) != 1 {
			return errors.New("no line about the garbage")
		}
		return nil
	})
	// A fact that decodes and that the engine refuses.
	odd := pod(1)
	odd.Fact.GetPod().Addresses = []string{"not an address"}
	if _, err := l.Producer("watcher").Publish(t.Context(), odd); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() error {
		if len(p.lines("the fact is not taken", garbage)) != 1 {
			return errors.New("no line about the refused fact")
		}
		return nil
	})
	if s := p.status(nc); s.Digest != digest {
		t.Errorf("the digest went from %s to %s", digest, s.Digest)
	}
	// Garbage at the very end of the log must not keep a restart from catching up.
	if _, err := nc.Request(garbage, []byte("\xff\xff garbage"), 5*time.Second); err != nil {
		t.Fatal(err)
	}
	p.kill()
	p.start()
	eventually(t, func() error {
		if s := p.status(nc); s.Window == 0 || s.Digest != digest {
			return fmt.Errorf("status %+v, want digest %s", s, digest)
		}
		return nil
	})
}

func TestReadinessAndMetrics(t *testing.T) {
	p := startProcess(t, t.TempDir(), func(c *childConfig) { c.HTTPAddress = freeAddress(t) })
	get := func(path string) (int, string) {
		res, err := http.Get("http://" + p.config.HTTPAddress + path)
		if err != nil {
			return 0, err.Error()
		}
		defer res.Body.Close()
		body, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		return res.StatusCode, string(body)
	}
	eventually(t, func() error { // before any producer came, for they must get in
		if code, body := get("/readyz"); code != http.StatusOK {
			return fmt.Errorf("readyz: %d %s", code, body)
		}
		return nil
	})
	l := p.open("test")
	produce(t, l, "watcher", kubernetes())
	produce(t, l, "pce-bridge", console(t))
	eventually(t, func() error {
		_, body := get("/metrics")
		for _, want := range []string{
			"ringfence_policy_store_facts_folded_total 9", "ringfence_policy_store_facts_sequence 9", "ringfence_policy_store_policy_in_sync 1", "ringfence_policy_store_windows_published_total 1",
			"ringfence_policy_store_window_latency_seconds_count 1", "ringfence_policy_store_fold_errors_total 0", "ringfence_policy_store_log_connections 2",
		} {
			if !strings.Contains(body, want+"\n") {
				return fmt.Errorf("no %s in\n%s", want, body)
			}
		}
		return nil
	})
}
