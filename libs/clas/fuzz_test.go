package clas_test

import (
	"hash/fnv"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	pb "github.com/ringfence/ringfence/proto/ringfence/v1"
	"google.golang.org/protobuf/proto"

	"github.com/ringfence/ringfence/libs/clas"
)

// village is the shop with one of everything else, so that a fuzzed fact meets something of each kind.
func village() []entry {
	out := append(shop(), labelFact("eu", "zone", "eu"), dimensionFact("zone", "zone"),
		labelMapFact(&pb.LabelMap{Uid: "m", NodeLabelMap: []*pb.LabelMapping{mapping("pool", "role", true, "big=web")},
			WorkloadLabelMap: []*pb.LabelMapping{mapping("team", "zone", false)}}),
		machineFact("host", &pb.PceWorkload{MachineId: "m1", EnforcementMode: full, Labels: []string{labelHref("web")}, Addresses: []string{"192.168.0.1"}}),
		machineFact("vm", &pb.PceWorkload{EnforcementMode: full, Labels: []string{labelHref("db"), labelHref("prod")}, Addresses: []string{"172.16.0.1"}}),
		pairingFact("0", &pb.PairingProfile{Enabled: true, EnforcementMode: full, Labels: []string{labelHref("api")}}),
		ackFact("0", "shop", "Pod", "web"),
		nodeFact(&pb.Node{Name: "n1", MachineId: "m1", Addresses: []string{"192.168.0.1"}, Labels: map[string]string{"pool": "big"}}),
		workloadFact(&pb.KubernetesWorkload{Namespace: "shop", Kind: "Deployment", Name: "d", Labels: map[string]string{"team": "eu"}}),
		serviceFact(&pb.Service{Namespace: "shop", Name: "api", Uid: "s", Type: "NodePort", ClusterIps: []string{"10.96.0.1"},
			Selector: map[string]string{"app": "api"}, Ports: []*pb.ServicePort{{Protocol: 6, Port: 80, TargetPort: 8080, NodePort: 30080}}}),
		serviceFact(&pb.Service{Namespace: "shop", Name: "out", Type: "ExternalName", ExternalName: "db.example.com"}),
		serviceFact(&pb.Service{Namespace: "shop", Name: "bare", ClusterIps: []string{"10.96.0.2"}, Ports: []*pb.ServicePort{{Protocol: 6, Port: 80}}}),
		sliceFact(&pb.EndpointSlice{Namespace: "shop", Name: "e", Service: "bare", Addresses: []string{"192.0.2.1"},
			Ports: []*pb.EndpointPort{{Protocol: 6, Port: 81}}}),
		settingsFact(&pb.Settings{ClusterMode: "legacy", DegradedModePolicyFail: pb.DegradedModePolicyFail_DEGRADED_MODE_POLICY_FAIL_CLOSED}))
	return append(out, provisioned(1, 2, villagePolicy()...)...)
}

// villagePolicy has an object of every kind that the console versions.
func villagePolicy() []*pb.PceObject {
	rule := func(n string, consumers, providers []*pb.Actor) *pb.Rule {
		return &pb.Rule{Href: ruleHref("s", n), Enabled: true, Consumers: consumers, Providers: providers, Services: append(on(tcp(8080), udp(53), icmp(8)), byHref("p"))}
	}
	list := ipList("x", span("10.0.0.0/8", ""), except("10.0.0.1", "10.0.0.3"))
	list.GetIpList().Fqdns = []string{"*.example.com"}
	return []*pb.PceObject{
		ruleSet(&pb.RuleSet{Href: setHref("s"), Name: "S", Enabled: true, Scopes: []*pb.Scope{scope("prod"), scope("group:g")},
			Rules:     []*pb.Rule{rule("1", actors("web"), actors("api", "list:x")), rule("2", actors("ams"), actors("vs:v", "group:g"))},
			DenyRules: []*pb.DenyRule{{Rule: rule("3", actors("kw:0"), actors("-web")), Override: true}, {Rule: rule("4", actors("vm:vm"), actors("ams"))}}}),
		list, pceService("p", tcpRange(1, 9), icmp(3, 1)), labelGroup("g", "role", "web", "group:h"), labelGroup("h", "role", "api"),
		boundary(&pb.EnforcementBoundary{Href: boundaryHref("b"), Enabled: true, Consumers: actors("list:x"), Providers: actors("db"), Services: on(allPorts())}),
		virtualService(&pb.VirtualService{Href: virtualHref("v"), Labels: []string{labelHref("web")}, ServiceUid: "s", Services: on(tcp(80)),
			Addresses: []*pb.VirtualServiceAddress{{Address: "198.51.100.1", Port: 80}}, Workloads: []string{machineHref("vm")}}),
	}
}

