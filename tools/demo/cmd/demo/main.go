// Command demo shows Ringfence at work on a real cluster: on KUBECONFIG's, or on the lab that it starts.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/alecthomas/kong"

	"github.com/ringfence/ringfence/tools/demo"
)

type commands struct {
	Root     string `help:"Root of the repository." default:"." type:"existingdir"`
	Registry string `help:"Registry of the images, for a cluster other than the lab, for instance registry.example.com/ringfence." env:"IMAGE_REGISTRY"`

	Run    run    `cmd:"" help:"Install, show, and write out/demo.json. Example: KUBECONFIG=~/.kube/config demo run"`
	Remove remove `cmd:"" help:"Remove everything that the demo made: the whole lab, or what was installed on KUBECONFIG's cluster. Example: demo remove"`
}

type run struct {
	Unenforced bool `help:"Program no tables: the same probes then show that nothing is blocked, and the demo fails."`
}

type remove struct{}

func (c *commands) options() (demo.Options, error) {
	root, err := filepath.Abs(c.Root)
	return demo.Options{Root: root, Kubeconfig: os.Getenv("KUBECONFIG"), Registry: c.Registry, Out: os.Stdout}, err
}

// Run runs the demo.
func (r *run) Run(ctx context.Context, c *commands) error {
	options, err := c.options()
	if err != nil {
		return err
	}
	options.Unenforced = r.Unenforced
	start := time.Now()
	d, err := demo.Open(ctx, options)
	if err != nil {
		return err
	}
	defer d.Close()
	result, failed := d.Run(ctx)
	fmt.Println()
	result.WriteTable(os.Stdout)
	file := filepath.Join(options.Root, "out", "demo.json")
	if err := errors.Join(failed, result.Write(file)); err != nil {
		return err
	}
	if err := d.StartConsole(ctx); err != nil {
		return err
	}
	fmt.Printf("\nFrom provisioning to enforcement on every node: %d ms. All %d observations are as expected. %.0f s in all; out/demo.json has everything.\n",
		result.ProvisionToEnforcedMS, len(result.Matrix), time.Since(start).Seconds())
	fmt.Printf("Look around: export KUBECONFIG=%s; out/bin/ringfence status. Remove everything: make demo-down\n", d.Kubeconfig())
	return nil
}

// Run removes the demo.
func (remove) Run(ctx context.Context, c *commands) error {
	options, err := c.options()
	if err != nil {
		return err
	}
	return demo.RemoveAll(ctx, options)
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	err := execute(ctx)
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "\ndemo failed: %v\n", err)
		os.Exit(1)
	}
}

func execute(ctx context.Context) error {
	var c commands
	k := kong.Parse(&c, kong.Name("demo"), kong.UsageOnError(),
		kong.Description("Shows Ringfence allowing and blocking real traffic between real pods."),
		kong.BindTo(ctx, (*context.Context)(nil)))
	return k.Run(&c)
}
