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

	"github.com/ringfence/ringfence/libs/eventlog"
	"github.com/ringfence/ringfence/libs/identity/identitytest"
	"github.com/ringfence/ringfence/libs/service"
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
	if replay, err := ringfence.ReplayLog(t.Context(), store.Log, ringfence.Until{}, nil); err != nil || replay.Facts > 0 {
		t.Errorf("%+v %v", replay, err)
	}
	if _, err := ringfence.ReadNames(t.Context(), store.Log); err != nil {
		t.Error(err)
	}
	if _, err := store.Log.Head(t.Context()); !errors.Is(err, eventlog.ErrNotFound) {
		t.Error(err)
	}
	if _, err := ringfence.Export(t.Context(), store.Log, 0, &strings.Builder{}, nil); err != nil {
		t.Error(err)
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
