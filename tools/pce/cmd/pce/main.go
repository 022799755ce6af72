// Command pce is a standalone policy console with the REST API v2 that Ringfence speaks.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/alecthomas/kong"
	"github.com/rs/zerolog"

	"github.com/ringfence/ringfence/tools/pce"
	"github.com/ringfence/ringfence/tools/pce/certs"
	"github.com/ringfence/ringfence/tools/pce/console"
)

type commands struct {
	LogLevel string `help:"Least severe level that is logged: debug, info, warn, error." default:"info" enum:"debug,info,warn,error" env:"PCE_LOG_LEVEL"`

	Serve serveCommand `cmd:"" help:"Serve the console."`
	Init  initCommand  `cmd:"" help:"Prepare a data folder while no console serves it: an API key and a cluster with token and pairing key."`
	User  userCommand  `cmd:"" help:"Make a user who can sign in, or set their password, while no console serves the data folder. The password is read from standard input."`
	CA    caCommand    `cmd:"" name:"ca" help:"Print the certificate of the console's own authority, for clients to trust. Example: pce ca --data /var/lib/pce > ca.pem"`
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

type initCommand struct {
	pce.Data  `embed:""`
	Cluster   string   `help:"Name of the cluster to make; none is made where empty."`
	Host      []string `help:"Names and addresses under which the console will be reached." default:"localhost,127.0.0.1,::1" env:"PCE_HOST"`
	APIKey    string   `help:"API key that is to exist; one is made where there is none yet." env:"PCE_API_KEY"`
	APISecret string   `help:"Secret of the API key, at least 16 characters." env:"PCE_API_SECRET"`
	Output    string   `help:"Output: text or json." short:"o" enum:"text,json" default:"text"`
}

// prepared is what init prints. Secrets of objects that existed before are not in it: only their hashes are kept.
type prepared struct {
	OrgID  int    `json:"org_id"`
	CAFile string `json:"ca_file"`
	console.APIKey
	*console.Onboarding
}

// Run prepares the data folder. Running it again finds what it made.
func (c *initCommand) Run(ctx context.Context, log zerolog.Logger) error {
	opened, err := pce.Open(ctx, c.Data, log)
	if err != nil {
		return err
	}
	defer opened.Close()
	if _, err := certs.Server(c.Data.Data, c.Host, certs.Files{}); err != nil {
		return err
	}
	out := prepared{OrgID: 1, CAFile: certs.CAFile(c.Data.Data)}
	if c.APIKey != "" || opened.Keys() == 0 {
		if out.APIKey, err = opened.EnsureKey(ctx, console.APIKey{ID: c.APIKey, Secret: c.APISecret}); err != nil {
			return err
		}
	}
	if c.Cluster != "" {
		made, err := opened.EnsureCluster(ctx, c.Cluster)
		if err != nil {
			return err
		}
		out.Onboarding = &made
	}
	return out.print(c.Output)
}

func (p prepared) print(format string) error {
	if format == "json" {
		encoder := json.NewEncoder(os.Stdout)
		encoder.SetIndent("", "  ")
		return encoder.Encode(p)
	}
	_, err := fmt.Printf("organisation  %d\nCA            %s\n", p.OrgID, p.CAFile)
	lines := [][2]string{{"api_key", p.APIKey.ID}, {"api_secret", p.APIKey.Secret}}
	if p.Onboarding != nil {
		lines = append(lines, [2]string{"cluster_id", p.ClusterID}, [2]string{"cluster_token", p.ClusterToken}, [2]string{"cluster_code", p.ClusterCode})
	}
	for _, line := range lines {
		if line[1] == "" {
			line[1] = "(made before; shown only once)"
		}
		if err == nil {
			_, err = fmt.Printf("%-13s %s\n", line[0], line[1])
		}
	}
	return err
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
