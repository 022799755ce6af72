package topology

import (
	"net/netip"
	"regexp"
	"testing"
)

// TestNodes checks the promises of the plan: distinct addresses, inside their networks, and no overlap between pods,
// Services and nodes.
func TestNodes(t *testing.T) {
	nodes, err := Nodes(MaxNodes)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[netip.Prefix]string{netip.MustParsePrefix(BridgeV4): "bridge", netip.MustParsePrefix(BridgeV6): "bridge"}
	for _, n := range nodes {
		for _, p := range []netip.Prefix{n.V4, n.V6, n.PodsV4, n.PodsV6} {
			if other, dup := seen[p]; dup {
				t.Errorf("%s has %s, and so has %s", n.Name, p, other)
			}
			seen[p] = n.Name
		}
		for network, inside := range map[string]netip.Addr{
			BridgeV4: n.V4.Addr(), BridgeV6: n.V6.Addr(), PodsV4: n.PodsV4.Addr(), PodsV6: n.PodsV6.Addr(),
		} {
			if !netip.MustParsePrefix(network).Contains(inside) {
				t.Errorf("%s: %s is not in %s", n.Name, inside, network)
			}
		}
	}
	networks := []string{BridgeV4, BridgeV6, PodsV4, PodsV6, ServiceV4, ServiceV6}
	for i, a := range networks {
		for _, b := range networks[i+1:] {
			if netip.MustParsePrefix(a).Overlaps(netip.MustParsePrefix(b)) {
				t.Errorf("%s overlaps %s", a, b)
			}
		}
	}
}

func TestServiceAddresses(t *testing.T) {
	for network, address := range map[string]string{ServiceV4: DNSV4, ServiceV6: DNSV6} {
		if !netip.MustParsePrefix(network).Contains(netip.MustParseAddr(address)) {
			t.Errorf("%s is not in %s", address, network)
		}
	}
	if first := netip.MustParsePrefix(ServiceV4).Addr().Next().String(); APIV4 != first {
		t.Errorf("Kubernetes gives its own Service the first address, %s, not %s", first, APIV4)
	}
}

func TestNodesRefuses(t *testing.T) {
	for _, n := range []int{-1, 0, MaxNodes + 1} {
		if _, err := Nodes(n); err == nil {
			t.Errorf("a lab of %d nodes was accepted", n)
		}
	}
}

func TestNames(t *testing.T) {
	a, b := LabName("/srv/a"), LabName("/srv/b")
	if a == b || a != LabName("/srv/a") {
		t.Errorf("the names of two folders are %s and %s, and %s the second time", a, b, LabName("/srv/a"))
	}
	nodes, err := Nodes(2)
	if err != nil {
		t.Fatal(err)
	}
	ids := map[string]bool{nodes[0].MachineID(a): true, nodes[1].MachineID(a): true, nodes[0].MachineID(b): true}
	if len(ids) != 3 {
		t.Errorf("machine ids repeat: %v", ids)
	}
	for id := range ids {
		if !regexp.MustCompile(`^[0-9a-f]{32}$`).MatchString(id) {
			t.Errorf("%q is no machine id", id)
		}
	}
}
