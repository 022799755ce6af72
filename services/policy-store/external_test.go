package policystore

import (
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"github.com/ringfence/ringfence/libs/eventlog"
)

// A child process of the tests is a plain NATS server with the configuration that this variable holds.
const natsVariable = "POLICYSTORE_TEST_NATS"

func runNATS(config string) int {
	opts := &server.Options{}
	if err := opts.ProcessConfigString(config); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	opts.NoSigs = true
	s, err := server.NewServer(opts)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	s.Start()
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM)
	<-stop
	s.Shutdown()
	s.WaitForShutdown()
	return 0
}

// natsCluster is three NATS servers, a process each, as somebody would run them for many things.
type natsCluster struct {
	t       *testing.T
	clients []string
	configs []string
	cmds    []*exec.Cmd
}

func startCluster(t *testing.T) *natsCluster {
	t.Helper()
	const size = 3
	c := &natsCluster{t: t, cmds: make([]*exec.Cmd, size)}
	var routes []string
	for range size {
		c.clients, routes = append(c.clients, freeAddress(t)), append(routes, freeAddress(t))
	}
	dir := t.TempDir()
	for i := range size {
		c.configs = append(c.configs, fmt.Sprintf(`
			server_name: n%d
			listen: %q
			cluster { name: test, listen: %q, routes: [ %s ] }
			jetstream { store_dir: %q, sync_interval: always, max_file_store: 2GB }
		`, i, c.clients[i], routes[i], `"nats://`+strings.Join(routes, `", "nats://`)+`"`, filepath.Join(dir, fmt.Sprint(i))))
		c.start(i)
	}
	t.Cleanup(func() {
		for i := range size {
			c.kill(i)
		}
	})
	return c
}

func (c *natsCluster) start(i int) {
	c.t.Helper()
	c.cmds[i] = exec.Command(os.Args[0])
	c.cmds[i].Env = append(os.Environ(), natsVariable+"="+c.configs[i])
	c.cmds[i].SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := c.cmds[i].Start(); err != nil {
		c.t.Fatal(err)
	}
}

func (c *natsCluster) kill(i int) {
	if c.cmds[i] != nil {
		_ = c.cmds[i].Process.Kill()
		_ = c.cmds[i].Wait()
		c.cmds[i] = nil
	}
}

func (c *natsCluster) url() string { return "nats://" + strings.Join(c.clients, ",nats://") }

func (c *natsCluster) conn(name string) *nats.Conn {
	c.t.Helper()
	nc, err := eventlog.Dialer{URL: c.url(), Name: name, Log: zerolog.Nop()}.Dial(c.t.Context())
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(nc.Close)
	return nc
}

// leader waits until all three hold the facts, and gives the number of the one that leads.
func (c *natsCluster) leader(nc *nats.Conn) (leader int) {
	c.t.Helper()
	js, err := jetstream.New(nc)
	if err != nil {
		c.t.Fatal(err)
	}
	elected(c.t, func() error {
		stream, err := js.Stream(c.t.Context(), "FACTS")
		if err != nil {
			return err
		}
		info := stream.CachedInfo().Cluster
		if info == nil || len(info.Replicas) != 2 {
			return fmt.Errorf("cluster %+v", info)
		}
		for _, r := range info.Replicas {
			if !r.Current || r.Offline {
				return fmt.Errorf("replica %+v", r)
			}
		}
		_, err = fmt.Sscanf(info.Leader, "n%d", &leader)
		return err
	})
	return leader
}

// The same service, with the log on a NATS cluster that others run: it survives whichever server goes, its own process, and
// the enforcers see one policy all along.
func TestAnExternalClusterHostsTheLog(t *testing.T) {
	t.Parallel()
	c := startCluster(t)
	p := startProcess(t, t.TempDir(), func(config *childConfig) { config.External = c.url() })
	var log *eventlog.Log
	elected(t, func() (err error) {
		nc := c.conn("test")
		if log, err = eventlog.Open(t.Context(), nc); err != nil {
			nc.Close()
		}
		return err
	})
	watcher := produce(t, log, "watcher", kubernetes())
	produce(t, log, "pce-bridge", console(t))
	f := follow(t, c.conn("enforcer"))
	f.holds(2)
	operator := c.conn("operator")

	l := loadOf(t, log, 8, 5*time.Millisecond)
	l.patience = time.Minute // an election takes up to ten seconds, and several may be needed
	for range 5 {
		l.awaits(200)
		leader := c.leader(operator)
		c.kill(leader)
		l.awaits(50) // publishers go on by themselves
		c.start(leader)
	}
	l.awaits(200)
	l.verify(log)

	// The service itself is killed, and goes on from what the cluster holds.
	p.kill()
	p.start()
	elected(t, func() error { _, err := watcher.Publish(t.Context(), pod(3)); return err })
	f.holds(3)
	last, err := log.LastSequence(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	elected(t, func() error {
		if s := p.status(operator); s.Sequence != last || s.Incarnation != log.Incarnation() {
			return fmt.Errorf("status %+v, want sequence %d", s, last)
		}
		return nil
	})
	if got, want := p.status(operator).Digest, replayed(t, log); got != want {
		t.Errorf("the digest is %s, a replay of the log gives %s", got, want)
	}
}

func TestExternalNeedsCopies(t *testing.T) {
	for replicas, fine := range map[int]bool{0: false, 1: true, 2: false, 3: true, 5: true} {
		if err := (External{NATSMode: external, Replicas: replicas}).check(); (err == nil) != fine {
			t.Errorf("%d replicas: %v", replicas, err)
		}
	}
	if err := (External{NATSMode: embedded}).check(); err != nil {
		t.Error(err)
	}
}
