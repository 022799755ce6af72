package pce

import (
	"errors"
	"syscall"

	"golang.org/x/sys/unix"
)

// giveUpSilent ends a connection whose data nobody acknowledges.
func giveUpSilent(_, _ string, c syscall.RawConn) error {
	var failed error
	err := c.Control(func(fd uintptr) {
		failed = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(silent.Milliseconds()))
	})
	return errors.Join(err, failed)
}
