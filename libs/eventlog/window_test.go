package eventlog_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/ringfence/ringfence/libs/addresses"
	"github.com/ringfence/ringfence/libs/eventlog"
	"github.com/ringfence/ringfence/libs/eventlog/eventlogtest"
	"github.com/ringfence/ringfence/libs/internal/soak"
	ringfencev1 "github.com/ringfence/ringfence/proto/ringfence/v1"
)

const node = "node-1.example"

// model is the policy of a cluster as its publisher knows it.
type model struct {
	t           *testing.T
	log         *eventlog.Log
	window      uint64
	sequence    uint64
	sets        map[string]*ringfencev1.AddressSet
	policies    map[string]*ringfencev1.WorkloadPolicy
	plans       map[string]*ringfencev1.NodePlan
	namespaces  *ringfencev1.Namespaces
	provisioned int64
	synced      []string

	// history is what every node's policy was at every window, for those who check each state that is delivered.
	mu      sync.Mutex
	history map[string]map[uint64]eventlog.NodePolicy

	changed struct {
		deltas   []*ringfencev1.AddressSetDelta
		policies map[string]bool
		plans    map[string]bool
		gone     []string
		objects  eventlog.Objects
	}
}

func newModel(t *testing.T, l *eventlog.Log) *model {
	m := &model{
		t: t, log: l, synced: []string{"pce-bridge", "watcher"}, provisioned: 1,
		sets: map[string]*ringfencev1.AddressSet{}, policies: map[string]*ringfencev1.WorkloadPolicy{}, plans: map[string]*ringfencev1.NodePlan{},
		history:    map[string]map[uint64]eventlog.NodePolicy{},
		namespaces: &ringfencev1.Namespaces{Namespaces: []*ringfencev1.NamespacePolicy{{Namespace: "shop", Managed: true}}},
	}
	m.changed.objects.Namespaces = m.namespaces
	m.reset()
	return m
}

func (m *model) reset() {
	m.changed.deltas, m.changed.gone = nil, nil
	m.changed.policies, m.changed.plans = map[string]bool{}, map[string]bool{}
	m.changed.objects = eventlog.Objects{Namespaces: m.changed.objects.Namespaces}
}

// set gives a set its addresses, as a replacement or, where it is there, as additions and removals.
func (m *model) set(id string, ipv4 ...uint32) {
	var members []netip.Addr
	for _, n := range ipv4 {
		members = append(members, netip.AddrFrom4([4]byte(binary.BigEndian.AppendUint32(nil, n))))
	}
	next := &ringfencev1.AddressSet{Id: id, Description: "set " + id, Fqdns: []string{"*.example.com"}, Addresses: addresses.Of(members...)}
	delta := &ringfencev1.AddressSetDelta{Id: id}
	if before, ok := m.sets[id]; ok {
		delta.Added, delta.Removed = minus(next.Addresses, before.Addresses), minus(before.Addresses, next.Addresses)
	} else {
		delta.Replace = next
	}
	m.sets[id] = next
	m.changed.deltas = append(m.changed.deltas, delta)
}

func minus(a, b *ringfencev1.Addresses) *ringfencev1.Addresses { return addresses.Change(a, nil, b) }

// policy has a rule for each set, in one list of rules after the other.
func (m *model) policy(id string, sets ...string) {
	p := &ringfencev1.WorkloadPolicy{Id: id}
	lists := []*[]*ringfencev1.PolicyRule{
		&p.Inbound, &p.OutboundDeny, &p.InboundOverrideDeny, &p.Outbound, &p.InboundDeny, &p.OutboundOverrideDeny,
	}
	for i, s := range sets {
		list := lists[(i+len(id))%len(lists)]
		*list = append(*list, &ringfencev1.PolicyRule{Id: "r", Href: "/r", Terms: []*ringfencev1.PeerTerm{{AddressSet: s}}})
	}
	m.policies[id] = p
	m.changed.policies[id] = true
}

// setsIn finds the sets that a policy refers to, in whatever field its rules are.
func setsIn(policy *ringfencev1.WorkloadPolicy) (ids []string) {
	policy.ProtoReflect().Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		if f.Message() == nil || f.Message().FullName() != "ringfence.v1.PolicyRule" {
			return true
		}
		for i := range v.List().Len() {
			for _, term := range v.List().Get(i).Message().Interface().(*ringfencev1.PolicyRule).GetTerms() {
				ids = append(ids, term.GetAddressSet())
			}
		}
		return true
	})
	return ids
}

