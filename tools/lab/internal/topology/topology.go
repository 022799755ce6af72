// Package topology is the lab's address plan: which node has which name and addresses, which subnets its pods and
// the Services use, and which name the lab has on the machine. It is pure arithmetic; it configures nothing.
//
// Every address is fixed, so that manifests, tests and people can name them. Labs on one machine never meet:
// each lives in network namespaces of its own.
package topology

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/netip"
)

// The plan of the whole cluster. All prefixes are private (RFC 1918) or unique local (RFC 4193).
const (
	BridgeV4  = "10.200.0.1/24"     // the control plane's address on the bridge that joins the nodes
	BridgeV6  = "fd00:10:200::1/64" //
	PodsV4    = "10.244.0.0/16"     // node N has 10.244.N.0/24
	PodsV6    = "fd00:10:244::/48"  // node N has fd00:10:244:N::/64
	ServiceV4 = "10.96.0.0/16"      //
	ServiceV6 = "fd00:10:96::/112"  //
	DNSV4     = "10.96.0.10"        // ClusterIPs of the Service kube-system/kube-dns
	DNSV6     = "fd00:10:96::a"     //
	APIV4     = "10.96.0.1"         // ClusterIP of the Service default/kubernetes
	APIHost   = "10.200.0.1"        // where the API server listens, inside the lab
	APIPort   = 6443                //
	Domain    = "cluster.local"     //
	MaxNodes  = 9                   // node numbers are one digit in all addresses
)

// Node is one node of the lab.
type Node struct {
	Number int    // from 1
	Name   string // node1, node2, …
	V4, V6 netip.Prefix
	PodsV4 netip.Prefix
	PodsV6 netip.Prefix
}

// Nodes returns the first n nodes of the plan. It returns an error unless 1 <= n <= MaxNodes.
func Nodes(n int) ([]Node, error) {
	if n < 1 || n > MaxNodes {
		return nil, fmt.Errorf("a lab has 1 to %d nodes, not %d", MaxNodes, n)
	}
	nodes := make([]Node, 0, n)
	for i := 1; i <= n; i++ {
		nodes = append(nodes, Node{
			Number: i,
			Name:   fmt.Sprintf("node%d", i),
			V4:     netip.MustParsePrefix(fmt.Sprintf("10.200.0.%d/24", 10+i)),
			V6:     netip.MustParsePrefix(fmt.Sprintf("fd00:10:200::%d/64", 10+i)),
			PodsV4: netip.MustParsePrefix(fmt.Sprintf("10.244.%d.0/24", i)),
			PodsV6: netip.MustParsePrefix(fmt.Sprintf("fd00:10:244:%d::/64", i)),
		})
	}
	return nodes, nil
}

// MachineID is the node's /etc/machine-id: 32 hexadecimal digits (machine-id(5)) that differ from node to node and
// from lab to lab, and stay the same when the same lab comes up again.
func (n Node) MachineID(labName string) string {
	sum := sha256.Sum256([]byte(labName + "/" + n.Name))
	return hex.EncodeToString(sum[:16])
}

// LabName is the name under which the lab in folder dir (an absolute path) is known to the machine: its cgroups and
// its control socket carry it, so that a lab that was killed can be found and cleared away.
func LabName(dir string) string {
	sum := sha256.Sum256([]byte(dir))
	return "ringfence-lab-" + hex.EncodeToString(sum[:4])
}
