package pce_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ringfence/ringfence/tools/pce/policyfile"
)

// The commands, as people use them: a file goes in as a plan, for real, and comes out again.
func TestExportAndImport(t *testing.T) {
	path, data := binary(t, consoleCommand), t.TempDir()
	made := initialise(t, path, data)
	p := start(t, path, data)
	run := func(args ...string) (string, error) {
		cmd := exec.CommandContext(t.Context(), path, args...)
		cmd.Env = append(os.Environ(), "PCE_URL="+p.address, "PCE_ROOT_CA="+made.CA, "PCE_API_KEY="+made.Key, "PCE_API_SECRET="+made.Secret)
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	must := func(args ...string) string {
		t.Helper()
		out, err := run(args...)
		if err != nil {
			t.Fatalf("pce %v: %v\n%s", args, err, out)
		}
		return out
	}
	file := filepath.Join(t.TempDir(), "policy.yaml")
	if err := os.WriteFile(file, []byte("labels: [app=web]\nrule_sets:\n  - name: shop\n    scopes: [[{label: app=web}]]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if out := must("import", file, "--dry-run"); !strings.Contains(out, "create   labels      app=web") || !strings.Contains(out, "dry run: nothing was done") {
		t.Fatalf("dry run:\n%s", out)
	}
	if out := must("export"); strings.Contains(out, "app=web") {
		t.Fatalf("the dry run was not dry:\n%s", out)
	}
	if out := must("import", file, "--provision", "-m", "first"); !strings.Contains(out, "2 of 2 done; provisioned as version 2") {
		t.Fatalf("import:\n%s", out)
	}
	var again struct {
		Changes     []policyfile.Change     `json:"changes"`
		Unchanged   int                     `json:"unchanged"`
		Provisioned *policyfile.Provisioned `json:"provisioned"`
	}
	if err := json.Unmarshal([]byte(must("import", file, "--provision", "-o", "json")), &again); err != nil {
		t.Fatal(err)
	}
	if len(again.Changes) != 0 || again.Unchanged != 2 || again.Provisioned != nil {
		t.Fatalf("again: %+v", again)
	}
	must("export", "--policy", "active", "--file", file)
	text, err := os.ReadFile(file)
	if err != nil || !strings.Contains(string(text), "scopes:\n      - - label: app=web") {
		t.Fatalf("exported (%v):\n%s", err, text)
	}
	if out, err := run("import", filepath.Join(t.TempDir(), "none.yaml")); err == nil || !strings.Contains(out, "none.yaml: no such file") {
		t.Fatalf("%v\n%s", err, out)
	}
}
