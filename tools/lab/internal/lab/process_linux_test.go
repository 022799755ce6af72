package lab

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestInnerPID(t *testing.T) {
	for status, want := range map[string]int{
		"Name:\tetcd\nNSpid:\t25340\t19\nThreads:\t9\n": 19,
		"NSpid:\t7\n":        7,
		"NSpid:\t9\t5\t1\n":  1,
		"NSpid:\n":           0,
		"NSpid:\tx\n":        0,
		"Name:\tNSpid:\t7\n": 0,
		"":                   0,
	} {
		if got, ok := innerPID(status); got != want || ok != (want != 0) {
			t.Errorf("%q: %d, %t; want %d", status, got, ok, want)
		}
	}
}

func FuzzInnerPID(f *testing.F) {
	for _, seed := range []string{"NSpid:\t1\t2\n", "NSpid:", "NSpid: -1\n", "\n\nNSpid:\t9999999999999999999999\n"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, status string) {
		if _, ok := innerPID(status); ok && !strings.Contains(status, "NSpid:") {
			t.Errorf("a PID out of %q", status)
		}
	})
}

// TestMain turns this program into a process that looks like a lab's first one, when it is called like one.
func TestMain(m *testing.M) {
	if os.Args[0] == processName {
		time.Sleep(time.Minute) // until it is killed
		return
	}
	os.Exit(m.Run())
}

// TestFindAndEnd finds a lab by its command line, tells it from others, and ends it.
func TestFindAndEnd(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "lab")
	cmd := exec.Command("/proc/self/exe")
	cmd.Args = append([]string{processName}, superviseArgs(dir)...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	lab := find(t, dir)
	if lab == nil || lab.pid != cmd.Process.Pid {
		t.Fatalf("found %v, want process %d", lab, cmd.Process.Pid)
	}
	if other := find(t, dir+"2"); other != nil {
		t.Errorf("found %v for another folder", other)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	// Its PID namespace is this one, which does not end with it: only the process itself is waited for.
	if err := lab.end(ctx); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err == nil {
		t.Error("the process ended by itself")
	}
	if lab := find(t, dir); lab != nil {
		t.Errorf("found %v after its end", lab)
	}
}

func find(t *testing.T, dir string) *process {
	t.Helper()
	all, err := findSupervisors()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range all {
		if p.dir == dir {
			return &p
		}
	}
	return nil
}
