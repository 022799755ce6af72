// Package nsthread runs functions on an operating system thread that lives in other Linux namespaces than the rest of
// the program. That is how the lab works "inside" a node: files opened, sockets made and processes started there
// belong to the node's mount, network and UTS namespaces, without a helper program such as nsenter.
//
// A thread cannot change its own PID or user namespace; it can choose the PID namespace of the processes it starts.
package nsthread

import (
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// Thread is such a thread. Its namespaces live at least as long as it does.
type Thread struct {
	work chan func()
}

// New moves a fresh thread into new namespaces, as flags say (unix.CLONE_NEWNET and so on), and runs setup there. If
// setup fails, the thread and its namespaces end.
func New(flags int, setup func() error) (*Thread, error) {
	return start(func() error {
		if err := unix.Unshare(flags); err != nil {
			return fmt.Errorf("make namespaces: %w", err)
		}
		return setup()
	})
}

// Join moves a fresh thread into the namespaces of process pid, of the given kinds (names in /proc/PID/ns).
func Join(pid int, kinds ...string) (*Thread, error) {
	var namespaces []*os.File
	for _, kind := range kinds {
		f, err := os.Open(fmt.Sprintf("/proc/%d/ns/%s", pid, kind))
		if err != nil {
			return nil, fmt.Errorf("find the namespaces: %w", err)
		}
		defer func() { _ = f.Close() }()
		namespaces = append(namespaces, f)
	}
	return start(func() error {
		if err := unix.Unshare(unix.CLONE_FS); err != nil { // who shares a root folder may not change mounts
			return fmt.Errorf("leave the shared root folder: %w", err)
		}
		for i, f := range namespaces {
			if err := unix.Setns(int(f.Fd()), 0); err != nil {
				return fmt.Errorf("join the %s namespace of process %d: %w", kinds[i], pid, err)
			}
		}
		return nil
	})
}

func start(move func() error) (*Thread, error) {
	t := &Thread{work: make(chan func())}
	started := make(chan error)
	go t.run(move, started)
	if err := <-started; err != nil {
		return nil, err
	}
	return t, nil
}

// run never unlocks its thread, so that the Go runtime destroys it instead of using it for other goroutines.
func (t *Thread) run(move func() error, started chan<- error) {
	runtime.LockOSThread()
	if err := move(); err != nil {
		started <- err
		return
	}
	started <- nil
	for f := range t.work {
		f()
	}
}

// Do runs f on the thread and returns its error. Calls from several goroutines run one after the other. Goroutines
// that f starts run elsewhere, outside the namespaces: f must do its system calls itself.
func (t *Thread) Do(f func() error) error {
	done := make(chan error)
	t.work <- func() { done <- f() }
	return <-done
}

// Close ends the thread after the calls in progress. Do must not be called afterwards.
func (t *Thread) Close() { close(t.work) }
