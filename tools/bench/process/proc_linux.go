package process

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// tick is the unit of times in /proc, which is the same on every architecture.
const tick = 10 * time.Millisecond

// attributes have a process end with the one that started it.
func attributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }

// CPU is what the process has used of the processors.
func (p *Process) CPU() (time.Duration, error) {
	pid := p.cmd.Process.Pid
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, fmt.Errorf("processor time of process %d: %w", pid, err)
	}
	// The name of the program, in brackets, may hold anything. Times in user and system mode are fields 14 and 15.
	fields := strings.Fields(string(data[bytes.LastIndexByte(data, ')')+1:]))
	var sum int64
	for _, i := range []int{14 - 3, 15 - 3} {
		if i >= len(fields) {
			return 0, fmt.Errorf("processor time of process %d: %d fields", pid, len(fields))
		}
		n, err := strconv.ParseInt(fields[i], 10, 64)
		if err != nil {
			return 0, fmt.Errorf("processor time of process %d: %w", pid, err)
		}
		sum += n
	}
	return time.Duration(sum) * tick, nil
}

// ForgetPeak makes the peak of the process's memory what is resident now.
func (p *Process) ForgetPeak() error {
	pid := p.cmd.Process.Pid
	if err := os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", pid), []byte("5"), 0); err != nil {
		return fmt.Errorf("reset the peak memory of process %d: %w", pid, err)
	}
	return nil
}

// Peak is the most memory that was resident since, in bytes.
func (p *Process) Peak() (int64, error) { return p.memory("VmHWM:") }

// Resident is the memory that is resident now, in bytes.
func (p *Process) Resident() (int64, error) { return p.memory("VmRSS:") }

func (p *Process) memory(key string) (int64, error) {
	pid := p.cmd.Process.Pid
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, fmt.Errorf("memory of process %d: %w", pid, err)
	}
	for line := range strings.Lines(string(data)) {
		if text, found := strings.CutPrefix(line, key); found {
			kib, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(text), " kB"), 10, 64)
			return kib << 10, err
		}
	}
	return 0, fmt.Errorf("memory of process %d: there is no %s", pid, key)
}

// DiskUsage is what the files below a folder take of the disk, in bytes. Files that go meanwhile do not count.
func DiskUsage(dir string) (int64, error) {
	var sum int64
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if os.IsNotExist(err) {
			return nil
		}
		if err != nil || d.IsDir() {
			return err
		}
		var st syscall.Stat_t
		switch err := syscall.Stat(path, &st); {
		case os.IsNotExist(err):
			return nil
		case err != nil:
			return err
		}
		sum += st.Blocks * 512
		return nil
	})
	if err != nil {
		return 0, fmt.Errorf("size of %s: %w", dir, err)
	}
	return sum, nil
}
