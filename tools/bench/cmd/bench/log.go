package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/ringfence/ringfence/tools/bench/load"
	"github.com/ringfence/ringfence/tools/bench/report"
	"github.com/ringfence/ringfence/tools/bench/rounds"
)

type logCommand struct {
	Rows        []string      `default:"all" help:"What to measure, or all: write, fan-out, state, replay, restart."`
	Rounds      int           `default:"3" help:"How often each side has its turn."`
	During      time.Duration `default:"5s" help:"How long each number of writers writes."`
	Scale       float64       `default:"1" help:"Share of the keys and watchers; targets are for 1."`
	Quick       bool          `help:"Small sizes and one round, to see that everything works; without targets."`
	Dir         string        `placeholder:"DIR" help:"Where the servers have their folders; the disk under it is what is measured. Default: the system's place for temporary files."`
	Profile     string        `placeholder:"DIR" help:"Write CPU profiles of our clients into this folder."`
	PolicyStore string        `default:"out/bin/policy-store" help:"The command policy-store."`
	Etcd        string        `default:"out/bin/bench-etcd" help:"The command of tools/bench/etcd."`
	Output      string        `short:"o" default:"table" enum:"table,json" help:"What to print: table or json."`
	Save        string        `placeholder:"FILE" help:"Write the results as JSON into this file, too."`
}

// Run measures.
func (c *logCommand) Run(ctx context.Context, s streams) error {
	b, err := c.bench(ctx, s.progress)
	if err != nil {
		return err
	}
	if c.Profile != "" {
		if err := os.MkdirAll(c.Profile, 0o755); err != nil {
			return fmt.Errorf("profiles: %w", err)
		}
	}
	r := report.Report{Environment: report.Here(fmt.Sprintf("%d rounds, fsync of every write on both sides", b.Rounds))}
	results, failed := b.Run(ctx, !c.Quick && c.Scale == 1)
	r.Results = results
	if c.Save != "" {
		failed = errors.Join(failed, r.Save(c.Save))
	}
	return errors.Join(failed, output(s.out, c.Output, r))
}

// output prints a report as a table or as JSON.
func output(out io.Writer, how string, r report.Report) error {
	if how == "json" {
		return r.WriteJSON(out)
	}
	return r.WriteTable(out)
}

func (c *logCommand) bench(ctx context.Context, out io.Writer) (*rounds.Bench, error) {
	b := &rounds.Bench{
		Rounds: c.Rounds, Writers: []int{1, 16, 64, 256}, During: c.During, Watchers: int(1000 * c.Scale), Windows: 50, Rate: 5,
		Pods: int(100_000 * c.Scale), Revisions: 10, Dir: c.Dir, Profiles: c.Profile, Say: progress(out),
	}
	if c.Quick {
		b.Rounds, b.During, b.Watchers, b.Windows, b.Rate, b.Pods, b.Revisions = 1, 200*time.Millisecond, 20, 5, 20, 300, 3
	}
	if b.Pods < 50 || b.Watchers < 1 {
		return nil, fmt.Errorf("scale %g leaves too few keys or watchers", c.Scale)
	}
	names := []string{}
	for _, row := range rounds.Rows() {
		names = append(names, string(row))
	}
	wanted, err := chosen("row", c.Rows, names)
	if err != nil {
		return nil, err
	}
	if len(wanted) == 0 {
		wanted = names
	}
	for _, name := range wanted {
		b.Rows = append(b.Rows, rounds.Row(name))
	}
	b.Ours, b.Theirs, err = c.systems(ctx)
	return b, err
}

// storage is how much the log may take, in GiB: enough that nothing is trimmed.
const storage = "4"

func (c *logCommand) systems(ctx context.Context) (ours, theirs rounds.System, err error) {
	self, err := os.Executable()
	if err != nil {
		return ours, theirs, fmt.Errorf("find this command: %w", err)
	}
	version, err := exec.CommandContext(ctx, c.Etcd, "version").Output()
	if err != nil {
		return ours, theirs, fmt.Errorf("%s version: %w; make bench-log builds it", c.Etcd, err)
	}
	ours = rounds.System{
		Name:   "policy-store",
		Server: policyStoreLine(c.PolicyStore),
		Client: func(address string) []string { return []string{self, "load", "--url", "nats://" + address} },
	}
	theirs = rounds.System{
		Name: "etcd " + strings.TrimSpace(string(version)),
		Server: func(dir, address string) []string {
			return []string{c.Etcd, "serve", "--dir", dir, "--listen", address}
		},
		Client: func(address string) []string { return []string{c.Etcd, "--url", "http://" + address} },
	}
	return ours, theirs, nil
}

// loadCommand is one client of the log, which rounds runs in a process of its own.
type loadCommand struct {
	URL     string `required:"" help:"Address of the log."`
	Profile string `help:"Write a CPU profile of the work into this file."`

	Write  loadWrite  `cmd:"" help:"Publish facts."`
	FanOut loadFanOut `cmd:"" help:"Publish windows, and follow them."`
	Fill   loadFill   `cmd:"" help:"Publish a city, in batches."`
	List   loadList   `cmd:"" help:"Read the last fact of every key."`
	Replay loadReplay `cmd:"" help:"Read and fold all facts."`

	Complete loadComplete `cmd:"" help:"Say that the producers are complete, and wait for the policy."`
	Await    loadAwait    `cmd:"" help:"Wait for the first window after one."`
	Nodes    loadNodes    `cmd:"" help:"Follow the policy of some nodes."`
}

func (c *loadCommand) client() load.Client {
	return load.Client{URL: c.URL, In: os.Stdin, Out: os.Stdout, Profile: c.Profile}
}

type loadWrite struct {
	Writers int           `default:"64"`
	During  time.Duration `default:"5s"`
}

// Run does the work.
func (w *loadWrite) Run(ctx context.Context, c *commands) error {
	return c.Load.client().Write(ctx, w.Writers, w.During)
}

type loadFanOut struct {
	Watchers int `default:"1000"`
	Windows  int `default:"50"`
	Rate     int `default:"5"`
	Follow   bool
}

// Run does the work.
func (w *loadFanOut) Run(ctx context.Context, c *commands) error {
	return c.Load.client().FanOut(ctx, w.Watchers, w.Windows, w.Rate, w.Follow)
}

type loadFill struct {
	Pods int `default:"100000"`
	From int `default:"0"`
	To   int `default:"1"`
}

// Run does the work.
func (w *loadFill) Run(ctx context.Context, c *commands) error {
	return c.Load.client().Fill(ctx, w.Pods, w.From, w.To)
}

type loadList struct{}

// Run does the work.
func (loadList) Run(ctx context.Context, c *commands) error { return c.Load.client().List(ctx) }

type loadReplay struct {
	File string `help:"Replay this exported log, made of the log where it is not there."`
}

// Run does the work.
func (r *loadReplay) Run(ctx context.Context, c *commands) error {
	if r.File != "" {
		return c.Load.client().ReplayFile(ctx, r.File)
	}
	return c.Load.client().Replay(ctx)
}

type loadComplete struct{}

// Run does the work.
func (loadComplete) Run(ctx context.Context, c *commands) error { return c.Load.client().Complete(ctx) }

type loadAwait struct {
	Window uint64
}

// Run does the work.
func (a *loadAwait) Run(ctx context.Context, c *commands) error {
	return c.Load.client().Await(ctx, a.Window)
}
