// Command policy-store hosts Ringfence's event log and folds its facts into policy. Of its other commands, nats-config writes
// the configuration of an external NATS cluster, and move moves the log there or back.
package main

import (
	"context"
	"os"

	"github.com/ringfence/ringfence/libs/service"
	policystore "github.com/ringfence/ringfence/services/policy-store"
)

type commands struct {
	Run        runCommand        `cmd:"" default:"withargs" help:"Host the log, or use an external cluster's, and fold it into policy (default)."`
	NATSConfig natsConfigCommand `cmd:"" name:"nats-config" help:"Print what the servers of an external NATS cluster need so that clients have their rights there, and make the keys for it."`
	Move       moveCommand       `cmd:"" help:"Move the log between --store-dir and the external cluster at --log-url, to where --nats-mode says, while policy-store is stopped."`
}

type moveCommand struct {
	policystore.MoveLog `embed:""`
}

// Run implements the command.
func (c *moveCommand) Run(ctx context.Context) error { return c.Write(ctx, os.Stdout, os.Stderr) }

type runCommand struct {
	policystore.Config `embed:""`
}

// Run implements the command.
func (c *runCommand) Run(ctx context.Context) error { return policystore.Run(ctx, c.Config) }

type natsConfigCommand struct {
	policystore.NATSConfig `embed:""`
}

// Run implements the command.
func (c *natsConfigCommand) Run() error { return c.Write(os.Stdout) }

func main() {
	service.Main("policy-store", "Hosts Ringfence's event log and folds its facts into policy.", &commands{}, nil)
}
