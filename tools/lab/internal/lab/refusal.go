package lab

import "errors"

// ErrRefused marks errors that say this machine or user cannot have a lab at all; what to do instead is part of the
// sentence. The command line ends with exit code 2 for them.
var ErrRefused = errors.New("no lab here")

// refusal is a sentence that stands by itself.
type refusal string

func (r refusal) Error() string        { return string(r) }
func (r refusal) Is(target error) bool { return target == ErrRefused }

const (
	notRoot = refusal("A lab is made of network namespaces, mounts and control groups, which takes root: run this with sudo, " +
		"or set KUBECONFIG to a cluster that you have.")
	notLinux = refusal("A lab is made of Linux namespaces and control groups: run it on a Linux machine or in a Linux virtual machine, " +
		"or set KUBECONFIG to a cluster that you have.")
	notPrivileged = refusal("Root may not make namespaces here, as in an ordinary container: run the lab on the machine itself, in a virtual machine, " +
		"or in a container with --privileged.")
)

// CheckMachine refuses a system or user that cannot have a lab. goos is runtime.GOOS, uid the effective user.
func CheckMachine(goos string, uid int) error {
	switch {
	case goos != "linux":
		return notLinux
	case uid != 0:
		return notRoot
	}
	return nil
}
