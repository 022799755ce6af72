package rounds

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"syscall"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/ringfence/ringfence/tools/bench/load"
)

const (
	// startTime bounds the start of a server, stopTime its stop in order, after which it is killed.
	startTime, stopTime = 2 * time.Minute, 30 * time.Second
)

// System is one of the two sides: how its server and its clients are called.
type System struct {
	Name string
	// Server gives the command line of a server with a folder and an address to listen on.
	Server func(dir, address string) []string
	// Client gives the command line of a client of that server; its work follows.
	Client func(address string) []string
}

// server is a running server.
type server struct {
	system  System
	cmd     *exec.Cmd
	address string
	dir     string
	said    bytes.Buffer
	ended   chan struct{}
}

// start starts a server on a folder, and returns once it lets clients in.
func (s System) start(ctx context.Context, dir string) (*server, error) {
	address, err := freeAddress()
	if err != nil {
		return nil, err
	}
	line := s.Server(dir, address)
	out := &server{system: s, address: address, dir: dir, cmd: exec.Command(line[0], line[1:]...), ended: make(chan struct{})}
	out.cmd.Stdout, out.cmd.Stderr = &out.said, &out.said
	out.cmd.SysProcAttr = attributes()
	if err := out.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start the server of %s: %w", s.Name, err)
	}
	go func() {
		defer close(out.ended)
		_ = out.cmd.Wait() // whoever needs it finds out that it is gone
	}()
	_, err = backoff.Retry(ctx, func() (struct{}, error) {
		conn, err := net.DialTimeout("tcp", address, time.Second)
		if err == nil {
			err = conn.Close()
		}
		select {
		case <-out.ended:
			return struct{}{}, backoff.Permanent(errors.New("it ended"))
		default:
			return struct{}{}, err
		}
	}, backoff.WithBackOff(backoff.NewConstantBackOff(20*time.Millisecond)), backoff.WithMaxElapsedTime(startTime))
	if err != nil {
		out.stop()
		return nil, fmt.Errorf("the server of %s does not answer: %w; it said: %s", s.Name, err, out.said.String())
	}
	return out, nil
}

// stop asks the server to stop, and kills it where it does not.
func (s *server) stop() {
	kill := time.AfterFunc(stopTime, func() { _ = s.cmd.Process.Kill() })
	defer kill.Stop()
	_ = s.cmd.Process.Signal(syscall.SIGTERM) // it may have ended by itself
	<-s.ended
}

// freeAddress finds a port that nobody listens on.
func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("find a free port: %w", err)
	}
	defer l.Close()
	return l.Addr().String(), nil
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
	line := append(s.system.Client(s.address), work...)
	cmd := exec.CommandContext(ctx, line[0], line[1:]...)
	var said bytes.Buffer
	cmd.Stderr, cmd.SysProcAttr = &said, attributes()
	in, err := cmd.StdinPipe()
	if err != nil {
		return Work{}, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return Work{}, err
	}
	if err := cmd.Start(); err != nil {
		return Work{}, fmt.Errorf("start a client of %s: %w", s.system.Name, err)
	}
	w, err := s.watch(cmd.Process.Pid, in, out)
	_ = in.Close() // lets the client go; one that failed is gone
	if ended := cmd.Wait(); err == nil {
		err = ended
	}
	if err != nil {
		return Work{}, fmt.Errorf("%s: %v: %w; the client said: %s; the server said: %s", s.system.Name, work, err, said.String(), s.said.String())
	}
	return w, nil
}

// watch lets a client begin, and looks at both processes before and after.
func (s *server) watch(client int, in io.Writer, out io.Reader) (w Work, err error) {
	lines := bufio.NewReader(out)
	if line, err := lines.ReadString('\n'); err != nil || line != "ready\n" {
		return w, fmt.Errorf("not ready: it says %q: %w", line, err)
	}
	var used [2]time.Duration
	processes := [2]int{s.cmd.Process.Pid, client}
	for i, pid := range processes {
		if err := forgetPeak(pid); err != nil {
			return w, err
		}
		if used[i], err = processorTime(pid); err != nil {
			return w, err
		}
	}
	if _, err := io.WriteString(in, "begin\n"); err != nil {
		return w, err
	}
	line, err := lines.ReadBytes('\n')
	if err != nil {
		return w, fmt.Errorf("it ended before its work: %w", err)
	}
	if err := json.Unmarshal(line, &w.Result); err != nil {
		return w, fmt.Errorf("it says %q: %w", line, err)
	}
	var now [2]time.Duration
	var peaks [2]int64
	for i, pid := range processes {
		if now[i], err = processorTime(pid); err != nil {
			return w, err
		}
		if peaks[i], err = peak(pid); err != nil {
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
