package pce

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"time"

	"github.com/rs/zerolog"

	"github.com/ringfence/ringfence/tools/pce/certs"
	"github.com/ringfence/ringfence/tools/pce/console"
	"github.com/ringfence/ringfence/tools/pce/journal"
)

// Data says where the console keeps its objects.
type Data struct {
	Data     string `help:"Folder that holds everything the console knows." required:"" env:"PCE_DATA"`
	StoreMiB int64  `help:"Room for edits, in MiB; when it is used up, writes are refused." name:"store-mib" default:"1024" env:"PCE_STORE_MIB"`
}

// Config is how the console serves.
type Config struct {
	Data   `embed:""`
	Listen string   `help:"Address to listen on." default:":8443" env:"PCE_LISTEN"`
	Host   []string `help:"Names and addresses under which the console is reached, for its certificate." default:"localhost,127.0.0.1,::1" env:"PCE_HOST"`

	TLS          certs.Files `embed:"" prefix:"tls-"`
	InsecureHTTP bool        `help:"Serve without TLS. For tests only." name:"insecure-http"`

	APIKey    string `help:"API key that is to exist; one is made and printed at first start where empty." env:"PCE_API_KEY"`
	APISecret string `help:"Secret of the API key, at least 16 characters." env:"PCE_API_SECRET"`

	TrafficMiB      int64 `help:"Room for flows, in MiB; when it is used up, the oldest go." name:"traffic-mib" default:"256" env:"PCE_TRAFFIC_MIB"`
	RequestsAMinute int   `help:"Requests that one API key or session may make a minute; 0 for any number. Clusters are not limited." name:"requests-a-minute" default:"500" env:"PCE_REQUESTS_A_MINUTE"`
}

// stopWithin bounds how long open requests may take when the console stops; long polls are cut at once.
const stopWithin = 5 * time.Second

// Console is an open console: its store and its API.
type Console struct {
	*console.Console
	journal *journal.Journal
}

// Open opens the console in a data folder, making one where there is none. Close it after use.
func Open(ctx context.Context, data Data, log zerolog.Logger, options ...console.Option) (*Console, error) {
	j, err := journal.Open(ctx, filepath.Join(data.Data, "store"), data.StoreMiB)
	if err != nil {
		return nil, err
	}
	c, err := console.Open(ctx, j, log, options...)
	if err != nil {
		j.Close()
		return nil, err
	}
	return &Console{Console: c, journal: j}, nil
}

// Close closes the store.
func (c *Console) Close() { c.journal.Close() }

// Run serves the console until ctx ends. It calls ready, where not nil, with the address once it answers.
func Run(ctx context.Context, config Config, log zerolog.Logger, ready func(net.Addr)) error {
	c, err := Open(ctx, config.Data, log, console.LimitRequests(config.RequestsAMinute), console.TrafficRoom(config.TrafficMiB))
	if err != nil {
		return err
	}
	defer c.Close()
	if err := ensureKey(ctx, c, config, log); err != nil {
		return err
	}
	listener, err := listen(ctx, config)
	if err != nil {
		return err
	}
	log.Info().Stringer("address", listener.Addr()).Str("data", config.Data.Data).Bool("tls", !config.InsecureHTTP).Msg("the console serves")
	if ready != nil {
		ready(listener.Addr())
	}
	return serve(ctx, listener, c)
}

func ensureKey(ctx context.Context, c *Console, config Config, log zerolog.Logger) error {
	if config.APIKey == "" && c.Keys() > 0 {
		return nil
	}
	if config.APIKey != "" && config.APISecret == "" {
		return fmt.Errorf("API key %s has no secret; give it with --api-secret", config.APIKey)
	}
	made, err := c.EnsureKey(ctx, console.APIKey{ID: config.APIKey, Secret: config.APISecret})
	if err != nil {
		return err
	}
	if config.APIKey == "" {
		log.Info().Str("api_key", made.ID).Str("api_secret", made.Secret).Msg("first start: made an API key; its secret is shown only now")
	}
	return nil
}

func listen(ctx context.Context, config Config) (net.Listener, error) {
	var lc net.ListenConfig
	listener, err := lc.Listen(ctx, "tcp", config.Listen)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", config.Listen, err)
	}
	if config.InsecureHTTP {
		return listener, nil
	}
	identity, err := certs.Server(config.Data.Data, config.Host, config.TLS)
	if err != nil {
		_ = listener.Close() // nothing was accepted yet
		return nil, err
	}
	return tls.NewListener(listener, identity), nil
}

func serve(ctx context.Context, listener net.Listener, handler http.Handler) error {
	server := &http.Server{
		Handler: handler, ReadHeaderTimeout: 10 * time.Second, ReadTimeout: time.Minute, IdleTimeout: 2 * time.Minute,
		// Requests end with the console: a long poll must not hold up its stop.
		BaseContext: func(net.Listener) context.Context { return ctx },
	}
	stopped := make(chan error, 1)
	defer context.AfterFunc(ctx, func() {
		bounded, cancel := context.WithTimeout(context.Background(), stopWithin)
		defer cancel()
		stopped <- server.Shutdown(bounded)
	})()
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve the console: %w", err)
	}
	if err := <-stopped; err != nil {
		return errors.Join(fmt.Errorf("stop the console: %w", err), server.Close())
	}
	return nil
}
