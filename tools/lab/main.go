// Command lab runs a real Kubernetes with several nodes on one Linux machine, for demos, end-to-end tests and
// development. README.md in this folder shows its commands and its limits.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/alecthomas/kong"

	"github.com/ringfence/ringfence/tools/lab/internal/control"
	"github.com/ringfence/ringfence/tools/lab/internal/image"
	"github.com/ringfence/ringfence/tools/lab/internal/lab"
	"github.com/ringfence/ringfence/tools/lab/internal/toolchain"
)

// Exit codes.
const (
	exitFailed  = 1
	exitRefused = 2 // this machine or user cannot have a lab
	exitDown    = 3 // 'lab status' of a lab that is down
)

type cli struct {
	Dir string `help:"Folder of the lab. Default: out/lab in the repository." env:"RINGFENCE_LAB_DIR" placeholder:"DIR"`

	Up        upCmd        `cmd:"" help:"Bring the lab up, building its programs first if needed. Example: lab up --nodes 3"`
	Down      downCmd      `cmd:"" help:"Take the lab down and remove everything of it but the built programs. Example: lab down"`
	Status    statusCmd    `cmd:"" help:"Show components and nodes; exit code 0 healthy, 1 not, 3 down. Example: lab status -o json"`
	Build     buildCmd     `cmd:"" help:"Build the programs without starting anything and print their folder. Example: lab build"`
	Load      loadCmd      `cmd:"" help:"Import OCI image archives into every node. Example: lab load out/images/*.tar"`
	Pack      packCmd      `cmd:"" help:"Pack static programs into an OCI image archive. Example: lab pack --name ringfence.local/watcher:dev --entrypoint /watcher -o watcher.tar bin/watcher=/watcher"`
	Kubectl   kubectlCmd   `cmd:"" help:"Run kubectl against the lab. Example: lab kubectl get pods -A"`
	Exec      execCmd      `cmd:"" help:"Run a program of this machine in the namespaces of a node. Example: lab exec node1 nft list ruleset"`
	Supervise superviseCmd `cmd:"" hidden:""`
}

func main() {
	code, err := run(os.Args[1:])
	if err != nil {
		fmt.Fprintln(os.Stderr, "lab:", err)
	}
	os.Exit(code)
}

// run returns the exit code, and the error to be told if there is one.
func run(args []string) (int, error) {
	var c cli
	parser := kong.Must(&c, kong.Name("lab"), kong.UsageOnError(),
		kong.Description("A real Kubernetes with several nodes on one Linux machine. Example: lab up && lab kubectl get nodes"))
	command, err := parser.Parse(args)
	parser.FatalIfErrorf(err)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	command.BindTo(ctx, (*context.Context)(nil))
	return exitCode(command.Run(&c))
}

// exitCode sorts errors by what a script can do about them.
func exitCode(err error) (int, error) {
	var code statusCode
	var program *exec.ExitError
	switch {
	case err == nil:
		return 0, nil
	case errors.As(err, &program) && program.Exited():
		return program.ExitCode(), nil // of 'lab exec': it has said itself what is wrong
	case errors.As(err, &code):
		return int(code), nil
	case errors.Is(err, lab.ErrRefused):
		return exitRefused, err
	}
	return exitFailed, err
}

// statusCode is the answer of 'lab status', which is no failure of the command.
type statusCode int

func (c statusCode) Error() string { return fmt.Sprintf("exit code %d", int(c)) }

// open finds the lab that the flags mean.
func (c *cli) open() (lab.Lab, error) {
	builder, err := newBuilder()
	if err != nil && c.Dir == "" { // with --dir, only a build needs the repository
		return lab.Lab{}, err
	}
	dir := c.Dir
	if dir == "" {
		dir = filepath.Join(builder.Source, "..", "..", "out", "lab")
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return lab.Lab{}, fmt.Errorf("find the lab's folder: %w", err)
	}
	return lab.Lab{Dir: dir, Output: os.Stderr, Builder: builder}, nil
}

// openAsRoot is open for the commands that touch the machine.
func (c *cli) openAsRoot() (lab.Lab, error) {
	if err := lab.CheckMachine(runtime.GOOS, os.Geteuid()); err != nil {
		return lab.Lab{}, err
	}
	return c.open()
}

func newBuilder() (toolchain.Builder, error) {
	var from []string
	if dir, err := os.Getwd(); err == nil {
		from = append(from, dir)
	}
	if program, err := os.Executable(); err == nil {
		from = append(from, filepath.Dir(program))
	}
	source, err := toolchain.SourceDir(from...)
	if err != nil {
		return toolchain.Builder{}, err
	}
	cache, err := toolchain.CacheDir()
	return toolchain.Builder{Source: source, Cache: cache, Output: os.Stderr}, err
}

