package policystore

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/rs/zerolog"
)

const (
	// readyTimeout bounds the recovery of the streams at start; a million facts without index take five seconds.
	readyTimeout = 2 * time.Minute
	// Clients are let go over some seconds when the server stops, so that a thousand nodes do not come back at once; all
	// of it fits well into a pod's thirty seconds.
	lameDuckGrace    = 250 * time.Millisecond
	lameDuckDuration = 4 * time.Second
)

// logServer is the embedded NATS server.
type logServer struct {
	nats *server.Server
	log  zerolog.Logger
	dir  string
	// staging is the folder in memory for batches, empty without.
	staging string
	gate    *gate  // nil where clients are not asked who they are
	release func() // lets go of the folder
}

// startServer starts the server and returns once JetStream has recovered its streams. It does not listen before listen
// is called, so that nobody reads what a crash left behind before it was looked through.
// Without gate it asks nobody who they are, without certificate it speaks no TLS.
func startServer(ctx context.Context, cfg Config, gate *gate, cert *certificate, log zerolog.Logger) (*logServer, error) {
	opts, err := serverOptions(cfg)
	if err != nil {
		return nil, err
	}
	if gate != nil {
		opts.CustomClientAuthentication, opts.AuthTimeout = gate, authTimeout
	}
	if cert != nil {
		opts.TLSConfig, opts.TLSTimeout = cert.server(), authTimeout
	}
	if cfg.NATSMode == mirror {
		cfg.Mirror.accept(opts, cert)
	}
	if err := probe(cfg.StoreDir); err != nil {
		return nil, err
	}
	s := &logServer{log: log, dir: cfg.StoreDir, gate: gate}
	if s.release, err = occupy(cfg.StoreDir); err != nil {
		return nil, err
	}
	if err := s.start(ctx, opts); err != nil {
		s.release()
		return nil, err
	}
	return s, nil
}

// start starts the server in a folder that is ours.
func (s *logServer) start(ctx context.Context, opts *server.Options) (err error) {
	if err := verifyBlocks(ctx, s.dir, s.log); err != nil {
		return err
	}
	if s.nats, err = server.NewServer(opts); err != nil {
		return fmt.Errorf("log server: %w", err)
	}
	s.nats.SetLoggerV2(natsLog{log: s.log.With().Str("component", "nats").Logger()}, false, false, false)
	s.nats.Start()
	if len(opts.LeafNode.Remotes) > 0 { // with other accounts, the server gives JetStream to none by itself
		err = s.nats.GlobalAccount().EnableJetStream(nil, nil)
	}
	if err == nil {
		err = s.await(ctx)
	}
	if err == nil && s.gate != nil {
		err = s.gate.separate(s.nats)
	}
	if err != nil {
		s.nats.Shutdown()
		s.nats.WaitForShutdown()
	}
	return err
}

// serverOptions goes through the server's own configuration language, which sets what plain fields leave half done.
func serverOptions(cfg Config) (*server.Options, error) {
	host, port, err := net.SplitHostPort(cfg.Listen)
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	opts := &server.Options{}
	err = opts.ProcessConfigString(fmt.Sprintf(`
		server_name: policy-store
		max_payload: 1MB
		max_pending: 16MB
		max_control_line: 20KB # a token comes on one line
		jetstream {
			store_dir: %q
			max_file_store: %d
			max_memory_store: 64MB
			sync_interval: always
			limits { default_max_consumers: 5000 }
		}`, cfg.StoreDir, cfg.bytes()))
	if err != nil {
		return nil, fmt.Errorf("log server: %w", err)
	}
	if opts.Port, err = strconv.Atoi(port); err != nil {
		return nil, fmt.Errorf("listen: %q is no port: %w", port, err)
	}
	if opts.Port == 0 {
		opts.Port = server.RANDOM_PORT
	}
	opts.Host = host
	if host == "" {
		opts.Host = server.DEFAULT_HOST
	}
	opts.DontListen, opts.NoSigs = true, true
	opts.LameDuckGracePeriod, opts.LameDuckDuration = lameDuckGrace, lameDuckDuration
	return opts, cfg.Mirror.link(opts)
}

// await waits until JetStream has its streams back; that connections are accepted says nothing of it.
func (s *logServer) await(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	ticker := time.NewTicker(5 * time.Millisecond)
	defer ticker.Stop()
	for {
		health := s.nats.Healthz(&server.HealthzOptions{JSEnabledOnly: true})
		if health.StatusCode == 200 && s.nats.JetStreamEnabled() {
			return nil
		}
		if !s.nats.Running() {
			return fmt.Errorf("log server: JetStream did not start on %s", s.dir)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("log server: not ready: %s: %w", health.Error, ctx.Err())
		case <-ticker.C:
		}
	}
}

// listen lets clients in.
func (s *logServer) listen() error {
	listening := make(chan struct{})
	s.nats.AcceptLoop(listening)
	<-listening
	if s.nats.Addr() == nil {
		return errors.New("log server: cannot listen; the line before says why")
	}
	return nil
}

// trouble says why the server cannot store any more, nil while it can. A stream that failed to write once refuses until the
// server is started anew.
func (s *logServer) trouble() error {
	if !s.nats.JetStreamEnabled() {
		return errors.New("JetStream has stopped")
	}
	for _, e := range s.nats.Healthz(&server.HealthzOptions{Details: true}).Errors {
		if e.Type == server.HealthzErrorStream {
			return errors.New(e.Error)
		}
	}
	return nil
}

// stop lets the clients go and stops the server in order.
func (s *logServer) stop() {
	if s.nats.Addr() != nil {
		s.nats.LameDuckShutdown()
	}
	s.nats.Shutdown()
	s.nats.WaitForShutdown()
	s.release()
	if err := os.RemoveAll(s.staging); err != nil {
		s.log.Warn().Err(err).Msg("the folder of batches stays in memory")
	}
}

// probe says whether the folder takes a write to its disk.
func probe(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("the log's folder: %w", err)
	}
	name := filepath.Join(dir, ".probe")
	f, err := os.OpenFile(name, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("the log's disk: %w", err)
	}
	_, err = f.Write(make([]byte, 256<<10))
	if err == nil {
		err = f.Sync()
	}
	err = errors.Join(err, f.Close(), os.Remove(name))
	if err != nil {
		return fmt.Errorf("the log's disk: %w", err)
	}
	return nil
}
