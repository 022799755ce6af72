package scale

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	_ "github.com/ringfence/ringfence/services/policy-store" // the test builds and runs its command
	"github.com/ringfence/ringfence/tools/bench/load"
	"github.com/ringfence/ringfence/tools/bench/workload"
)

// nodesWord makes the test binary a process with nodes.
const nodesWord = "ringfence-bench-test-nodes"

func TestMain(m *testing.M) {
	if len(os.Args) == 5 && os.Args[1] == nodesWord {
		n := load.Nodes{Client: load.Client{URL: os.Args[2], In: os.Stdin, Out: os.Stdout}}
		_, err := fmt.Sscan(os.Args[3]+" "+os.Args[4], &n.From, &n.To)
		if err == nil {
			err = n.Run(context.Background())
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// TestLife has a small cluster live, with the real policy-store. Run itself fails where a node diverges.
func TestLife(t *testing.T) {
	binary := filepath.Join(t.TempDir(), "policy-store")
	if out, err := exec.Command("go", "build", "-o", binary, "github.com/ringfence/ringfence/services/policy-store/cmd/policy-store").CombinedOutput(); err != nil {
		t.Fatalf("build policy-store: %v\n%s", err, out)
	}
	dir := t.TempDir()
	b := &Bench{
		Server: func(dir, address string) []string {
			return []string{binary, "--listen", address, "--store-dir", filepath.Join(dir, "log"), "--http-address", "", "--log-level", "error"}
		},
		Nodes: func(address string, from, to int) []string {
			return []string{os.Args[0], nodesWord, "nats://" + address, fmt.Sprint(from), fmt.Sprint(to)}
		},
		Shape:     workload.Shape{Pods: 400, LabelSets: 20, Rules: 40, Nodes: 5},
		Followers: 5, Processes: 2, Rate: 50, During: 1600 * time.Millisecond, Rolling: 10, Cut: true, Dir: dir,
	}
	l, err := b.Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if l.Cold <= 0 || l.Fewest == 0 || l.Changes < 60 || len(l.Latency) == 0 || l.Deliveries < b.Followers || l.Bytes == 0 || l.Resident == 0 || l.AfterCut == 0 {
		t.Errorf("implausible: %+v", l)
	}
	for _, r := range b.Results(l, false) {
		if r.Met != nil {
			t.Errorf("%s has a target at a size that nobody asked for", r.Name)
		}
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("%v stay behind, %v", left, err)
	}
}

func TestDivergenceIsNamed(t *testing.T) {
	plans, objects := map[string]string{"node-0": "p"}, map[string]string{"s1": "a", "w1": "b"}
	same := load.States{Plans: map[string]string{"node-0": "p"}, Objects: map[string]string{"s1": "a"}}
	if err := compare([]load.States{same, same}, plans, objects); err != nil {
		t.Error(err)
	}
	for want, s := range map[string]load.States{
		"node-0 has another plan": {Plans: map[string]string{"node-0": "q"}},
		"node-1 has another plan": {Plans: map[string]string{"node-1": "p"}}, // it has none
		"another s1":              {Objects: map[string]string{"s1": "b"}},
		"another s2":              {Objects: map[string]string{"s2": "a"}},
		"different content of w1": {Differ: []string{"w1"}},
	} {
		if err := compare([]load.States{same, s}, plans, objects); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("the error is %v, want %q", err, want)
		}
	}
}

// TestLatency counts a fact as everywhere when the slowest node has a state that is not older.
func TestLatency(t *testing.T) {
	at := func(ms int64) int64 { return ms * 1e6 }
	windows := complete([]load.Arrival{{Version: 5, At: at(100), Nodes: 3}, {Version: 9, At: at(200), Nodes: 2}, {Version: 12, At: at(450), Nodes: 3}}, 3)
	fact := func(sequence uint64, ms int64) stored { return stored{sequence, time.Unix(0, at(ms))} }
	all, _ := latencies([]stored{fact(4, 90), fact(5, 100), fact(6, 150), fact(12, 440)}, windows, time.Time{})
	if want := []time.Duration{0, 10e6, 10e6, 300e6}; !slices.Equal(all, want) {
		t.Errorf("latencies %v, want %v: one node got version 9 only with 12", all, want)
	}
	all, after := latencies([]stored{fact(4, 90), fact(6, 150)}, windows, time.Unix(0, at(140)))
	if len(all) != 0 || after != 300*time.Millisecond {
		t.Errorf("around the cut %v count, and the longest is %v", all, after)
	}
}
