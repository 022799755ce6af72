package nsthread

import (
	"errors"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() == 0 {
		return
	}
	if os.Getenv("CI") == "true" {
		t.Fatal("namespaces take root")
	}
	t.Skip("namespaces take root")
}

func hostname(t *testing.T) string {
	t.Helper()
	name, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	return name
}

// TestThread checks that functions and the processes they start are inside, and the rest of the program is not.
func TestThread(t *testing.T) {
	needRoot(t)
	outside := hostname(t)
	thread, err := New(unix.CLONE_NEWUTS, func() error { return unix.Sethostname([]byte("inside")) })
	if err != nil {
		t.Fatal(err)
	}
	defer thread.Close()
	var child *exec.Cmd
	var out strings.Builder
	err = thread.Do(func() error {
		if got := hostname(t); got != "inside" {
			t.Errorf("on the thread the host name is %q", got)
		}
		child = exec.Command("hostname")
		child.Stdout = &out
		return child.Start()
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Wait(); err != nil || strings.TrimSpace(out.String()) != "inside" {
		t.Errorf("the child says %q, %v", out.String(), err)
	}
	if got := hostname(t); got != outside {
		t.Errorf("outside the host name became %q", got)
	}
}

func TestJoin(t *testing.T) {
	needRoot(t)
	child := exec.Command("cat")
	child.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWUTS | unix.CLONE_NEWNS}
	in, err := child.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = in.Close(); _ = child.Wait() }()
	outside := hostname(t)
	thread, err := Join(child.Process.Pid, "uts", "mnt")
	if err != nil {
		t.Fatal(err)
	}
	defer thread.Close()
	err = thread.Do(func() error { return unix.Sethostname([]byte("joined")) })
	if err != nil || hostname(t) != outside {
		t.Errorf("after a change inside: %v, the host name outside is %q, was %q", err, hostname(t), outside)
	}
	if _, err := Join(child.Process.Pid, "no-such-kind"); err == nil {
		t.Error("joined a kind of namespace that does not exist")
	}
}

func TestSetupFails(t *testing.T) {
	needRoot(t)
	want := errors.New("no room")
	if _, err := New(unix.CLONE_NEWUTS, func() error { return want }); !errors.Is(err, want) {
		t.Errorf("error %v, want %v", err, want)
	}
}
