package lab

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/ringfence/ringfence/tools/lab/internal/nsthread"
	"github.com/ringfence/ringfence/tools/lab/internal/supervisor"
)

// processName is what ps shows as the supervisor's program.
const processName = "ringfence-lab"

// superviseArgs is the hidden command that starts the first process of the lab in dir; findSupervisors looks for it.
func superviseArgs(dir string) []string { return []string{"supervise", "--dir=" + dir} }

// process is the first process of a lab.
type process struct {
	pid int
	dir string
}

// findSupervisors lists the labs that run on this machine.
func findSupervisors() ([]process, error) {
	var found []process
	err := eachProcess(func(pid int) {
		cmdline, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		if err != nil {
			return // it ended meanwhile
		}
		argv := strings.Split(strings.TrimSuffix(string(cmdline), "\x00"), "\x00")
		if len(argv) != 3 || argv[0] != processName || argv[1] != "supervise" {
			return
		}
		if dir, ok := strings.CutPrefix(argv[2], "--dir="); ok && !ended(pid) {
			found = append(found, process{pid: pid, dir: dir})
		}
	})
	return found, err
}

func eachProcess(f func(pid int)) error {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return fmt.Errorf("list the processes: %w", err)
	}
	for _, e := range entries {
		if pid, err := strconv.Atoi(e.Name()); err == nil {
			f(pid)
		}
	}
	return nil
}

// ended says that the process is gone or a zombie.
func ended(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return true
	}
	_, rest, _ := strings.Cut(string(stat), ") ") // the name before it may hold anything but that
	return strings.HasPrefix(rest, "Z") || strings.HasPrefix(rest, "X")
}

// end kills the first process of a lab, and by that all of its processes, and waits until they are gone. Nothing in a
// lab is worth saving, so nobody is asked to end in good order.
func (p process) end(ctx context.Context) error {
	namespace, err := pidNamespace(p.pid)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("look at the supervisor of %s: %w", p.dir, err)
	}
	if err := syscall.Kill(p.pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("end the supervisor of %s (process %d): %w", p.dir, p.pid, err)
	}
	own, err := pidNamespace(os.Getpid())
	if err != nil {
		return fmt.Errorf("look at this process: %w", err)
	}
	for !ended(p.pid) || namespace != own && len(inNamespace(namespace)) > 0 {
		select {
		case <-ctx.Done():
			return fmt.Errorf("the processes of the lab in %s do not end: %w", p.dir, ctx.Err())
		case <-time.After(20 * time.Millisecond):
		}
	}
	return nil
}

func pidNamespace(pid int) (string, error) { return os.Readlink(fmt.Sprintf("/proc/%d/ns/pid", pid)) }

// inNamespace lists the living processes of a PID namespace.
func inNamespace(namespace string) []int {
	var pids []int
	_ = eachProcess(func(pid int) { // an unreadable /proc has failed before
		if ns, err := pidNamespace(pid); err == nil && ns == namespace && !ended(pid) {
			pids = append(pids, pid)
		}
	})
	return pids
}

// members maps the PIDs inside the lab to those of this machine.
func (p process) members() (map[int]int, error) {
	namespace, err := pidNamespace(p.pid)
	if err != nil {
		return nil, fmt.Errorf("look at the supervisor of %s: %w", p.dir, err)
	}
	members := map[int]int{}
	for _, pid := range inNamespace(namespace) {
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		if err != nil {
			continue // it ended meanwhile
		}
		if inner, ok := innerPID(string(status)); ok {
			members[inner] = pid
		}
	}
	return members, nil
}

// innerPID reads the last number of the NSpid line of /proc/PID/status: the PID in the innermost namespace.
func innerPID(status string) (int, bool) {
	for line := range strings.Lines(status) {
		if list, ok := strings.CutPrefix(line, "NSpid:"); ok {
			fields := strings.Fields(list)
			if len(fields) == 0 {
				return 0, false
			}
			pid, err := strconv.Atoi(fields[len(fields)-1])
			return pid, err == nil
		}
	}
	return 0, false
}

// runIn runs argv in the namespaces of process pid, with this process's standard streams.
func runIn(ctx context.Context, pid int, argv []string) error {
	thread, err := nsthread.Join(pid, "pid", "net", "uts", "mnt")
	if err != nil {
		return fmt.Errorf("enter the node: %w", err)
	}
	defer thread.Close()
	var cmd *exec.Cmd
	err = thread.Do(func() error {
		cmd = exec.CommandContext(ctx, argv[0], argv[1:]...) // looks the program up in the node
		cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
		return cmd.Start()
	})
	if err != nil {
		return err
	}
	return cmd.Wait()
}

// Supervise is the hidden command itself: the first process of the lab, or its worker.
func Supervise(ctx context.Context, dir string, worker bool) error {
	if worker {
		return supervisor.Run(ctx, dir)
	}
	return supervisor.Init(dir, append(superviseArgs(dir), "--worker"))
}
