package eventlog

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"
	"github.com/rs/zerolog"
)

// Dialer connects to the log's server.
type Dialer struct {
	// URL is where the server is, for instance nats://policy-store:4222.
	URL string
	// Name is who connects, as the server's connection list shows it.
	Name string
	// InProcess, where set, is a server within this process; URL is then not used.
	InProcess nats.InProcessConnProvider
	// Credentials prove who connects, and say whom to believe that it is the log.
	Credentials Credentials
	Log         zerolog.Logger
}

// Credentials are files, which are read at every connect, because their owner renews them. The zero value gives no proof
// and asks for none. The tags make flags of them.
type Credentials struct {
	TokenFile  string `help:"File with the ServiceAccount token (audience ringfence) that proves to the log who this is."`
	CAFile     string `help:"File with the authorities of the log's certificate, in PEM form. With it, the log is spoken to over TLS alone."`
	ServerName string `help:"Name that the log's certificate must be for." default:"policy-store"`

	// Token takes the place of the file: what a server within this process asks for, or the token of a single command.
	Token string `kong:"-"`
	// Source gives the token of every connect in their place, where it is renewed otherwise than in a file.
	Source func() (string, error) `kong:"-"`
	// Session, where set, is a secret of a person's command: its inbox is bound to it, as ViewerName says, and so stays when
	// the token is renewed.
	Session string `kong:"-"`
	// CA takes the place of CAFile: the authorities themselves, in PEM form.
	CA []byte `kong:"-"`
	// Key proves who this is to an external cluster that lists its public half as a user. Only policy-store has one.
	Key nkeys.KeyPair `kong:"-"`
}

// Dial connects, trying again with back-off until it succeeds or ctx ends. The connection then reconnects for ever; while
// it is down, publishing fails at once instead of filling a buffer. Close the connection when done.
func (d Dialer) Dial(ctx context.Context) (*nats.Conn, error) {
	if d.Name == "" {
		return nil, errors.New("dial the log: a name is required")
	}
	d.warn()
	try := func() (*nats.Conn, error) { return nats.Connect(d.URL, d.options()...) }
	notify := func(err error, wait time.Duration) {
		d.Log.Warn().Err(err).Str("url", d.URL).Dur("again_in", wait).Msg("the log does not answer")
	}
	nc, err := backoff.Retry(ctx, try, backoff.WithBackOff(patience()), backoff.WithMaxElapsedTime(0), backoff.WithNotify(notify))
	if err != nil {
		return nil, fmt.Errorf("dial the log at %s: %w", d.URL, err)
	}
	return nc, nil
}

// warn says what of the connection is open to whoever can reach it.
func (d Dialer) warn() {
	c := d.Credentials
	anonymous, open := c.TokenFile == "" && c.Token == "" && c.Source == nil && c.Key == nil, c.CAFile == "" && len(c.CA) == 0
	switch {
	case d.InProcess != nil:
	case open && c.Key != nil: // it never leaves the process
		d.Log.Warn().Msg("the log is used without TLS; set --log-ca-file (RINGFENCE_LOG_CA_FILE)")
	case open && !anonymous:
		d.Log.Warn().Msg("the token goes to the log in the clear; set --log-ca-file (RINGFENCE_LOG_CA_FILE)")
	case open:
		d.Log.Warn().Msg("the log is used without TLS and without proof of who this is; set --log-ca-file and --log-token-file (RINGFENCE_LOG_CA_FILE, RINGFENCE_LOG_TOKEN_FILE)")
	case anonymous:
		d.Log.Warn().Msg("the log is used without proof of who this is; set --log-token-file (RINGFENCE_LOG_TOKEN_FILE)")
	}
}

// EnforcerName is the name under which the enforcer of a node dials. The others use the name of their service.
func EnforcerName(node string) string { return "enforcer-" + node }

// ViewerName is the name under which a person dials with a token or a session, whose fingerprint libs/identity gives.
func ViewerName(fingerprint string) string { return "viewer-" + fingerprint }

// InboxPrefix is what the subjects of answers to a client begin with that dials under a name.
func InboxPrefix(name string) string { return "_INBOX." + Token(name) }