// policiesIn lists the policies that a plan refers to.
func policiesIn(plan *ringfencev1.NodePlan) (ids []string) {
	for _, pod := range plan.GetPods() {
		ids = append(ids, pod.GetPolicy())
	}
	if plan.GetNodePolicy() != "" {
		ids = append(ids, plan.GetNodePolicy())
	}
	return ids
}

// plan gives each policy a pod; of several policies the last is the node's own.
func (m *model) plan(node string, policies ...string) {
	plan := &ringfencev1.NodePlan{Node: node}
	if last := len(policies) - 1; last > 0 {
		plan.NodePolicy, policies = policies[last], policies[:last]
	}
	for i, p := range policies {
		plan.Pods = append(plan.Pods, &ringfencev1.PodPlan{Uid: fmt.Sprintf("uid-%d", i), Policy: p})
	}
	m.plans[node] = plan
	m.changed.plans[node] = true
}

// collect removes what nothing refers to, as the engine does.
func (m *model) collect() {
	policies, sets := map[string]bool{}, map[string]bool{}
	for _, plan := range m.plans {
		for _, id := range policiesIn(plan) {
			policies[id] = true
		}
	}
	for id, p := range m.policies {
		if !policies[id] {
			delete(m.policies, id)
			delete(m.changed.policies, id)
			m.changed.gone = append(m.changed.gone, id)
			continue
		}
		for _, set := range setsIn(p) {
			sets[set] = true
		}
	}
	for id := range m.sets {
		if !sets[id] {
			delete(m.sets, id)
			m.changed.deltas = append(m.changed.deltas, &ringfencev1.AddressSetDelta{Id: id, Deleted: true})
			m.changed.objects.RemovedSets = append(m.changed.objects.RemovedSets, id)
		}
	}
	m.changed.objects.RemovedPolicies = m.changed.gone
}

func (m *model) version() *ringfencev1.Version {
	return &ringfencev1.Version{Incarnation: m.log.Incarnation(), Sequence: m.sequence}
}

func (m *model) head() *ringfencev1.PolicyHead {
	return &ringfencev1.PolicyHead{Window: m.window, Version: m.version(), ProvisionedVersion: m.provisioned, Synced: m.synced}
}

// publish publishes what changed as the next window, and gives what was published.
func (m *model) publish() *ringfencev1.Window {
	m.t.Helper()
	m.window++
	m.sequence += 3
	w := &ringfencev1.Window{Number: m.window, Version: m.version(), Sets: m.changed.deltas, RemovedPolicies: m.changed.gone, ProvisionedVersion: m.provisioned}
	o := m.changed.objects
	w.Namespaces = o.Namespaces
	for _, d := range m.changed.deltas {
		if set, ok := m.sets[d.GetId()]; ok {
			o.Sets = append(o.Sets, set)
		}
	}
	for id := range m.changed.policies {
		o.Policies = append(o.Policies, m.policies[id])
		w.Policies = append(w.Policies, m.policies[id])
	}
	var plans []*ringfencev1.NodePlan
	for n := range m.changed.plans {
		m.plans[n].ProvisionedVersion, m.plans[n].Window, m.plans[n].Version = m.provisioned, m.window, m.version()
		plans = append(plans, m.plans[n])
	}
	m.remember()
	if err := m.log.PublishWindow(m.t.Context(), w, o, m.head(), plans); err != nil {
		m.t.Fatalf("window %d: %v", m.window, err)
	}
	m.changed.objects = eventlog.Objects{}
	m.reset()
	return w
}

// remember keeps what the window that is about to be published makes of every node.
func (m *model) remember() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for n := range m.plans {
		if m.history[n] == nil {
			m.history[n] = map[uint64]eventlog.NodePolicy{}
		}
		m.history[n][m.window] = m.want(n)
	}
}

// was says in what a state differs from what it was at its window.
func (m *model) was(node string, got eventlog.NodePolicy) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	want, ok := m.history[node][got.Window]
	if !ok {
		return nil // before the node had a plan
	}
	return differs(want, got)
}

