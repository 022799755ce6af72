package policystore

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/rs/zerolog"

	"github.com/ringfence/ringfence/libs/access"
	"github.com/ringfence/ringfence/libs/eventlog"
	"github.com/ringfence/ringfence/libs/identity"
	"github.com/ringfence/ringfence/libs/identity/identitytest"
	"github.com/ringfence/ringfence/libs/service"
)

// secured is a policy-store in this process that asks its clients who they are.
type secured struct {
	t      *testing.T
	issuer *identitytest.Issuer
	host   *host
	said   lockedBuffer // the log of policy-store
	dir    string
	stop   func()
}

// startSecured starts one with an empty log. It stops with the test.
func startSecured(t *testing.T, change ...func(*Config)) *secured {
	t.Helper()
	s := &secured{t: t, issuer: identitytest.New(t), dir: t.TempDir()}
	cfg := Config{
		Config: service.Config{LogLevel: "error"}, Listen: freeAddress(t), StoreDir: filepath.Join(s.dir, "log"), StorageGi: 1, storage: 256 << 20,
		SnapshotFacts: 5, SnapshotInterval: time.Hour,
		Security: Security{
			TokenKeys: s.issuer.File(), TokenIssuer: identitytest.Name, TokenAudience: identitytest.Audience, TokenNamespace: identitytest.Namespace,
		},
	}
	for _, c := range change {
		c(&cfg)
	}
	if err := cfg.check(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	svc, err := service.Start(ctx, "policy-store", cfg.Config, component)
	if err != nil {
		t.Fatal(err)
	}
	log := zerolog.New(&s.said)
	if s.host, err = newHost(cfg, svc, log); err != nil {
		t.Fatal(err)
	}
	var running sync.WaitGroup
	running.Go(func() { s.host.run(log.WithContext(ctx)) })
	s.stop = sync.OnceFunc(func() { cancel(); running.Wait(); svc.Close() })
	t.Cleanup(func() {
		s.stop()
		if t.Failed() {
			t.Logf("policy-store said:\n%s", s.said.String())
		}
	})
	if cfg.NATSMode == external {
		return s
	}
	eventually(t, func() error {
		if server := s.host.current.Load(); server == nil || server.nats.Addr() == nil {
			return fmt.Errorf("not listening")
		}
		return nil
	})
	return s
}

func (s *secured) url() string {
	if s.host.cfg.NATSMode == external {
		return s.host.cfg.LogURL
	}
	return "nats://" + s.host.cfg.Listen
}

// tokenFile writes a token where a client reads it.
func (s *secured) tokenFile(name, token string) string {
	s.t.Helper()
	file := filepath.Join(s.dir, name+".token")
	if err := os.WriteFile(file, []byte(token+"\n"), 0o600); err != nil {
		s.t.Fatal(err)
	}
	return file
}

// client is one that dials as the services do, and keeps what the server complained of.
type client struct {
	*nats.Conn
	complaints lockedBuffer
}

// dial connects under a name with a token.
func (s *secured) dial(name, token string) *client {
	s.t.Helper()
	c := &client{}
	ctx, cancel := context.WithTimeout(s.t.Context(), 20*time.Second)
	defer cancel()
	var err error
	c.Conn, err = eventlog.Dialer{
		URL: s.url(), Name: name, Credentials: eventlog.Credentials{TokenFile: s.tokenFile(name, token)}, Log: zerolog.New(&c.complaints),
	}.Dial(ctx)
	if err != nil {
		s.t.Fatalf("%s: %v: %s", name, err, c.complaints.String())
	}
	s.t.Cleanup(c.Close)
	return c
}

// violations are the complaints about permissions.
func (c *client) violations() (out []string) {
	for line := range strings.Lines(c.complaints.String()) {
		if strings.Contains(strings.ToLower(line), "permissions violation") {
			out = append(out, line)
		}
	}
	return out
}

func (s *secured) service(name string) *client { return s.dial(name, s.issuer.Service(name)) }

func (s *secured) enforcer(node string) *client {
	return s.dial(eventlog.EnforcerName(node), s.issuer.Enforcer(node))
}

// viewer is a person with a token of their own.
func (s *secured) viewer() *client {
	token := s.issuer.Token(identitytest.Claims{Service: access.Viewer})
	return s.dial(eventlog.ViewerName(identity.Fingerprint(token)), token)
}

// refusal connects with a token and gives what policy-store's log says of it. The client itself learns only that it was refused.
func (s *secured) refusal(token string, reason string) string {
	s.t.Helper()
	before, counted := len(s.said.String()), testutil.ToFloat64(s.host.metrics.refused.WithLabelValues(reason))
	first, _, _ := strings.Cut(s.url(), ",") // of a cluster, or a client tries all servers
	nc, err := nats.Connect(first, nats.Token(token), nats.Name("stranger"), nats.NoReconnect(), nats.IgnoreDiscoveredServers())
	if err == nil {
		nc.Close()
		s.t.Errorf("%s: let in", reason)
		return ""
	}
	if !strings.Contains(err.Error(), "Authorization Violation") {
		s.t.Errorf("%s: the client is told %v", reason, err)
	}
	if now := testutil.ToFloat64(s.host.metrics.refused.WithLabelValues(reason)); now != counted+1 {
		s.t.Errorf("%s: counted %v times", reason, now-counted)
	}
	return s.said.String()[before:]
}

// open opens the log as a client.
func (s *secured) open(c *client) *eventlog.Log {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), 20*time.Second)
	defer cancel()
	l, err := eventlog.Open(ctx, c.Conn)
	if err != nil {
		s.t.Fatal(err)
	}
	return l
}
