// Package critest is a container runtime for tests: a gRPC server on a unix socket that lists the sandboxes it is told
// of, in the form of containerd. It runs nothing.
package critest

import (
	"context"
	"encoding/json"
	"net"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// Pod is a running pod.
type Pod struct {
	ID, UID, Namespace, Name string
	// Netns is the path of the network namespace; empty for a pod on the host network.
	Netns string
	PID   int
	// Info, where set, takes the place of the verbose info.
	Info string
}

// Server is the runtime. Its methods are safe for concurrent use.
type Server struct {
	runtimeapi.UnimplementedRuntimeServiceServer
	// Socket is the path that it listens on.
	Socket string
	// Silent is set before use by runtimes without events.
	Silent bool
	// Version1 is set before use by the containerd that does not share its events.
	Version1 bool

	mu       sync.Mutex
	pods     []Pod
	broken   error
	lists    int
	statuses int
	watchers []chan struct{}
	grpc     *grpc.Server
}

// Start listens until the test ends.
func Start(t testing.TB) *Server {
	t.Helper()
	s := &Server{Socket: filepath.Join(t.TempDir(), "cri.sock"), grpc: grpc.NewServer()}
	l, err := net.Listen("unix", s.Socket)
	if err != nil {
		t.Fatal(err)
	}
	runtimeapi.RegisterRuntimeServiceServer(s.grpc, s)
	go func() { _ = s.grpc.Serve(l) }()
	t.Cleanup(s.grpc.Stop)
	return s
}

// Run makes a pod run; the runtime tells its watchers.
func (s *Server) Run(p Pod) {
	s.change(func() { s.pods = append(s.pods, p) })
}

// End ends a pod by the id of its sandbox.
func (s *Server) End(id string) {
	s.change(func() { s.pods = slices.DeleteFunc(s.pods, func(p Pod) bool { return p.ID == id }) })
}

// Break makes every call fail with an error, or none with nil.
func (s *Server) Break(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.broken = err
}

// Calls counts the listings and the questions for details so far.
func (s *Server) Calls() (lists, statuses int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lists, s.statuses
}

func (s *Server) change(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
	for _, w := range s.watchers {
		select {
		case w <- struct{}{}:
		default:
		}
	}
}

// Version implements the runtime service.
func (s *Server) Version(context.Context, *runtimeapi.VersionRequest) (*runtimeapi.VersionResponse, error) {
	v := "v2.4.2"
	if s.Version1 {
		v = "1.7.28"
	}
	return &runtimeapi.VersionResponse{RuntimeName: "containerd", RuntimeVersion: v}, nil
}

// ListPodSandbox implements the runtime service.
func (s *Server) ListPodSandbox(context.Context, *runtimeapi.ListPodSandboxRequest) (*runtimeapi.ListPodSandboxResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lists++
	if s.broken != nil {
		return nil, s.broken
	}
	response := &runtimeapi.ListPodSandboxResponse{}
	for i, p := range s.pods {
		response.Items = append(response.Items, &runtimeapi.PodSandbox{
			Id: p.ID, State: runtimeapi.PodSandboxState_SANDBOX_READY, CreatedAt: int64(i + 1),
			Metadata: &runtimeapi.PodSandboxMetadata{Name: p.Name, Namespace: p.Namespace, Uid: p.UID},
		})
	}
	return response, nil
}

// PodSandboxStatus implements the runtime service.
func (s *Server) PodSandboxStatus(_ context.Context, r *runtimeapi.PodSandboxStatusRequest) (*runtimeapi.PodSandboxStatusResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.statuses++
	i := slices.IndexFunc(s.pods, func(p Pod) bool { return p.ID == r.GetPodSandboxId() })
	if i < 0 {
		return nil, status.Errorf(codes.NotFound, "sandbox %s", r.GetPodSandboxId())
	}
	p := s.pods[i]
	mode := runtimeapi.NamespaceMode_POD
	if p.Netns == "" && p.PID == 0 && p.Info == "" {
		mode = runtimeapi.NamespaceMode_NODE
	}
	return &runtimeapi.PodSandboxStatusResponse{
		Status: &runtimeapi.PodSandboxStatus{Id: p.ID, Linux: &runtimeapi.LinuxPodSandboxStatus{
			Namespaces: &runtimeapi.Namespace{Options: &runtimeapi.NamespaceOption{Network: mode}}}},
		Info: map[string]string{"info": p.info()},
	}, nil
}

// info is what containerd writes, shortened.
func (p Pod) info() string {
	if p.Info != "" {
		return p.Info
	}
	text, err := json.Marshal(map[string]any{
		"pid": p.PID, "processStatus": "running",
		"runtimeSpec": map[string]any{"linux": map[string]any{"namespaces": []map[string]string{
			{"type": "pid"}, {"type": "network", "path": p.Netns}}}},
	})
	if err != nil {
		panic(err) // maps of strings cannot fail
	}
	return string(text)
}

// GetContainerEvents implements the runtime service.
func (s *Server) GetContainerEvents(_ *runtimeapi.GetEventsRequest, stream grpc.ServerStreamingServer[runtimeapi.ContainerEventResponse]) error {
	if s.Silent {
		return status.Error(codes.Unimplemented, "no events here")
	}
	w := make(chan struct{}, 1)
	s.mu.Lock()
	s.watchers = append(s.watchers, w)
	s.mu.Unlock()
	for {
		select {
		case <-stream.Context().Done():
			return stream.Context().Err()
		case <-w:
			if err := stream.Send(&runtimeapi.ContainerEventResponse{CreatedAt: time.Now().UnixNano()}); err != nil {
				return err
			}
		}
	}
}
