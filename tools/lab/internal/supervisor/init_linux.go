package supervisor

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/ringfence/ringfence/tools/lab/internal/cgroup"
	"github.com/ringfence/ringfence/tools/lab/internal/topology"
)

// Init is the first process of the lab's PID namespace. It makes the mount namespace private, starts the worker (this
// program with workerArgs) and buries the orphans of the whole lab, such as containerd's shims. It returns when the
// worker ends or a signal asks for the end; its own end is the end of everything in the lab.
func Init(dir string, workerArgs []string) error {
	if os.Getpid() != 1 {
		return errors.New("the supervisor is started by 'lab up' only")
	}
	if err := joinGroup(topology.LabName(dir)); err != nil {
		return err
	}
	if err := privateMounts(); err != nil {
		return err
	}
	worker, err := startWorker(workerArgs)
	if err != nil {
		return err
	}
	asked := make(chan os.Signal, 1)
	signal.Notify(asked, unix.SIGTERM, unix.SIGINT)
	buried := make(chan error, 1)
	go func() { buried <- bury(worker) }()
	select {
	case <-asked:
		return nil
	case err := <-buried:
		return err
	}
}

// joinGroup puts the whole lab, beside its pods, into one control group: whoever takes the lab down finds every process
// there, also one that is hard to recognise because it is just ending.
func joinGroup(lab string) error {
	groups, err := cgroup.Detect(cgroup.Mount)
	if err != nil {
		return err
	}
	return groups.Join(filepath.Join(lab, "supervisor"))
}

// privateMounts keeps what happens here from the machine, and hides the machine's processes and /run from the lab.
func privateMounts() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make the mounts private: %w", err)
	}
	if err := unix.Mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return fmt.Errorf("mount /proc: %w", err)
	}
	if err := unix.Mount("tmpfs", "/run", "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=755"); err != nil {
		return fmt.Errorf("mount /run: %w", err)
	}
	return coverSysctls()
}

// coverSysctls puts files with the wanted values over the machine-wide kernel settings that the kubelet would
// change. It finds them set and leaves the machine alone.
func coverSysctls() error {
	const folder = "/run/sysctl"
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	for name, value := range map[string]string{
		"vm/overcommit_memory":      "1",
		"vm/panic_on_oom":           "0",
		"kernel/panic":              "10",
		"kernel/panic_on_oops":      "1",
		"kernel/keys/root_maxkeys":  "1000000",
		"kernel/keys/root_maxbytes": "25000000",
	} {
		cover := filepath.Join(folder, filepath.Base(name))
		if err := os.WriteFile(cover, []byte(value+"\n"), 0o644); err != nil {
			return err
		}
		if err := unix.Mount(cover, "/proc/sys/"+name, "", unix.MS_BIND, ""); err != nil && !errors.Is(err, unix.ENOENT) {
			return fmt.Errorf("cover /proc/sys/%s: %w", name, err)
		}
	}
	return nil
}

func startWorker(args []string) (pid int, err error) {
	handed := []*os.File{
		os.NewFile(FDServer, "server"), os.NewFile(FDControl, "control"), os.NewFile(FDProgress, "progress"),
	}
	p, err := os.StartProcess("/proc/self/exe", append([]string{os.Args[0]}, args...), &os.ProcAttr{
		Files: append([]*os.File{os.Stdin, os.Stdout, os.Stderr}, handed...),
		Env:   os.Environ(),
	})
	if err != nil {
		return 0, fmt.Errorf("start the lab's worker: %w", err)
	}
	// Only the worker's end may close these, so that those who wait on the other side notice it.
	for _, f := range handed {
		_ = f.Close()
	}
	return p.Pid, nil
}

// bury waits for every child, its own and adopted, until the worker has ended.
func bury(worker int) error {
	for {
		var status unix.WaitStatus
		pid, err := unix.Wait4(-1, &status, 0, nil)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return fmt.Errorf("wait for the lab's processes: %w", err)
		case pid == worker && status.ExitStatus() != 0:
			return fmt.Errorf("the lab's worker ended: %v", status)
		case pid == worker:
			return nil
		}
	}
}
