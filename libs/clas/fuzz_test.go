package clas_test

import (
	"testing"

	pb "github.com/ringfence/ringfence/proto/ringfence/v1"
	"google.golang.org/protobuf/proto"

	"github.com/ringfence/ringfence/libs/clas"
)

// FuzzApply feeds raw facts under raw subjects to an engine that holds a small world. Nothing may panic; a fact that is
// refused must leave the policy as it was; whatever is accepted must survive a snapshot, and going again.
func FuzzApply(f *testing.F) {
	seeds := append(shop(), opening(1, 80)...)
	seeds = append(seeds, serviceFact(apiService(nil)), gone(seeds[0], "uid"), gone(seeds[10], ""),
		workloadFact(&pb.KubernetesWorkload{Namespace: "shop", Kind: "Deployment", Name: "d"}),
		entry{"facts.ctl.synced.watcher", &pb.Fact{Body: &pb.Fact_Synced{Synced: &pb.Synced{Producer: "watcher", Incarnation: "i"}}}},
		entry{"facts.ctl.settings", &pb.Fact{Body: &pb.Fact_Settings{Settings: &pb.Settings{ClusterMode: "clas"}}}},
		entry{"facts.ctl.link", &pb.Fact{Body: &pb.Fact_PceLink{PceLink: &pb.PceLink{Reason: "down"}}}},
		podFact(&pb.Pod{Namespace: "shop", Name: "a.b", Uid: "u", Addresses: []string{"::ffff:10.0.0.1", "10.0.0.1"}}),
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
			t.Skip("no fact")
		}
		e, reader := clas.New(), newReader()
		apply(t, e, shop()...)
		apply(t, e, opening(1, 80)...)
		if err := reader.apply(e.Flush()); err != nil {
			t.Fatal(err)
		}
		before := e.Digest()
		err := e.Apply(subject, e.Sequence()+1, fact)
		after := e.Digest()
		if err != nil && after != before {
			t.Fatalf("%s: refused with %v, and changed the policy", subject, err)
		}
		if err := reader.apply(e.Flush()); err != nil {
			t.Fatal(err)
		}
		if err := reader.equal(e.Policy()); err != nil {
			t.Fatal(err)
		}
		restored, err := clas.Restore(withoutErrors(e.Snapshot()))
		if err != nil || restored.Digest() != after {
			t.Fatalf("%s: %v: restored\n%+v\nwant\n%+v", subject, err, restored.Policy(), e.Policy())
		}
	})
}

// FuzzPolicy provisions a raw object together with everything else of a version, so that whatever is accepted is compiled.
func FuzzPolicy(f *testing.F) {
	for _, o := range []*pb.PceObject{webToAPI(tcp(80), allPorts()), ipList("x", span("10.0.0.0/8", ""), except("10.0.0.1", "10.0.0.3")),
		pceService("p", tcpRange(1, 9), &pb.PortRange{Protocol: 1, IcmpType: new(uint32(3)), IcmpCode: new(uint32(1))}),
		outTo("list:x", "ams", "!a group", "never")} {
		encoded, err := proto.Marshal(o)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(encoded)
	}
	f.Fuzz(func(t *testing.T, encoded []byte) {
		object := &pb.PceObject{}
		if proto.Unmarshal(encoded, object) != nil {
			t.Skip("no object")
		}
		e, reader := clas.New(), newReader()
		apply(t, e, shop()...)
		for _, x := range provisioned(1, 1, outTo("list:x", "ams"), ipList("x", span("10.0.0.0/8", "")), object) {
			_ = e.Apply(x.subject, e.Sequence()+1, x.fact) // a version with a bad object never completes
		}
		if err := reader.apply(e.Flush()); err != nil {
			t.Fatal(err)
		}
		if err := reader.equal(e.Policy()); err != nil {
			t.Fatal(err)
		}
		if _, err := e.Explain(clas.Query{Source: "shop/web", Destination: "shop/api", Port: 80, Protocol: 6}); err != nil {
			t.Fatal(err)
		}
	})
}
