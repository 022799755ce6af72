// Command bench measures Ringfence on workloads that others have measured, too, and prints ours beside theirs.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/alecthomas/kong"

	"github.com/ringfence/ringfence/tools/bench/report"
)

type commands struct {
	Engine engineCommand `cmd:"" help:"Measure the engine: folds of whole clusters, restarts, single changes, one node's plan, growth. Example: bench engine --workloads A1,C2 --modes cold,change"`

	Log   logCommand   `cmd:"" help:"Measure the log beside etcd: durable writes, fan-out, bootstrap, replay, disk. Example: bench log --rows write,fan-out"`
	Scale scaleCommand `cmd:"" help:"Run a cluster of a thousand nodes without its nodes: cold start, five minutes of changes, growth. Example: bench scale --during 1m"`
	PCE   pceCommand   `cmd:"" name:"pce" help:"Measure pce-bridge between a console and the log: first full sync, changes, requests while nothing changes. Example: bench pce --rounds 1"`
	Load  loadCommand  `cmd:"" hidden:"" help:"Be one client of the log, for bench log."`

	Document documentCommand `cmd:"" help:"Put saved results into a document. Example: bench document out/bench/engine.json docs/benchmarks.md"`
}

type documentCommand struct {
	Results string `arg:"" help:"Results as JSON; the file's name is that of the place in the document."`
	File    string `arg:"" help:"Document with the lines <!-- NAME: begin --> and <!-- NAME: end -->."`
}

// Run writes the document.
func (c *documentCommand) Run() error {
	r, err := report.Load(c.Results)
	if err != nil {
		return err
	}
	return r.Document(c.File, strings.TrimSuffix(filepath.Base(c.Results), ".json"))
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "bench: %v\n", err)
		os.Exit(1)
	}
}

// streams are where a command writes: results and progress.
type streams struct{ out, progress io.Writer }

func run(ctx context.Context, args []string, out, progress io.Writer) error {
	var c commands
	parser, err := kong.New(&c, kong.Name("bench"),
		kong.Description("Measure Ringfence, beside what others measured of theirs. A target that is missed is said so, and is no error."),
		kong.Writers(out, progress), kong.BindTo(ctx, (*context.Context)(nil)), kong.Bind(streams{out, progress}, &c))
	if err != nil {
		return err
	}
	parsed, err := parser.Parse(args)
	if err != nil {
		return fmt.Errorf("%w; see bench --help", err)
	}
	return parsed.Run()
}
