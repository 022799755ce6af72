package service

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/alecthomas/kong"
)

// EnvPrefix begins the name of every environment variable that sets a flag: --log-url is RINGFENCE_LOG_URL.
const EnvPrefix = "RINGFENCE"

// Exit codes of every service.
const (
	ExitFailure = 1 // the service ran and failed
	ExitUsage   = 2 // flags or environment are wrong
)

// Config is what every service can be told. Embed it in the service's own configuration with the tag `embed:""`.
type Config struct {
	LogLevel    string `help:"Least severe level that is logged: trace, debug, info, warn, error." default:"info" enum:"trace,debug,info,warn,error"`
	LogURL      string `help:"Address of the event log (NATS), for instance nats://policy-store:4222." default:"nats://policy-store:4222"`
	HTTPAddress string `help:"Address on which health and metrics are served; empty serves none." default:":8080"`
}

// Main is the whole main function of a service: it fills cfg (a pointer to a struct with kong tags) from flags and
// RINGFENCE_* variables, runs run until it returns or a signal asks it to stop, and exits the process. Subcommands are
// kong commands in cfg with a method Run(context.Context) error; run is used when there are none.
func Main(name, about string, cfg any, run func(context.Context) error) {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	code := Execute(ctx, name, about, cfg, run, os.Args[1:])
	stop()
	os.Exit(code)
}

// Execute is Main without the process: it parses args, runs, reports a failure on standard error and returns the exit
// code.
func Execute(ctx context.Context, name, about string, cfg any, run func(context.Context) error, args []string) int {
	exit := -1
	parser, err := kong.New(cfg,
		kong.Name(name), kong.Description(about),
		kong.DefaultEnvars(EnvPrefix),
		kong.UsageOnError(),
		kong.Exit(func(code int) { exit = code }),
		kong.BindTo(ctx, (*context.Context)(nil)),
	)
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
		return ExitUsage
	}
	parsed, err := parser.Parse(args)
	if exit >= 0 { // --help printed itself
		return exit
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
		return ExitUsage
	}
	if parsed.Command() != "" {
		err = parsed.Run()
	} else {
		err = run(ctx)
	}
	if err != nil && !errors.Is(err, context.Canceled) {
		fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
		return ExitFailure
	}
	return 0
}