// want is what a follower of a node must end with.
func (m *model) want(node string) eventlog.NodePolicy {
	p := eventlog.NodePolicy{
		Plan: m.plans[node], Namespaces: m.namespaces, Version: m.version(), Window: m.window, ProvisionedVersion: m.provisioned,
		Policies: map[string]*ringfencev1.WorkloadPolicy{}, Sets: map[string]*ringfencev1.AddressSet{},
	}
	for _, id := range policiesIn(p.Plan) {
		p.Policies[id] = m.policies[id]
		for _, set := range setsIn(m.policies[id]) {
			p.Sets[set] = m.sets[set]
		}
	}
	return p
}

// follower keeps what was delivered and checks that every state is complete.
type follower struct {
	t     *testing.T
	stop  context.CancelFunc
	done  chan error
	check func(eventlog.NodePolicy) error // of every state; optional

	mu     sync.Mutex
	states int
	last   eventlog.NodePolicy
}

func follow(t *testing.T, nc *nats.Conn, node string, check ...func(eventlog.NodePolicy) error) *follower {
	ctx, cancel := context.WithCancel(t.Context())
	f := &follower{t: t, stop: cancel, done: make(chan error, 1), check: func(eventlog.NodePolicy) error { return nil }}
	for _, c := range check {
		f.check = c
	}
	go func() { f.done <- eventlog.Follow(ctx, nc, node, f.deliver) }()
	t.Cleanup(func() {
		cancel()
		if err := <-f.done; !errors.Is(err, context.Canceled) {
			t.Errorf("follow ended with %v", err)
		}
	})
	return f
}

func (f *follower) deliver(_ context.Context, p eventlog.NodePolicy) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, id := range policiesIn(p.Plan) {
		policy, ok := p.Policies[id]
		if !ok {
			f.t.Errorf("window %d: policy %s is missing", p.Window, id)
		}
		for _, set := range setsIn(policy) {
			if p.Sets[set] == nil {
				f.t.Errorf("window %d: set %s is missing", p.Window, set)
			}
		}
	}
	if p.Plan.GetWindow() > p.Window {
		f.t.Errorf("window %d comes with the plan of %d", p.Window, p.Plan.GetWindow())
	}
	if err := f.check(p); err != nil {
		f.t.Errorf("a state that never was: %v", err)
	}
	f.states++
	f.last = p
	return nil
}

func (f *follower) count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.states
}

func (f *follower) reaches(want eventlog.NodePolicy) {
	f.t.Helper()
	eventlogtest.Eventually(f.t, func() error {
		f.mu.Lock()
		defer f.mu.Unlock()
		return differs(want, f.last)
	})
}

// differs says in what a state is not the wanted one.
func differs(want, got eventlog.NodePolicy) error {
	switch {
	case got.Window != want.Window || !proto.Equal(got.Version, want.Version) || got.ProvisionedVersion != want.ProvisionedVersion:
		return fmt.Errorf("window %d, version %v, provisioned %d; want window %d, version %v, provisioned %d",
			got.Window, got.Version, got.ProvisionedVersion, want.Window, want.Version, want.ProvisionedVersion)
	case !proto.Equal(got.Plan, want.Plan):
		return fmt.Errorf("window %d: plan: %s", want.Window, cmp.Diff(want.Plan, got.Plan, protocmp.Transform()))
	case !maps.EqualFunc(got.Policies, want.Policies, func(a, b *ringfencev1.WorkloadPolicy) bool { return proto.Equal(a, b) }):
		return fmt.Errorf("window %d: policies: %s", want.Window, cmp.Diff(want.Policies, got.Policies, protocmp.Transform()))
	case !proto.Equal(got.Namespaces, want.Namespaces):
		return fmt.Errorf("window %d: namespaces: %s", want.Window, cmp.Diff(want.Namespaces, got.Namespaces, protocmp.Transform()))
	case len(got.Sets) != len(want.Sets):
		return fmt.Errorf("window %d: %d sets, want %d", want.Window, len(got.Sets), len(want.Sets))
	}
	for id, set := range want.Sets {
		if !proto.Equal(got.Sets[id], set) {
			return fmt.Errorf("window %d: set %s: %d addresses %.80v, want %d: %.80v", want.Window, id,
				addresses.Len(got.Sets[id].GetAddresses()), got.Sets[id].GetAddresses(), addresses.Len(set.GetAddresses()), set.GetAddresses())
		}
	}
	return nil
}

