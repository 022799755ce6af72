package supervisor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/ringfence/ringfence/tools/lab/internal/cgroup"
	"github.com/ringfence/ringfence/tools/lab/internal/config"
	"github.com/ringfence/ringfence/tools/lab/internal/control"
	"github.com/ringfence/ringfence/tools/lab/internal/pki"
	"github.com/ringfence/ringfence/tools/lab/internal/topology"
)

// Supervisor brings a lab up and keeps it. Its methods run in the worker process, in the control plane's namespaces.
type Supervisor struct {
	settings Settings
	cluster  config.Cluster
	kube     *kube
	progress *json.Encoder
	began    time.Time

	mu         sync.Mutex
	components []*component
	ready      bool
}

// Run is the worker: it brings the lab in dir up, tells 'lab up' how that goes, and keeps the lab until ctx ends. If
// it does not come up, Run returns, which ends the lab.
func Run(ctx context.Context, dir string) error {
	settings, err := Load(dir)
	if err != nil {
		return err
	}
	cluster, err := settings.cluster()
	if err != nil {
		return err
	}
	pipe := os.NewFile(FDProgress, "progress")
	s := &Supervisor{settings: settings, cluster: cluster, progress: json.NewEncoder(pipe), began: time.Now()}
	if err := s.serve(ctx); err != nil {
		return err
	}
	last := Progress{Ready: true}
	err = s.bringUp(ctx)
	if err != nil {
		last = Progress{Error: err.Error()}
	}
	s.tell(last)
	_ = pipe.Close()
	if err != nil {
		return err
	}
	s.mu.Lock()
	s.ready = true
	s.mu.Unlock()
	<-ctx.Done()
	return nil
}

// serve opens the two ways in: the control socket and the API server's port on the machine's loopback.
func (s *Supervisor) serve(ctx context.Context) error {
	listen := func(fd uintptr, name string) (net.Listener, error) {
		f := os.NewFile(fd, name)
		defer func() { _ = f.Close() }() // FileListener has its own copy
		l, err := net.FileListener(f)
		if err != nil {
			return nil, fmt.Errorf("take over the %s socket: %w", name, err)
		}
		return l, nil
	}
	server, err := listen(FDServer, "server")
	if err != nil {
		return err
	}
	controller, err := listen(FDControl, "control")
	if err != nil {
		return err
	}
	go forwardTo(server, net.JoinHostPort(topology.APIHost, fmt.Sprint(topology.APIPort)))
	go func() {
		if err := control.Serve(ctx, controller, s.status); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
	}()
	return nil
}

// forwardTo connects everyone who connects to l with the address.
func forwardTo(l net.Listener, address string) {
	for {
		conn, err := l.Accept()
		if err != nil {
			fmt.Fprintln(os.Stderr, "the API server's port on the machine is gone:", err)
			return
		}
		go forwardConn(conn, address)
	}
}

func forwardConn(client net.Conn, address string) {
	defer func() { _ = client.Close() }()
	server, err := net.DialTimeout("tcp", address, 5*time.Second)
	if err != nil {
		return // the client sees a closed connection, as with any server that is down
	}
	defer func() { _ = server.Close() }()
	go func() {
		_, _ = io.Copy(server, client)
		_ = server.(*net.TCPConn).CloseWrite()
	}()
	_, _ = io.Copy(client, server)
}

func (s *Supervisor) tell(p Progress) { _ = s.progress.Encode(p) } // nobody listens after an interrupted 'lab up'

func (s *Supervisor) step(format string, args ...any) {
	s.tell(Progress{Step: fmt.Sprintf(format, args...)})
}

// bringUp takes the lab from nothing to ready. The control plane and the nodes' container runtimes start side by side.
func (s *Supervisor) bringUp(ctx context.Context) error {
	if err := s.prepare(); err != nil {
		return err
	}
	nodes, err := s.makeNodes()
	if err != nil {
		return err
	}
	s.step("%d nodes with their own network and mounts", len(nodes))
	group, groupCtx := errgroup.WithContext(ctx)
	group.Go(func() error { return s.startControlPlane(ctx, groupCtx) })
	for _, n := range nodes {
		group.Go(func() error { return s.startRuntime(ctx, n) })
	}
	if err := group.Wait(); err != nil {
		return err
	}
	s.step("containerd on every node, with NRI%s", map[bool]string{true: " required"}[s.settings.NRIRequired])
	for _, n := range nodes {
		if err := s.joinNode(ctx, n); err != nil {
			return err
		}
	}
	if err := s.applyDNS(ctx); err != nil {
		return err
	}
	if err := s.awaitNodes(ctx); err != nil {
		return err
	}
	return s.awaitDNS(ctx, nodes)
}

