package ringfence_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ringfence/ringfence/libs/eventlog/eventlogtest"
	"github.com/ringfence/ringfence/tools/ringfence"
)

// kubeconfig writes one for an API server that answers every list of pods with items.
func kubeconfig(t *testing.T, items string) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"kind":"PodList","apiVersion":"v1","items":[%s]}`, items)
	}))
	t.Cleanup(server.Close)
	name := filepath.Join(t.TempDir(), "kubeconfig")
	text := fmt.Sprintf("apiVersion: v1\nkind: Config\ncurrent-context: c\ncontexts: [{name: c, context: {cluster: c}}]\nclusters: [{name: c, cluster: {server: %s}}]\n", server.URL)
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestConnectSaysWhatToDoNext(t *testing.T) {
	pending := `{"metadata":{"name":"policy-store-1","namespace":"illumio-system"},"status":{"phase":"Pending"}}`
	for name, c := range map[string]struct {
		address ringfence.Address
		want    []string
	}{
		"not installed":  {ringfence.Address{Kubeconfig: kubeconfig(t, ""), Namespace: "illumio-system"}, []string{"no pod app.kubernetes.io/component=policy-store in namespace illumio-system", "is Ringfence installed there?"}},
		"not ready":      {ringfence.Address{Kubeconfig: kubeconfig(t, pending), Namespace: "illumio-system"}, []string{"no ready policy-store within 200ms", "kubectl -n illumio-system get pods"}},
		"no kubeconfig":  {ringfence.Address{Kubeconfig: "missing"}, []string{"no cluster to talk to", "--server"}},
		"no such server": {ringfence.Address{Server: "nats://127.0.0.1:1"}, []string{"no log at nats://127.0.0.1:1 within 200ms", "no servers available", "is policy-store running there?"}},
		"no log":         {ringfence.Address{Server: eventlogtest.Start(t).URL()}, []string{"no log at nats://", "open the log", "is policy-store running there?"}},
	} {
		t.Run(name, func(t *testing.T) {
			c.address.Patience = 200 * time.Millisecond
			store, err := c.address.Connect(t.Context())
			if err == nil {
				store.Close()
				t.Fatal("connected")
			}
			for _, want := range c.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error %q does not say %q", err, want)
				}
			}
		})
	}
}
