// Command bench measures Ringfence on workloads that others have measured, too, and prints ours beside theirs.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/alecthomas/kong"
)

type commands struct {
	Engine engineCommand `cmd:"" help:"Measure the engine: folds of whole clusters, restarts, single changes, one node's plan, growth. Example: bench engine --workloads A1,C2 --modes cold,change"`
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
		kong.Writers(out, progress), kong.BindTo(ctx, (*context.Context)(nil)), kong.Bind(streams{out, progress}))
	if err != nil {
		return err
	}
	parsed, err := parser.Parse(args)
	if err != nil {
		return fmt.Errorf("%w; see bench --help", err)
	}
	return parsed.Run()
}