// shop publishes a first window with two nodes.
func shop(t *testing.T, l *eventlog.Log) *model {
	m := newModel(t, l)
	m.set("web", 1, 2)
	m.set("db", 3)
	m.policy("p-web", "db")
	m.policy("p-db", "web")
	m.plan(node, "p-web")
	m.plan("node-2", "p-db")
	m.publish()
	return m
}

func TestAFollowerGetsWhatItsPlanUses(t *testing.T) {
	s, l := eventlogtest.StartLog(t)
	m := shop(t, l)
	f := follow(t, s.Conn("enforcer"), node)
	f.reaches(m.want(node))

	m.set("db", 3, 4) // a set that it holds
	m.publish()
	f.reaches(m.want(node))
	m.set("web", 9) // one that it does not
	m.publish()
	f.reaches(m.want(node))
	m.policy("p-web", "db", "web") // and now does
	m.publish()
	f.reaches(m.want(node))
	m.plan(node, "p-web", "p-db")
	m.publish()
	f.reaches(m.want(node))
	m.plan(node)
	m.plan("node-2")
	m.collect()
	m.publish()
	f.reaches(m.want(node))
	if stored, err := l.Published(t.Context()); err != nil || len(stored.Sets)+len(stored.Policies) > 0 || stored.Window != m.window {
		t.Errorf("left over: %+v, %v", stored, err)
	}
}

func TestVersionAndProvisionedVersionAreDelivered(t *testing.T) {
	s, l := eventlogtest.StartLog(t)
	m := shop(t, l)
	f := follow(t, s.Conn("enforcer"), node)
	f.reaches(m.want(node))
	m.provisioned++
	m.publish()
	f.reaches(m.want(node))
	m.sequence += 10
	if err := l.Heartbeat(t.Context(), m.head()); err != nil {
		t.Fatal(err)
	}
	f.reaches(m.want(node))
}

func TestNothingIsTakenBeforeProducersAreInSync(t *testing.T) {
	s, l := eventlogtest.StartLog(t)
	f := follow(t, s.Conn("enforcer"), node)
	m := newModel(t, l)
	m.synced = []string{"watcher"}
	m.set("db", 3)
	m.policy("p-web", "db")
	m.plan(node, "p-web")
	m.publish()
	ctx, log := logged(t)
	late := make(chan eventlog.NodePolicy, 1)
	go func() {
		_ = eventlog.Follow(ctx, s.Conn("late"), node, func(_ context.Context, p eventlog.NodePolicy) error { late <- p; return nil })
	}()
	eventlogtest.Eventually(t, func() error {
		if !strings.Contains(strings.Join(log.lines(), "\n"), "no policy in sync") {
			return fmt.Errorf("the log says %v", log.lines())
		}
		return nil
	})
	if f.count() > 0 || len(late) > 0 {
		t.Error("a policy was taken without pce-bridge")
	}
	m.synced = []string{"pce-bridge", "watcher"}
	m.publish()
	f.reaches(m.want(node))
}

func TestAFollowerKeepsItsStateWhenTheStoreIsLost(t *testing.T) {
	s, l := eventlogtest.StartLog(t)
	m := shop(t, l)
	f := follow(t, s.Conn("enforcer"), node)
	f.reaches(m.want(node))
	states := f.count()

	s.Wipe()
	fresh := newModel(t, s.Create())
	fresh.synced = []string{"watcher"}
	fresh.plan(node)
	fresh.publish()
	fresh.publish()
	if got := f.count(); got != states {
		t.Errorf("%d states were delivered from a log that is not in sync", got-states)
	}
	f.reaches(m.want(node))
	fresh.synced = []string{"pce-bridge", "watcher"}
	fresh.set("web", 7)
	fresh.policy("p-new", "web")
	fresh.plan(node, "p-new")
	fresh.publish()
	f.reaches(fresh.want(node))
}

func TestDeliveryResumesAfterARestartWhileIdle(t *testing.T) {
	s, l := eventlogtest.StartLog(t)
	m := shop(t, l)
	f := follow(t, s.Conn("enforcer"), node)
	f.reaches(m.want(node))
	s.Restart()
	eventlogtest.Eventually(t, func() error { return l.Heartbeat(t.Context(), m.head()) })
	m.set("db", 4)
	m.publish()
	f.reaches(m.want(node))
}

