package supervisor

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/ringfence/ringfence/tools/lab/internal/control"
	"github.com/ringfence/ringfence/tools/lab/internal/nsthread"
)

// component is one program of the lab that is kept running. A program that ends is started again, after a pause that
// grows from half a second to ten; the pause shrinks back once it ran for a minute.
type component struct {
	name  string
	node  string           // empty for the control plane
	argv  []string         //
	where *nsthread.Thread // nil for the control plane's namespaces
	bin   string           // put on the program's PATH
	log   string           // path of the log file

	mu       sync.Mutex
	pid      int
	started  time.Time
	restarts int
	running  bool
}

// start starts the program and keeps it running until ctx ends. The error is that of the first start.
func (c *component) start(ctx context.Context) error {
	cmd, err := c.launch()
	if err != nil {
		return err
	}
	go c.keep(ctx, cmd)
	return nil
}

func (c *component) keep(ctx context.Context, cmd *exec.Cmd) {
	pause := backoff.NewExponentialBackOff()
	pause.InitialInterval, pause.MaxInterval = 500*time.Millisecond, 10*time.Second
	for {
		if cmd != nil {
			began := time.Now()
			err := cmd.Wait()
			c.ended(err)
			if time.Since(began) > time.Minute {
				pause.Reset()
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause.NextBackOff()):
		}
		var err error
		if cmd, err = c.launch(); err != nil {
			c.ended(err)
		}
	}
}

func (c *component) launch() (*exec.Cmd, error) {
	log, err := os.OpenFile(c.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", c.title(), err)
	}
	defer func() { _ = log.Close() }() // the program has its own copy
	cmd := exec.Command(c.argv[0], c.argv[1:]...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Dir = "/"
	cmd.Env = []string{"PATH=" + c.bin + ":/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root"}
	begin := cmd.Start
	if c.where != nil {
		begin = func() error { return c.where.Do(cmd.Start) }
	}
	if err := begin(); err != nil {
		return nil, fmt.Errorf("start %s: %w", c.title(), err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pid, c.started, c.running = cmd.Process.Pid, time.Now(), true
	return cmd, nil
}

func (c *component) ended(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.running, c.pid = false, 0
	c.restarts++
	fmt.Fprintf(os.Stderr, "%s %s ended: %v\n", time.Now().UTC().Format(time.RFC3339), c.title(), err)
}

// title names the component for people: "kubelet of node2".
func (c *component) title() string {
	if c.node == "" {
		return c.name
	}
	return c.name + " of " + c.node
}

func (c *component) status() control.Component {
	c.mu.Lock()
	defer c.mu.Unlock()
	state := control.Failed
	if c.running {
		state = control.Running
	}
	return control.Component{Name: c.name, Node: c.node, State: state, LabPID: c.pid, Started: c.started.UTC().Truncate(time.Second),
		Restarts: c.restarts, Log: c.log}
}

// lastWords is the last line of the component's log.
func (c *component) lastWords() string {
	f, err := os.Open(c.log)
	if err != nil {
		return ""
	}
	defer func() { _ = f.Close() }()
	last := ""
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		if text := strings.TrimSpace(lines.Text()); text != "" {
			last = text
		}
	}
	return last
}

// logPath is where the program called name writes on node ("" for the control plane).
func logPath(folder, node, name string) string {
	if node == "" {
		return filepath.Join(folder, name+".log")
	}
	return filepath.Join(folder, node+"-"+name+".log")
}

// until calls check every 50 ms until it returns nil, for at most limit. The error says what was waited for, how long,
// and why the last check failed.
func until(ctx context.Context, what string, limit time.Duration, check func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	var last error
	for {
		err := check(ctx)
		if err == nil {
			return nil
		}
		if !errors.Is(err, context.DeadlineExceeded) || last == nil {
			last = err // a check cut short by the limit tells less than the one before
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s: not after %s: %w", what, limit, last)
		case <-time.After(50 * time.Millisecond):
		}
	}
}
