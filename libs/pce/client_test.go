package pce

import (
	"context"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// console serves handler and returns a client of its organisation 1.
func console(t *testing.T, handler http.HandlerFunc) *Client {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	c, err := New(Config{URL: server.URL, OrgID: 1, User: "c1", Secret: "1_ab", Cluster: "c1", Timeout: 5 * time.Second, Retries: 2, RetryWait: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func answers(status int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		_, _ = fmt.Fprint(w, body)
	}
}

// Every way in which an answer can be bad gives one sentence that names the call and, where there is one, the object.
func TestErrorsNameWhatFailed(t *testing.T) {
	const path = "GET /orgs/1/sec_policy/active/ip_lists: "
	for name, test := range map[string]struct {
		status int
		body   string
		kind   Kind
		want   string
	}{
		"wrong token": {401, `[]`, Unauthorized,
			path + "401: the PCE refused cluster token of cluster c1; check cluster_id and cluster_token (an Illumio console takes an API key in their place)"},
		"forbidden": {403, `[{"token":"forbidden","message":"not yours"}]`, Unauthorized, path + "403: not yours (forbidden)"},
		"html": {200, "<html><body>Sign in</body></html>", NotJSON,
			path + `the answer is not JSON (text/html; charset=utf-8, begins "<html><body>Sign in</body></html>"); is a proxy or another server at this address?`},
		"html error":      {404, "<html>", Missing, path + "404: the PCE refused: Not Found"},
		"empty":           {200, "", Truncated, path + "the answer is empty, want JSON"},
		"truncated":       {200, `[{"href":"/orgs/1/x/7","name":"a`, Truncated, path + "the JSON ends early, after 32 bytes"},
		"broken":          {200, `[{"href":}]`, NotJSON, path + "the answer is not JSON: invalid character '}' looking for beginning of value at byte 10"},
		"object for list": {200, `{"a":1}`, Malformed, path + "field (the object itself) holds a JSON object, want []json.RawMessage"},
		"wrong type": {200, `[{"href":"/orgs/1/x/7","ip_ranges":[{"from_ip":7}]}]`, Malformed,
			path + "/orgs/1/x/7: field ip_ranges.from_ip holds a JSON number, want string"},
		"null in list": {200, `[null]`, Malformed, path + "object 0 of the list: is null"},
		"two reasons": {406, `[{"token":"a","message":"A"},{"token":"b","message":"B"}]`, Refused,
			path + "406: A (a); B (b)"},
		"server error": {500, "oops", Busy, path + "500: the PCE refused: Internal Server Error"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := console(t, answers(test.status, test.body)).IPLists(t.Context(), Active)
			if err == nil {
				t.Fatal("no error")
			}
			if diff := cmp.Diff(test.want, err.Error()); diff != "" {
				t.Errorf("sentence (-want +got):\n%s", diff)
			}
			if got := KindOf(err); got != test.kind {
				t.Errorf("kind %q, want %q", got, test.kind)
			}
		})
	}
}

func TestUnreachableNamesTheCall(t *testing.T) {
	server := httptest.NewServer(http.NotFoundHandler())
	server.Close()
	c, err := New(Config{URL: server.URL, OrgID: 1})
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.Labels(t.Context())
	if KindOf(err) != Unreachable || !strings.HasPrefix(err.Error(), "GET /orgs/1/labels: the PCE does not answer: ") {
		t.Fatalf("got %q of kind %q", err, KindOf(err))
	}
}

func TestUntrustedCertificateSaysSo(t *testing.T) {
	server := httptest.NewTLSServer(http.NotFoundHandler())
	defer server.Close()
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	c, err := New(Config{URL: server.URL, OrgID: 1})
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.Labels(t.Context())
	if KindOf(err) != Unreachable || !strings.Contains(err.Error(), "is not trusted; give its authority: tls: failed to verify certificate") {
		t.Fatal(err)
	}
	if c, err = New(Config{URL: server.URL, OrgID: 1, IgnoreCert: true}); err != nil {
		t.Fatal(err)
	}
	if _, err = c.Labels(t.Context()); KindOf(err) != Missing {
		t.Fatal(err)
	}
}

// A refused POST is sent again only where the console said that it did nothing.
func TestRetries(t *testing.T) {
	for _, test := range []struct {
		status, tries int
		post          bool
	}{
		{429, 3, false}, {503, 3, false}, {502, 3, false}, {429, 3, true}, {502, 1, true}, {500, 1, false}, {406, 1, false},
	} {
		t.Run(fmt.Sprintf("%d post=%v", test.status, test.post), func(t *testing.T) {
			var tries atomic.Int32
			c := console(t, func(w http.ResponseWriter, _ *http.Request) {
				tries.Add(1)
				w.WriteHeader(test.status)
			})
			var err error
			if test.post {
				_, err = c.CreateLabel(t.Context(), Label{Key: "app", Value: "web"})
			} else {
				_, err = c.Labels(t.Context())
			}
			if err == nil || int(tries.Load()) != test.tries {
				t.Fatalf("%d tries and error %v, want %d tries and an error", tries.Load(), err, test.tries)
			}
		})
	}
}

func TestRetryAfterWaitsAndSucceeds(t *testing.T) {
	var tries atomic.Int32
	c := console(t, func(w http.ResponseWriter, _ *http.Request) {
		if tries.Add(1) == 1 {
			w.Header().Set("Retry-After", "0")
			w.WriteHeader(http.StatusTooManyRequests)
			return
		}
		_, _ = fmt.Fprint(w, `[{"href":"/orgs/1/labels/1","key":"app","value":"web","unheard_of":{"x":1}}]`)
	})
	labels, err := c.Labels(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]Label{{Href: "/orgs/1/labels/1", Key: "app", Value: "web"}}, labels); diff != "" {
		t.Fatal(diff)
	}
}

// A console that answers with a part of the list is asked for the whole.
func TestListIsWhole(t *testing.T) {
	c := console(t, func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == "/api/v2/orgs/1/jobs/j":
			_, _ = fmt.Fprint(w, `{"status":"done","result":{"href":"/orgs/1/datafiles/d"}}`)
		case r.URL.Path == "/api/v2/orgs/1/datafiles/d":
			_, _ = fmt.Fprint(w, `[{"href":"a"},{"href":"b"}]`)
		case r.Header.Get("Prefer") == "respond-async":
			w.Header().Set("Location", "https://pce.example/api/v2/orgs/1/jobs/j")
			w.Header().Set("Retry-After", "0")
			w.WriteHeader(http.StatusAccepted)
		default:
			w.Header().Set("X-Total-Count", "2")
			_, _ = fmt.Fprint(w, `[{"href":"a"}]`)
		}
	})
	labels, err := c.Labels(t.Context())
	if err != nil || len(labels) != 2 {
		t.Fatalf("%d labels and error %v, want 2 and none", len(labels), err)
	}
}

