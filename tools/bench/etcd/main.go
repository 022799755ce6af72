// Command etcd is the peer of the benchmark of the log: an embedded etcd as a server of its own, and the clients' work of
// package tools/bench/load on it, by the same protocol. It is a module of its own, so that nothing of etcd gets into the
// build lists of what Ringfence ships. tools/bench/rounds runs it.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/alecthomas/kong"
	"go.etcd.io/etcd/api/v3/version"
)

type commands struct {
	URL string `help:"Address of the server that a client is of."`

	Serve   serveCommand   `cmd:"" help:"Serve an etcd of one member until a signal comes. Example: etcd serve --dir /tmp/etcd --listen 127.0.0.1:2379"`
	Version versionCommand `cmd:"" help:"Say which etcd this is. Example: etcd version"`
	Write   writeCommand   `cmd:"" help:"Put values of 500 bytes. Example: etcd --url http://127.0.0.1:2379 write --writers 64"`
	FanOut  fanOutCommand  `cmd:"" help:"Watch one key by many clients. Example: etcd --url http://127.0.0.1:2379 fan-out --watchers 1000"`
	Fill    fillCommand    `cmd:"" help:"Put many keys, in transactions of a hundred. Example: etcd --url http://127.0.0.1:2379 fill --keys 100000"`
	List    listCommand    `cmd:"" help:"List all keys in pages of 5,000. Example: etcd --url http://127.0.0.1:2379 list"`
}

type writeCommand struct {
	Writers int           `default:"64" help:"Goroutines that write, by one client."`
	During  time.Duration `default:"5s" help:"How long."`
	Bytes   int           `default:"500" help:"Size of a value."`
}

func (c *writeCommand) Run(ctx context.Context, at *commands) error {
	return write(ctx, at.URL, c.Writers, c.During, c.Bytes)
}

type fanOutCommand struct {
	Watchers int `default:"1000" help:"Watchers, each on a connection of its own."`
	Windows  int `default:"50" help:"How often the key is written."`
	Rate     int `default:"5" help:"How often a second."`
	Bytes    int `default:"500" help:"Size of a value."`
}

func (c *fanOutCommand) Run(ctx context.Context, at *commands) error {
	return fanOut(ctx, at.URL, c.Watchers, c.Windows, c.Rate, c.Bytes)
}

type fillCommand struct {
	Keys  int `default:"100000" help:"Different keys."`
	From  int `default:"0" help:"First revision of each."`
	To    int `default:"1" help:"Revision before which to stop."`
	Bytes int `default:"500" help:"Size of a value."`
}

func (c *fillCommand) Run(ctx context.Context, at *commands) error {
	return fill(ctx, at.URL, c.Keys, c.From, c.To, c.Bytes)
}

type listCommand struct{}

func (listCommand) Run(ctx context.Context, at *commands) error { return list(ctx, at.URL) }

type versionCommand struct{}

func (versionCommand) Run() error {
	_, err := fmt.Println(version.Version)
	return err
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	var c commands
	parsed := kong.Parse(&c, kong.Name("etcd"), kong.UsageOnError(), kong.BindTo(ctx, (*context.Context)(nil)), kong.Bind(&c),
		kong.Description("etcd as the peer of the benchmark of the log; bench log runs it."))
	err := parsed.Run()
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "etcd: %v\n", err)
		os.Exit(1)
	}
}
