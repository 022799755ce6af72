// Package netnstest makes networks for tests out of real network namespaces: a node with a bridge, and pods that hang on
// it by a veth pair each, with IPv4 and IPv6 addresses, as a bridge CNI lays them.
//
// It is for tests alone and needs root.
package netnstest

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Namespace is a network namespace with threads of its own and a path to open it by.
type Namespace struct {
	Name string
	// Path is a bind mount, as a CNI leaves one.
	Path string
	// V4 and V6 are the addresses of its interface on the bridge.
	V4, V6 netip.Addr
	work   chan func()
}

// NeedRoot ends a test that cannot run: without root it is skipped, but fails where the environment variable CI is set.
func NeedRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() == 0 {
		return
	}
	if os.Getenv("CI") != "" {
		t.Fatal("this test makes network namespaces, which needs root, and CI promises it")
	}
	t.Skip("this test makes network namespaces and needs root")
}

// New makes a namespace that ends with the test.
func New(t testing.TB, name string) *Namespace {
	t.Helper()
	NeedRoot(t)
	n := &Namespace{Name: name, Path: filepath.Join(t.TempDir(), name), work: make(chan func())}
	started := make(chan error)
	onOwnThread(func() { n.run(started) })
	if err := <-started; err != nil {
		t.Fatalf("make network namespace %s: %v", name, err)
	}
	t.Cleanup(func() {
		close(n.work)
		_ = unix.Unmount(n.Path, unix.MNT_DETACH)
	})
	n.Do(t, func() error {
		lo, err := netlink.LinkByName("lo")
		if err != nil {
			return err
		}
		return netlink.LinkSetUp(lo)
	})
	return n
}

// threads is how many calls of Do and Try may wait in a namespace at the same time.
const threads = 8

// onOwnThread runs f in a goroutine that is locked to its thread for ever, so that the runtime destroys the thread and no
// other goroutine ends up in f's namespace. It is never the first thread, whose namespace counts as the process'.
func onOwnThread(f func()) {
	go func() {
		runtime.LockOSThread()
		if unix.Gettid() != unix.Getpid() {
			f()
			return
		}
		locked := make(chan struct{})
		go func() {
			runtime.LockOSThread()
			close(locked)
			f()
		}()
		<-locked
		runtime.UnlockOSThread()
	}()
}

func (n *Namespace) run(started chan<- error) {
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		started <- err
		return
	}
	if err := n.bind(); err != nil {
		started <- err
		return
	}
	joined := make(chan error)
	for range threads {
		onOwnThread(func() { n.join(joined) })
		if err := <-joined; err != nil {
			started <- err
			return
		}
	}
	started <- nil
}

// join is one of the threads that work.
func (n *Namespace) join(joined chan<- error) {
	fd, err := unix.Open(n.Path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		joined <- err
		return
	}
	err = unix.Setns(fd, unix.CLONE_NEWNET)
	_ = unix.Close(fd)
	joined <- err
	if err != nil {
		return
	}
	for f := range n.work {
		f()
	}
}

func (n *Namespace) bind() error {
	if err := os.WriteFile(n.Path, nil, 0o600); err != nil {
		return err
	}
	return unix.Mount(fmt.Sprintf("/proc/self/task/%d/ns/net", unix.Gettid()), n.Path, "", unix.MS_BIND, "")
}

// Do runs f on a thread of the namespace and fails the test on an error. Sockets that f opens stay in the namespace.
func (n *Namespace) Do(t testing.TB, f func() error) {
	t.Helper()
	if err := n.Try(f); err != nil {
		t.Fatalf("in %s: %v", n.Name, err)
	}
}

// Try runs f on a thread of the namespace.
func (n *Namespace) Try(f func() error) error {
	done := make(chan error)
	n.work <- func() { done <- f() }
	return <-done
}

// Inode identifies the namespace.
func (n *Namespace) Inode(t testing.TB) uint64 {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Stat(n.Path, &st); err != nil {
		t.Fatal(err)
	}
	return st.Ino
}

// Network is a node with pods on its bridge.
type Network struct {
	Node *Namespace
	Pods []*Namespace
}

// NewNetwork makes a node with the addresses .1 and ::1 and as many pods with the addresses after them.
func NewNetwork(t testing.TB, pods ...string) *Network {
	t.Helper()
	n := &Network{Node: New(t, "node")}
	n.Node.V4, n.Node.V6 = address(1)
	n.Node.Do(t, func() error {
		bridge := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "br0"}}
		if err := netlink.LinkAdd(bridge); err != nil {
			return err
		}
		return n.Node.configure("br0")
	})
	for i, name := range pods {
		n.addPod(t, name, byte(i+2))
	}
	n.warmUp(t)
	return n
}

func address(last byte) (netip.Addr, netip.Addr) {
	v6 := netip.MustParseAddr("fd09::").As16()
	v6[15] = last
	return netip.AddrFrom4([4]byte{10, 9, 0, last}), netip.AddrFrom16(v6)
}

func (n *Network) addPod(t testing.TB, name string, last byte) {
	t.Helper()
	pod := New(t, name)
	pod.V4, pod.V6 = address(last)
	ns, err := os.Open(pod.Path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ns.Close() }()
	host := fmt.Sprintf("veth%d", last)
	n.Node.Do(t, func() error {
		veth := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: host}, PeerName: "eth0", PeerNamespace: netlink.NsFd(ns.Fd())}
		if err := netlink.LinkAdd(veth); err != nil {
			return err
		}
		bridge, err := netlink.LinkByName("br0")
		if err != nil {
			return err
		}
		link, err := netlink.LinkByName(host)
		if err != nil {
			return err
		}
		if err := netlink.LinkSetMaster(link, bridge); err != nil {
			return err
		}
		return netlink.LinkSetUp(link)
	})
	pod.Do(t, func() error { return pod.configure("eth0") })
	n.Pods = append(n.Pods, pod)
}

// configure gives the interface the namespace's addresses, usable at once: without duplicate address detection.
func (n *Namespace) configure(name string) error {
	link, err := netlink.LinkByName(name)
	if err != nil {
		return err
	}
	for _, a := range []netip.Prefix{netip.PrefixFrom(n.V4, 24), netip.PrefixFrom(n.V6, 64)} {
		addr := &netlink.Addr{Flags: unix.IFA_F_NODAD, IPNet: &net.IPNet{
			IP: a.Addr().AsSlice(), Mask: net.CIDRMask(a.Bits(), a.Addr().BitLen())}}
		if err := netlink.AddrAdd(link, addr); err != nil {
			return fmt.Errorf("add address %s: %w", a, err)
		}
	}
	return netlink.LinkSetUp(link)
}
