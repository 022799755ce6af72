package rounds

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	_ "github.com/ringfence/ringfence/services/policy-store" // the test builds and runs its command
	"github.com/ringfence/ringfence/tools/bench/load"
)

// The test binary is also the client that the rounds run, on a log whose address this variable holds.
const clientVariable = "RINGFENCE_BENCH_TEST_LOG"

func TestMain(m *testing.M) {
	if len(os.Args) > 2 && os.Args[1] == clientVariable {
		if err := client(os.Args[2], os.Args[3], os.Args[4:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// client does the work of both sides: to it, the keys that theirs are to write are pods.
func client(url, work string, args []string) error {
	flags := flag.NewFlagSet(work, flag.ContinueOnError)
	number := func(name string) *int { return flags.Int(name, 0, "") }
	writers, watchers, windows, rate := number("writers"), number("watchers"), number("windows"), number("rate")
	pods, keys, from, to := number("pods"), number("keys"), number("from"), number("to")
	number("bytes")
	follow := flags.Bool("follow", false, "")
	during, profile := flags.Duration("during", 0, ""), flags.String("profile", "", "")
	file, window := flags.String("file", "", ""), flags.Uint64("window", 0, "")
	if err := flags.Parse(args); err != nil {
		return err
	}
	ctx, c := context.Background(), load.Client{URL: url, In: os.Stdin, Out: os.Stdout, Profile: *profile}
	switch work {
	case "write":
		return c.Write(ctx, *writers, *during)
	case "fan-out":
		return c.FanOut(ctx, *watchers, *windows, *rate, *follow)
	case "fill":
		return c.Fill(ctx, max(*pods, *keys), *from, *to)
	case "list":
		return c.List(ctx)
	case "replay":
		if *file != "" {
			return c.ReplayFile(ctx, *file)
		}
		return c.Replay(ctx)
	case "complete":
		return c.Complete(ctx)
	case "await":
		return c.Await(ctx, *window)
	}
	return fmt.Errorf("no work %q", work)
}

// policyStore is the real service on either side, so that all of the rounds can be tested without a peer.
func policyStore(t *testing.T, name string) System {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "policy-store")
	if out, err := exec.Command("go", "build", "-o", binary, "github.com/ringfence/ringfence/services/policy-store/cmd/policy-store").CombinedOutput(); err != nil {
		t.Fatalf("build policy-store: %v\n%s", err, out)
	}
	return System{
		Name: name,
		Server: func(dir, address string) []string {
			return []string{binary, "--listen", address, "--store-dir", filepath.Join(dir, "log"), "--http-address", "", "--log-level", "error"}
		},
		Client: func(address string) []string { return []string{os.Args[0], clientVariable, "nats://" + address} },
	}
}

// TestEveryRow wants plausible figures of each, and nothing left behind.
func TestEveryRow(t *testing.T) {
	dir := t.TempDir()
	mine := policyStore(t, "one")
	b := &Bench{
		Ours: mine, Theirs: mine, Rows: Rows(), Rounds: 1, Writers: []int{1, 4}, During: 50 * time.Millisecond,
		Watchers: 5, Windows: 3, Rate: 20, Pods: 50, Revisions: 3, Dir: dir, Profiles: t.TempDir(),
	}
	b.Theirs.Name = "other"
	results, err := b.Run(t.Context(), false)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, r := range results {
		if r.Ours <= 0 && !strings.Contains(r.Unit, "us") {
			t.Errorf("%s is %v %s", r.Name, r.Ours, r.Unit)
		}
		if r.Met != nil {
			t.Errorf("%s has a target at a size that nobody asked for", r.Name)
		}
		if r.Peer != "other" && !strings.HasPrefix(r.Name, "replay") && !strings.HasPrefix(r.Name, "restart") {
			t.Errorf("%s is beside %q", r.Name, r.Peer)
		}
		seen[strings.Fields(r.Name)[0]] = true
	}
	for _, want := range []string{"durable", "fan-out", "bulk", "bootstrap", "disk", "replay", "restart"} {
		if !seen[want] {
			t.Errorf("no figure of %s", want)
		}
	}
	if profiles, err := os.ReadDir(b.Profiles); err != nil || len(profiles) != 10 {
		t.Errorf("there are %d profiles, want one of each work of ours; %v", len(profiles), err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("%v stay behind, %v", left, err)
	}
}

// TestTargets holds which way each figure is better.
func TestTargets(t *testing.T) {
	b := &Bench{Theirs: System{Name: "etcd"}, Writers: []int{1, 64}, Watchers: 1000, Revisions: 10, seen: samples{}}
	put := func(figure string, of side, operations int, cpu time.Duration, peak int64) {
		w := Work{ServerCPU: cpu, ServerPeak: peak}
		w.Operations, w.Seconds, w.Keys, w.Bytes = operations, 1, operations, peak
		b.seen.add(figure, of, w)
	}
	for _, rounds := range []int{900, 1000, 1100} {
		put(writeFigure(1), ours, rounds, time.Second, 0)
		put(writeFigure(1), theirs, 999, time.Second, 0)
		put(writeFigure(64), ours, 3*rounds-1, time.Second, 0)
		put(writeFigure(64), theirs, 1000, time.Second, 0)
		put(fanOutFigure, ours, 1000, 390*time.Millisecond, 0)
		put(fanOutFigure, theirs, 1000, time.Second, 0)
		put(listFigure, ours, 1000, 0, 34e6)
		put(listFigure, theirs, 1000, 0, 100e6)
		put(replayFigure, ours, 150*rounds, time.Second, 0)
		put(fileFigure, ours, 149*rounds, time.Second, 0)
	}
	put(restartFigure, ours, 1, 0, 0)
	put(fillFigure, ours, 1000, 0, 0)
	put(reviseFigure, ours, 9000, 0, 0)
	put(diskFigure, ours, 0, 0, 33e6)
	put(diskFigure, theirs, 0, 0, 100e6)
	f := figures{bench: b, full: true}
	f.write(1)
	f.write(64)
	f.fanOut()
	f.list(listFigure, "1 revision", true)
	f.disk()
	f.replay()
	f.restart()
	met := map[string]bool{}
	for _, r := range f.results {
		if r.Met != nil {
			met[r.Name] = *r.Met
		}
	}
	for name, want := range map[string]bool{
		"durable writes, 1 at once": true, "durable writes, 64 at once": false, "fan-out to 1000 watchers, processors": true,
		"bootstrap of 1000 keys of 1 revision": true, "bootstrap of 1000 keys of 1 revision, memory of server and client": false,
		"disk of 1000 keys with 10 revisions": true, "replay of 165000 facts on one core": true,
		"replay of 163900 facts on one core, exported file": false, "restart after a stop with 10000 facts, to the first window": true,
	} {
		if got, has := met[name]; !has || got != want {
			t.Errorf("%s: met %v (%v), want %v; there are %v", name, got, has, want, met)
		}
	}
}

func TestAServerThatEndsIsSaid(t *testing.T) {
	s := System{Name: "broken", Server: func(string, string) []string { return []string{"sh", "-c", "echo no disk; exit 3"} }}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if _, err := s.start(ctx, t.TempDir()); err == nil || !strings.Contains(err.Error(), "no disk") {
		t.Errorf("the error is %v, want what the server said", err)
	}
}
