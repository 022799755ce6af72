package lab

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/ringfence/ringfence/tools/lab/internal/cgroup"
	"github.com/ringfence/ringfence/tools/lab/internal/control"
	"github.com/ringfence/ringfence/tools/lab/internal/supervisor"
	"github.com/ringfence/ringfence/tools/lab/internal/toolchain"
	"github.com/ringfence/ringfence/tools/lab/internal/topology"
)

// Lab is the lab that lives in a folder, up or not.
type Lab struct {
	Dir     string // absolute
	Output  io.Writer
	Builder toolchain.Builder
}

// UpOptions say what kind of lab Up makes.
type UpOptions struct {
	Nodes       int
	Listen      string // host:port on the loopback; port 0 picks a free one
	NRIRequired bool
	Beside      bool // allow another lab on this machine
}

// Up brings the lab up and returns the path of its kubeconfig. A lab that is up and healthy stays as it is; one that
// is not is taken down first.
func (l Lab) Up(ctx context.Context, o UpOptions) (string, error) {
	if err := l.checkOptions(o); err != nil {
		return "", err
	}
	unlock, err := l.lock(ctx)
	if err != nil {
		return "", err
	}
	defer unlock()
	status, err := l.settle(ctx)
	if err != nil {
		return "", err
	}
	if status.Healthy() {
		return status.Kubeconfig, l.keep(status, o)
	}
	if !o.Beside {
		if err := l.refuseSecond(); err != nil {
			return "", err
		}
	}
	o.Listen = l.sameAddress(o.Listen)
	if err := l.clear(ctx, status); err != nil {
		return "", err
	}
	return l.create(ctx, o)
}

// patience is how long Up waits for a lab that is neither up nor down to become one of both: a node may be late with
// its heartbeat on a busy machine, and a supervisor goes on when its 'lab up' is killed.
var patience = map[string]time.Duration{control.Degraded: 20 * time.Second, control.Starting: 3 * time.Minute}

// settle returns the lab's status when it is up or down, or the last one when patience is over.
func (l Lab) settle(ctx context.Context) (control.Status, error) {
	began := time.Now()
	for said := false; ; said = true {
		status, err := control.Ask(ctx, l.name())
		if err != nil || time.Since(began) >= patience[status.State] {
			return status, err
		}
		if !said {
			l.say("The lab is %s: waiting for it.", status.State)
		}
		select {
		case <-ctx.Done():
			return status, ctx.Err()
		case <-time.After(250 * time.Millisecond):
		}
	}
}

func (l Lab) name() string { return topology.LabName(l.Dir) }

// checkOptions refuses what cannot work before anything is touched.
func (l Lab) checkOptions(o UpOptions) error {
	if _, err := topology.Nodes(o.Nodes); err != nil {
		return err
	}
	host, _, err := net.SplitHostPort(o.Listen)
	if err != nil {
		return fmt.Errorf("--listen %s: %w", o.Listen, err)
	}
	if ip := net.ParseIP(host); ip == nil || !ip.Equal(net.IPv4(127, 0, 0, 1)) {
		return fmt.Errorf("--listen %s: the API server is reachable on 127.0.0.1 only, so that a lab is never open to the network", o.Listen)
	}
	return CheckDir(l.Dir, supervisor.Shadowed)
}

// keep says that the lab is up, or that it is another one than asked for.
func (l Lab) keep(s control.Status, o UpOptions) error {
	if len(s.Nodes) != o.Nodes || s.NRIRequired != o.NRIRequired {
		return fmt.Errorf("the lab in %s is up with %d nodes and NRI required: %t; to change that, run 'lab down' first",
			l.Dir, len(s.Nodes), s.NRIRequired)
	}
	l.say("The lab is already up: %d nodes Ready, since %s.", len(s.Nodes), s.Since.Local().Format(time.DateTime))
	return nil
}

func (l Lab) say(format string, args ...any) { _, _ = fmt.Fprintf(l.Output, format+"\n", args...) }

func (l Lab) refuseSecond() error {
	supervisors, err := findSupervisors()
	if err != nil {
		return err
	}
	for _, s := range supervisors {
		if s.dir != l.Dir {
			return fmt.Errorf("another lab is up on this machine, in %s (process %d): take it down with 'lab down --dir %s', or add --beside to run both",
				s.dir, s.pid, s.dir)
		}
	}
	return nil
}

// sameAddress keeps the port of a lab that is brought up again, if it may be chosen.
func (l Lab) sameAddress(listen string) string {
	host, port, _ := net.SplitHostPort(listen)
	if port != "0" {
		return listen
	}
	if old, err := supervisor.Load(l.Dir); err == nil {
		return cmp.Or(old.Listen, listen)
	}
	return net.JoinHostPort(host, "0")
}

// clear makes room: whatever is left of an earlier life goes.
func (l Lab) clear(ctx context.Context, s control.Status) error {
	if s.State != control.Down {
		l.say("The lab is %s (%s): taking it down first.", s.State, cmp.Or(s.Problem, "it never came up"))
	}
	return l.down(ctx)
}

