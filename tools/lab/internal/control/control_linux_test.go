package control

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// name is a socket name that no other test and no lab has.
func name(t *testing.T) string { return "ringfence-test" + strings.ReplaceAll(t.TempDir(), "/", "-") }

func TestAsk(t *testing.T) {
	lab := name(t)
	l, err := Listen(lab)
	if err != nil {
		t.Fatal(err)
	}
	want := Status{
		State: Degraded, Dir: "/srv/lab", Problem: "kubelet node1 is not running", Since: time.Unix(1700000000, 0).UTC(),
		Components: []Component{{Name: "kubelet", Node: "node1", State: Failed, Restarts: 3, Log: "/srv/lab/log/node1-kubelet.log"}},
		Nodes:      []Node{{Name: "node1", State: NotReady, Addresses: []string{"10.200.0.11"}, PodCIDRs: []string{"10.244.1.0/24"}}},
	}
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error)
	go func() { served <- Serve(ctx, l, func(context.Context) Status { return want }) }()
	got, err := Ask(t.Context(), lab)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if got.Healthy() {
		t.Error("a degraded lab is called healthy")
	}
	if _, err := Listen(lab); err == nil {
		t.Error("two supervisors may listen for one lab")
	}
	cancel()
	if err := <-served; err != nil {
		t.Error(err)
	}
	if got, err := Ask(t.Context(), lab); err != nil || got.State != Down {
		t.Errorf("after the end: %s, %v; want %s", got.State, err, Down)
	}
}

// TestAskDying asks a supervisor that ends before it answers.
func TestAskDying(t *testing.T) {
	lab := name(t)
	l, err := Listen(lab)
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		if conn, err := l.Accept(); err == nil {
			_ = conn.Close()
		}
		_ = l.Close()
	}()
	if got, err := Ask(t.Context(), lab); err != nil || got.State != Down {
		t.Errorf("%s, %v; want %s", got.State, err, Down)
	}
}

func TestLock(t *testing.T) {
	lab := name(t)
	never := func() { t.Error("a free lock was waited for") }
	release, err := Lock(t.Context(), lab, never)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	if _, err := Lock(ctx, lab, cancel); !errors.Is(err, context.Canceled) {
		t.Errorf("a lock that is held: %v, want to wait", err)
	}
	again, err := Lock(t.Context(), lab, release)
	if err != nil {
		t.Fatal(err)
	}
	again()
}

func TestAskNobody(t *testing.T) {
	got, err := Ask(t.Context(), name(t)+filepath.Base(t.Name()))
	if err != nil || got.State != Down {
		t.Errorf("a lab that never was: %s, %v; want %s", got.State, err, Down)
	}
}

func TestParseRefuses(t *testing.T) {
	for body, want := range map[string]string{"<html>": "read the supervisor's answer", `{"state":1}`: "read the supervisor's answer"} {
		resp := &http.Response{StatusCode: http.StatusOK, Body: io.NopCloser(bytes.NewBufferString(body))}
		if _, err := Parse(resp); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", body, err, want)
		}
	}
	resp := &http.Response{StatusCode: http.StatusNotFound, Status: "404 Not Found", Body: http.NoBody}
	if _, err := Parse(resp); err == nil || !strings.Contains(err.Error(), "404") {
		t.Errorf("404: %v", err)
	}
}
