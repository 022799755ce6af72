package ringfence_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/ringfence/ringfence/libs/eventlog"
	"github.com/ringfence/ringfence/libs/eventlog/eventlogtest"
	"github.com/ringfence/ringfence/libs/identity/identitytest"
	policystore "github.com/ringfence/ringfence/services/policy-store"
	"github.com/ringfence/ringfence/tools/ringfence"
)

// clusterOf writes a kubeconfig for an API server that answers what is asked ("GET /path") as answers say, and otherwise that
// it is not there. The real one is asked in tools/e2e.
func clusterOf(t *testing.T, answers map[string]func() (int, any)) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		code, body := http.StatusNotFound, any(metav1.Status{Status: "Failure", Reason: metav1.StatusReasonNotFound, Code: http.StatusNotFound, Message: r.URL.Path + " not found"})
		if answer := answers[r.Method+" "+r.URL.Path]; answer != nil {
			code, body = answer()
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(code)
		_ = json.NewEncoder(w).Encode(body)
	}))
	t.Cleanup(server.Close)
	name := filepath.Join(t.TempDir(), "kubeconfig")
	text := fmt.Sprintf("apiVersion: v1\nkind: Config\ncurrent-context: c\ncontexts: [{name: c, context: {cluster: c}}]\nclusters: [{name: c, cluster: {server: %s}}]\n", server.URL)
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

const (
	ofNamespace = "/api/v1/namespaces/illumio-system/"
	tokenPath   = "POST " + ofNamespace + "serviceaccounts/viewer/token"
	podsPath    = "GET " + ofNamespace + "pods"
	forwardPath = "POST " + ofNamespace + "pods/policy-store-1/portforward"
	bundlePath  = "GET " + ofNamespace + "configmaps/ringfence-ca"
	secretPath  = "GET " + ofNamespace + "secrets/of-the-log"
)

func forbids(what string) func() (int, any) {
	return func() (int, any) {
		return http.StatusForbidden, metav1.Status{
			TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}, Status: "Failure", Reason: metav1.StatusReasonForbidden, Code: http.StatusForbidden,
			Message: what + ` is forbidden: User "jane" cannot do that`,
		}
	}
}

func gives(text string) func() (int, any) {
	return func() (int, any) { return http.StatusOK, json.RawMessage(text) }
}

// TestTheTokenIsRenewed reads a secured log with tokens that end within seconds.
func TestTheTokenIsRenewed(t *testing.T) {
	issuer := identitytest.New(t)
	server := secured(t, issuer)
	watcher := filepath.Join(t.TempDir(), "watcher")
	if err := os.WriteFile(watcher, []byte(issuer.Service("watcher")), 0o600); err != nil {
		t.Fatal(err)
	}
	facts := writeAsWatcher(t, server, eventlog.Credentials{TokenFile: watcher})
	var asked atomic.Int32
	address := ringfence.Address{Server: server, Patience: 15 * time.Second, Namespace: "illumio-system"}
	address.Kubeconfig = clusterOf(t, map[string]func() (int, any){tokenPath: func() (int, any) {
		asked.Add(1)
		end := time.Now().Add(3 * time.Second)
		return http.StatusCreated, authenticationv1.TokenRequest{
			TypeMeta: metav1.TypeMeta{Kind: "TokenRequest", APIVersion: "authentication.k8s.io/v1"},
			Status:   authenticationv1.TokenRequestStatus{Token: issuer.Token(identitytest.Claims{Service: "viewer", To: end}), ExpirationTimestamp: metav1.NewTime(end)},
		}
	}})
	store, err := address.Connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	again := store.Conn.StatusChanged(nats.CONNECTED)
	for range 2 {
		select {
		case <-again:
		case <-time.After(20 * time.Second):
			t.Fatal("the connection does not come back with the next token")
		}
		// Its inbox is still its own: what is asked is answered.
		eventlogtest.Eventually(t, func() error {
			state, err := ringfence.At(t.Context(), store.Log, ringfence.Place{}, nil)
			if err == nil && state.Facts != facts {
				err = fmt.Errorf("%+v", state)
			}
			return err
		})
		if _, err := store.Conn.Request(policystore.StatusSubject, nil, 5*time.Second); err != nil {
			t.Error(err)
		}
	}
	if asked.Load() < 3 {
		t.Errorf("the cluster was asked for a token %d times", asked.Load())
	}
}