func TestAMissedWindowMeansToJoinAnew(t *testing.T) {
	s, l := eventlogtest.StartLog(t)
	m := shop(t, l)
	f := follow(t, s.Conn("enforcer"), node)
	f.reaches(m.want(node))

	m.set("db", 4)
	m.publishUnheard()
	if err := l.Heartbeat(t.Context(), m.head()); err != nil {
		t.Fatal(err)
	}
	f.reaches(m.want(node)) // the heartbeat told

	m.set("db", 5)
	m.publishUnheard()
	m.set("web", 6)
	m.publish()
	f.reaches(m.want(node)) // the next number told
}

func TestGarbageDoesNotMoveAFollower(t *testing.T) {
	s, l := eventlogtest.StartLog(t)
	m := shop(t, l)
	ctx, log := logged(t)
	states := make(chan eventlog.NodePolicy, 100)
	go func() {
		_ = eventlog.Follow(ctx, s.Conn("enforcer"), node, func(_ context.Context, p eventlog.NodePolicy) error { states <- p; return nil })
	}()
	<-states
	stranger := s.Conn("stranger")
	foreign, err := proto.Marshal(&ringfencev1.NodePlan{Node: "node-2", Version: m.version()})
	if err != nil {
		t.Fatal(err)
	}
	planSubject := "plan." + eventlog.Token(node)
	for subject, data := range map[string][]byte{"policy.window": []byte("garbage"), planSubject: foreign} {
		if err := stranger.Publish(subject, data); err != nil {
			t.Fatal(err)
		}
	}
	if err := stranger.Flush(); err != nil {
		t.Fatal(err)
	}
	m.set("db", 8)
	m.publish()
	select {
	case p := <-states:
		if diff := cmp.Diff(m.want(node).Sets, p.Sets, protocmp.Transform()); diff != "" || p.Window != m.window {
			t.Errorf("window %d: %s", p.Window, diff)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("nothing delivered after garbage")
	}
	said := strings.Join(log.lines(), "\n")
	if len(log.lines()) != 2 || !strings.Contains(said, "policy.window") || !strings.Contains(said, planSubject) {
		t.Errorf("log: %s", said)
	}
}

func TestLargeSetsAndWindowsComeInParts(t *testing.T) {
	s, l := eventlogtest.StartLog(t)
	m := newModel(t, l)
	many := make([]uint32, 200_000)
	for i := range many {
		many[i] = uint32(i)
	}
	m.set("all", many...)
	m.policy("p", "all")
	m.plan(node, "p", "p-node")
	m.policy("p-node", "list")
	list := &ringfencev1.AddressSet{Id: "list", Prefixes: names(20_000, "10.%d.0.0/16"), Fqdns: names(20_000, "host-%d.example.com")}
	m.sets["list"] = list
	m.changed.deltas = append(m.changed.deltas, &ringfencev1.AddressSetDelta{Id: "list", Replace: list})
	f := follow(t, s.Conn("early"), node)
	m.publish() // by the window
	f.reaches(m.want(node))
	follow(t, s.Conn("late"), node).reaches(m.want(node)) // by the stored objects
	if stored, err := l.Published(t.Context()); err != nil || !proto.Equal(stored.Sets["list"], list) {
		t.Errorf("%d sets are stored, not all as they were given: %v", len(stored.Sets), err)
	}

	packed := m.sets["all"].GetAddresses().GetIpv4()
	half := &ringfencev1.Addresses{Ipv4: packed[:4*100_000]}
	m.changed.deltas = []*ringfencev1.AddressSetDelta{{Id: "all", Removed: &ringfencev1.Addresses{Ipv4: packed[4*100_000:]}}}
	m.sets["all"] = &ringfencev1.AddressSet{Id: "all", Description: "set all", Fqdns: m.sets["all"].GetFqdns(), Addresses: half}
	m.publish()
	f.reaches(m.want(node))
}

func names(n int, format string) (out []string) {
	for i := range n {
		out = append(out, fmt.Sprintf(format, i))
	}
	return out
}

// TestRandomWindowsEndWithTheModel publishes random windows while followers come, go, lose their connection and miss
// windows.
func TestRandomWindowsEndWithTheModel(t *testing.T) {
	seed, deadline := soak.Seed(t), time.Now().Add(soak.Time(t))
	for run := uint64(0); run == 0 || time.Now().Before(deadline) && !t.Failed(); run++ {
		t.Run(fmt.Sprintf("seed %d run %d", seed, run), func(t *testing.T) { randomWindows(t, rand.New(rand.NewPCG(seed, run))) })
	}
}

func randomWindows(t *testing.T, rng *rand.Rand) {
	s, l := eventlogtest.StartLog(t)
	m := shop(t, l)
	nodes := []string{node, "node-2", "node-3"}
	followers := map[string][]*follower{}
	conns := map[*follower]*nats.Conn{}
	for step := range 300 {
		m.randomChange(rng, nodes)
		m.collect()
		switch n := nodes[rng.IntN(len(nodes))]; rng.IntN(12) {
		case 0:
			nc := s.Conn(fmt.Sprintf("enforcer-%d", step))
			f := follow(t, nc, n, func(p eventlog.NodePolicy) error { return m.was(n, p) })
			followers[n] = append(followers[n], f)
			conns[f] = nc
		case 1:
			if fs := followers[n]; len(fs) > 0 {
				_ = conns[fs[rng.IntN(len(fs))]].ForceReconnect()
			}
		case 2:
			if fs := followers[n]; len(fs) > 0 {
				fs[0].stop()
				followers[n] = fs[1:]
			}
		}
		if rng.IntN(15) == 0 {
			m.publishUnheard()
		} else {
			m.publish()
		}
		if rng.IntN(20) == 0 {
			time.Sleep(time.Duration(rng.IntN(30)) * time.Millisecond)
		}
	}
	for _, n := range nodes { // one that comes last, whoever is left
		followers[n] = append(followers[n], follow(t, s.Conn("late-"+n), n, func(p eventlog.NodePolicy) error { return m.was(n, p) }))
	}
	m.publish()
	for n, fs := range followers {
		for _, f := range fs {
			f.reaches(m.want(n))
		}
	}
}

// publishUnheard stores a window and its plans, and sends neither.
func (m *model) publishUnheard() {
	m.t.Helper()
	m.window++
	m.sequence++
	o := m.changed.objects
	for _, d := range m.changed.deltas {
		if set, ok := m.sets[d.GetId()]; ok {
			o.Sets = append(o.Sets, set)
		}
	}
	for id := range m.changed.policies {
		o.Policies = append(o.Policies, m.policies[id])
	}
	w := &ringfencev1.Window{Number: m.window, Version: m.version()}
	var plans []*ringfencev1.NodePlan
	for n := range m.changed.plans {
		m.plans[n].ProvisionedVersion, m.plans[n].Window, m.plans[n].Version = m.provisioned, m.window, m.version()
		plans = append(plans, m.plans[n])
	}
	m.remember()
	if err := eventlog.PublishUnheard(m.t.Context(), m.log, w, o, m.head(), plans); err != nil {
		m.t.Fatal(err)
	}
	m.changed.objects = eventlog.Objects{}
	m.reset()
}

func (m *model) randomChange(rng *rand.Rand, nodes []string) {
	setIDs := []string{"web", "db", "cache", "queue", "proxy"}
	policyIDs := []string{"p-web", "p-db", "p-cache", "p-queue"}
	some := func(ids []string) []string {
		return slices.DeleteFunc(slices.Clone(ids), func(string) bool { return rng.IntN(2) == 0 })
	}
	touched := map[string]bool{}
	ensureSets := func(ids []string) {
		for _, id := range ids {
			if _, ok := m.sets[id]; !ok && !touched[id] {
				touched[id] = true
				m.set(id, uint32(rng.IntN(9)), uint32(rng.IntN(9)))
			}
		}
	}
	for id := range maps.Clone(m.sets) {
		if rng.IntN(4) == 0 && !touched[id] {
			touched[id] = true
			m.set(id, uint32(rng.IntN(9)), uint32(rng.IntN(9)), uint32(rng.IntN(9)))
		}
	}
	if rng.IntN(2) == 0 {
		id, sets := policyIDs[rng.IntN(len(policyIDs))], some(setIDs)
		ensureSets(sets)
		m.policy(id, sets...)
	}
	if rng.IntN(2) == 0 {
		policies := some(policyIDs)
		for _, id := range policies {
			if _, ok := m.policies[id]; !ok {
				sets := some(setIDs)
				ensureSets(sets)
				m.policy(id, sets...)
			}
		}
		m.plan(nodes[rng.IntN(len(nodes))], policies...)
	}
	if rng.IntN(10) == 0 {
		m.provisioned++
	}
}
