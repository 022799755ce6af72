package config

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ringfence/ringfence/tools/lab/internal/topology"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func cluster(t *testing.T) Cluster {
	t.Helper()
	nodes, err := topology.Nodes(2)
	if err != nil {
		t.Fatal(err)
	}
	return Cluster{Name: "ringfence-lab-12345678", Dir: "/srv/lab", Bin: "/cache/bin", Nodes: nodes}
}

// TestGolden compares all that the programs are told with what a person has read and agreed to.
func TestGolden(t *testing.T) {
	c := cluster(t)
	n := c.Nodes[1]
	var out strings.Builder
	section := func(title, text string) { fmt.Fprintf(&out, "-- %s --\n%s\n", title, strings.TrimSuffix(text, "\n")) }
	for _, argv := range [][]string{c.Etcd(), c.APIServer(), c.ControllerManager(), c.Scheduler(), c.Containerd(n), c.Kubelet(n), c.Proxy(n)} {
		section(filepath.Base(argv[0]), strings.Join(argv, "\n"))
	}
	files, err := c.NodeFiles(n)
	if err != nil {
		t.Fatal(err)
	}
	etc, err := c.NodeEtc(n)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range append(files, etc...) {
		section(f.Path, f.Text)
	}
	object, err := c.NodeObject(n)
	if err != nil {
		t.Fatal(err)
	}
	section("node object", object)
	objects, err := c.DNS()
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range objects {
		section(o.Path, o.YAML)
	}
	golden(t, out.String())
}

func golden(t *testing.T, got string) {
	t.Helper()
	path := filepath.Join("testdata", "cluster.golden")
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("not as in %s (go test -update rewrites it), -want +got:\n%s", path, diff)
	}
}

func TestNRIRequired(t *testing.T) {
	c := cluster(t)
	for _, required := range []bool{false, true} {
		c.NRIRequired = required
		files, err := c.NodeFiles(c.Nodes[0])
		if err != nil {
			t.Fatal(err)
		}
		want := `required_plugins = ["ringfence"]`
		if got := strings.Contains(files[0].Text, want); got != required {
			t.Errorf("NRI required %t: containerd is told %q: %t", required, want, got)
		}
	}
}

func TestNodeObjectIsJSON(t *testing.T) {
	c := cluster(t)
	text, err := c.NodeObject(c.Nodes[0])
	if err != nil {
		t.Fatal(err)
	}
	var object struct{ Spec struct{ PodCIDRs []string } }
	if err := json.Unmarshal([]byte(text), &object); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"10.244.1.0/24", "fd00:10:244:1::/64"}, object.Spec.PodCIDRs); diff != "" {
		t.Error(diff)
	}
}