func TestARefusalOfTheClusterSaysHowToAsk(t *testing.T) {
	open, asks := eventlogtest.Start(t), secured(t, identitytest.New(t))
	const plain = `{"kind":"PodList","apiVersion":"v1","items":[{"metadata":{"name":"policy-store-1"},"status":{"phase":"Running","conditions":[{"type":"Ready","status":"True"}]}}]}`
	secure := strings.Replace(plain, `"status"`, `"spec":{"volumes":[{"name":"tls","secret":{"secretName":"of-the-log"}}]},"status"`, 1)
	open.Create()
	for name, c := range map[string]struct {
		server  string
		answers map[string]func() (int, any)
		want    []string // none where it connects
	}{
		"a log that asks nobody, and no viewer":          {server: open.URL()},
		"a log that asks nobody, and no right":           {server: open.URL(), answers: map[string]func() (int, any){tokenPath: forbids("token")}},
		"a log that asks, and no right to a token":       {asks, map[string]func() (int, any){tokenPath: forbids("token")}, []string{"is forbidden", "can-i create serviceaccounts/viewer --subresource=token", "docs/security.md"}},
		"a log that asks, and no viewer":                 {asks, nil, []string{"asks who you are", "create token viewer"}},
		"a token of somebody else's":                     {asks, map[string]func() (int, any){tokenPath: gives(`{"kind":"TokenRequest","apiVersion":"authentication.k8s.io/v1","status":{"token":"x","expirationTimestamp":"2100-01-01T00:00:00Z"}}`)}, []string{"asks who you are"}},
		"no right to see pods":                           {"", map[string]func() (int, any){podsPath: forbids("pods")}, []string{"can-i list pods"}},
		"no right to forward":                            {"", map[string]func() (int, any){podsPath: gives(plain), forwardPath: forbids("pods")}, []string{"can-i create pods --subresource=portforward"}},
		"no right to the authorities":                    {"", map[string]func() (int, any){podsPath: gives(secure), bundlePath: forbids("configmaps")}, []string{"can-i get configmaps/ringfence-ca"}},
		"authorities nowhere":                            {"", map[string]func() (int, any){podsPath: gives(secure)}, []string{"no ConfigMap ringfence-ca", "--log-ca-file"}},
		"authorities in a Secret that may not be read":   {"", map[string]func() (int, any){podsPath: gives(secure), secretPath: forbids("secrets")}, []string{"is forbidden", "--log-ca-file"}},
		"authorities in a Secret that lacks them":        {"", map[string]func() (int, any){podsPath: gives(secure), secretPath: gives(`{"kind":"Secret","apiVersion":"v1"}`)}, []string{"Secret of-the-log has no ca.crt", "--log-ca-file"}},
		"authorities in the Secret, no right to forward": {"", map[string]func() (int, any){podsPath: gives(secure), secretPath: gives(`{"kind":"Secret","apiVersion":"v1","data":{"ca.crt":"eA=="}}`), forwardPath: forbids("pods")}, []string{"portforward"}},
	} {
		t.Run(name, func(t *testing.T) {
			address := ringfence.Address{Server: c.server, Kubeconfig: clusterOf(t, c.answers), Namespace: "illumio-system", Patience: 2 * time.Second}
			store, err := address.Connect(t.Context())
			if err == nil {
				store.Close()
			}
			if (err == nil) != (c.want == nil) {
				t.Fatalf("connected: %t, %v", err == nil, err)
			}
			for _, want := range c.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error %q does not say %q", err, want)
				}
			}
		})
	}
}