// prepare makes what the programs find when they start: folders, control groups and certificates.
func (s *Supervisor) prepare() error {
	for _, dir := range []string{s.cluster.Logs(), filepath.Dir(s.cluster.Kubeconfig("x"))} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return err
		}
	}
	groups, err := cgroup.Detect(cgroup.Mount)
	if err != nil {
		return err
	}
	for _, n := range s.cluster.Nodes {
		if err := groups.Create(filepath.Join(s.cluster.Name, n.Name)); err != nil {
			return err
		}
	}
	if err := s.issueAll(); err != nil {
		return err
	}
	s.step("certificates, and control groups of version %d", groups.Version())
	return nil
}

// issueAll makes every certificate and kubeconfig.
func (s *Supervisor) issueAll() error {
	authority, err := pki.New(s.cluster.PKI())
	if err != nil {
		return err
	}
	server := []string{"127.0.0.1", "localhost", topology.APIHost, topology.APIV4,
		"kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc." + topology.Domain}
	identities := map[string]pki.Identity{
		"apiserver":               {User: "kube-apiserver", Hosts: server},
		"kubelet-client":          {User: "kube-apiserver-kubelet-client", Groups: []string{"system:masters"}},
		"aggregator":              {User: "front-proxy-client"},
		"admin":                   {User: "admin", Groups: []string{"system:masters"}},
		"kube-controller-manager": {User: "system:kube-controller-manager"},
		"kube-scheduler":          {User: "system:kube-scheduler"},
		"kube-proxy":              {User: "system:kube-proxy"},
	}
	clients := []string{"kube-controller-manager", "kube-scheduler", "kube-proxy"}
	for _, n := range s.cluster.Nodes {
		identities[n.Name] = pki.Identity{User: "system:node:" + n.Name, Groups: []string{"system:nodes"},
			Hosts: []string{n.Name, n.V4.Addr().String(), n.V6.Addr().String()}}
		clients = append(clients, n.Name)
	}
	for name, identity := range identities {
		if err := authority.Issue(name, identity); err != nil {
			return err
		}
	}
	if err := authority.SigningKey("serviceaccount"); err != nil {
		return err
	}
	for _, name := range clients {
		if err := authority.Kubeconfig(s.cluster.Kubeconfig(name), name, s.cluster.ServerInside()); err != nil {
			return err
		}
	}
	if s.kube, err = newKube(s.cluster.ServerInside(), authority, "admin"); err != nil {
		return err
	}
	return authority.Kubeconfig(s.cluster.Kubeconfig("admin"), "admin", "https://"+s.settings.Listen)
}

func (s *Supervisor) makeNodes() ([]*node, error) {
	bridge, err := makeBridge()
	if err != nil {
		return nil, err
	}
	var nodes []*node
	for _, plan := range s.cluster.Nodes {
		n, err := s.makeNode(plan, bridge)
		if err != nil {
			return nil, err
		}
		nodes = append(nodes, n)
	}
	return nodes, nil
}

// startControlPlane starts etcd, the API server and the controllers. The programs run until life ends; ctx bounds the
// waiting only.
func (s *Supervisor) startControlPlane(life, ctx context.Context) error {
	if err := s.start(life, "etcd", nil, s.cluster.Etcd()); err != nil {
		return err
	}
	if err := s.start(life, "kube-apiserver", nil, s.cluster.APIServer()); err != nil {
		return err
	}
	err := until(ctx, "kube-apiserver", 2*time.Minute, func(ctx context.Context) error {
		_, err := s.kube.get(ctx, "/readyz")
		return err
	})
	if err != nil {
		return s.explain("kube-apiserver", "", err)
	}
	s.step("kube-apiserver and etcd")
	if err := s.start(life, "kube-controller-manager", nil, s.cluster.ControllerManager()); err != nil {
		return err
	}
	return s.start(life, "kube-scheduler", nil, s.cluster.Scheduler())
}

