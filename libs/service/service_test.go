package service

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
)

func get(t *testing.T, s *Service, path string) (int, string) {
	t.Helper()
	res, err := http.Get("http://" + s.Address() + path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(body)
}

func TestReadyOnceEveryComponentIs(t *testing.T) {
	s, err := Start(t.Context(), "test", Config{LogLevel: "info", HTTPAddress: "127.0.0.1:0"}, "log", "cluster")
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if code, _ := get(t, s, "/healthz"); code != 200 {
		t.Fatalf("live: %d", code)
	}
	s.Ready("log", nil)
	s.Ready("cluster", errors.New("waits for the API server"))
	if code, body := get(t, s, "/readyz"); code != 503 || body != "cluster: waits for the API server\n" {
		t.Fatalf("not ready: %d %q", code, body)
	}
	s.Ready("cluster", nil)
	if code, body := get(t, s, "/readyz"); code != 200 || body != "ok\n" {
		t.Fatalf("ready: %d %q", code, body)
	}
	if code, body := get(t, s, "/metrics"); code != 200 || !strings.Contains(body, "go_goroutines") {
		t.Fatalf("metrics: %d", code)
	}
}

func TestStartRefusesWhatCannotBe(t *testing.T) {
	if _, err := Start(t.Context(), "test", Config{LogLevel: "loud"}); err == nil || !strings.Contains(err.Error(), `"loud"`) {
		t.Errorf("level: %v", err)
	}
	if _, err := Start(t.Context(), "test", Config{LogLevel: "info", HTTPAddress: "127.0.0.1:99999"}); err == nil || !strings.Contains(err.Error(), "99999") {
		t.Errorf("address: %v", err)
	}
}

func TestExecute(t *testing.T) {
	type config struct {
		Config `embed:""`
		Node   string `required:"" help:"Name of the node."`
	}
	var seen config
	execute := func(run func(context.Context) error, args ...string) int {
		seen = config{}
		return Execute(t.Context(), "test", "A test.", &seen, run, args)
	}
	fine := func(context.Context) error { return nil }
	if code := execute(fine); code != ExitUsage {
		t.Errorf("a missing flag: exit code %d", code)
	}
	if code := execute(fine, "--help"); code != 0 {
		t.Errorf("help: exit code %d", code)
	}
	t.Setenv("RINGFENCE_NODE", "node1")
	t.Setenv("RINGFENCE_LOG_URL", "nats://log:4222")
	if code := execute(fine); code != 0 || seen.Node != "node1" || seen.LogURL != "nats://log:4222" {
		t.Errorf("from the environment: exit code %d, %+v", code, seen)
	}
	if code := execute(func(context.Context) error { return errors.New("broken") }); code != ExitFailure {
		t.Errorf("a failure: exit code %d", code)
	}
	if code := execute(func(context.Context) error { return context.Canceled }); code != 0 {
		t.Errorf("asked to stop: exit code %d", code)
	}
}
