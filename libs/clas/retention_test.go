package clas_test

import (
	"testing"
	"unsafe"

	pb "github.com/ringfence/ringfence/proto/ringfence/v1"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/ringfence/ringfence/libs/clas"
)

// volatile makes texts whose bytes can be taken away.
type volatile struct{ all [][]byte }

func (v *volatile) text(s string) string {
	b := []byte(s)
	v.all = append(v.all, b)
	return unsafe.String(unsafe.SliceData(b), len(b))
}

func (v *volatile) texts(from map[string]string) map[string]string {
	out := map[string]string{}
	for key, value := range from {
		out[v.text(key)] = v.text(value)
	}
	return out
}

func (v *volatile) pod(p *pb.Pod) *pb.Pod {
	out := &pb.Pod{Namespace: v.text(p.GetNamespace()), Name: v.text(p.GetName()), Uid: v.text(p.GetUid()), ResourceVersion: v.text(p.GetResourceVersion()),
		Node: v.text(p.GetNode()), Phase: p.GetPhase(), Labels: v.texts(p.GetLabels()), Annotations: v.texts(p.GetAnnotations()), RuntimeUid: v.text(p.GetRuntimeUid()),
		Controller: &pb.ObjectRef{Kind: v.text(p.GetController().GetKind()), Name: v.text(p.GetController().GetName()), Uid: v.text(p.GetController().GetUid())}}
	for _, a := range p.GetAddresses() {
		out.Addresses = append(out.Addresses, v.text(a))
	}
	for _, port := range p.GetPorts() {
		out.Ports = append(out.Ports, &pb.ContainerPort{Name: v.text(port.GetName()), Port: port.GetPort(), Protocol: port.GetProtocol()})
	}
	return out
}

// TestNothingOfAPodsFactIsKept takes the texts of pods away once they are applied, in a cluster that flushes in between and in one
// that does not.
func TestNothingOfAPodsFactIsKept(t *testing.T) {
	for _, flush := range []bool{true, false} {
		kept, taken := clas.New(), clas.New()
		apply(t, kept, city(100)...)
		apply(t, taken, city(100)...)
		for i := range 60 {
			p := cityPod(i % 20) // thrice each: new, the same again, and changed
			p.Namespace += string(rune('a' + i%3))
			p.Uid, p.ResourceVersion, p.RuntimeUid = "odd-"+p.GetName(), "odd-"+p.GetName(), "runtime-"+p.GetName()
			p.Node, p.Annotations = "node-of-"+p.GetName(), map[string]string{"com.illumio.role": "r" + p.GetName()}
			p.Controller = &pb.ObjectRef{Kind: "kind" + p.GetName(), Name: "controller-of-" + p.GetName(), Uid: "uid-of-" + p.GetName()}
			p.Addresses = append(p.Addresses, "2001:db8::1")
			p.Ports = []*pb.ContainerPort{{Name: "http-" + p.GetName()[:1], Port: 80, Protocol: 6}}
			if i >= 40 {
				p.Labels["role"] = "other"
			}
			apply(t, kept, podFact(p))
			var texts volatile
			apply(t, taken, podFact(texts.pod(p)))
			for _, b := range texts.all {
				clear(b)
			}
			if flush {
				if diff := cmp.Diff(kept.Flush(), taken.Flush(), protocmp.Transform(), cmpopts.IgnoreUnexported(clas.Delta{})); diff != "" {
					t.Fatalf("flush after pod %d: %s", i, diff)
				}
			}
		}
		if kept.Digest() != taken.Digest() {
			t.Error("another policy once texts were taken away")
		}
		var want, got []*pb.SnapshotEntry
		for e := range kept.Snapshot() {
			want = append(want, e)
		}
		for e := range taken.Snapshot() {
			got = append(got, e)
		}
		if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" {
			t.Errorf("another snapshot: %s", diff)
		}
	}
}
