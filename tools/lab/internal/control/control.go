// Package control is what a running lab tells about itself, and the way to ask: HTTP over a Unix socket in the
// abstract namespace. Such a socket is no file: it vanishes with the supervisor, however that ends. It is read-only:
// a lab is stopped by ending its supervisor.
package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"syscall"
	"time"
)

// States of a lab, a component or a node.
const (
	Down     = "down"     // no supervisor runs
	Starting = "starting" // on the way up
	Up       = "up"       // everything works
	Degraded = "degraded" // it came up, but something does not work now
	Running  = "running"  // a component's process runs
	Failed   = "failed"   // a component's process ended and waits for its next start
	Ready    = "ready"    // a node that Kubernetes calls Ready
	NotReady = "not-ready"
)

// Status is the whole lab. Times are in UTC.
type Status struct {
	State       string      `json:"state"`
	Dir         string      `json:"dir"`
	Kubeconfig  string      `json:"kubeconfig,omitempty"`
	Server      string      `json:"server,omitempty"` // URL of the API server on this machine's loopback
	Bin         string      `json:"bin,omitempty"`    // folder of the programs, usable as KUBEBUILDER_ASSETS
	Since       time.Time   `json:"since,omitzero"`
	NRIRequired bool        `json:"nri_required"`
	Components  []Component `json:"components,omitempty"`
	Nodes       []Node      `json:"nodes,omitempty"`
	Problem     string      `json:"problem,omitempty"` // one line, when State is degraded
}

// Component is one supervised process. PID is the number as the reader of the status sees it; LabPID as the lab does.
type Component struct {
	Name     string    `json:"name"`
	Node     string    `json:"node,omitempty"`
	State    string    `json:"state"`
	PID      int       `json:"pid,omitempty"`
	LabPID   int       `json:"lab_pid,omitempty"`
	Started  time.Time `json:"started,omitzero"`
	Restarts int       `json:"restarts"`
	Log      string    `json:"log"`
}

// Node is one node as the API server knows it.
type Node struct {
	Name      string   `json:"name"`
	State     string   `json:"state"`
	Addresses []string `json:"addresses"`
	PodCIDRs  []string `json:"pod_cidrs"`
}

// Healthy says that the lab is up and nothing is wrong with it.
func (s Status) Healthy() bool { return s.State == Up }

// Listen opens the control socket of the lab called name. The error says so when it is taken.
func Listen(name string) (*net.UnixListener, error) {
	l, err := net.ListenUnix("unix", address(name))
	if err != nil {
		return nil, fmt.Errorf("open the control socket of %s: %w", name, err)
	}
	return l, nil
}

// Lock makes sure that one process at a time brings the lab called name up or down. The lock is a socket name too, so
// it goes with the process that holds it. While another one holds it, Lock calls waiting once and waits.
func Lock(ctx context.Context, name string, waiting func()) (release func(), err error) {
	for said := false; ; said = true {
		l, err := net.ListenUnix("unix", address(name+"-lock"))
		if err == nil {
			return func() { _ = l.Close() }, nil
		}
		if !errors.Is(err, syscall.EADDRINUSE) {
			return nil, fmt.Errorf("lock %s: %w", name, err)
		}
		if !said {
			waiting()
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("wait for the lock of %s: %w", name, ctx.Err())
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// Serve answers with what status returns until ctx ends.
func Serve(ctx context.Context, l net.Listener, status func(context.Context) Status) error {
	handler := func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(status(r.Context())) // the asker may have gone
	}
	server := &http.Server{Handler: http.HandlerFunc(handler), ReadHeaderTimeout: 5 * time.Second}
	defer context.AfterFunc(ctx, func() { _ = server.Close() })()
	if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve the control socket: %w", err)
	}
	return nil
}

// ended tells whether nobody listens, or whoever listened ended before the answer.
func ended(err error) bool {
	return errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) || errors.Is(err, io.EOF)
}

// Ask returns the status of the lab called name. When nobody answers the socket, the status is Down and the error nil.
func Ask(ctx context.Context, name string) (Status, error) {
	client := &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", address(name).Name)
		},
		DisableKeepAlives: true,
	}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://lab/", nil)
	if err != nil {
		return Status{}, err
	}
	resp, err := client.Do(req)
	for tries := 0; err != nil && !ended(err) && ctx.Err() == nil && tries < 3; tries++ {
		// A connection that closes before the request is on its way has an error without a name: the next try has one.
		time.Sleep(50 * time.Millisecond)
		resp, err = client.Do(req)
	}
	if ended(err) {
		return Status{State: Down}, nil
	}
	if err != nil {
		return Status{}, fmt.Errorf("ask the supervisor of %s: %w", name, err)
	}
	defer func() { _ = resp.Body.Close() }()
	return Parse(resp)
}

// Parse reads a supervisor's answer.
func Parse(resp *http.Response) (Status, error) {
	var s Status
	if resp.StatusCode != http.StatusOK {
		return s, fmt.Errorf("the supervisor answered %s", resp.Status)
	}
	if err := json.NewDecoder(resp.Body).Decode(&s); err != nil {
		return s, fmt.Errorf("read the supervisor's answer: %w", err)
	}
	return s, nil
}

func address(name string) *net.UnixAddr { return &net.UnixAddr{Net: "unix", Name: "@" + name} }
