// Package toolchain builds the programs of the lab from their Go modules, once, into a cache folder. The modules in
// tools/lab/toolchain pin every version; this package pins how they are built. Each has a module of its own, since
// no selection of versions would suit Kubernetes, containerd, runc and CoreDNS together.
//
// The cache folder is named after everything that goes into the programs, so a changed version, flag or Go release
// builds anew and never mixes with the old. Old folders are not removed.
package toolchain

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/ringfence/ringfence/tools/lab/internal/config"
	"github.com/ringfence/ringfence/tools/lab/internal/image"
)

const kubernetesVersion = "1.37.2" // of toolchain/kubernetes/go.mod; the programs report it

// links are the names under which the multi-call program runs.
var links = []string{"etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy", "kubectl"}

// recipe is one run of go build.
type recipe struct {
	Name     string // for the progress
	Module   string // folder of the module, relative to tools/lab
	Packages []string
	Tags     string
	LDFlags  string
	CGO      bool
	Out      string   // folder under the cache folder
	Programs []string // the files that appear in Out
}

func recipes() []recipe {
	const base = "k8s.io/component-base/version"
	version := fmt.Sprintf("-s -w -X %[1]s.gitVersion=v%[2]s -X %[1]s.gitMajor=1 -X %[1]s.gitMinor=37 -X %[1]s.gitTreeState=clean"+
		" -X k8s.io/client-go/pkg/version.gitVersion=v%[2]s", base, kubernetesVersion)
	const containerd, cni = "github.com/containerd/containerd/v2/cmd/", "github.com/containernetworking/plugins/plugins/"
	return []recipe{
		{Name: "pause", Module: ".", Packages: []string{"./pause"}, LDFlags: "-s -w", Out: "bin", Programs: []string{"pause"}},
		{Name: "runc", Module: "toolchain/runc", Packages: []string{"github.com/opencontainers/runc"}, CGO: true,
			Tags: "seccomp netgo osusergo", LDFlags: "-s -w -extldflags -static", Out: "bin", Programs: []string{"runc"}},
		{Name: "cni", Module: "toolchain/cni", LDFlags: "-s -w", Out: "cni",
			Packages: []string{cni + "main/bridge", cni + "main/loopback", cni + "ipam/host-local", cni + "meta/portmap"},
			Programs: []string{"bridge", "loopback", "host-local", "portmap"}},
		{Name: "containerd", Module: "toolchain/containerd", LDFlags: "-s -w", Out: "bin",
			Tags:     "no_btrfs no_zfs no_devmapper no_aufs",
			Packages: []string{containerd + "containerd", containerd + "containerd-shim-runc-v2", containerd + "ctr"},
			Programs: []string{"containerd", "containerd-shim-runc-v2", "ctr"}},
		{Name: "kubernetes", Module: "toolchain/kubernetes", Packages: []string{"."}, LDFlags: version, Out: "bin",
			Programs: []string{"kubernetes"}},
		{Name: "coredns", Module: "toolchain/coredns", Packages: []string{"."}, LDFlags: "-s -w", Out: "bin",
			Programs: []string{"coredns"}},
	}
}

// Toolchain is a complete cache folder.
type Toolchain struct{ dir string }

// Bin is the folder of the programs; it serves as KUBEBUILDER_ASSETS too.
func (t Toolchain) Bin() string { return filepath.Join(t.dir, "bin") }

// CNI is the folder of the CNI plugins.
func (t Toolchain) CNI() string { return filepath.Join(t.dir, "cni") }

// Images are the archives of the images that every node starts with.
func (t Toolchain) Images() []string {
	return []string{filepath.Join(t.dir, "images", "pause.tar"), filepath.Join(t.dir, "images", "coredns.tar")}
}

// Builder knows where the sources are and where the programs go.
type Builder struct {
	Source string // the folder tools/lab
	Cache  string // CacheDir()
	Output io.Writer
}