func TestFailedJobIsAnError(t *testing.T) {
	c := console(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Prefer") != "" {
			w.Header().Set("Location", "/orgs/1/jobs/j")
			w.Header().Set("Retry-After", "0")
			w.WriteHeader(http.StatusAccepted)
			return
		}
		w.Header().Set("X-Total-Count", "2")
		_, _ = fmt.Fprint(w, map[bool]string{true: `{"status":"failed"}`, false: `[]`}[strings.Contains(r.URL.Path, "/jobs/")])
	})
	if _, err := c.Labels(t.Context()); err == nil || !strings.Contains(err.Error(), "/orgs/1/labels: the PCE's job failed") {
		t.Fatalf("got %v", err)
	}
}

func TestCallsEndWithTheContext(t *testing.T) {
	c := console(t, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(20*time.Millisecond, cancel)
	if _, err := c.Agent("c1").WaitForChanges(ctx, "", time.Hour); err == nil {
		t.Fatal("no error")
	}
}

func TestNewRefusesBadAddresses(t *testing.T) {
	for _, config := range []Config{{URL: "", OrgID: 1}, {URL: "ftp://pce", OrgID: 1}, {URL: "https://pce:bad:port", OrgID: 1}, {URL: "pce:8443"}} {
		if _, err := New(config); err == nil {
			t.Errorf("%+v: no error", config)
		}
	}
	c, err := New(Config{URL: "pce:8443", OrgID: 3})
	if err != nil || c.base != "https://pce:8443/api/v2" || c.Org() != "/orgs/3" {
		t.Fatalf("base %q org %q error %v", c.base, c.Org(), err)
	}
}

func TestOrgOfToken(t *testing.T) {
	for token, want := range map[string]int{"1_ab": 1, "42_ff": 42, "ab": 0, "_ab": 0, "-1_a": 0, "": 0} {
		if got, ok := OrgOfToken(token); ok != (want > 0) || (ok && got != want) {
			t.Errorf("%q: %d %v, want %d", token, got, ok, want)
		}
	}
}
