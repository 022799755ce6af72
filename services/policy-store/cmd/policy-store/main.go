// Command policy-store hosts Ringfence's event log and folds its facts into policy. Of its other commands, nats-config writes
// the configuration of an external NATS cluster, move moves the log there or back, and mirror-key makes the key by which a
// mirror knows its log.
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
	MirrorKey  mirrorKeyCommand  `cmd:"" name:"mirror-key" help:"Print the public key by which a mirror knows its log, and make the key where it is not there."`
}

type moveCommand struct {
	policystore.MoveLog `embed:""`
}

// Run implements the command.
func (c *moveCommand) Run(ctx context.Context) error { return c.Write(ctx, os.Stdout, os.Stderr) }

type mirrorKeyCommand struct {
	policystore.MirrorKey `embed:""`
}

// Run implements the command.
func (c *mirrorKeyCommand) Run() error { return c.Write(os.Stdout) }

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
