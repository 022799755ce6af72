// Command pce is a standalone policy console with the REST API v2 that Ringfence speaks.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/alecthomas/kong"
	"github.com/rs/zerolog"

	"github.com/ringfence/ringfence/tools/pce"
	"github.com/ringfence/ringfence/tools/pce/certs"
)

type commands struct {
	LogLevel string `help:"Least severe level that is logged: debug, info, warn, error." default:"info" enum:"debug,info,warn,error" env:"PCE_LOG_LEVEL"`

	Serve  serveCommand  `cmd:"" help:"Serve the console."`
	Init   initCommand   `cmd:"" help:"Make an API key, and a cluster with its token and pairing key, ready for the chart. Example: pce init --data /var/lib/pce --host pce.example"`
	Export exportCommand `cmd:"" help:"Write the policy of a console as YAML. Example: pce export --console localhost:8443 --root-ca ca.pem > policy.yaml"`
	Import importCommand `cmd:"" help:"Bring the policy of a console to what files say. Example: pce import policy.yaml --dry-run"`
	User   userCommand   `cmd:"" help:"Make a user who can sign in, or set their password, while no console serves the data folder. The password is read from standard input."`
	CA     caCommand     `cmd:"" name:"ca" help:"Print the certificate of the console's own authority, for clients to trust. Example: pce ca --data /var/lib/pce > ca.pem"`
}

type caCommand struct {
	Data string `help:"Folder that holds everything the console knows." required:"" env:"PCE_DATA"`
}

// Run prints the certificate.
func (c *caCommand) Run() error {
	pem, err := os.ReadFile(certs.CAFile(c.Data))
	if err != nil {
		return fmt.Errorf("no authority in %s: %w; it is made when the console first serves", c.Data, err)
	}
	_, err = os.Stdout.Write(pem)
	return err
}

type serveCommand struct {
	pce.Config `embed:""`
}

// Run serves until the process is asked to stop.
func (c *serveCommand) Run(ctx context.Context, log zerolog.Logger) error {
	return pce.Run(ctx, c.Config, log, nil)
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	var asked commands
	parsed := kong.Parse(&asked, kong.Name("pce"), kong.Description("A standalone policy console for Ringfence."), kong.UsageOnError())
	parsed.BindTo(ctx, (*context.Context)(nil))
	level, err := zerolog.ParseLevel(asked.LogLevel)
	parsed.FatalIfErrorf(err)
	parsed.Bind(zerolog.New(zerolog.ConsoleWriter{Out: os.Stderr, TimeFormat: time.RFC3339, NoColor: true}).Level(level).With().Timestamp().Logger())
	parsed.FatalIfErrorf(parsed.Run())
}
