package nft

import (
	"net/netip"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"github.com/ringfence/ringfence/services/enforcer/datapath"
	"github.com/ringfence/ringfence/services/enforcer/internal/netnstest"
	"github.com/ringfence/ringfence/services/enforcer/podnetns"
)

// attach gives a guard of a namespace, closed with the test.
func attach(t testing.TB, n *netnstest.Namespace) datapath.Guard {
	t.Helper()
	hosts, err := podnetns.FindHosts()
	if err != nil {
		t.Fatal(err)
	}
	h, err := podnetns.Open(hosts, n.Path)
	if err != nil {
		t.Fatal(err)
	}
	g, err := Backend{}.Attach(h)
	if err != nil {
		t.Fatal(err)
	}
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = g.Close() })
	return g
}

func apply(t testing.TB, g datapath.Guard, p datapath.Policy) datapath.Change {
	t.Helper()
	change, err := g.Apply(p)
	if err != nil {
		t.Fatalf("apply %s policy: %v", p.Mode, err)
	}
	return change
}

// setOf makes an address set of addresses and prefixes in text form.
func setOf(t testing.TB, id string, entries ...string) *datapath.AddressSet {
	t.Helper()
	var addresses [][]byte
	var prefixes []string
	for _, e := range entries {
		if strings.Contains(e, "/") {
			prefixes = append(prefixes, e)
			continue
		}
		addresses = append(addresses, netip.MustParseAddr(e).AsSlice())
	}
	s, err := datapath.NewAddressSet(id, addresses, prefixes)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func allow(id string, peers *datapath.AddressSet, p ...datapath.Ports) datapath.Rule {
	return datapath.Rule{ID: id, Terms: []datapath.Term{{Peers: peers, Ports: p}}}
}

func tcp(from, to uint32) datapath.Ports { return portsOf(datapath.TCP, from, to) }

func portsOf(protocol int, from, to uint32) datapath.Ports {
	return datapath.Ports{Protocol: protocol, From: from, To: to, ICMPType: datapath.AnyICMP, ICMPCode: datapath.AnyICMP}
}

func everything() datapath.Ports { return portsOf(datapath.AnyProtocol, 0, 0) }

// list is what the nft program says of the namespace, without handles.
func list(t testing.TB, n *netnstest.Namespace) string {
	t.Helper()
	out, err := exec.Command("nsenter", "--net="+n.Path, "nft", "list", "ruleset").CombinedOutput()
	if err != nil {
		t.Fatalf("nft list ruleset: %v\n%s", err, out)
	}
	return string(out)
}

// network is a server under guard with a client, an intruder and the node around it.
type network struct {
	node, server, client, intruder *netnstest.Namespace
	guard                          datapath.Guard
	nodeSet                        *datapath.AddressSet
}

// newNetwork serves on port 8080 at both ends.
func newNetwork(t testing.TB) *network {
	t.Helper()
	n := netnstest.NewNetwork(t, "server", "client", "intruder")
	for _, pod := range n.Pods {
		pod.Serve(t, 8080)
	}
	return &network{node: n.Node, server: n.Pods[0], client: n.Pods[1], intruder: n.Pods[2],
		guard: attach(t, n.Pods[0]), nodeSet: setOf(t, "node", n.Node.V4.String(), n.Node.V6.String())}
}

// peers is a set of the addresses of namespaces.
func peers(t testing.TB, id string, of ...*netnstest.Namespace) *datapath.AddressSet {
	t.Helper()
	var all []string
	for _, n := range of {
		all = append(all, n.V4.String(), n.V6.String())
	}
	return setOf(t, id, all...)
}

// apply programs the server's namespace.
func (n *network) apply(t testing.TB, mode datapath.Mode, in, out []datapath.Rule) datapath.Change {
	t.Helper()
	return apply(t, n.guard, datapath.Policy{Mode: mode, Node: n.nodeSet, Inbound: in, Outbound: out})
}

// expect probes over both families.
func expect(t testing.TB, from, to *netnstest.Namespace, protocol string, port uint16, want bool) {
	t.Helper()
	var probes sync.WaitGroup
	for _, address := range []netip.Addr{to.V4, to.V6} {
		probes.Go(func() {
			if got := from.Reaches(protocol, address, port); got != want {
				t.Errorf("%s to %s, %s %s port %d: reached %t, expected %t", from.Name, to.Name, protocol, address, port, got, want)
			}
		})
	}
	probes.Wait()
}