// create builds what is missing and starts a supervisor. It returns when the lab is ready; a lab that does not get
// there is stopped, and its folder stays for its logs.
func (l Lab) create(ctx context.Context, o UpOptions) (string, error) {
	began := time.Now()
	tools, err := l.Builder.Ensure(ctx)
	if err != nil {
		return "", err
	}
	if err := l.requirements(ctx); err != nil {
		return "", err
	}
	if err := os.MkdirAll(l.Dir, 0o755); err != nil {
		return "", fmt.Errorf("make the lab's folder: %w", err)
	}
	settings := supervisor.Settings{Dir: l.Dir, Bin: tools.Bin(), CNI: tools.CNI(), Images: tools.Images(), Nodes: o.Nodes, NRIRequired: o.NRIRequired}
	step := func(text string) { l.say("%7.1fs  %s", time.Since(began).Seconds(), text) }
	step("programs ready in " + tools.Bin())
	if err := l.launch(ctx, settings, o.Listen, step); err != nil {
		err = errors.Join(fmt.Errorf("the lab did not come up: %w (logs: %s)", err, filepath.Join(l.Dir, "log")), l.stop(context.WithoutCancel(ctx)))
		return "", err
	}
	return filepath.Join(l.Dir, "kubeconfig"), nil
}

// requirements are what the lab's programs call or need from the kernel.
func (l Lab) requirements(ctx context.Context) error {
	err := toolchain.Install(ctx, l.Output,
		toolchain.Program("nft", "nftables"), // kube-proxy
		toolchain.Program("mount", "mount"))  // kubelet
	if err != nil {
		return err
	}
	for file, module := range map[string]string{"/proc/sys/net/bridge": "br_netfilter", "/sys/module/overlay": "overlay"} {
		if _, err := os.Stat(file); err == nil {
			continue
		}
		// A module that is compiled in has nothing to load; if it is really missing, the supervisor says what fails.
		_ = exec.CommandContext(ctx, "modprobe", module).Run()
	}
	return nil
}

// launch starts the supervisor in namespaces of its own and waits until the lab is ready.
func (l Lab) launch(ctx context.Context, s supervisor.Settings, listen string, step func(string)) error {
	server, err := listenOn(listen)
	if err != nil {
		return err
	}
	defer func() { _ = server.Close() }()
	s.Listen = server.Addr().String()
	if err := s.Save(); err != nil {
		return err
	}
	socket, err := control.Listen(l.name())
	if err != nil {
		return err
	}
	defer func() { _ = socket.Close() }()
	progress, err := l.startSupervisor(server, socket)
	if err != nil {
		return err
	}
	defer func() { _ = progress.Close() }()
	defer context.AfterFunc(ctx, func() { _ = progress.Close() })()
	err = supervisor.ReadProgress(progress, step)
	if ctx.Err() != nil {
		return errors.New("interrupted")
	}
	return err
}

// listenOn opens the port; a port that was remembered from an earlier life may be taken by now.
func listenOn(address string) (*net.TCPListener, error) {
	l, err := net.Listen("tcp", address)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, fmt.Errorf("the port %s is in use: choose another with --listen", address)
	}
	if err != nil {
		return nil, fmt.Errorf("open the API server's port on this machine: %w", err)
	}
	return l.(*net.TCPListener), nil
}

// startSupervisor returns the reading end of the progress pipe. The supervisor has a session of its own and outlives
// this process.
func (l Lab) startSupervisor(server *net.TCPListener, socket *net.UnixListener) (*os.File, error) {
	serverFile, err := server.File()
	if err != nil {
		return nil, err
	}
	defer func() { _ = serverFile.Close() }()
	socketFile, err := socket.File()
	if err != nil {
		return nil, err
	}
	defer func() { _ = socketFile.Close() }()
	reader, writer, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer func() { _ = writer.Close() }()
	log, err := os.OpenFile(filepath.Join(l.Dir, "supervisor.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, errors.Join(err, reader.Close())
	}
	defer func() { _ = log.Close() }()
	cmd := exec.Command("/proc/self/exe")
	cmd.Args = append([]string{processName}, superviseArgs(l.Dir)...)
	cmd.Dir = "/"
	cmd.Stdout, cmd.Stderr = log, log
	cmd.ExtraFiles = []*os.File{serverFile, socketFile, writer} // from supervisor.FDServer on
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Setsid:     true,
		Cloneflags: unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWNET | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC,
	}
	err = cmd.Start()
	if errors.Is(err, syscall.EPERM) {
		return nil, errors.Join(notPrivileged, reader.Close())
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start the supervisor: %w", err), reader.Close())
	}
	go func() { _ = cmd.Wait() }() // what it has to say comes through the pipe
	return reader, nil
}

// Down takes the lab down and removes its folder. It works on whatever is left of a lab; with nothing left it does
// nothing.
func (l Lab) Down(ctx context.Context) error {
	unlock, err := l.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	return l.down(ctx)
}

