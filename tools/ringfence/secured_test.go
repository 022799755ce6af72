package ringfence_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/ringfence/ringfence/libs/eventlog"
	"github.com/ringfence/ringfence/libs/identity/identitytest"
	"github.com/ringfence/ringfence/libs/service"
	ringfencev1 "github.com/ringfence/ringfence/proto/ringfence/v1"
	policystore "github.com/ringfence/ringfence/services/policy-store"
	"github.com/ringfence/ringfence/tools/ringfence"
)

// secured starts a policy-store that asks its clients who they are, and gives its address.
func secured(t *testing.T, issuer *identitytest.Issuer) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	l.Close()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- policystore.Run(ctx, policystore.Config{
			Config: service.Config{LogLevel: "error"}, Listen: address, StoreDir: t.TempDir(), StorageGi: 1, SnapshotFacts: 1000, SnapshotInterval: time.Hour,
			Security: policystore.Security{
				TokenKeys: issuer.File(), TokenIssuer: identitytest.Name, TokenAudience: identitytest.Audience, TokenNamespace: identitytest.Namespace,
			},
		})
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return "nats://" + address
}

// TestAPersonReadsASecuredLog runs what the commands run, with a viewer's token and no more.
func TestAPersonReadsASecuredLog(t *testing.T) {
	issuer := identitytest.New(t)
	dir := t.TempDir()
	tokenFile := func(name, token string) string {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(token+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	server := secured(t, issuer)
	facts := writeAsWatcher(t, server, eventlog.Credentials{TokenFile: tokenFile("watcher", issuer.Token(identitytest.Claims{Service: "watcher", Pod: "uid", Node: "node-1"}))})
	address := ringfence.Address{Server: server, Patience: 15 * time.Second, Namespace: "illumio-system"}
	address.Credentials.TokenFile = tokenFile("viewer", issuer.Token(identitytest.Claims{Service: "viewer"}))
	store, err := address.Connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	if _, err := store.Log.NodeStatuses(t.Context()); err != nil {
		t.Error(err)
	}
	if state, err := ringfence.At(t.Context(), store.Log, ringfence.Place{}, nil); err != nil || state.Facts != facts {
		t.Errorf("%+v %v", state, err)
	}
	if _, err := ringfence.ReadNames(t.Context(), store.Log); err != nil {
		t.Error(err)
	}
	if _, err := store.Log.Head(t.Context()); !errors.Is(err, eventlog.ErrNotFound) {
		t.Error(err)
	}
	if exported, err := ringfence.Export(t.Context(), store.Log, ringfence.Place{}, ringfence.Place{}, &strings.Builder{}, nil); err != nil || exported.Last != facts {
		t.Errorf("%+v %v", exported, err)
	}
	for name, c := range map[string]struct{ token, words string }{
		"no token":      {"", "--log-token-file"},
		"an old token":  {tokenFile("old", issuer.Token(identitytest.Claims{Service: "viewer", From: time.Now().Add(-2 * time.Hour)})), "create token viewer --audience ringfence"},
		"no such file":  {filepath.Join(dir, "none"), "no such file"},
		"a wrong token": {tokenFile("wrong", "wrong"), "-n illumio-system"},
	} {
		address.Credentials.TokenFile, address.Patience = c.token, time.Second
		store, err := address.Connect(t.Context())
		if err == nil {
			store.Close()
			t.Errorf("%s: connected", name)
		} else if !strings.Contains(fmt.Sprint(err), c.words) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// writeAsWatcher publishes some facts, and says how many are in the log then.
func writeAsWatcher(t *testing.T, server string, credentials eventlog.Credentials) uint64 {
	t.Helper()
	nc, err := eventlog.Dialer{URL: server, Name: "watcher", Credentials: credentials, Log: zerolog.Nop()}.Dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	log, err := eventlog.Open(t.Context(), nc)
	if err != nil {
		t.Fatal(err)
	}
	leader, err := log.Lead(t.Context(), "watcher", "test")
	if err != nil {
		t.Fatal(err)
	}
	last, err := leader.Publish(t.Context(), eventlog.Draft{
		Subject: eventlog.KubernetesSubject("namespace", "", "shop"),
		Fact:    &ringfencev1.Fact{Body: &ringfencev1.Fact_Namespace{Namespace: &ringfencev1.Namespace{Name: "shop", Uid: "uid"}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return last
}
