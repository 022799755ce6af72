// Command enforcer is the node's agent. Its one other command, release, opens every pod of the node.
package main

import (
	"context"
	"os"

	"github.com/ringfence/ringfence/libs/service"
	"github.com/ringfence/ringfence/services/enforcer"
)

type commands struct {
	Run     runCommand     `cmd:"" default:"withargs" help:"Enforce the node's policy (default)."`
	Release releaseCommand `cmd:"" help:"Remove Ringfence's tables from every pod of this node and keep them out (break-glass)."`
}

type runCommand struct {
	enforcer.Config `embed:""`
}

// Run implements the command.
func (c *runCommand) Run(ctx context.Context) error { return enforcer.Run(ctx, c.Config) }

type releaseCommand struct {
	enforcer.Runtime `embed:""`
	Once             bool `help:"Leave no break-glass file: an enforcer that runs here programs the pods again. For after an uninstall."`
}

// Run implements the command.
func (c *releaseCommand) Run(ctx context.Context) error {
	return enforcer.Release(ctx, c.Runtime, c.Once, os.Stdout)
}

func main() {
	service.Main("enforcer", "Enforces Ringfence's policy in the network namespaces of a node's pods.", &commands{}, nil)
}
