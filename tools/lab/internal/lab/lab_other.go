//go:build !linux

package lab

import (
	"context"
	"io"

	"github.com/ringfence/ringfence/tools/lab/internal/control"
	"github.com/ringfence/ringfence/tools/lab/internal/toolchain"
)

// Lab stands in for the Linux one, so that the other commands work everywhere.
type Lab struct {
	Dir     string
	Output  io.Writer
	Builder toolchain.Builder
}

// UpOptions are those of the Linux lab.
type UpOptions struct {
	Nodes       int
	Listen      string
	NRIRequired bool
	Beside      bool
}

// Up refuses.
func (Lab) Up(context.Context, UpOptions) (string, error) { return "", notLinux }

// Down refuses.
func (Lab) Down(context.Context) error { return notLinux }

// Status refuses.
func (Lab) Status(context.Context) (control.Status, error) { return control.Status{}, notLinux }

// Load refuses.
func (Lab) Load(context.Context, []string) error { return notLinux }

// Exec refuses.
func (Lab) Exec(context.Context, string, []string) error { return notLinux }

// Kubectl refuses.
func (Lab) Kubectl([]string) error { return notLinux }

// Supervise refuses.
func Supervise(context.Context, string, bool) error { return notLinux }
