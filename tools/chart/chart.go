package chart

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// KubeVersion is the Kubernetes that charts are rendered for.
const KubeVersion = "1.37.0"

// Helm runs helm in a repository.
type Helm struct {
	// Root is the repository's folder.
	Root string
}

// Template renders the chart deploy/helm/<name> as release <name> of a namespace. Further arguments are helm's, for
// instance --set. An error holds what helm said.
func (h Helm) Template(ctx context.Context, name, namespace string, args ...string) (string, error) {
	dir, err := h.chart(name)
	if err != nil {
		return "", err
	}
	return h.run(ctx, append([]string{"template", name, dir, "--namespace", namespace, "--kube-version", KubeVersion}, args...)...)
}

// Lint runs helm's own checks, with warnings as errors.
func (h Helm) Lint(ctx context.Context, name string, args ...string) (string, error) {
	dir, err := h.chart(name)
	if err != nil {
		return "", err
	}
	return h.run(ctx, append([]string{"lint", "--strict", dir, "--kube-version", KubeVersion}, args...)...)
}

func (h Helm) chart(name string) (string, error) {
	dir, err := filepath.Abs(filepath.Join(h.Root, "deploy", "helm", name))
	if err != nil {
		return "", fmt.Errorf("chart %s: %w", name, err)
	}
	return dir, nil
}

func (h Helm) run(ctx context.Context, args ...string) (string, error) {
	cmd := h.command(ctx, args...)
	var out, complaint bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &complaint
	if err := cmd.Run(); err != nil {
		said := strings.TrimSpace(complaint.String())
		if said == "" {
			said = err.Error()
		}
		return out.String(), fmt.Errorf("helm %s: %w", args[0], errors.New(said))
	}
	return out.String(), nil
}

// command is the helm that `make dev-tools` built, or else the same one through the go command, which builds it first.
func (h Helm) command(ctx context.Context, args ...string) *exec.Cmd {
	if built, err := filepath.Abs(filepath.Join(h.Root, "out", "bin", "helm")); err == nil {
		if _, err := os.Stat(built); err == nil {
			return exec.CommandContext(ctx, built, args...)
		}
	}
	cmd := exec.CommandContext(ctx, "go", append([]string{"-C", filepath.Join(h.Root, "tools", "dev"), "tool", "helm"}, args...)...)
	cmd.Env = append(os.Environ(), "GOWORK=off")
	return cmd
}
