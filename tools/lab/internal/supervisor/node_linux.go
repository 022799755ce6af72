package supervisor

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/ringfence/ringfence/tools/lab/internal/config"
	"github.com/ringfence/ringfence/tools/lab/internal/nsthread"
	"github.com/ringfence/ringfence/tools/lab/internal/topology"
)

const containerdSocket = "/run/containerd/containerd.sock"

// node is one node: its plan and the thread that lives in its namespaces.
type node struct {
	topology.Node
	thread *nsthread.Thread
}

// makeNode makes the namespaces of a node, its mounts and its network, and joins it to the bridge.
func (s *Supervisor) makeNode(plan topology.Node, bridge netlink.Link) (*node, error) {
	dir := s.cluster.NodeDir(plan)
	etc, err := s.cluster.NodeEtc(plan)
	if err != nil {
		return nil, err
	}
	var namespace *os.File
	thread, err := nsthread.New(unix.CLONE_NEWNS|unix.CLONE_NEWNET|unix.CLONE_NEWUTS, func() (err error) {
		if err = unix.Sethostname([]byte(plan.Name)); err != nil {
			return fmt.Errorf("set the host name: %w", err)
		}
		if err = mountNode(dir, s.settings.CNI, etc); err != nil {
			return err
		}
		namespace, err = os.Open("/proc/thread-self/ns/net")
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("make %s: %w", plan.Name, err)
	}
	defer func() { _ = namespace.Close() }()
	if err := plugIn(bridge, plan, namespace); err != nil {
		return nil, err
	}
	if err := thread.Do(func() error { return configureNode(plan, s.cluster.Nodes) }); err != nil {
		return nil, fmt.Errorf("set up the network of %s: %w", plan.Name, err)
	}
	return &node{Node: plan, thread: thread}, nil
}

// startRuntime starts the node's containerd and brings in the lab's own images.
func (s *Supervisor) startRuntime(ctx context.Context, n *node) error {
	files, err := s.cluster.NodeFiles(n.Node)
	if err != nil {
		return err
	}
	if err := writeFiles(files); err != nil {
		return err
	}
	if err := s.start(ctx, "containerd", n, s.cluster.Containerd(n.Node)); err != nil {
		return err
	}
	err = until(ctx, "containerd of "+n.Name, time.Minute, func(context.Context) error { return n.thread.Do(dialContainerd) })
	if err != nil {
		return s.explain("containerd", n.Name, err)
	}
	for _, archive := range s.settings.Images {
		if err := s.importImage(n, archive); err != nil {
			return err
		}
	}
	return nil
}

// dialContainerd says whether containerd listens. A path names a socket of the calling thread's mount namespace.
func dialContainerd() error {
	conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Net: "unix", Name: containerdSocket})
	if err != nil {
		return err
	}
	return conn.Close()
}

// importImage adds an image archive to the node's containerd, unpacked when a pod first needs it.
func (s *Supervisor) importImage(n *node, archive string) error {
	cmd := exec.Command(filepath.Join(s.settings.Bin, "ctr"), "--address", containerdSocket, "--namespace", "k8s.io",
		"images", "import", "--no-unpack", archive)
	output, err := os.Create(filepath.Join(s.cluster.Logs(), n.Name+"-import.log"))
	if err != nil {
		return err
	}
	defer func() { _ = output.Close() }()
	cmd.Stdout, cmd.Stderr = output, output
	if err := n.thread.Do(cmd.Start); err != nil {
		return fmt.Errorf("import %s on %s: %w", archive, n.Name, err)
	}
	if err := cmd.Wait(); err != nil {
		return fmt.Errorf("import %s on %s: %w (see %s)", archive, n.Name, err, output.Name())
	}
	return nil
}

// joinNode registers the node and starts its kubelet and kube-proxy.
func (s *Supervisor) joinNode(ctx context.Context, n *node) error {
	object, err := s.cluster.NodeObject(n.Node)
	if err != nil {
		return err
	}
	if err := s.kube.createNode(ctx, object); err != nil {
		return fmt.Errorf("register %s: %w", n.Name, err)
	}
	if err := s.start(ctx, "kubelet", n, s.cluster.Kubelet(n.Node)); err != nil {
		return err
	}
	return s.start(ctx, "kube-proxy", n, s.cluster.Proxy(n.Node))
}

// resolve asks the cluster DNS at server (a ClusterIP) from inside the node.
func (n *node) resolve(ctx context.Context, server string) error {
	resolver := net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (conn net.Conn, err error) {
		err = n.thread.Do(func() error { // the resolver's goroutines run outside the node
			conn, err = net.DialTimeout("udp", net.JoinHostPort(server, "53"), time.Second)
			return err
		})
		return conn, err
	}}
	ctx, cancel := context.WithTimeout(ctx, 500*time.Millisecond) // a question that was lost on the way is soon asked again
	defer cancel()
	name := "kubernetes.default.svc." + topology.Domain + "."
	addresses, err := resolver.LookupHost(ctx, name)
	if err != nil {
		return fmt.Errorf("ask the DNS server %s on %s: %w", server, n.Name, err)
	}
	if len(addresses) != 1 || addresses[0] != topology.APIV4 {
		return fmt.Errorf("the DNS server %s told %s that %s is %v", server, n.Name, name, addresses)
	}
	return nil
}

func writeFiles(files []config.File) error {
	var failed error
	for _, f := range files {
		failed = errors.Join(failed, os.MkdirAll(filepath.Dir(f.Path), 0o755), os.WriteFile(f.Path, []byte(f.Text), 0o644))
	}
	return failed
}
