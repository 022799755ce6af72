// Package nsthread runs functions on an operating system thread that lives in Linux namespaces of its own. That is
// how the supervisor works "inside" a node: files it opens, sockets it makes and processes it starts there belong to
// the node's mount, network and UTS namespaces, without a helper program such as nsenter.
//
// A PID or user namespace cannot be had this way: the kernel gives those to new processes only.
package nsthread

import (
	"fmt"
	"runtime"

	"golang.org/x/sys/unix"
)

// Thread is such a thread. Its namespaces live as long as the thread or any process started on it.
type Thread struct {
	work chan func()
}

// New moves a fresh thread into new namespaces, as flags say (unix.CLONE_NEWNET and so on), and runs setup there. If
// setup fails, the thread and its namespaces end.
func New(flags int, setup func() error) (*Thread, error) {
	t := &Thread{work: make(chan func())}
	started := make(chan error)
	go t.run(flags, setup, started)
	if err := <-started; err != nil {
		return nil, err
	}
	return t, nil
}

// run never unlocks its thread, so that the Go runtime destroys it instead of using it for other goroutines.
func (t *Thread) run(flags int, setup func() error, started chan<- error) {
	runtime.LockOSThread()
	if err := unix.Unshare(flags); err != nil {
		started <- fmt.Errorf("make namespaces: %w", err)
		return
	}
	if err := setup(); err != nil {
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