// CacheDir is the folder that all labs of this user share: ${RINGFENCE_CACHE} or ringfence in the user's cache folder.
func CacheDir() (string, error) {
	if dir := os.Getenv("RINGFENCE_CACHE"); dir != "" {
		return filepath.Abs(filepath.Join(dir, "lab"))
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("find a cache folder (RINGFENCE_CACHE names one): %w", err)
	}
	return filepath.Join(dir, "ringfence", "lab"), nil
}

var errNoSource = errors.New("run the lab inside a clone of the Ringfence repository: it builds its programs from tools/lab there")

// SourceDir finds the folder tools/lab of the repository, upwards from the given folders.
func SourceDir(from ...string) (string, error) {
	for _, dir := range from {
		for ; ; dir = filepath.Dir(dir) {
			source := filepath.Join(dir, "tools", "lab")
			if _, err := os.Stat(filepath.Join(source, "toolchain", "kubernetes", "go.mod")); err == nil {
				return source, nil
			}
			if dir == filepath.Dir(dir) {
				break
			}
		}
	}
	return "", errNoSource
}

// Find returns the toolchain if it is built, and fs.ErrNotExist if it is not.
func (b Builder) Find(ctx context.Context) (Toolchain, error) {
	key, err := b.key(ctx)
	if err != nil {
		return Toolchain{}, err
	}
	t := Toolchain{dir: filepath.Join(b.Cache, key)}
	_, err = os.Stat(t.marker())
	return t, err
}

// Ensure returns the toolchain, after building what is missing. A build that was broken off goes on where it stopped.
// Several callers may ask at once; one builds and the others wait for it.
func (b Builder) Ensure(ctx context.Context) (Toolchain, error) {
	if b.Source == "" {
		return Toolchain{}, errNoSource
	}
	t, err := b.Find(ctx)
	if err == nil || !errors.Is(err, fs.ErrNotExist) {
		return t, err
	}
	if err := os.MkdirAll(b.Cache, 0o755); err != nil {
		return t, fmt.Errorf("make the cache folder: %w", err)
	}
	unlock, err := lock(ctx, filepath.Join(b.Cache, "lock"), b.Output)
	if err != nil {
		return t, err
	}
	defer unlock()
	if _, err := os.Stat(t.marker()); err == nil {
		return t, nil
	}
	return t, b.build(ctx, t)
}

// marker exists in a complete cache folder.
func (t Toolchain) marker() string { return filepath.Join(t.dir, "complete") }

func (b Builder) build(ctx context.Context, t Toolchain) error {
	if err := b.prerequisites(ctx); err != nil {
		return err
	}
	for _, r := range recipes() {
		if err := b.run(ctx, r, t); err != nil {
			return err
		}
	}
	for _, name := range links {
		if err := os.Symlink("kubernetes", filepath.Join(t.Bin(), name)); err != nil && !errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("link %s: %w", name, err)
		}
	}
	if err := t.packImages(); err != nil {
		return err
	}
	return os.WriteFile(t.marker(), nil, 0o644)
}

func (t Toolchain) packImages() error {
	for archive, spec := range map[string]image.Spec{
		"pause.tar":   {Name: config.PauseImage, Files: []image.File{{Source: filepath.Join(t.Bin(), "pause"), Target: "/pause"}}, Entrypoint: []string{"/pause"}},
		"coredns.tar": {Name: config.CoreDNSImage, Files: []image.File{{Source: filepath.Join(t.Bin(), "coredns"), Target: "/coredns"}}, Entrypoint: []string{"/coredns"}},
	} {
		if _, err := image.Pack(spec, filepath.Join(t.dir, "images", archive)); err != nil {
			return err
		}
	}
	return nil
}

