// Package process starts the servers and clients of benchmarks as processes of their own, talks to them by lines, and looks at
// what they use of the machine. It needs Linux, for /proc. A process ends with the one that started it.
package process

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/cenkalti/backoff/v5"
)

const (
	// startTime bounds the start of a server, stopTime the stop of any process in order, after which it is killed.
	startTime, stopTime = 2 * time.Minute, 30 * time.Second
	// quietTime is how long a process must have done next to nothing to be at rest, restTime how long that may take.
	quietTime, restTime = 500 * time.Millisecond, 2 * time.Minute
)

// Process is a running process. It is not safe for concurrent use.
type Process struct {
	name   string
	cmd    *exec.Cmd
	stderr output
	in     io.WriteCloser
	out    *bufio.Reader
	ended  chan struct{}
	result error // how it ended, once it did
}

// output keeps what a process says beside its answers.
type output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return strings.TrimSpace(o.buf.String())
}

// Start starts a command line. The name is for errors.
func Start(name string, line []string) (*Process, error) {
	p := &Process{name: name, cmd: exec.Command(line[0], line[1:]...), ended: make(chan struct{})}
	p.cmd.Stderr, p.cmd.SysProcAttr = &p.stderr, attributes()
	reader, writer := io.Pipe() // not the command's own pipe, which is closed with the process before all of it is read
	p.cmd.Stdout, p.out = writer, bufio.NewReader(reader)
	var err error
	if p.in, err = p.cmd.StdinPipe(); err == nil {
		err = p.cmd.Start()
	}
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	go func() {
		p.result = p.cmd.Wait()
		writer.CloseWithError(io.ErrUnexpectedEOF)
		close(p.ended)
	}()
	return p, nil
}

// Serve starts a server, and returns once it lets clients in at an address.
func Serve(ctx context.Context, name, address string, line []string) (*Process, error) {
	p, err := Start(name, line)
	if err != nil {
		return nil, err
	}
	go io.Copy(&p.stderr, p.out) //nolint:errcheck // what it says is for errors only
	_, err = backoff.Retry(ctx, func() (struct{}, error) {
		conn, err := net.DialTimeout("tcp", address, time.Second)
		if err == nil {
			err = conn.Close()
		}
		select {
		case <-p.ended:
			return struct{}{}, backoff.Permanent(errors.New("it ended"))
		default:
			return struct{}{}, err
		}
	}, backoff.WithBackOff(backoff.NewConstantBackOff(20*time.Millisecond)), backoff.WithMaxElapsedTime(startTime))
	if err != nil {
		p.Stop()
		return nil, p.failed(fmt.Errorf("it does not answer at %s: %w", address, err))
	}
	return p, nil
}

// FreeAddress finds an address on loopback at which nobody listens.
func FreeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("find a free port: %w", err)
	}
	defer l.Close()
	return l.Addr().String(), nil
}

// failed adds who it was and what it said.
func (p *Process) failed(err error) error {
	if said := p.stderr.String(); said != "" {
		return fmt.Errorf("%s: %w; it said: %s", p.name, err, said)
	}
	return fmt.Errorf("%s: %w", p.name, err)
}

// Stop asks the process to stop, and kills it where it does not.
func (p *Process) Stop() {
	kill := time.AfterFunc(stopTime, func() { _ = p.cmd.Process.Kill() })
	defer kill.Stop()
	_ = p.in.Close()                          // it may have ended by itself
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // likewise
	<-p.ended
}

// Kill ends the process at once.
func (p *Process) Kill() {
	_ = p.cmd.Process.Kill() // it may have ended by itself
	<-p.ended
}

// EndWith kills the process once ctx ends, until the function that it gives is called.
func (p *Process) EndWith(ctx context.Context) (stop func() bool) {
	return context.AfterFunc(ctx, func() { _ = p.cmd.Process.Kill() })
}

// Finish closes the input of a process, and waits until it has ended by itself.
func (p *Process) Finish() error {
	if err := p.in.Close(); err != nil {
		return p.failed(err)
	}
	<-p.ended
	if p.result != nil {
		return p.failed(p.result)
	}
	return nil
}

// Expect reads a line, which must be just that.
func (p *Process) Expect(want string) error {
	line, err := p.out.ReadString('\n')
	if err == nil && line != want+"\n" {
		err = fmt.Errorf("%q where %q should be", line, want)
	}
	if err != nil {
		return p.failed(err)
	}
	return nil
}

// Tell writes a line.
func (p *Process) Tell(line string) error {
	if _, err := io.WriteString(p.in, line+"\n"); err != nil {
		return p.failed(err)
	}
	return nil
}

// Answer reads a line of JSON.
func (p *Process) Answer(into any) error {
	line, err := p.out.ReadBytes('\n')
	if err == nil {
		err = json.Unmarshal(line, into)
	}
	if err != nil {
		return p.failed(fmt.Errorf("no answer: %w", err))
	}
	return nil
}

// Rest waits until the process has nothing to do any more.
func (p *Process) Rest(ctx context.Context) error {
	for deadline := time.Now().Add(restTime); time.Now().Before(deadline); {
		before, err := p.CPU()
		if err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(quietTime):
		}
		after, err := p.CPU()
		if err != nil {
			return err
		}
		if after-before <= quietTime/20 {
			return nil
		}
	}
	return p.failed(errors.New("it does not come to rest"))
}
