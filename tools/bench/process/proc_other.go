//go:build !linux

package process

import (
	"errors"
	"syscall"
	"time"
)

var errLinux = errors.New("processes are measured on Linux only")

func attributes() *syscall.SysProcAttr { return nil }

// CPU is not known here.
func (*Process) CPU() (time.Duration, error) { return 0, errLinux }

// ForgetPeak does nothing here.
func (*Process) ForgetPeak() error { return errLinux }

// Peak is not known here.
func (*Process) Peak() (int64, error) { return 0, errLinux }

// Resident is not known here.
func (*Process) Resident() (int64, error) { return 0, errLinux }

// DiskUsage is not known here.
func DiskUsage(string) (int64, error) { return 0, errLinux }
