package clas

import (
	"testing"

	pb "github.com/ringfence/ringfence/proto/ringfence/v1"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// sampleWorkloadPolicy and sampleNamespace have something in every field that a digest covers.
func sampleWorkloadPolicy() *pb.WorkloadPolicy {
	port := &pb.PortRange{Protocol: 1, Port: 2, ToPort: 3, IcmpType: new(uint32(4)), IcmpCode: new(uint32(5))}
	rules := func() []*pb.PolicyRule {
		return []*pb.PolicyRule{{Id: "i", Href: "h", Terms: []*pb.PeerTerm{{AddressSet: "s", Ports: []*pb.PortRange{proto.CloneOf(port)}}}}}
	}
	return &pb.WorkloadPolicy{Id: "w", Mode: full, Labels: []string{"a=b"}, Warnings: []string{"w"}, Features: []string{FeatureDeny},
		Degraded: degradedOpen, Workload: "n/k/w", Inbound: rules(), Outbound: rules(), InboundDeny: rules(), OutboundDeny: rules(),
		InboundOverrideDeny: rules(), OutboundOverrideDeny: rules()}
}

func sampleNamespace() *pb.NamespacePolicy {
	return &pb.NamespacePolicy{Namespace: "ns", Managed: true, Mode: full, Signatures: []*pb.PodSignature{{Hash: "h", Policy: "w"}}}
}

// TestTheDigestCoversEveryField clears each field of each message in turn. A field that is added to a message of the policy
// fails here until the sample has it, and then until the digest has.
func TestTheDigestCoversEveryField(t *testing.T) {
	policy, namespace := sampleWorkloadPolicy(), sampleNamespace()
	checked := clearEach(t, policy.ProtoReflect(), func() digest { return digestPolicy(policy) }) +
		clearEach(t, namespace.ProtoReflect(), func() digest { return digestNamespace(namespace) })
	if checked < 30 {
		t.Errorf("only %d fields were checked", checked)
	}
}

// clearEach clears each field of a message and of the first messages in it, and gives how many there were.
func clearEach(t *testing.T, m protoreflect.Message, digestNow func() digest) int {
	t.Helper()
	whole, checked := digestNow(), 0
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		f := fields.Get(i)
		if !m.Has(f) {
			t.Errorf("%s: the sample lacks it", f.FullName())
			continue
		}
		if f.IsList() && f.Message() != nil {
			checked += clearEach(t, m.Get(f).List().Get(0).Message(), digestNow)
		}
		value := m.Get(f)
		m.Clear(f)
		if digestNow() == whole {
			t.Errorf("%s has no part in the digest", f.FullName())
		}
		m.Set(f, value)
		checked++
	}
	return checked
}