func (l Lab) lock(ctx context.Context) (unlock func(), err error) {
	return control.Lock(ctx, l.name(), func() {
		l.say("Another 'lab up' or 'lab down' of this lab is at work: waiting for it.")
	})
}

func (l Lab) down(ctx context.Context) error {
	if err := l.stop(ctx); err != nil {
		return err
	}
	if _, err := os.Stat(supervisor.SettingsFile(l.Dir)); err != nil {
		return nil // CheckDir keeps Up from filling a folder of somebody else's
	}
	return removeFolder(l.Dir)
}

// stop ends all processes of the lab and removes what they leave outside its folder: control groups. Everything else
// goes with the namespaces.
func (l Lab) stop(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	supervisors, err := findSupervisors()
	if err != nil {
		return err
	}
	for _, s := range supervisors {
		if s.dir != l.Dir {
			continue
		}
		if err := s.end(ctx); err != nil {
			return err
		}
	}
	groups, err := cgroup.Detect(cgroup.Mount)
	if err != nil {
		return err
	}
	return groups.Remove(ctx, l.name())
}

// removeFolder removes the lab's folder. The kernel takes a moment to let go of the mounts of a dead namespace.
func removeFolder(dir string) error {
	var err error
	for range 40 {
		if err = os.RemoveAll(dir); err == nil {
			return nil
		}
		time.Sleep(50 * time.Millisecond)
	}
	return fmt.Errorf("remove the lab's folder: %w", err)
}

// Status asks the lab how it is. PIDs are those of this machine.
func (l Lab) Status(ctx context.Context) (control.Status, error) {
	s, err := control.Ask(ctx, l.name())
	s.Dir = l.Dir
	if err != nil || s.State == control.Down {
		return s, err
	}
	supervisors, err := findSupervisors()
	if err != nil {
		return s, err
	}
	i := slices.IndexFunc(supervisors, func(p process) bool { return p.dir == l.Dir })
	if i < 0 {
		return s, nil // it ended just now
	}
	pids, err := supervisors[i].members()
	if errors.Is(err, fs.ErrPermission) {
		return s, nil // only root sees into other people's processes
	}
	for i, c := range s.Components {
		s.Components[i].PID = pids[c.LabPID]
	}
	return s, err
}

// Load imports OCI image archives into the containerd of every node.
func (l Lab) Load(ctx context.Context, archives []string) error {
	status, err := l.Status(ctx)
	if err != nil {
		return err
	}
	if status.State == control.Down {
		return fmt.Errorf("the lab in %s is down: run 'lab up' first", l.Dir)
	}
	var group errgroup.Group
	var mu sync.Mutex
	for _, c := range status.Components {
		if c.Name != "containerd" || c.PID == 0 {
			continue
		}
		group.Go(func() error {
			for _, archive := range archives {
				output, err := importInto(ctx, status.Bin, c.PID, archive)
				if err != nil {
					return fmt.Errorf("load %s into %s: %w\n%s", archive, c.Node, err, output)
				}
				mu.Lock()
				l.say("%s: %s", c.Node, filepath.Base(archive))
				mu.Unlock()
			}
			return nil
		})
	}
	return group.Wait()
}

// importInto reaches the socket through the root folder of the containerd process, which is the node's.
func importInto(ctx context.Context, bin string, containerd int, archive string) (string, error) {
	if _, err := os.Stat(archive); err != nil {
		return "", err
	}
	cmd := exec.CommandContext(ctx, filepath.Join(bin, "ctr"), "--address", fmt.Sprintf("/proc/%d/root/run/containerd/containerd.sock", containerd),
		"--namespace", "k8s.io", "images", "import", "--no-unpack", archive)
	output, err := cmd.CombinedOutput()
	return strings.TrimSpace(string(output)), err
}

// ControlPlane is the place beside the nodes, for Exec: the bridge, where a program is an outside client to the nodes.
const ControlPlane = "control-plane"

// Exec runs a program of this machine in the namespaces of a node, or of the control plane. An *exec.ExitError tells
// how it ended.
func (l Lab) Exec(ctx context.Context, node string, argv []string) error {
	status, err := l.Status(ctx)
	if err != nil {
		return err
	}
	for _, c := range status.Components {
		here := c.Name == "containerd" && c.Node == node || c.Name == "etcd" && node == ControlPlane
		if here && c.PID != 0 {
			return runIn(ctx, c.PID, argv)
		}
	}
	return fmt.Errorf("the lab in %s has no node %s that runs (it is %s)", l.Dir, node, status.State)
}

// Kubectl replaces this process by the lab's kubectl.
func (l Lab) Kubectl(args []string) error {
	settings, err := supervisor.Load(l.Dir)
	if err != nil {
		return fmt.Errorf("the lab in %s is down: run 'lab up' first", l.Dir)
	}
	env := append(os.Environ(), "KUBECONFIG="+filepath.Join(l.Dir, "kubeconfig"))
	program := filepath.Join(settings.Bin, "kubectl")
	return fmt.Errorf("run %s: %w", program, syscall.Exec(program, append([]string{"kubectl"}, args...), env))
}