func (d Dialer) options() []nats.Option {
	opts := []nats.Option{
		nats.Name(d.Name),
		nats.CustomInboxPrefix(InboxPrefix(d.Name)),
		nats.MaxReconnects(-1),
		nats.ReconnectBufSize(-1),
		nats.CustomReconnectDelay(reconnectDelay),
		nats.IgnoreDiscoveredServers(),
		nats.IgnoreAuthErrorAbort(),
		nats.Timeout(5 * time.Second),
		nats.SyncQueueLen(queue), // each request for several objects allocates one
		nats.PingInterval(10 * time.Second),
		nats.MaxPingsOutstanding(2),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			d.Log.Warn().Err(err).Msg("the connection to the log broke")
		}),
		nats.ReconnectHandler(func(*nats.Conn) { d.Log.Info().Msg("connected to the log again") }),
		nats.ErrorHandler(func(_ *nats.Conn, sub *nats.Subscription, err error) {
			line := d.Log.Error().Err(err)
			if sub != nil {
				line = line.Str("subject", sub.Subject)
			}
			line.Msg("the log's server reports an error")
		}),
	}
	if d.InProcess != nil {
		opts = append(opts, nats.InProcessServer(d.InProcess))
	}
	return append(opts, d.Credentials.options(d.Log)...)
}

func (c Credentials) options(log zerolog.Logger) (opts []nats.Option) {
	switch {
	case c.Key != nil:
		public, err := c.Key.PublicKey()
		if err != nil {
			log.Error().Err(err).Msg("the key for the log cannot be used")
		}
		opts = append(opts, nats.Nkey(public, c.Key.Sign))
	case c.Token != "":
		opts = append(opts, nats.Token(c.Token))
	case c.Source != nil || c.TokenFile != "":
		opts = append(opts, nats.TokenHandler(func() string {
			token, err := c.renewed()
			if err != nil {
				log.Error().Err(err).Msg("the token for the log cannot be read")
			}
			return token
		}))
	}
	if c.Session != "" {
		opts = append(opts, nats.UserInfo("", c.Session))
	}
	name := cmp.Or(c.ServerName, "policy-store")
	switch {
	case len(c.CA) > 0:
		authorities := x509.NewCertPool()
		authorities.AppendCertsFromPEM(c.CA) // where it adds none, nobody is believed
		opts = append(opts, nats.Secure(&tls.Config{ServerName: name, RootCAs: authorities, MinVersion: tls.VersionTLS13}))
	case c.CAFile != "":
		opts = append(opts,
			nats.Secure(&tls.Config{ServerName: name, MinVersion: tls.VersionTLS13}),
			nats.RootCAs(c.CAFile))
	}
	return opts
}

// renewed is the token as it is now.
func (c Credentials) renewed() (string, error) {
	if c.Source != nil {
		return c.Source()
	}
	token, err := os.ReadFile(c.TokenFile)
	return strings.TrimSpace(string(token)), err
}

// reconnectDelay spreads a thousand nodes over the seconds after a restart of the server; nats.go calls it once for
// every round over all addresses.
func reconnectDelay(attempts int) time.Duration {
	wait := min(100*time.Millisecond<<min(attempts, 6), 5*time.Second)
	return wait/2 + rand.N(wait/2)
}

// patience is how every loop of this package waits between two tries.
func patience() *backoff.ExponentialBackOff {
	b := backoff.NewExponentialBackOff()
	b.InitialInterval = 100 * time.Millisecond
	b.MaxInterval = 5 * time.Second
	return b
}

// pause waits for d or until ctx ends, and says whether ctx still goes on.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

var errNotConnected = errors.New("not connected to the log")

// linked gives a context that ends with ctx, or once nc loses its server: what waits for an answer then would wait in
// vain until its time is up. Call stop when done.
func linked(ctx context.Context, nc *nats.Conn) (link context.Context, stop func()) {
	link, cancel := context.WithCancelCause(ctx)
	status := nc.StatusChanged(nats.DISCONNECTED, nats.RECONNECTING, nats.CLOSED)
	if !nc.IsConnected() {
		cancel(errNotConnected)
	}
	go func() {
		if _, lost := <-status; lost {
			cancel(errNotConnected)
		}
	}()
	return link, func() {
		nc.RemoveStatusListener(status)
		cancel(nil)
	}
}

// call runs one exchange with the server, cut short when the connection breaks.
func call(ctx context.Context, nc *nats.Conn, exchange func(context.Context) error) error {
	link, stop := linked(ctx, nc)
	defer stop()
	err := exchange(link)
	if err != nil && ctx.Err() == nil && errors.Is(context.Cause(link), errNotConnected) {
		return fmt.Errorf("%w: %w", errNotConnected, err)
	}
	return err
}
