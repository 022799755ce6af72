// Package podnetns opens network namespaces of pods and makes sure that they are what they are taken for: a network
// namespace, and not the host's.
//
// It does not find pods (package cri does) and runs nothing inside a namespace: sockets are opened in it by the netlink
// library, on a locked thread that dies if it cannot go back.
package podnetns

import (
	"errors"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// ErrHost refuses the host's own network namespace: pods on the host network have no rules of their own.
var ErrHost = errors.New("it is the host's network namespace")

// ErrNotNetns says that the path holds something else, as an unmounted bind target in a container without mount
// propagation does.
var ErrNotNetns = errors.New("it is not a network namespace")

// Handle is an open network namespace. It keeps the namespace alive until it is closed.
type Handle struct {
	file *os.File
	// Inode identifies the namespace as long as any handle to it is open.
	Inode uint64
}

// Open opens the first of the paths that is a network namespace. Where none is, the error says why for each.
func Open(hosts Hosts, paths ...string) (*Handle, error) {
	var problems []error
	for _, path := range paths {
		h, err := open(hosts, path)
		if err == nil {
			return h, nil
		}
		problems = append(problems, fmt.Errorf("open network namespace %s: %w", path, err))
		if errors.Is(err, ErrHost) {
			break
		}
	}
	if len(problems) == 0 {
		return nil, errors.New("the runtime gave neither a path nor a process of the network namespace")
	}
	return nil, errors.Join(problems...)
}

func open(hosts Hosts, path string) (*Handle, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	h, err := adopt(os.NewFile(uintptr(fd), path))
	if err != nil {
		return nil, err
	}
	if hosts[h.Inode] {
		return nil, errors.Join(ErrHost, h.Close())
	}
	return h, nil
}

// adopt takes the file over and closes it on an error.
func adopt(f *os.File) (*Handle, error) {
	kind, err := unix.IoctlRetInt(int(f.Fd()), unix.NS_GET_NSTYPE)
	if err != nil || kind != unix.CLONE_NEWNET {
		return nil, errors.Join(ErrNotNetns, f.Close())
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &Handle{file: f, Inode: st.Ino}, nil
}

// Dup opens the namespace once more.
func (h *Handle) Dup() (*Handle, error) {
	fd, err := unix.FcntlInt(h.file.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("duplicate handle of %s: %w", h.file.Name(), err)
	}
	return &Handle{file: os.NewFile(uintptr(fd), h.file.Name()), Inode: h.Inode}, nil
}

// FD is the file descriptor, valid until Close.
func (h *Handle) FD() int { return int(h.file.Fd()) }

// Path is where the namespace was opened.
func (h *Handle) Path() string { return h.file.Name() }

// Close gives the namespace up.
func (h *Handle) Close() error { return h.file.Close() }

// Hosts holds the inodes of network namespaces that no pod may claim.
type Hosts map[uint64]bool

// FindHosts gives the namespaces of this process, which runs on the node's network, and of process 1, which differs
// where a node is itself a namespace of a larger machine. Where process 1 may not be looked at, the first must do.
func FindHosts() (Hosts, error) {
	hosts := Hosts{}
	var st unix.Stat_t
	if err := unix.Stat("/proc/self/ns/net", &st); err != nil {
		return nil, fmt.Errorf("find the host's network namespace: %w", err)
	}
	hosts[st.Ino] = true
	if err := unix.Stat(PathOfProcess(1), &st); err == nil {
		hosts[st.Ino] = true
	}
	return hosts, nil
}

// PathOfProcess is where a process' network namespace is found.
func PathOfProcess(pid int) string { return "/proc/" + strconv.Itoa(pid) + "/ns/net" }
