package bridge

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	_ "github.com/ringfence/ringfence/services/policy-store" // the test builds and runs its command
)

// A small cluster goes through everything, with the real processes. Run itself fails where something is lost on the way.
func TestLife(t *testing.T) {
	build := func(name, command string) string {
		binary := filepath.Join(t.TempDir(), name)
		if out, err := exec.Command("go", "build", "-o", binary, command).CombinedOutput(); err != nil {
			t.Fatalf("build %s: %v\n%s", name, err, out)
		}
		return binary
	}
	store := build("policy-store", "github.com/ringfence/ringfence/services/policy-store/cmd/policy-store")
	console := build("pce", "github.com/ringfence/ringfence/tools/pce/cmd/pce")
	dir := t.TempDir()
	b := &Bench{
		Store: func(dir, address string) []string {
			return []string{store, "--listen", address, "--store-dir", filepath.Join(dir, "log"), "--http-address", "", "--log-level", "error"}
		},
		Console: func(dir, address, key, secret string) []string {
			return ConsoleLine(console, dir, address, key, secret)
		},
		Labels: 120, RuleSets: 3, RulesEach: 4, Workloads: 70, Nodes: 2, Rounds: 2, Changes: 2, During: time.Second, Dir: dir,
	}
	l, err := b.Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(l.Syncs) != 2 || l.Syncs[0] <= 0 || l.Requests < 8 || l.Received == 0 || len(l.Commits) != 2 || l.Calm < time.Second {
		t.Errorf("implausible: %+v", l)
	}
	results := b.Results(l, false)
	if len(results) != 4 {
		t.Errorf("results: %+v", results)
	}
	for _, r := range results {
		if r.Met != nil {
			t.Errorf("%s has a target at a size that nobody asked for", r.Name)
		}
	}
	for _, r := range b.Results(l, true)[:2] {
		if r.Met == nil {
			t.Errorf("%s has no target", r.Name)
		}
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("%v stay behind, %v", left, err)
	}
}
