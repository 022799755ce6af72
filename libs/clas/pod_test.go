package clas

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"

	pb "github.com/ringfence/ringfence/proto/ringfence/v1"
	"google.golang.org/protobuf/proto"

	"github.com/ringfence/ringfence/libs/internal/soak"
)

// TestAPodIsKeptWhole packs random pods and unpacks them again: whatever a fact says of a pod, a snapshot says, too.
func TestAPodIsKeptWhole(t *testing.T) {
	seed := soak.Seed(t)
	random := rand.New(rand.NewPCG(seed, 1))
	pick := func(from ...string) string { return from[random.IntN(len(from))] }
	flip := func() bool { return random.IntN(2) == 0 }
	for i := range 2000 {
		m := &pb.Pod{Namespace: "shop", Name: fmt.Sprint("p", i), Phase: pb.PodPhase(random.IntN(5)), Ready: flip(), Terminating: flip(),
			WithoutSandbox: flip(), HostNetwork: flip(), Node: pick("", "n1", "n2"),
			Uid:             pick("5f0c1f3a-0b1d-4c7e-9a54-0123456789ab", "5F0C1F3A-0b1d-4c7e-9a54-0123456789ab", "5f0c1f3a00b1d-4c7e-9a54-0123456789ab", "x", strings.Repeat("é", 18)),
			ResourceVersion: pick("", "1", "18446744073709551615", "007", "12a", "9999999999999999999"), RuntimeUid: pick("", "", "abc")}
		if flip() {
			m.Addresses = []string{pick("10.0.0.1", "fd00::1")}
		}
		if len(m.Addresses) > 0 && flip() {
			m.Addresses = append(m.Addresses, pick("10.0.0.2", "fd00::2"))
		}
		if flip() {
			m.Labels = map[string]string{"app": pick("", "web"), pick("a", "b"): strings.Repeat("x", 200)}
			m.Annotations = map[string]string{"com.illumio.role": "web"}
		}
		if flip() {
			m.Controller = &pb.ObjectRef{Kind: "Deployment", Name: "d", Uid: pick("", "u")}
			m.Ports = []*pb.ContainerPort{{Name: "http", Port: 80, Protocol: 6}}
		}
		if flip() {
			m.ProtoReflect().SetUnknown([]byte{0x98, 0x06, 0x01}) // field 99 of a newer release
		}
		e := New()
		if err := e.Apply("facts.k8s.pod.shop."+m.GetName(), 7, &pb.Fact{Body: &pb.Fact_Pod{Pod: m}}); err != nil {
			t.Fatalf("seed %d: %v: %v", seed, m, err)
		}
		p := e.cluster.pods.find(e.cluster.namespace("shop"), m.GetName())
		if got := p.message(); !proto.Equal(got, m) {
			t.Fatalf("seed %d: kept as\n%v\nwant\n%v", seed, got, m)
		}
		if p.uidText() != m.GetUid() || string(p.appendUID(nil)) != p.runtimeUID() {
			t.Fatalf("seed %d: uid %q, runtime uid %q, want %q", seed, p.uidText(), p.appendUID(nil), m.GetUid())
		}
	}
}

// TestPodsOfOneHash puts pods whose names collide into the table by hand, for no test will live to see two.
func TestPodsOfOneHash(t *testing.T) {
	ns := &namespace{name: "shop"}
	var table podTable
	table.byHash = map[uint64]*pod{}
	pods := make([]*pod, 3)
	for i := range pods {
		pods[i] = &pod{name: "p", group: &group{ns: ns}, sequence: uint64(i)}
		table.put(ns, pods[i]) // of one name, and therefore of one hash
	}
	others := []string{"a", "b"}
	for i, name := range others {
		pods[i+1].name = name
		table.clashes[hashName(ns, "p")][i].name = name
	}
	seen := 0
	table.all(func(*pod) { seen++ })
	if seen != 3 || table.find(ns, "p") != pods[0] {
		t.Fatalf("%d pods, p is %v", seen, table.find(ns, "p"))
	}
	pods[1].name, pods[2].name = "p", "p"
	table.remove(ns, pods[2])
	table.remove(ns, pods[0])
	if got := table.find(ns, "p"); got != pods[1] {
		t.Fatalf("the one that remains is %v", got)
	}
	if got := table.find(&namespace{name: "other", hash: ns.hash}, "p"); got != nil {
		t.Fatalf("a pod of another namespace: %v", got)
	}
	table.remove(ns, pods[1])
	if len(table.byHash) != 0 {
		t.Fatalf("%d pods are left", len(table.byHash))
	}
}

// FuzzParseAddr compares the fast reading of IPv4 addresses with the library's.
func FuzzParseAddr(f *testing.F) {
	for _, text := range []string{"10.0.0.1", "255.255.255.255", "0.0.0.0", "01.2.3.4", "1.2.3", "1.2.3.4.5", "256.1.1.1", "1..2.3", "fd00::1", "::ffff:10.0.0.1", "::", "fe80::1%eth0", "1.2.3.4 ", ".1.2.3.4", ""} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got, err := parseAddr(text)
		want, wantErr := netip.ParseAddr(text)
		good := wantErr == nil && want.Zone() == "" && !want.Unmap().IsUnspecified()
		if (err == nil) != good || good && got.netip() != want.Unmap() {
			t.Fatalf("%q: %v, %v; the library says %v, %v", text, got, err, want, wantErr)
		}
	})
}
