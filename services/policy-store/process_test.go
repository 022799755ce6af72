package policystore

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"

	"github.com/ringfence/ringfence/libs/eventlog"
	"github.com/ringfence/ringfence/libs/service"
)

// A child process of the tests runs the service with what this variable holds, so that it can be killed.
const childVariable = "POLICYSTORE_TEST_CONFIG"

// childConfig is what the test tells the child.
type childConfig struct {
	Listen, StoreDir string
	StagingDir       string
	External         string // URL of the NATS cluster that hosts the log; embedded where empty
	Move             bool
	From             string // URL of the NATS cluster that the log comes from
	Mode             string // where it is neither embedded nor external
	Mirror           Mirror
	Cert, Key        string // files of the certificate
	HTTPAddress      string
	Storage          int64
	SnapshotFacts    uint64
	Scrub            time.Duration
	Silence          time.Duration
}

func TestMain(m *testing.M) {
	if spec := os.Getenv(childVariable); spec != "" {
		os.Exit(runChild(spec))
	}
	if config := os.Getenv(natsVariable); config != "" {
		os.Exit(runNATS(config))
	}
	os.Exit(m.Run())
}

func runChild(spec string) int {
	var c childConfig
	if err := json.Unmarshal([]byte(spec), &c); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	host := External{NATSMode: embedded}
	if c.External != "" {
		host = External{NATSMode: external, Replicas: 3}
	}
	host.Move, host.NATSMode = c.Move, cmp.Or(c.Mode, host.NATSMode)
	err := Run(ctx, Config{
		Config: service.Config{LogLevel: "info", LogURL: c.External + c.From, HTTPAddress: c.HTTPAddress}, External: host, Mirror: c.Mirror, Security: Security{TLSCertFile: c.Cert, TLSKeyFile: c.Key}, Listen: c.Listen, StoreDir: c.StoreDir, StagingDir: c.StagingDir, StorageGi: 1, storage: c.Storage,
		SnapshotFacts: c.SnapshotFacts, SnapshotInterval: time.Hour, ScrubInterval: c.Scrub, BridgeSilentAfter: c.Silence,
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// process is a policy-store in a process of its own.
type process struct {
	t      *testing.T
	config childConfig
	cmd    *exec.Cmd
	output lockedBuffer
}

type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// startProcess starts a policy-store on a free port and a folder.
func startProcess(t *testing.T, dir string, change ...func(*childConfig)) *process {
	t.Helper()
	p := &process{t: t, config: childConfig{Listen: freeAddress(t), StoreDir: dir, Storage: 256 << 20, SnapshotFacts: 100_000}}
	for _, c := range change {
		c(&p.config)
	}
	p.start()
	t.Cleanup(func() {
		p.kill()
		if t.Failed() {
			t.Logf("policy-store said:\n%s", p.output.String())
		}
	})
	return p
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func (p *process) start() {
	p.t.Helper()
	spec, err := json.Marshal(p.config)
	if err != nil {
		p.t.Fatal(err)
	}
	p.cmd = exec.Command(os.Args[0])
	p.cmd.Env = append(os.Environ(), childVariable+"="+string(spec))
	p.cmd.Stderr, p.cmd.Stdout = &p.output, &p.output
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := p.cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
}

// kill ends the process as a crash does.
func (p *process) kill() {
	if p.cmd != nil && p.cmd.ProcessState == nil {
		_ = p.cmd.Process.Kill()
		_ = p.cmd.Wait()
	}
}

// stop ends the process in order.
func (p *process) stop() {
	p.t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		p.t.Fatal(err)
	}
	if err := p.cmd.Wait(); err != nil {
		p.t.Fatalf("stop: %v", err)
	}
}

func (p *process) conn(name string) *nats.Conn {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.t.Context(), 30*time.Second)
	defer cancel()
	nc, err := eventlog.Dialer{URL: "nats://" + p.config.Listen, Name: name, Log: zerolog.Nop()}.Dial(ctx)
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(nc.Close)
	return nc
}

func (p *process) open(name string) *eventlog.Log {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.t.Context(), 30*time.Second)
	defer cancel()
	l, err := eventlog.Open(ctx, p.conn(name))
	if err != nil {
		p.t.Fatal(err)
	}
	return l
}

// status asks the process, as soon as it answers.
func (p *process) status(nc *nats.Conn) (s Status) {
	p.t.Helper()
	eventually(p.t, func() error {
		msg, err := nc.Request(StatusSubject, nil, 2*time.Second)
		if err != nil {
			return err
		}
		if e := msg.Header.Get("Nats-Service-Error"); e != "" {
			return fmt.Errorf("status: %s", e)
		}
		s = Status{}
		return json.Unmarshal(msg.Data, &s)
	})
	return s
}

// lines gives what the process logged that contains all of words.
func (p *process) lines(words ...string) []string {
	var out []string
	for line := range strings.Lines(p.output.String()) {
		all := true
		for _, w := range words {
			all = all && strings.Contains(line, w)
		}
		if all {
			out = append(out, line)
		}
	}
	return out
}

func eventually(t *testing.T, check func() error) {
	t.Helper()
	within(t, 30*time.Second, check)
}

// elected waits for what a cluster of servers does once it has elected, which takes it up to ten seconds a time, and more
// on a machine with much else to do.
func elected(t *testing.T, check func() error) {
	t.Helper()
	within(t, 2*time.Minute, check)
}

func within(t *testing.T, patience time.Duration, check func() error) {
	t.Helper()
	var err error
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if err = check(); err == nil {
			return
		}
	}
	t.Fatalf("not within %s: %v", patience, err)
}
