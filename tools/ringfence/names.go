package ringfence

import (
	"context"
	"fmt"
	"net/netip"

	"github.com/ringfence/ringfence/libs/eventlog"
	ringfencev1 "github.com/ringfence/ringfence/proto/ringfence/v1"
)

// Names says who has an address now: "namespace/pod", "namespace/service/name" or "node/name".
type Names map[netip.Addr]string

// ReadNames reads the names of all addresses from the newest facts.
func ReadNames(ctx context.Context, log *eventlog.Log) (Names, error) {
	names := Names{}
	for e, err := range log.Latest(ctx, "facts.k8s.pod.>", "facts.k8s.service.>", "facts.k8s.node.>") {
		if err != nil {
			return nil, fmt.Errorf("names of addresses: %w", err)
		}
		names.add(e.Fact)
	}
	return names, nil
}

func (n Names) add(fact *ringfencev1.Fact) {
	pod, service, node := fact.GetPod(), fact.GetService(), fact.GetNode()
	switch {
	case pod != nil && !pod.GetHostNetwork() && pod.GetPhase() != ringfencev1.PodPhase_POD_PHASE_SUCCEEDED &&
		pod.GetPhase() != ringfencev1.PodPhase_POD_PHASE_FAILED:
		n.name(pod.GetNamespace()+"/"+pod.GetName(), pod.GetAddresses())
	case service != nil:
		n.name(service.GetNamespace()+"/service/"+service.GetName(), service.GetClusterIps())
	case node != nil:
		n.name("node/"+node.GetName(), node.GetAddresses())
	}
}

func (n Names) name(name string, addresses []string) {
	for _, text := range addresses {
		if address, err := netip.ParseAddr(text); err == nil {
			n[address.Unmap()] = name
		}
	}
}

// Of gives the name of an address in its 4 or 16 bytes, or its text where nobody has it.
func (n Names) Of(address []byte) string {
	parsed, ok := netip.AddrFromSlice(address)
	if !ok {
		return fmt.Sprintf("%x", address)
	}
	if name, known := n[parsed.Unmap()]; known {
		return name
	}
	return parsed.Unmap().String()
}
