package supervisor

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/ringfence/ringfence/tools/lab/internal/topology"
)

const bridgeName = "lab0"

// makeBridge sets up the control plane's network namespace: loopback, and the bridge that the nodes are joined by.
func makeBridge() (netlink.Link, error) {
	if err := upLoopback(); err != nil {
		return nil, err
	}
	if err := forward(); err != nil {
		return nil, err
	}
	bridge := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: bridgeName}}
	if err := netlink.LinkAdd(bridge); err != nil {
		return nil, fmt.Errorf("make the bridge: %w", err)
	}
	for _, address := range []string{topology.BridgeV4, topology.BridgeV6} {
		if err := addAddress(bridge, netip.MustParsePrefix(address)); err != nil {
			return nil, err
		}
	}
	if err := netlink.LinkSetUp(bridge); err != nil {
		return nil, fmt.Errorf("start the bridge: %w", err)
	}
	return bridge, nil
}

// plugIn joins the network namespace (an open file of it) to the bridge, as eth0 there, and routes the node's pods.
func plugIn(bridge netlink.Link, n topology.Node, namespace *os.File) error {
	veth := &netlink.Veth{
		LinkAttrs:     netlink.LinkAttrs{Name: n.Name, MasterIndex: bridge.Attrs().Index},
		PeerName:      "eth0",
		PeerNamespace: netlink.NsFd(namespace.Fd()),
	}
	if err := netlink.LinkAdd(veth); err != nil {
		return fmt.Errorf("make the link to %s: %w", n.Name, err)
	}
	if err := netlink.LinkSetUp(veth); err != nil {
		return fmt.Errorf("start the link to %s: %w", n.Name, err)
	}
	return routePods(n)
}

// configureNode sets up a node's network namespace, on the node's thread: its addresses, and routes to everybody.
func configureNode(n topology.Node, all []topology.Node) error {
	if err := upLoopback(); err != nil {
		return err
	}
	if err := forward(); err != nil {
		return err
	}
	eth0, err := netlink.LinkByName("eth0")
	if err != nil {
		return fmt.Errorf("find eth0: %w", err)
	}
	for _, prefix := range []netip.Prefix{n.V4, n.V6} {
		if err := addAddress(eth0, prefix); err != nil {
			return err
		}
	}
	if err := netlink.LinkSetUp(eth0); err != nil {
		return fmt.Errorf("start eth0: %w", err)
	}
	for _, gateway := range []string{topology.BridgeV4, topology.BridgeV6} {
		if err := addRoute(netip.Prefix{}, netip.MustParsePrefix(gateway).Addr()); err != nil {
			return err
		}
	}
	for _, other := range all {
		if other.Number == n.Number {
			continue
		}
		if err := routePods(other); err != nil {
			return err
		}
	}
	return nil
}

// routePods sends what is for the node's pods to the node.
func routePods(n topology.Node) error {
	if err := addRoute(n.PodsV4, n.V4.Addr()); err != nil {
		return err
	}
	return addRoute(n.PodsV6, n.V6.Addr())
}

// addRoute adds a route; the zero destination is the default route of the gateway's family.
func addRoute(destination netip.Prefix, gateway netip.Addr) error {
	route := &netlink.Route{Gw: gateway.AsSlice()}
	if destination.IsValid() {
		route.Dst = ipNet(destination)
	}
	if err := netlink.RouteAdd(route); err != nil {
		return fmt.Errorf("route %s by %s: %w", destination, gateway, err)
	}
	return nil
}

// addAddress adds an address that can be used at once: duplicate detection would hold IPv6 back for a second, and the
// plan has no duplicates.
func addAddress(link netlink.Link, prefix netip.Prefix) error {
	address := &netlink.Addr{IPNet: &net.IPNet{IP: prefix.Addr().AsSlice(), Mask: ipNet(prefix).Mask}}
	if prefix.Addr().Is6() {
		address.Flags = unix.IFA_F_NODAD
	}
	if err := netlink.AddrAdd(link, address); err != nil {
		return fmt.Errorf("give %s the address %s: %w", link.Attrs().Name, prefix, err)
	}
	return nil
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Masked().Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

func upLoopback() error {
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("find the loopback interface: %w", err)
	}
	if err := netlink.LinkSetUp(lo); err != nil {
		return fmt.Errorf("start the loopback interface: %w", err)
	}
	return nil
}

// forward lets packets through, and lets the packet filter see those between the ports of a bridge: without that,
// kube-proxy cannot undo its address translation for a client and a server on the same node.
func forward() error {
	for _, name := range []string{
		"ipv4/ip_forward", "ipv6/conf/all/forwarding", "ipv6/conf/default/forwarding",
		"bridge/bridge-nf-call-iptables", "bridge/bridge-nf-call-ip6tables",
	} {
		err := os.WriteFile("/proc/sys/net/"+name, []byte("1\n"), 0)
		if errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("this kernel has no net/%s: the lab needs IPv4, IPv6 and br_netfilter", name)
		}
		if err != nil {
			return fmt.Errorf("switch on net/%s: %w", name, err)
		}
	}
	return nil
}
