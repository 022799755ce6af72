package supervisor

import (
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/ringfence/ringfence/tools/lab/internal/config"
)

// Shadowed are the folders of the machine that every node sees its own version of. A lab's folder cannot lie in one.
var Shadowed = append([]string{"/run", "/var/run", "/var/log"}, overlaid...)

// overlaid show the machine's files, and keep changes to the node.
var overlaid = []string{"/etc", "/opt", "/var/lib"}

// mountNode gives the calling thread's mount namespace the node's own folders; dir is the node's part of the lab's
// folder. Afterwards mounts are shared again, so that volumes with mount propagation work inside the node.
func mountNode(dir, cni string, etc []config.File) error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make the mounts private: %w", err)
	}
	for _, target := range overlaid {
		if err := overlay(target, filepath.Join(dir, "overlay", filepath.Base(target))); err != nil {
			return err
		}
	}
	// Not on an overlay: containerd cannot put its own overlays on one, and the kubelet asks for their disk usage.
	binds := [][2]string{
		{filepath.Join(dir, "containerd"), "/var/lib/containerd"},
		{filepath.Join(dir, "kubelet"), "/var/lib/kubelet"},
		{filepath.Join(dir, "log"), "/var/log"},
		{cni, "/opt/cni/bin"},
	}
	for _, b := range binds {
		if err := bind(b[0], b[1]); err != nil {
			return err
		}
	}
	if err := freshRun(); err != nil {
		return err
	}
	for _, f := range etc {
		if err := writeEtc(f); err != nil {
			return err
		}
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SHARED, ""); err != nil {
		return fmt.Errorf("make the mounts shared: %w", err)
	}
	return nil
}

func overlay(target, state string) error {
	upper, work := filepath.Join(state, "upper"), filepath.Join(state, "work")
	for _, dir := range []string{upper, work} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	options := fmt.Sprintf("lowerdir=%s,upperdir=%s,workdir=%s", target, upper, work)
	if err := unix.Mount("overlay", target, "overlay", 0, options); err != nil {
		return fmt.Errorf("mount the node's own %s: %w", target, err)
	}
	return nil
}

func bind(source, target string) error {
	for _, dir := range []string{source, target} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	if err := unix.Mount(source, target, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("mount the node's own %s: %w", target, err)
	}
	return nil
}

// freshRun is an empty /run with the folders that hostPath volumes ask for before their owners make them.
func freshRun() error {
	if err := unix.Mount("tmpfs", "/run", "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=755"); err != nil {
		return fmt.Errorf("mount the node's own /run: %w", err)
	}
	for _, dir := range []string{"/run/netns", "/run/nri", "/run/containerd", "/run/lock"} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	return nil
}

// writeEtc replaces the file: on the machine it may be a symbolic link into /run.
func writeEtc(f config.File) error {
	if err := os.MkdirAll(filepath.Dir(f.Path), 0o755); err != nil {
		return err
	}
	if err := os.RemoveAll(f.Path); err != nil {
		return err
	}
	return os.WriteFile(f.Path, []byte(f.Text), 0o644)
}
