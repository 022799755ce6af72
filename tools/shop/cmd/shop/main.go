// Command shop is the sample application: servers that call each other, and the probe.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/alecthomas/kong"
	"github.com/rs/zerolog"
	"golang.org/x/sync/errgroup"

	"github.com/ringfence/ringfence/tools/shop"
)

type cli struct {
	Serve    serve    `cmd:"" help:"Serve HTTP, and call others once a second."`
	ServeTCP serveTCP `cmd:"" name:"serve-tcp" help:"Echo over TCP: the shop's database."`
	Idle     idle     `cmd:"" help:"Do nothing until stopped: a pod to probe from."`
	Probe    probe    `cmd:"" help:"Try to reach targets, and say which answered."`
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	parsed := kong.Parse(&cli{}, kong.Name("shop"), kong.Description("The sample shop: web, api, database, ledger."),
		kong.UsageOnError(), kong.BindTo(ctx, (*context.Context)(nil)), kong.BindTo(os.Stdout, (*io.Writer)(nil)))
	parsed.FatalIfErrorf(parsed.Run())
}

type traffic struct {
	Calls    []string      `placeholder:"HOST:PORT" help:"Targets to call for ever."`
	Interval time.Duration `default:"1s" help:"Time between two calls of a target."`
	Timeout  time.Duration `default:"1s" help:"Longest wait for a call."`
}

func (t traffic) run(ctx context.Context, name string) {
	log := zerolog.New(os.Stderr).With().Timestamp().Str("name", name).Logger()
	shop.Caller{Targets: t.Calls, Interval: t.Interval, Timeout: t.Timeout, Log: log}.Run(ctx)
}

type serve struct {
	traffic `embed:""`
	Name    string `required:"" help:"Part of the shop that this is."`
	Listen  string `default:":8080" help:"Address to serve on."`
}

// Run serves until the context ends.
func (s *serve) Run(ctx context.Context) error {
	pod, err := os.Hostname()
	if err != nil {
		return fmt.Errorf("find the host name: %w", err)
	}
	listener, err := net.Listen("tcp", s.Listen)
	if err != nil {
		return fmt.Errorf("serve %s: %w", s.Name, err)
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return shop.ServeHTTP(ctx, listener, shop.Identity{Name: s.Name, Pod: pod}) })
	group.Go(func() error { s.run(ctx, s.Name); return nil })
	return group.Wait()
}

type serveTCP struct {
	Listen string `default:":5432" help:"Address to serve on."`
}

// Run serves until the context ends.
func (s *serveTCP) Run(ctx context.Context) error {
	listener, err := net.Listen("tcp", s.Listen)
	if err != nil {
		return fmt.Errorf("serve the database: %w", err)
	}
	return shop.ServeTCP(ctx, listener)
}

type idle struct {
	traffic `embed:""`
	Name    string `default:"idle" help:"Name in the log."`
}

// Run waits, calling its targets if it has any.
func (i *idle) Run(ctx context.Context) error {
	i.run(ctx, i.Name)
	<-ctx.Done()
	return nil
}

type probe struct {
	Timeout time.Duration `default:"1s" help:"Longest wait for a target."`
	Output  string        `short:"o" enum:"text,json" default:"text" help:"text or json; with json the exit code is 0 whatever was found."`
	Targets []string      `arg:"" name:"host:port" help:"Targets, all tried at the same time."`
}

// Run prints what the probe found.
func (p *probe) Run(ctx context.Context, out io.Writer) error {
	results := shop.Probe(ctx, p.Targets, p.Timeout)
	if p.Output == "json" {
		return json.NewEncoder(out).Encode(results)
	}
	for _, r := range results {
		verdict := "connected"
		if !r.Connected {
			verdict = "failed: " + r.Error
		}
		if _, err := fmt.Fprintf(out, "%s %s (%d ms)\n", r.Target, verdict, r.Milliseconds); err != nil {
			return err
		}
	}
	if !shop.AllConnected(results) {
		return fmt.Errorf("not every target of %d answered", len(results))
	}
	return nil
}
