package rounds

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/ringfence/ringfence/tools/bench/load"
	"github.com/ringfence/ringfence/tools/bench/process"
)

// System is one of the two sides: how its server and its clients are called.
type System struct {
	Name string
	// Server gives the command line of a server with a folder and an address to listen on.
	Server func(dir, address string) []string
	// Client gives the command line of a client of that server; its work follows.
	Client func(address string) []string
}

// server is a running server of one side.
type server struct {
	*process.Process
	system  System
	address string
	dir     string
}

// start starts a server on a folder, and returns once it lets clients in.
func (s System) start(ctx context.Context, dir string) (*server, error) {
	address, err := process.FreeAddress()
	if err != nil {
		return nil, err
	}
	p, err := process.Serve(ctx, "server of "+s.Name, address, s.Server(dir, address))
	if err != nil {
		return nil, err
	}
	return &server{Process: p, system: s, address: address, dir: dir}, nil
}

// Work is what a client did, and what that cost both processes.
type Work struct {
	load.Result
	// ServerCPU and ClientCPU are processor time.
	ServerCPU, ClientCPU time.Duration
	// ServerPeak and ClientPeak are the most memory that was resident, in bytes.
	ServerPeak, ClientPeak int64
}

// run has a client do some work, and measures.
func (s *server) run(ctx context.Context, work ...string) (Work, error) {
	client, err := process.Start(fmt.Sprintf("client of %s, %v", s.system.Name, work), append(s.system.Client(s.address), work...))
	if err != nil {
		return Work{}, err
	}
	defer client.EndWith(ctx)()
	w, err := s.watch(client)
	if err != nil {
		client.Stop()
		return Work{}, err
	}
	return w, client.Finish()
}

// watch lets a client begin, and looks at both processes before and after.
func (s *server) watch(client *process.Process) (w Work, err error) {
	if err := client.Expect("ready"); err != nil {
		return w, err
	}
	var used, now [2]time.Duration
	var peaks [2]int64
	processes := [2]*process.Process{s.Process, client}
	for i, p := range processes {
		if err := p.ForgetPeak(); err != nil {
			return w, err
		}
		if used[i], err = p.CPU(); err != nil {
			return w, err
		}
	}
	if err := client.Tell("begin"); err != nil {
		return w, err
	}
	if err := client.Answer(&w.Result); err != nil {
		return w, err
	}
	for i, p := range processes {
		if now[i], err = p.CPU(); err != nil {
			return w, err
		}
		if peaks[i], err = p.Peak(); err != nil {
			return w, err
		}
	}
	w.ServerCPU, w.ClientCPU = now[0]-used[0], now[1]-used[1]
	w.ServerPeak, w.ClientPeak = peaks[0], peaks[1]
	return w, nil
}

// emptyDir makes a folder for one server.
func emptyDir(parent string) (string, error) {
	dir, err := os.MkdirTemp(parent, "server-")
	if err != nil {
		return "", fmt.Errorf("folder for a server: %w", err)
	}
	return dir, nil
}
