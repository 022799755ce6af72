package cri

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// Sandbox is one running pod as the runtime knows it.
type Sandbox struct {
	ID string
	// UID, Namespace and Name are the pod's in Kubernetes.
	UID, Namespace, Name string
	// HostNetwork pods have no network namespace of their own.
	HostNetwork bool
	// NetnsPaths are where to find the network namespace, best first. The first can be missing in our mount namespace.
	NetnsPaths []string
	CreatedAt  time.Time
	// Err says why the runtime told no more than identity and time. A later listing asks again.
	Err error
}

// DefaultSocket is where a runtime of the given kind (containerd, crio or k3s_containerd) listens, as a path on the node.
func DefaultSocket(kind string) (string, error) {
	switch kind {
	case "containerd":
		return "/run/containerd/containerd.sock", nil
	case "crio":
		return "/run/crio/crio.sock", nil
	case "k3s_containerd", "k3s":
		return "/run/k3s/containerd/containerd.sock", nil
	}
	return "", fmt.Errorf("container runtime %q is not known: use containerd, crio or k3s_containerd", kind)
}

// Client talks to one runtime. It is safe for concurrent use.
type Client struct {
	conn *grpc.ClientConn
	api  runtimeapi.RuntimeServiceClient

	mu    sync.Mutex
	known map[string]Sandbox // what was found out of running sandboxes, none of which ever changes
}

// callTime bounds one question to the runtime.
const callTime = 10 * time.Second

// Connect prepares a client of the runtime that listens on a unix socket. It does not wait for the runtime: calls fail
// while it is away.
func Connect(socket string) (*Client, error) {
	target := "unix://" + strings.TrimPrefix(socket, "unix://")
	conn, err := grpc.NewClient(target, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(16<<20)))
	if err != nil {
		return nil, fmt.Errorf("connect to the container runtime at %s: %w", socket, err)
	}
	return &Client{conn: conn, api: runtimeapi.NewRuntimeServiceClient(conn), known: map[string]Sandbox{}}, nil
}

// Close ends the connection.
func (c *Client) Close() error { return c.conn.Close() }

// List gives the sandboxes that are ready. It asks for the details of each only once.
func (c *Client) List(ctx context.Context) ([]Sandbox, error) {
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	ready := &runtimeapi.PodSandboxStateValue{State: runtimeapi.PodSandboxState_SANDBOX_READY}
	response, err := c.api.ListPodSandbox(ctx, &runtimeapi.ListPodSandboxRequest{Filter: &runtimeapi.PodSandboxFilter{State: ready}})
	if err != nil {
		return nil, fmt.Errorf("list pod sandboxes: %w", err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	all := make([]Sandbox, 0, len(response.GetItems()))
	known := make(map[string]Sandbox, len(response.GetItems()))
	for _, item := range response.GetItems() {
		s := c.detail(ctx, item)
		if status.Code(s.Err) == codes.NotFound { // gone since it was listed
			continue
		}
		if s.Err == nil {
			known[s.ID] = s
		}
		all = append(all, s)
	}
	c.known = known
	return all, nil
}

func (c *Client) detail(ctx context.Context, item *runtimeapi.PodSandbox) Sandbox {
	if s, ok := c.known[item.GetId()]; ok {
		return s
	}
	meta := item.GetMetadata()
	s := Sandbox{ID: item.GetId(), UID: meta.GetUid(), Namespace: meta.GetNamespace(), Name: meta.GetName(),
		CreatedAt: time.Unix(0, item.GetCreatedAt())}
	response, err := c.api.PodSandboxStatus(ctx, &runtimeapi.PodSandboxStatusRequest{PodSandboxId: s.ID, Verbose: true})
	network := response.GetStatus().GetLinux().GetNamespaces().GetOptions().GetNetwork()
	s.HostNetwork = network == runtimeapi.NamespaceMode_NODE
	if err == nil && !s.HostNetwork {
		s.NetnsPaths, err = netnsPaths(response.GetInfo()["info"])
	}
	if err != nil {
		s.Err = fmt.Errorf("status of sandbox %s of pod %s/%s: %w", s.ID, s.Namespace, s.Name, err)
	}
	return s
}

// ErrNoEvents says that the runtime's events cannot be used, now or later: listings have to do.
var ErrNoEvents = errors.New("the runtime has no container events to share")

// Watch calls changed after every event of a sandbox or container, until ctx ends or the runtime stops telling.
func (c *Client) Watch(ctx context.Context, changed func()) error {
	if err := c.checkEvents(ctx); err != nil {
		return fmt.Errorf("watch container events: %w", err)
	}
	stream, err := c.api.GetContainerEvents(ctx, &runtimeapi.GetEventsRequest{})
	for err == nil {
		if _, err = stream.Recv(); err == nil {
			changed()
		}
	}
	if status.Code(err) == codes.Unimplemented {
		err = fmt.Errorf("%w: %w", ErrNoEvents, err)
	}
	return fmt.Errorf("watch container events: %w", err)
}

// checkEvents keeps away from containerd before 2.0, which gives each event to one of its listeners only
// (containerd issue 7318): ours would be missing at the kubelet.
func (c *Client) checkEvents(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	v, err := c.api.Version(ctx, &runtimeapi.VersionRequest{})
	if err != nil {
		return fmt.Errorf("ask for its version: %w", err)
	}
	major, _, _ := strings.Cut(strings.TrimPrefix(v.GetRuntimeVersion(), "v"), ".")
	if v.GetRuntimeName() == "containerd" && (major == "0" || major == "1") {
		return fmt.Errorf("%w: containerd %s", ErrNoEvents, v.GetRuntimeVersion())
	}
	return nil
}
