// Package eventlogtest gives tests a real NATS server with JetStream, in this process and on loopback, with its files in
// the test's own folder. It is for tests of whatever uses the event log; policy-store hosts the real one.
package eventlogtest

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"github.com/ringfence/ringfence/libs/eventlog"
)

// Size of the log that Start makes.
var Size = eventlog.Sizes{Bytes: 256 << 20}

// Server is a running server. Its methods fail the test instead of returning errors.
type Server struct {
	t    testing.TB
	dir  string
	opts *server.Options
	nats *server.Server
}

// Start starts a server with an empty store. It stops with the test.
func Start(t testing.TB) *Server {
	t.Helper()
	s := &Server{t: t, dir: filepath.Join(t.TempDir(), "log")}
	s.opts = &server.Options{
		ServerName: "eventlogtest", Host: "127.0.0.1", Port: server.RANDOM_PORT, NoSigs: true, NoLog: true,
		JetStream: true, StoreDir: s.dir, SyncAlways: true, MaxPayload: 1 << 20,
		JetStreamMaxStore: 2 * Size.Bytes, JetStreamMaxMemory: 64 << 20,
	}
	s.Restart()
	t.Cleanup(s.Stop)
	return s
}

// StartLog starts a server, makes the log on it and opens it.
func StartLog(t testing.TB) (*Server, *eventlog.Log) {
	t.Helper()
	s := Start(t)
	return s, s.Create()
}

// URL is where clients connect. It stays over restarts.
func (s *Server) URL() string { return s.nats.ClientURL() }

// Stop stops the server; its files stay.
func (s *Server) Stop() {
	if s.nats != nil {
		s.nats.Shutdown()
		s.nats.WaitForShutdown()
	}
}

// Restart stops the server if it runs and starts it on the same address and files.
func (s *Server) Restart() {
	s.t.Helper()
	s.Stop()
	var err error
	if s.nats, err = server.NewServer(s.opts.Clone()); err != nil {
		s.t.Fatalf("start the server: %v", err)
	}
	s.nats.Start()
	if !s.nats.ReadyForConnections(10 * time.Second) {
		s.t.Fatal("start the server: not ready within 10 s")
	}
	s.opts.Port = s.port()
}

func (s *Server) port() int {
	varz, err := s.nats.Varz(nil)
	if err != nil {
		s.t.Fatalf("start the server: %v", err)
	}
	return varz.Port
}

// Wipe is a restart after the loss of every file.
func (s *Server) Wipe() {
	s.t.Helper()
	s.Stop()
	if err := os.RemoveAll(s.dir); err != nil {
		s.t.Fatalf("wipe the store: %v", err)
	}
	s.Restart()
}

// Conn connects a client as the services do. It closes with the test.
func (s *Server) Conn(name string) *nats.Conn {
	s.t.Helper()
	nc, err := eventlog.Dialer{URL: s.URL(), Name: name, Log: zerolog.Nop()}.Dial(s.t.Context())
	if err != nil {
		s.t.Fatalf("connect %s: %v", name, err)
	}
	s.t.Cleanup(nc.Close)
	return nc
}

// Create makes or opens the log as policy-store does, by a connection of its own.
func (s *Server) Create() *eventlog.Log {
	s.t.Helper()
	l, err := eventlog.Create(s.t.Context(), s.Conn("policy-store"), Size)
	if err != nil {
		s.t.Fatalf("create the log: %v", err)
	}
	return l
}

// Eventually tries until check returns nil, for at most ten seconds.
func Eventually(t testing.TB, check func() error) {
	t.Helper()
	err := errors.New("not tried")
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if err = check(); err == nil {
			return
		}
	}
	t.Fatalf("not within 10 s: %v", err)
}

// Streams gives the settings of every stream.
func (s *Server) Streams() []jetstream.StreamConfig {
	s.t.Helper()
	js, err := jetstream.New(s.Conn("operator"))
	if err != nil {
		s.t.Fatal(err)
	}
	var all []jetstream.StreamConfig
	list := js.ListStreams(s.t.Context())
	for info := range list.Info() {
		all = append(all, info.Config)
	}
	if err := list.Err(); err != nil {
		s.t.Fatalf("list the streams: %v", err)
	}
	return all
}
