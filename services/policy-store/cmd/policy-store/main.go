// Command policy-store hosts Ringfence's event log and folds its facts into policy. Its one other command, nats-config, writes
// the configuration of an external NATS cluster.
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
}

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
