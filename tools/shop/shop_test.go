package shop_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rs/zerolog"

	"github.com/ringfence/ringfence/tools/shop"
)

// patience is far above what any exchange on the loopback takes, and bounds the test when something hangs.
const patience = 20 * time.Second

func listen(t *testing.T, address string) net.Listener {
	t.Helper()
	listener, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatalf("listen: %v", err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	return listener
}

func serveHTTP(t *testing.T, listener net.Listener) {
	t.Helper()
	run(t, func(ctx context.Context) error {
		return shop.ServeHTTP(ctx, listener, shop.Identity{Name: "web", Pod: "web-1"})
	})
}

func serveTCP(t *testing.T, listener net.Listener) {
	t.Helper()
	run(t, func(ctx context.Context) error { return shop.ServeTCP(ctx, listener) })
}

// run starts a server and, at the end of the test, expects that it stops without an error.
func run(t *testing.T, server func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- server(ctx) }()
	t.Cleanup(func() {
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("server: %v", err)
			}
		case <-time.After(patience):
			t.Error("server did not stop")
		}
	})
}

func TestServerSaysWhoItIs(t *testing.T) {
	listener := listen(t, "127.0.0.1:0")
	serveHTTP(t, listener)

	for path, want := range map[string]struct {
		status int
		body   string
	}{
		"/":        {http.StatusOK, `{"name":"web","pod":"web-1"}`},
		"/healthz": {http.StatusOK, "ok"},
		"/nothing": {http.StatusNotFound, "404 page not found"},
	} {
		resp, err := http.Get("http://" + listener.Addr().String() + path)
		if err != nil {
			t.Fatalf("GET %s: %v", path, err)
		}
		body, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if err != nil {
			t.Fatalf("GET %s: %v", path, err)
		}
		if resp.StatusCode != want.status || strings.TrimSpace(string(body)) != want.body {
			t.Errorf("GET %s: %d %q, want %d %q", path, resp.StatusCode, body, want.status, want.body)
		}
	}
}

func TestProbeTellsWhoAnswers(t *testing.T) {
	web, database, mute, closed := listen(t, "127.0.0.1:0"), listen(t, "127.0.0.1:0"), listen(t, "127.0.0.1:0"), listen(t, "127.0.0.1:0")
	serveHTTP(t, web)
	serveTCP(t, database)
	_ = closed.Close()
	targets := []string{web.Addr().String(), database.Addr().String(), closed.Addr().String(), "no port"}

	got := shop.Probe(context.Background(), targets, patience)
	for i := range got {
		got[i].Milliseconds = 0
	}
	want := []shop.Result{
		{Target: targets[0], Connected: true},
		{Target: targets[1], Connected: true},
		{Target: targets[2], Error: "connect: connect: connection refused"},
		{Target: targets[3], Error: "connect: address no port: missing port in address"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("results (-want +got):\n%s", diff)
	}
	if shop.AllConnected(got) || !shop.AllConnected(got[:2]) {
		t.Error("AllConnected disagrees with the results")
	}

	// The kernel accepts for a listener that never reads: a connection alone is not an answer.
	silent := shop.Probe(context.Background(), []string{mute.Addr().String()}, 50*time.Millisecond)
	if silent[0].Connected || silent[0].Error != "wait for answer: timed out" {
		t.Errorf("a server that never answers gave %+v", silent[0])
	}
}

func TestServerIsReachedOverBothFamilies(t *testing.T) {
	listener := listen(t, ":0")
	serveHTTP(t, listener)
	_, port, _ := net.SplitHostPort(listener.Addr().String())
	targets := []string{"127.0.0.1:" + port}
	if v6, err := net.Listen("tcp", "[::1]:0"); err == nil {
		_ = v6.Close()
		targets = append(targets, "[::1]:"+port)
	}
	if got := shop.Probe(context.Background(), targets, patience); !shop.AllConnected(got) {
		t.Errorf("probe of %v: %+v", targets, got)
	}
}

func TestDatabaseCutsItsClientsWhenItStops(t *testing.T) {
	listener := listen(t, "127.0.0.1:0")
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- shop.ServeTCP(ctx, listener) }()
	client, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = client.Close() }()
	if _, err := io.WriteString(client, "ping"); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(client, make([]byte, 4)); err != nil {
		t.Fatalf("echo: %v", err)
	}
	cancel()
	select {
	case err := <-done:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(patience):
		t.Fatal("the database did not stop while a client was connected")
	}
}

func TestCallerReportsChangesOnly(t *testing.T) {
	listener := listen(t, "127.0.0.1:0")
	database, stopDatabase := context.WithCancel(context.Background())
	defer stopDatabase()
	go func() { _ = shop.ServeTCP(database, listener) }()

	lines := &lineLog{heard: make(chan struct{}, 16)}
	caller := shop.Caller{Targets: []string{listener.Addr().String()}, Interval: time.Millisecond, Timeout: patience, Log: zerolog.New(lines)}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { caller.Run(ctx); close(done) }()

	lines.wait(t)
	stopDatabase()
	lines.wait(t)
	cancel()
	<-done
	if diff := cmp.Diff([]bool{true, false}, lines.connected(t)); diff != "" {
		t.Errorf("connected, line by line (-want +got):\n%s", diff)
	}
}

// lineLog collects log lines.
type lineLog struct {
	mu    sync.Mutex
	text  bytes.Buffer
	heard chan struct{}
}

func (l *lineLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case l.heard <- struct{}{}:
	default:
	}
	return l.text.Write(p)
}

func (l *lineLog) wait(t *testing.T) {
	t.Helper()
	select {
	case <-l.heard:
	case <-time.After(patience):
		t.Fatal("no line was logged")
	}
}

func (l *lineLog) connected(t *testing.T) []bool {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	var states []bool
	for line := range strings.Lines(l.text.String()) {
		var entry struct{ Connected bool }
		if err := json.Unmarshal([]byte(line), &entry); err != nil {
			t.Fatalf("line %q: %v", line, err)
		}
		states = append(states, entry.Connected)
	}
	return states
}
