package policystore

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// errShared says that another process serves the log of a folder.
var errShared = errors.New("another policy-store serves it: one folder, one server; stop that one, it is taken over then")

// occupy takes a folder for this process until release is called or the process ends, however it does. Two servers on one
// folder would write over each other's messages.
func occupy(dir string) (release func(), err error) {
	f, err := os.OpenFile(filepath.Join(dir, ".lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("the log's folder: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		if errors.Is(err, syscall.EWOULDBLOCK) {
			err = errShared
		}
		return nil, errors.Join(fmt.Errorf("the log's folder %s: %w", dir, err), f.Close())
	}
	return func() { _ = f.Close() }, nil // nothing was written to it
}
