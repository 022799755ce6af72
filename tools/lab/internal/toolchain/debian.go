package toolchain

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
)

// Requirement is something outside Go modules that the lab needs, and the Debian package that brings it.
type Requirement struct {
	Package string
	Met     func(context.Context) bool
}

// Program is met when the program is on the PATH.
func Program(name, pkg string) Requirement {
	return Requirement{Package: pkg, Met: func(context.Context) bool {
		_, err := exec.LookPath(name)
		return err == nil
	}}
}

// prerequisites are what runc needs: a C compiler, and libseccomp with its static library.
func (b Builder) prerequisites(ctx context.Context) error {
	return Install(ctx, b.Output,
		Program("gcc", "gcc"),
		Program("gcc", "libc6-dev"),
		Program("pkg-config", "pkg-config"),
		Requirement{Package: "libseccomp-dev", Met: func(ctx context.Context) bool {
			return exec.CommandContext(ctx, "pkg-config", "--exists", "libseccomp").Run() == nil
		}})
}

// Install installs the Debian packages of the unmet requirements, after saying so on out. Where it cannot (no
// apt-get, not root) the error says what to install.
func Install(ctx context.Context, out io.Writer, needs ...Requirement) error {
	var missing []string
	for _, n := range needs {
		if !n.Met(ctx) {
			missing = append(missing, n.Package)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	names := strings.Join(missing, " ")
	if _, err := exec.LookPath("apt-get"); err != nil {
		return fmt.Errorf("the lab needs what Debian calls %s: install it with this system's package manager and run again", names)
	}
	if os.Geteuid() != 0 {
		return fmt.Errorf("the lab needs the packages %s: run 'sudo apt-get install %s' and run again", names, names)
	}
	_, _ = fmt.Fprintf(out, "Installing Debian packages: apt-get install %s\n", names)
	return aptGet(ctx, missing)
}

func aptGet(ctx context.Context, packages []string) error {
	install := append([]string{"install", "-y", "--no-install-recommends"}, packages...)
	if _, err := runAptGet(ctx, install); err == nil {
		return nil
	}
	// A machine whose package lists are old or were never fetched.
	if output, err := runAptGet(ctx, []string{"update"}); err != nil {
		return fmt.Errorf("apt-get update: %w\n%s", err, output)
	}
	if output, err := runAptGet(ctx, install); err != nil {
		return fmt.Errorf("apt-get install %s: %w\n%s", strings.Join(packages, " "), err, output)
	}
	return nil
}

func runAptGet(ctx context.Context, args []string) (string, error) {
	cmd := exec.CommandContext(ctx, "apt-get", args...)
	cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
	output, err := cmd.CombinedOutput()
	return strings.TrimSpace(string(output)), err
}
