// Package cgroup makes and removes the control groups that the lab's nodes hang their pods under. It knows the two
// layouts of Linux: version 1 (a folder per controller) and version 2 (one unified hierarchy).
//
// Version 1 is what the lab has been run on. Version 2 is written from the kernel's cgroup-v2.rst and tested against
// a folder that looks like it, but no lab was run on it.
//
// It does not limit or account for anything: the kubelet and runc do, below the groups made here.
package cgroup

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Mount is where every Linux distribution mounts the control groups.
const Mount = "/sys/fs/cgroup"

// wanted are the controllers that the kubelet's pod groups need in version 2.
var wanted = []string{"cpu", "cpuset", "memory", "pids", "io", "hugetlb"}

// Layout is the control group file system of a machine.
type Layout struct {
	mount       string
	v2          bool
	hierarchies []string // absolute folders; one for version 2
	controllers []string // version 2 only: the wanted ones that the kernel offers
}

// Detect reads the layout under mount (Mount, or a test's folder). Version 2 is told by the file cgroup.controllers
// in the mount itself. In the hybrid layout of version 1, the unified folder is one hierarchy among the others.
func Detect(mount string) (Layout, error) {
	offered, err := os.ReadFile(filepath.Join(mount, "cgroup.controllers"))
	if err == nil {
		l := Layout{mount: mount, v2: true, hierarchies: []string{mount}}
		for _, name := range strings.Fields(string(offered)) {
			if slices.Contains(wanted, name) {
				l.controllers = append(l.controllers, name)
			}
		}
		return l, nil
	}
	entries, err := os.ReadDir(mount)
	if err != nil {
		return Layout{}, fmt.Errorf("read the control groups: %w", err)
	}
	l := Layout{mount: mount}
	for _, e := range entries {
		folder := filepath.Join(mount, e.Name())
		if !e.IsDir() { // links such as cpu -> cpu,cpuacct name a hierarchy a second time
			continue
		}
		if _, err := os.Stat(filepath.Join(folder, "cgroup.procs")); err == nil {
			l.hierarchies = append(l.hierarchies, folder)
		}
	}
	if len(l.hierarchies) == 0 {
		return Layout{}, fmt.Errorf("no control groups are mounted under %s", mount)
	}
	return l, nil
}

// Version is 1 or 2.
func (l Layout) Version() int {
	if l.v2 {
		return 2
	}
	return 1
}

// Create makes the group path (relative, "name/child") in every hierarchy, ready for the kubelet to make pod groups
// under it. Groups that exist already are kept.
func (l Layout) Create(path string) error {
	for _, h := range l.hierarchies {
		group, err := l.createIn(h, path)
		if err == nil {
			err = l.enable(group)
		}
		if err != nil {
			return fmt.Errorf("make the control group %s in %s: %w", path, h, err)
		}
	}
	return nil
}

// Join makes the group path in every hierarchy and moves this process into it; what it starts is born there. In
// version 2 the group can have no groups below it.
func (l Layout) Join(path string) error {
	for _, h := range l.hierarchies {
		group, err := l.createIn(h, path)
		if err == nil {
			// 0 is the writer itself, whatever its number in which PID namespace.
			err = os.WriteFile(filepath.Join(group, "cgroup.procs"), []byte("0"), 0o644)
		}
		if err != nil {
			return fmt.Errorf("join the control group %s in %s: %w", path, h, err)
		}
	}
	return nil
}

// createIn returns the folder of the group.
func (l Layout) createIn(hierarchy, path string) (string, error) {
	group := hierarchy
	for _, part := range strings.Split(path, "/") {
		if err := l.enable(group); err != nil {
			return "", err
		}
		child := filepath.Join(group, part)
		if err := os.Mkdir(child, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			return "", err
		}
		if err := inheritCPUSet(group, child); err != nil {
			return "", err
		}
		group = child
	}
	return group, nil
}

// enable hands the controllers down to the children of a version 2 group. The kernel refuses it (EBUSY) in a group
// that holds processes itself, other than the machine's root group.
func (l Layout) enable(group string) error {
	if !l.v2 || len(l.controllers) == 0 {
		return nil
	}
	err := os.WriteFile(filepath.Join(group, "cgroup.subtree_control"), []byte("+"+strings.Join(l.controllers, " +")), 0o644)
	if errors.Is(err, syscall.EBUSY) {
		return fmt.Errorf("%w: processes live in this group itself; a lab inside a container needs a container with its own empty root group", err)
	}
	return err
}

// inheritCPUSet copies the processors and memory nodes down in version 1: a cpuset group starts empty there, and
// takes no process until both are set.
func inheritCPUSet(parent, child string) error {
	for _, name := range []string{"cpuset.cpus", "cpuset.mems"} {
		value, err := os.ReadFile(filepath.Join(parent, name))
		if errors.Is(err, fs.ErrNotExist) {
			continue // another controller, or version 2, where empty means inherited
		}
		if err != nil {
			return err
		}
		if len(strings.TrimSpace(string(value))) == 0 {
			continue
		}
		if err := os.WriteFile(filepath.Join(child, name), value, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// Find returns the folders of the group name at the top of each hierarchy, where it exists.
func (l Layout) Find(name string) []string {
	var found []string
	for _, h := range l.hierarchies {
		folder := filepath.Join(h, name)
		if _, err := os.Stat(folder); err == nil {
			found = append(found, folder)
		}
	}
	return found
}

// Remove kills every process in the group name and below, and removes the groups. A killed process leaves its group
// a moment later, so it tries again until ctx ends; then it returns the reason of the last try.
func (l Layout) Remove(ctx context.Context, name string) error {
	for {
		err := l.removeOnce(name)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("remove the control group %s: %w", name, err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func (l Layout) removeOnce(name string) error {
	var failed error
	for _, top := range l.Find(name) {
		var groups []string
		err := filepath.WalkDir(top, func(path string, d fs.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				groups = append(groups, path)
			}
			return nil
		})
		failed = errors.Join(failed, err)
		for _, group := range slices.Backward(groups) { // children stand after their parents
			killAll(group)
			if err := os.Remove(group); err != nil && !errors.Is(err, fs.ErrNotExist) {
				failed = errors.Join(failed, err)
			}
		}
	}
	return failed
}

func killAll(group string) {
	list, err := os.ReadFile(filepath.Join(group, "cgroup.procs"))
	if err != nil {
		return // gone meanwhile
	}
	for _, field := range strings.Fields(string(list)) {
		// 0 stands for a process of another PID namespace: not ours to end by number.
		if pid, err := strconv.Atoi(field); err == nil && pid > 1 && pid != os.Getpid() {
			_ = syscall.Kill(pid, syscall.SIGKILL) // it may have ended by itself
		}
	}
}