type upCmd struct {
	Nodes       int    `help:"Number of nodes, 1 to 9." default:"3"`
	Listen      string `help:"Address of the API server on this machine's loopback; port 0 picks a free one, which the lab keeps." default:"127.0.0.1:0"`
	NRIRequired bool   `name:"nri-required" help:"Start containers only while the NRI plugin 'ringfence' is connected."`
	Beside      bool   `help:"Allow another lab on this machine; each takes about 2 GiB of memory."`
}

// Run prints progress on standard error and the path of the kubeconfig, alone, on standard output.
func (u *upCmd) Run(ctx context.Context, c *cli) error {
	l, err := c.openAsRoot()
	if err != nil {
		return err
	}
	kubeconfig, err := l.Up(ctx, lab.UpOptions{Nodes: u.Nodes, Listen: u.Listen, NRIRequired: u.NRIRequired, Beside: u.Beside})
	if err != nil {
		return err
	}
	fmt.Println(kubeconfig)
	return nil
}

type downCmd struct{}

func (*downCmd) Run(ctx context.Context, c *cli) error {
	l, err := c.openAsRoot()
	if err != nil {
		return err
	}
	return l.Down(ctx)
}

type statusCmd struct {
	Output string `short:"o" help:"table or json." enum:"table,json" default:"table"`
}

func (s *statusCmd) Run(ctx context.Context, c *cli) error {
	l, err := c.open()
	if err != nil {
		return err
	}
	status, err := l.Status(ctx)
	if err != nil {
		return err
	}
	if err := s.print(status); err != nil {
		return err
	}
	switch {
	case status.Healthy():
		return nil
	case status.State == control.Down:
		return statusCode(exitDown)
	}
	return statusCode(exitFailed)
}

func (s *statusCmd) print(status control.Status) error {
	if s.Output == "json" {
		out := json.NewEncoder(os.Stdout)
		out.SetIndent("", "  ")
		return out.Encode(status)
	}
	return lab.Table(os.Stdout, status, time.Now())
}

type buildCmd struct{}

func (*buildCmd) Run(ctx context.Context) error {
	builder, err := newBuilder()
	if err != nil {
		return err
	}
	tools, err := builder.Ensure(ctx)
	if err != nil {
		return err
	}
	fmt.Println(tools.Bin())
	return nil
}

type loadCmd struct {
	Archives []string `arg:"" help:"OCI image archives." type:"existingfile"`
}

func (a *loadCmd) Run(ctx context.Context, c *cli) error {
	l, err := c.openAsRoot()
	if err != nil {
		return err
	}
	return l.Load(ctx, a.Archives)
}

type packCmd struct {
	Name       string   `required:"" help:"Full name with tag, as pods name it." placeholder:"NAME:TAG"`
	Output     string   `short:"o" required:"" help:"The archive to write." placeholder:"FILE"`
	Entrypoint []string `help:"The program and its first arguments, comma-separated." sep:","`
	Env        []string `help:"Environment variables, KEY=value." sep:"none"`
	User       string   `help:"User, uid or uid:gid; without it root." placeholder:"UID"`
	Symlink    []string `help:"Symbolic links, /path/in/image=target." sep:"none"`
	Arch       string   `help:"GOARCH of the programs; without it this machine's."`
	Files      []string `arg:"" help:"Files, source=/path/in/image."`
}

// Run prints the digest of the image's manifest.
func (p *packCmd) Run() error {
	spec := image.Spec{Name: p.Name, Entrypoint: p.Entrypoint, Env: p.Env, User: p.User, Arch: p.Arch}
	for _, f := range p.Files {
		source, target, ok := strings.Cut(f, "=")
		if !ok {
			return fmt.Errorf("file %q: write it as source=/path/in/image", f)
		}
		spec.Files = append(spec.Files, image.File{Source: source, Target: target})
	}
	for _, s := range p.Symlink {
		target, to, ok := strings.Cut(s, "=")
		if !ok {
			return fmt.Errorf("symlink %q: write it as /path/in/image=target", s)
		}
		spec.Symlinks = append(spec.Symlinks, image.Symlink{Target: target, To: to})
	}
	digest, err := image.Pack(spec, p.Output)
	if err != nil {
		return err
	}
	fmt.Println(digest)
	return nil
}

type kubectlCmd struct {
	Args []string `arg:"" optional:"" passthrough:"" help:"Arguments of kubectl."`
}

func (k *kubectlCmd) Run(c *cli) error {
	l, err := c.open()
	if err != nil {
		return err
	}
	return l.Kubectl(k.Args)
}

type execCmd struct {
	Node string   `arg:"" help:"Name of the node, or control-plane, which is an outside client to the nodes."`
	Args []string `arg:"" passthrough:"" help:"Program and arguments."`
}

func (e *execCmd) Run(ctx context.Context, c *cli) error {
	l, err := c.openAsRoot()
	if err != nil {
		return err
	}
	return l.Exec(ctx, e.Node, e.Args)
}

type superviseCmd struct {
	Worker bool
}

func (s *superviseCmd) Run(ctx context.Context, c *cli) error {
	return lab.Supervise(ctx, c.Dir, s.Worker)
}
