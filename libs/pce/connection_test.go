package pce

import (
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// A console that asks for a long wait is not asked again meanwhile, and its error says for how long.
func TestALongRetryAfterIsTheCallersToWait(t *testing.T) {
	var tries atomic.Int32
	date := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	for _, asked := range []string{"120", date.Add(2 * time.Minute).Format(http.TimeFormat)} {
		tries.Store(0)
		c := console(t, func(w http.ResponseWriter, _ *http.Request) {
			tries.Add(1)
			w.Header().Set("Date", date.Format(http.TimeFormat)) // the console's clock is years ahead
			w.Header().Set("Retry-After", asked)
			w.WriteHeader(http.StatusTooManyRequests)
		})
		_, err := c.Labels(t.Context())
		if RetryAfter(err) != 2*time.Minute || tries.Load() != 1 || !strings.Contains(err.Error(), "asks to wait 2m0s") {
			t.Errorf("Retry-After %s: %d tries, wait %s, %v", asked, tries.Load(), RetryAfter(err), err)
		}
	}
}

// A console that does no jobs is asked for as many objects as it says that there are.
func TestAListWithoutJobs(t *testing.T) {
	serves, total := 3, 3
	c := console(t, func(w http.ResponseWriter, r *http.Request) {
		n := 1
		if r.URL.Query().Get("max_results") != "" {
			_, _ = fmt.Sscan(r.URL.Query().Get("max_results"), &n)
		}
		items := make([]string, min(n, serves))
		for i := range items {
			items[i] = fmt.Sprintf(`{"href":"/orgs/1/labels/%d"}`, i)
		}
		w.Header().Set("X-Total-Count", fmt.Sprint(total))
		_, _ = fmt.Fprintf(w, "[%s]", strings.Join(items, ","))
	})
	if labels, err := c.Labels(t.Context()); err != nil || len(labels) != 3 {
		t.Fatalf("%d labels, %v", len(labels), err)
	}
	serves = 2
	if _, err := c.Labels(t.Context()); KindOf(err) != Truncated || !strings.Contains(err.Error(), "gives 2 of 3 objects") {
		t.Fatalf("a part of a list was taken for the whole: %v", err)
	}
}

func TestAuthoritiesAreReadAgainWhenTheyChange(t *testing.T) {
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "[]") }))
	defer server.Close()
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	dir := t.TempDir()
	c, err := New(Config{URL: server.URL, OrgID: 1, RootCADir: dir})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Labels(t.Context()); KindOf(err) != Unreachable {
		t.Fatalf("a stranger was trusted: %v", err)
	}
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, "ca.pem"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		rt := c.http.HTTPClient.Transport.(*transport)
		rt.mu.Lock()
		rt.looked = time.Time{}
		rt.mu.Unlock()
	}
	write("half a certifi")
	if _, err := c.Labels(t.Context()); err == nil || !strings.Contains(err.Error(), "ca.pem holds no certificate in PEM form") {
		t.Fatalf("what is wrong with the folder is not said: %v", err)
	}
	write(string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})))
	if _, err := c.Labels(t.Context()); err != nil {
		t.Fatal(err)
	}
	write("half a certifi")
	if _, err := c.Labels(t.Context()); err != nil {
		t.Fatalf("the authorities from before did not stay: %v", err)
	}
}

func TestAuthorities(t *testing.T) {
	if pool, _, err := authorities(filepath.Join(t.TempDir(), "none")); pool != nil || err != nil {
		t.Fatalf("no folder: %v %v", pool, err)
	}
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "..data"), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, _, err := authorities(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "ca.pem"), []byte("no certificate"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := New(Config{URL: "pce:1", OrgID: 1, RootCADir: dir}); err == nil || !strings.Contains(err.Error(), "ca.pem holds no certificate in PEM form") {
		t.Fatal(err)
	}
}

func TestRequestsGoThroughTheProxy(t *testing.T) {
	var asked atomic.Pointer[url.URL]
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Store(r.URL)
		_, _ = io.WriteString(w, "[]")
	}))
	defer proxy.Close()
	c, err := New(Config{URL: "http://pce.invalid:8443", OrgID: 1, Proxy: proxy.URL})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Labels(t.Context()); err != nil || asked.Load() == nil || asked.Load().Host != "pce.invalid:8443" {
		t.Fatalf("the proxy was asked for %v: %v", asked.Load(), err)
	}
	if _, err := New(Config{URL: "pce:1", OrgID: 1, Proxy: "proxy:3128"}); err == nil || !strings.Contains(err.Error(), `HTTP proxy "proxy:3128"`) {
		t.Fatal(err)
	}
}

// Other credentials of one console share its connections, and their errors name them.
func TestWithOtherCredentials(t *testing.T) {
	c := console(t, func(w http.ResponseWriter, r *http.Request) {
		if user, secret, _ := r.BasicAuth(); user == "api_1" && secret == "s" {
			_, _ = io.WriteString(w, "[]")
			return
		}
		w.WriteHeader(http.StatusUnauthorized)
	})
	if _, err := c.Labels(t.Context()); err == nil || !strings.Contains(err.Error(), "refused cluster token of cluster c1") {
		t.Fatal(err)
	}
	if _, err := c.With("api_1", "s", "").Labels(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := c.With("api_2", "s", "").Labels(t.Context()); err == nil || !strings.Contains(err.Error(), "refused API key api_2") {
		t.Fatal(err)
	}
}
