package cgroup

import (
	"context"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// tree writes files (path: content) under a new folder.
func tree(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, content := range files {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

// files lists what is under root below the groups of the lab, with contents.
func files(t *testing.T, root string) map[string]string {
	t.Helper()
	found := map[string]string{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		name, _ := filepath.Rel(root, path) // path is under root
		if err != nil || d.IsDir() || !strings.Contains(name, "lab/") && !strings.HasSuffix(name, "subtree_control") {
			return err
		}
		content, err := os.ReadFile(path)
		found[name] = string(content)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func v1(t *testing.T) string {
	root := tree(t, map[string]string{
		"cpu,cpuacct/cgroup.procs": "", "memory/cgroup.procs": "", "unified/cgroup.procs": "", "unified/cgroup.controllers": "hugetlb",
		"cpuset/cgroup.procs": "", "cpuset/cpuset.cpus": "0-1\n", "cpuset/cpuset.mems": "0\n", "not-a-hierarchy/file": "",
	})
	if err := os.Symlink("cpu,cpuacct", filepath.Join(root, "cpu")); err != nil {
		t.Fatal(err)
	}
	return root
}

func v2(t *testing.T) string {
	return tree(t, map[string]string{
		"cgroup.controllers": "cpuset cpu io memory hugetlb pids rdma misc\n", "cgroup.procs": "1\n", "cgroup.subtree_control": "",
	})
}

func detect(t *testing.T, root string, version int) Layout {
	t.Helper()
	l, err := Detect(root)
	if err != nil {
		t.Fatal(err)
	}
	if l.Version() != version {
		t.Fatalf("version %d, want %d", l.Version(), version)
	}
	return l
}

func TestCreateVersion1(t *testing.T) {
	root := v1(t)
	l := detect(t, root, 1)
	for range 2 { // the second time finds them there
		if err := l.Create("lab/node1"); err != nil {
			t.Fatal(err)
		}
	}
	want := map[string]string{
		"cpuset/lab/cpuset.cpus": "0-1\n", "cpuset/lab/cpuset.mems": "0\n",
		"cpuset/lab/node1/cpuset.cpus": "0-1\n", "cpuset/lab/node1/cpuset.mems": "0\n",
	}
	if diff := cmp.Diff(want, files(t, root)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	for _, h := range []string{"cpu,cpuacct", "memory", "unified", "cpuset"} {
		if _, err := os.Stat(filepath.Join(root, h, "lab", "node1")); err != nil {
			t.Error(err)
		}
	}
	if got := len(l.Find("lab")); got != 4 {
		t.Errorf("Find sees the group in %d hierarchies, want 4: a link names none of its own", got)
	}
}

func TestCreateVersion2(t *testing.T) {
	root := v2(t)
	l := detect(t, root, 2)
	if err := l.Create("lab/node1"); err != nil {
		t.Fatal(err)
	}
	const all = "+cpuset +cpu +io +memory +hugetlb +pids"
	want := map[string]string{
		"cgroup.subtree_control": all, "lab/cgroup.subtree_control": all, "lab/node1/cgroup.subtree_control": all,
	}
	if diff := cmp.Diff(want, files(t, root)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// TestJoinVersion2 checks that a group with processes hands no controllers down: the kernel would refuse them.
func TestJoinVersion2(t *testing.T) {
	root := v2(t)
	if err := detect(t, root, 2).Join("lab/supervisor"); err != nil {
		t.Fatal(err)
	}
	got := files(t, root)
	if got["lab/supervisor/cgroup.procs"] != "0" {
		t.Errorf("the process did not join: %v", got)
	}
	if _, ok := got["lab/supervisor/cgroup.subtree_control"]; ok {
		t.Error("the group of the processes hands controllers down")
	}
}

func TestRemove(t *testing.T) {
	root := v1(t)
	l := detect(t, root, 1)
	for _, group := range []string{"memory/lab/node1/kubepods/pod1", "memory/lab/node2", "unified/lab", "memory/other"} {
		if err := os.MkdirAll(filepath.Join(root, group), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 { // the second time finds nothing
		if err := l.Remove(t.Context(), "lab"); err != nil {
			t.Fatal(err)
		}
	}
	if found := l.Find("lab"); found != nil {
		t.Errorf("left: %v", found)
	}
	if found := l.Find("other"); len(found) != 1 {
		t.Error("a group of somebody else is gone")
	}
}

// TestRemoveGivesUp checks that a group that cannot be removed is named when the time is over.
func TestRemoveGivesUp(t *testing.T) {
	root := v1(t)
	l := detect(t, root, 1)
	if err := l.Create("lab"); err != nil { // its cpuset files are ordinary ones here, which keep a folder in place
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := l.Remove(ctx, "lab"); err == nil || !strings.Contains(err.Error(), filepath.Join(root, "cpuset", "lab")) {
		t.Errorf("error %v; want one that names the group", err)
	}
}

func TestDetectRefuses(t *testing.T) {
	if _, err := Detect(t.TempDir()); err == nil || !strings.Contains(err.Error(), "no control groups are mounted") {
		t.Errorf("an empty folder: %v", err)
	}
	if _, err := Detect(filepath.Join(t.TempDir(), "none")); err == nil {
		t.Error("a folder that does not exist was accepted")
	}
}

// TestKernel does the round on this machine's control groups, with a process inside.
func TestKernel(t *testing.T) {
	if os.Geteuid() != 0 {
		if os.Getenv("CI") == "true" {
			t.Fatal("control groups take root")
		}
		t.Skip("control groups take root")
	}
	l, err := Detect(Mount)
	if err != nil {
		t.Fatal(err)
	}
	name := "ringfence-lab-test-" + filepath.Base(t.TempDir())
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	t.Cleanup(func() { _ = l.Remove(context.Background(), name) })
	if err := l.Create(name); err != nil {
		t.Fatal(err)
	}
	for _, g := range l.Find(name) {
		if err := os.Mkdir(filepath.Join(g, "leaf"), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := inheritCPUSet(g, filepath.Join(g, "leaf")); err != nil {
			t.Fatal(err)
		}
	}
	if len(l.Find(name)) != len(l.hierarchies) {
		t.Errorf("made in %v of %v", l.Find(name), l.hierarchies)
	}
	sleeper := exec.Command("sh", "-c", `for g in "$@"; do echo 0 > "$g"; done; echo in; exec sleep 60`, "sh")
	for _, g := range l.Find(name) {
		sleeper.Args = append(sleeper.Args, filepath.Join(g, "leaf", "cgroup.procs"))
	}
	out, err := sleeper.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := sleeper.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := out.Read(make([]byte, 1)); err != nil {
		t.Fatalf("the process did not join: %v", err)
	}
	ended := make(chan error, 1)
	go func() { ended <- sleeper.Wait() }()
	if err := l.Remove(ctx, name); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err == nil {
		t.Error("the process in the group was not killed")
	}
}