// start starts a program on node n, or in the control plane if n is nil.
func (s *Supervisor) start(ctx context.Context, name string, n *node, argv []string) error {
	c := &component{name: name, argv: argv, bin: s.settings.Bin}
	if n != nil {
		c.node, c.where = n.Name, n.thread
	}
	c.log = logPath(s.cluster.Logs(), c.node, name)
	if err := c.start(ctx); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.components = append(s.components, c)
	return nil
}

// explain adds to err what the program that was waited for said last.
func (s *Supervisor) explain(name, node string, err error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.components {
		if c.name == name && c.node == node {
			return fmt.Errorf("%w; its last line: %s (log: %s)", err, c.lastWords(), c.log)
		}
	}
	return err
}

// applyDNS creates the cluster DNS. The namespace and the priority class that it needs appear just after the API
// server calls itself ready.
func (s *Supervisor) applyDNS(ctx context.Context) error {
	objects, err := s.cluster.DNS()
	if err != nil {
		return err
	}
	for _, o := range objects {
		err := until(ctx, "create "+o.Path, 30*time.Second, func(ctx context.Context) error { return s.kube.apply(ctx, o) })
		if err != nil {
			return err
		}
	}
	return nil
}

func (s *Supervisor) awaitNodes(ctx context.Context) error {
	err := until(ctx, fmt.Sprintf("%d nodes Ready", s.settings.Nodes), 2*time.Minute, func(ctx context.Context) error {
		nodes, err := s.kube.nodes(ctx)
		if err != nil {
			return err
		}
		return s.allReady(nodes)
	})
	if err != nil {
		return s.explain("kubelet", s.cluster.Nodes[0].Name, err)
	}
	s.step("%d nodes Ready", s.settings.Nodes)
	return nil
}

// allReady names the first node that is missing or not Ready.
func (s *Supervisor) allReady(nodes []control.Node) error {
	for _, want := range s.cluster.Nodes {
		i := slices.IndexFunc(nodes, func(n control.Node) bool { return n.Name == want.Name })
		if i < 0 {
			return fmt.Errorf("%s has not registered", want.Name)
		}
		if nodes[i].State != control.Ready {
			return fmt.Errorf("%s is not Ready", want.Name)
		}
	}
	return nil
}

// awaitDNS waits until names resolve on every node over both families. That takes a scheduled pod, a route to it,
// kube-proxy's rules and a ServiceAccount token, so it is the last proof that the cluster works.
func (s *Supervisor) awaitDNS(ctx context.Context, nodes []*node) error {
	for _, n := range nodes {
		for _, server := range []string{topology.DNSV4, topology.DNSV6} {
			err := until(ctx, "cluster DNS", 2*time.Minute, func(ctx context.Context) error { return n.resolve(ctx, server) })
			if err != nil {
				return err
			}
		}
	}
	s.step("CoreDNS answers on every node, over IPv4 and IPv6")
	return until(ctx, "default ServiceAccount", time.Minute, func(ctx context.Context) error {
		_, err := s.kube.get(ctx, "/api/v1/namespaces/default/serviceaccounts/default")
		return err
	})
}

// status is what the control socket tells.
func (s *Supervisor) status(ctx context.Context) control.Status {
	s.mu.Lock()
	components, ready := slices.Clone(s.components), s.ready
	s.mu.Unlock()
	status := control.Status{
		State: control.Starting, Dir: s.settings.Dir, Kubeconfig: s.cluster.Kubeconfig("admin"), Server: "https://" + s.settings.Listen,
		Bin: s.settings.Bin, Since: s.began.UTC().Truncate(time.Second), NRIRequired: s.settings.NRIRequired,
	}
	for _, c := range components {
		status.Components = append(status.Components, c.status())
	}
	if !ready {
		return status
	}
	status.State = control.Up
	if err := s.check(ctx, &status); err != nil {
		status.State, status.Problem = control.Degraded, err.Error()
	}
	return status
}

// check fills in the nodes and says what is wrong with the lab, if anything is.
func (s *Supervisor) check(ctx context.Context, status *control.Status) error {
	for _, c := range status.Components {
		if c.State != control.Running {
			return fmt.Errorf("%s %s is not running", c.Name, c.Node)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	nodes, err := s.kube.nodes(ctx)
	var refused *apiError
	if err != nil && !errors.As(err, &refused) {
		return fmt.Errorf("the API server does not answer: %w", err)
	}
	if err != nil {
		return fmt.Errorf("the API server answers %s: %w", http.StatusText(refused.status), err)
	}
	status.Nodes = nodes
	return s.allReady(nodes)
}