// run builds one recipe into a temporary folder and moves the programs over when all of them are there.
func (b Builder) run(ctx context.Context, r recipe, t Toolchain) (err error) {
	out := filepath.Join(t.dir, r.Out)
	if r.built(out) {
		return nil
	}
	tmp := filepath.Join(t.dir, "building-"+r.Name)
	for _, dir := range []string{out, tmp} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return fmt.Errorf("build %s: %w", r.Name, err)
		}
	}
	defer func() { err = errors.Join(err, os.RemoveAll(tmp)) }()
	if err := b.compile(ctx, r, tmp); err != nil {
		return fmt.Errorf("build %s: %w", r.Name, err)
	}
	for _, p := range r.Programs {
		if err := os.Rename(filepath.Join(tmp, p), filepath.Join(out, p)); err != nil {
			return fmt.Errorf("build %s: %w", r.Name, err)
		}
	}
	return nil
}

func (r recipe) built(out string) bool {
	for _, p := range r.Programs {
		if _, err := os.Stat(filepath.Join(out, p)); err != nil {
			return false
		}
	}
	return true
}

// flags are the same for every command about the recipe, so that all of them mean the same packages.
func (r recipe) flags() []string {
	return []string{"-trimpath", "-buildvcs=false", "-tags=" + strings.ReplaceAll(r.Tags, " ", ","), "-ldflags=" + r.LDFlags}
}

func (b Builder) goCommand(ctx context.Context, r recipe, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = filepath.Join(b.Source, r.Module)
	cgo := "CGO_ENABLED=0"
	if r.CGO {
		cgo = "CGO_ENABLED=1"
	}
	cmd.Env = append(os.Environ(), "GOWORK=off", "GOFLAGS=-mod=readonly", "GOOS=linux", cgo)
	return cmd
}

// compile runs go build; the programs land in out under the names of their packages' last elements.
func (b Builder) compile(ctx context.Context, r recipe, out string) error {
	total, err := b.packages(ctx, r)
	if err != nil {
		return err
	}
	cmd := b.goCommand(ctx, r, append(append([]string{"build", "-v", "-o", out + "/"}, r.flags()...), r.Packages...)...)
	meter := newMeter(b.Output, r.Name, total)
	cmd.Stderr = meter
	err = cmd.Run()
	meter.done(err)
	if err != nil {
		return fmt.Errorf("%w\n%s", err, meter.tail())
	}
	return nil
}

// packages counts what would be compiled with an empty build cache.
func (b Builder) packages(ctx context.Context, r recipe) (int, error) {
	cmd := b.goCommand(ctx, r, append(append([]string{"list", "-deps", "-f", "{{.ImportPath}}"}, r.flags()...), r.Packages...)...)
	var problems strings.Builder
	cmd.Stderr = &problems
	list, err := cmd.Output()
	if err != nil {
		return 0, fmt.Errorf("list the packages: %w\n%s", err, strings.TrimSpace(problems.String()))
	}
	return strings.Count(string(list), "\n"), nil
}

// key names the cache folder: a hash over the sources, the recipes, the Go release and the machine.
func (b Builder) key(ctx context.Context) (string, error) {
	version, err := b.goCommand(ctx, recipe{}, "env", "GOVERSION").Output()
	if err != nil {
		return "", fmt.Errorf("ask go for its version (is Go on the PATH?): %w", err)
	}
	h := sha256.New()
	_, _ = fmt.Fprintf(h, "%s %s %+v %v\n", strings.TrimSpace(string(version)), runtime.GOARCH, recipes(), links)
	for _, root := range []string{"toolchain", "pause"} {
		if err := hashTree(h, filepath.Join(b.Source, root)); err != nil {
			return "", fmt.Errorf("hash the lab's sources: %w", err)
		}
	}
	return hex.EncodeToString(h.Sum(nil)[:8]), nil
}

// hashTree writes the paths and contents of all files under root to h, in lexical order.
func hashTree(h io.Writer, root string) error {
	return filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		name, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(h, "%s %d\n%s\n", filepath.ToSlash(name), len(content), content)
		return err
	})
}
