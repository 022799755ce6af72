// Command ringfence is the operator's command line: what the log holds, which policy follows from it now and at any place
// in the past, and why two endpoints may or may not talk.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/alecthomas/kong"
	"github.com/go-logr/logr"
	"github.com/rs/zerolog"
	"k8s.io/klog/v2"

	"github.com/ringfence/ringfence/libs/clas"
	"github.com/ringfence/ringfence/libs/eventlog"
	"github.com/ringfence/ringfence/tools/ringfence"
)

const about = `Ask Ringfence what is enforced, why, and what was.

Exit codes: 0 done (explain: allowed; diff: same policy), 1 failed, 2 wrong usage, 3 not allowed or not found, 4 policies differ.

A place in the log is a sequence (1042), a time (2026-01-31T12:30:00Z), or how long ago (10m).

Without --server it opens a port-forward to policy-store in the cluster of the kubeconfig, and asks that for a token of the
ServiceAccount viewer; with --server it does that only where --kubeconfig or --context names the cluster.`

// Exit codes.
const (
	exitFailed = 1
	exitUsage  = 2
	exitNot    = 3
	exitDiffer = 4
)

var (
	// errNotAllowed ends explain when policy does not allow the connection. It was said already.
	errNotAllowed = errors.New("not allowed")
	// errUsage says that flags do not go together.
	errUsage = errors.New("wrong usage")
	// errChanged ends diff when the policy differs. It was said already.
	errChanged = errors.New("changed")
	// errDiffer says that a replay gave another digest than the live policy, or an export, has.
	errDiffer = errors.New("the replayed policy differs from the recorded one")
)

type cli struct {
	Server     string        `placeholder:"URL" env:"RINGFENCE_SERVER" help:"The log's server, for instance nats://127.0.0.1:4222."`
	Kubeconfig string        `type:"path" placeholder:"FILE" help:"Kubeconfig to use; KUBECONFIG or ~/.kube/config otherwise."`
	Context    string        `placeholder:"NAME" help:"Context of the kubeconfig."`
	Namespace  string        `short:"n" default:"${namespace}" env:"RINGFENCE_NAMESPACE" help:"Namespace that Ringfence runs in."`
	Patience   time.Duration `default:"15s" env:"RINGFENCE_PATIENCE" help:"Longest wait for a connection."`

	Log eventlog.Credentials `embed:"" prefix:"log-"`

	Status  statusCommand  `cmd:"" help:"Show the log, the live policy, and how far every node enforces it."`
	Facts   factsCommand   `cmd:"" help:"Print facts of the log as JSON lines."`
	Replay  replayCommand  `cmd:"" help:"Fold the log up to any place; print the policy and its digest."`
	Explain explainCommand `cmd:"" help:"Say whether one endpoint may connect to another, and why."`
	Diff    diffCommand    `cmd:"" help:"Say what changed between two places of the log: facts, labels, address sets, rules, plans, verdicts."`
	Bisect  bisectCommand  `cmd:"" help:"Find the fact that changed whether one endpoint may connect to another."`
	Export  exportCommand  `cmd:"" help:"Write a part of the log to one file that any machine can look into."`
	Import  importCommand  `cmd:"" help:"Make a log that policy-store can serve of an exported one."`
	Flows   flowsCommand   `cmd:"" help:"Print the flows that the nodes reported."`
}

func main() {
	klog.SetLogger(logr.Discard()) // a port-forward speaks of every connection that a server closed
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// run runs one command and gives the exit code.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	var flags cli
	parser := kong.Must(&flags, kong.Name("ringfence"), kong.Description(about), kong.UsageOnError(),
		kong.Vars{"namespace": ringfence.Namespace}, kong.Writers(stdout, stderr), kong.ConfigureHelp(kong.HelpOptions{Compact: true}))
	command, err := parser.Parse(args)
	if err != nil {
		fmt.Fprintf(stderr, "ringfence: %v; see ringfence --help\n", err)
		return exitUsage
	}
	// What eventlog skips, it says to the context's logger.
	log := zerolog.New(zerolog.ConsoleWriter{Out: stderr, NoColor: true, PartsExclude: []string{zerolog.TimestampFieldName}})
	s := &session{ctx: log.WithContext(ctx), stdout: stdout, stderr: stderr, address: ringfence.Address{
		Server: flags.Server, Kubeconfig: flags.Kubeconfig, Context: flags.Context, Namespace: flags.Namespace, Patience: flags.Patience,
		Credentials: flags.Log,
	}}
	return s.exitCode(command.Run(s))
}

// exitCode says on standard error what went wrong, where it was not said yet.
func (s *session) exitCode(err error) int {
	switch {
	case err == nil, errors.Is(err, syscall.EPIPE):
		return 0
	case errors.Is(err, errNotAllowed):
		return exitNot
	case errors.Is(err, errChanged):
		return exitDiffer
	}
	fmt.Fprintf(s.stderr, "ringfence: %v\n", err)
	switch {
	case errors.Is(err, errDiffer):
		return exitDiffer
	case errors.Is(err, errUsage):
		return exitUsage
	case errors.Is(err, ringfence.ErrOutOfRange), errors.Is(err, ringfence.ErrSameVerdict), errors.Is(err, clas.ErrUnknownEndpoint),
		errors.Is(err, clas.ErrNoAddress), errors.Is(err, clas.ErrNoCommonFamily):
		return exitNot
	}
	return exitFailed
}