// FuzzApply feeds raw facts under raw subjects to an engine that holds a small world. Nothing may panic; a fact that is
// refused must leave the policy as it was; whatever is accepted must survive a snapshot, and coming twice.
func FuzzApply(f *testing.F) {
	world := village()
	seeds := append(slices.Clone(world), gone(world[0], "uid"), gone(world[10], ""), linkFact(false),
		entry{"facts.ctl.synced.watcher", &pb.Fact{Body: &pb.Fact_Synced{Synced: &pb.Synced{Producer: "watcher", Incarnation: "i"}}}},
		podFact(&pb.Pod{Namespace: "shop", Name: "a.b", Uid: "u", RuntimeUid: "r", Node: "n1", Addresses: []string{"::ffff:10.0.0.1", "10.0.0.1"}}),
		podFact(&pb.Pod{Namespace: "shop", Name: "web", Uid: "u", Addresses: []string{"10.0.0.256"}}))
	for _, s := range seeds {
		encoded, err := proto.Marshal(s.fact)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(s.subject, encoded)
	}
	f.Fuzz(func(t *testing.T, subject string, encoded []byte) {
		fact := &pb.Fact{}
		if proto.Unmarshal(encoded, fact) != nil {
			return
		}
		e, reader := clas.New(), newReader()
		apply(t, e, world...)
		follow(t, e, reader)
		before := e.Digest()
		err := e.Apply(subject, e.Sequence()+1, fact)
		after := e.Digest()
		if err != nil && after != before {
			t.Fatalf("%s: refused with %v, and changed the policy", subject, err)
		}
		follow(t, e, reader)
		if again := e.Apply(subject, e.Sequence(), fact); again != nil || e.Digest() != after {
			t.Fatalf("%s: a repeat changes something: %v", subject, again)
		}
		restored, err := clas.Restore(withoutErrors(e.Snapshot()))
		if err != nil {
			t.Fatalf("%s: %v", subject, err)
		}
		if restored.Digest() != after {
			t.Fatalf("%s: restored: %s", subject, difference(restored, e))
		}
	})
}

// follow lets a reader have what changed, and compares what it knows.
func follow(t testing.TB, e *clas.Engine, reader *readerState) {
	t.Helper()
	if err := reader.apply(e.Flush()); err != nil {
		t.Fatal(err)
	}
	if err := reader.equal(e.Policy()); err != nil {
		t.Fatal(err)
	}
}

// FuzzPolicy provisions a raw object in the place of, or beside, the objects of a version, so that whatever is accepted is
// compiled.
func FuzzPolicy(f *testing.F) {
	for _, o := range villagePolicy() {
		encoded, err := proto.Marshal(o)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(encoded)
	}
	f.Fuzz(func(t *testing.T, encoded []byte) {
		object := &pb.PceObject{}
		if proto.Unmarshal(encoded, object) != nil {
			return
		}
		e, reader := clas.New(), newReader()
		apply(t, e, village()...)
		objects := []*pb.PceObject{object}
		for _, o := range villagePolicy() {
			if objectHref(o) != objectHref(object) {
				objects = append(objects, o)
			}
		}
		for _, x := range provisioned(2, 1, objects...) {
			_ = e.Apply(x.subject, e.Sequence()+1, x.fact) // a version with a bad object never completes
		}
		follow(t, e, reader)
		for _, destination := range []string{"shop/api", "shop/service/api", "172.16.0.1", "db.example.com"} {
			if _, err := e.Explain(clas.Query{Source: "shop/web", Destination: destination, Port: 80, Protocol: 6}); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// byteSource lets bytes choose, one a choice, and something that follows from them where they are used up.
type byteSource struct {
	bytes []byte
	rest  *rand.PCG
}

func newByteSource(bytes []byte) *byteSource {
	sum := fnv.New64a()
	sum.Write(bytes)
	return &byteSource{bytes: bytes, rest: rand.NewPCG(sum.Sum64(), 0)}
}

func (s *byteSource) Uint64() uint64 {
	if len(s.bytes) == 0 {
		return s.rest.Uint64()
	}
	b := s.bytes[0]
	s.bytes = s.bytes[1:]
	return uint64(b)<<56 | 1<<55 | 1<<31
}

// FuzzWorld lets bytes drive the generator of the random test, with everything that it compares: the first two choose the world
// that there is at first, the others what happens in it.
func FuzzWorld(f *testing.F) {
	for _, happens := range []string{"", "the bytes choose what the cluster and its console do", strings.Repeat("\x00\x40\x80\xc0", 40)} {
		f.Add([]byte("\x00\x01" + happens))
		f.Add([]byte("\x02\x00" + happens))
	}
	f.Fuzz(func(t *testing.T, bytes []byte) {
		if len(bytes) < 2 {
			return
		}
		x, source := newTrial(rand.NewPCG(uint64(bytes[0]), uint64(bytes[1])), tally{}), newByteSource(bytes[2:])
		err := x.apply(x.g.start())
		x.g.Rand = rand.New(source)
		for n := 0; err == nil && len(source.bytes) > 0 && n < stepsPerRun; n++ {
			err = x.step()
		}
		if err == nil {
			err = x.check()
		}
		if err != nil {
			t.Fatalf("after %d facts: %v", len(x.log), err)
		}
	})
}
