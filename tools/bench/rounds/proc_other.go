//go:build !linux

package rounds

import (
	"errors"
	"syscall"
	"time"
)

var errLinux = errors.New("processes are measured on Linux only")

func attributes() *syscall.SysProcAttr { return nil }

func processorTime(int) (time.Duration, error) { return 0, errLinux }

func forgetPeak(int) error { return errLinux }

func peak(int) (int64, error) { return 0, errLinux }

func diskUsage(string) (int64, error) { return 0, errLinux }
