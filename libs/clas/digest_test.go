package clas

import (
	"testing"

	pb "github.com/ringfence/ringfence/proto/ringfence/v1"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// samplePolicy has something in every field that a digest covers.
func samplePolicy() Policy {
	port := &pb.PortRange{Protocol: 1, Port: 2, ToPort: 3, IcmpType: new(uint32(4)), IcmpCode: new(uint32(5))}
	rule := func() *pb.PolicyRule {
		return &pb.PolicyRule{Id: "i", Href: "h", Terms: []*pb.PeerTerm{{AddressSet: "s", Ports: []*pb.PortRange{proto.CloneOf(port)}}}}
	}
	return Policy{
		Sets: []*pb.AddressSet{{Id: "s", Addresses: [][]byte{{10, 0, 0, 1}}, Prefixes: []string{"10.0.0.0/8"}, Description: "d"}},
		Policies: []*pb.WorkloadPolicy{{Id: "w", Mode: pb.EnforcementMode_ENFORCEMENT_MODE_FULL, Labels: []string{"a=b"},
			Inbound: []*pb.PolicyRule{rule()}, Outbound: []*pb.PolicyRule{rule()}, Warnings: []string{"w"}}},
		Plans: []*pb.NodePlan{{Node: "n", NodeAddresses: []string{"10.0.0.2"}, ProvisionedVersion: 7,
			Pods: []*pb.PodPlan{{Uid: "u", Namespace: "ns", Name: "p", Addresses: []string{"10.0.0.3"}, Policy: "w"}}}},
		Namespaces:         &pb.Namespaces{Namespaces: []*pb.NamespacePolicy{{Namespace: "ns", Managed: true, Mode: pb.EnforcementMode_ENFORCEMENT_MODE_FULL}}},
		ProvisionedVersion: 7,
		Warnings:           []string{"x"},
	}
}

// TestTheDigestCoversEveryField clears each field of each message in turn. A field that is added to a message of the policy
// fails here until the sample has it, and then until the digest has.
func TestTheDigestCoversEveryField(t *testing.T) {
	whole := samplePolicy().digest()
	if samplePolicy().digest() != whole {
		t.Fatal("two digests of one policy differ")
	}
	// What the publisher fills in, and what only deltas carry, is no part of the policy.
	apart := map[protoreflect.FullName]bool{"ringfence.v1.NodePlan.version": true, "ringfence.v1.NodePlan.window": true, "ringfence.v1.NodePlan.removed": true}
	p := samplePolicy()
	messages := []protoreflect.Message{p.Sets[0].ProtoReflect(), p.Policies[0].ProtoReflect(), p.Plans[0].ProtoReflect(), p.Namespaces.ProtoReflect()}
	checked := 0
	for len(messages) > 0 {
		m := messages[0]
		messages = messages[1:]
		fields := m.Descriptor().Fields()
		for i := range fields.Len() {
			f := fields.Get(i)
			if apart[f.FullName()] {
				continue
			}
			if !m.Has(f) {
				t.Errorf("%s: the sample lacks it", f.FullName())
				continue
			}
			if f.IsList() && f.Message() != nil {
				messages = append(messages, m.Get(f).List().Get(0).Message())
			}
			value := m.Get(f)
			m.Clear(f)
			if p.digest() == whole {
				t.Errorf("%s has no part in the digest", f.FullName())
			}
			m.Set(f, value)
			checked++
		}
	}
	for name, change := range map[string]func(*Policy){
		"version":  func(p *Policy) { p.ProvisionedVersion = 8 },
		"warnings": func(p *Policy) { p.Warnings = nil },
	} {
		changed := samplePolicy()
		if change(&changed); changed.digest() == whole {
			t.Errorf("%s: no part in the digest", name)
		}
		checked++
	}
	if checked < 30 {
		t.Errorf("only %d fields were checked", checked)
	}
}
