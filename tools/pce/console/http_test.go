package console_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"testing"
)

// get reads url as the test's user.
func get(t *testing.T, url string) []byte {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.SetBasicAuth(testKey, testSecret)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("GET %s: %d %s %v", url, resp.StatusCode, body, err)
	}
	return body
}

// The conventions that public clients lean on, on the wire.
func TestConventions(t *testing.T) {
	w := newWorld(t)
	w.label("app", "web")
	w.label("app", "webber")
	w.label("env", "web")
	for query, want := range map[string]string{"": "3", "?key=app": "2", "?value=WEB": "3", "?key=env&value=x": "0", "?max_results=0": "3"} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, w.server.URL+"/api/v2/orgs/1/labels"+query, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.SetBasicAuth(testKey, testSecret)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if err != nil || resp.Header.Get("X-Total-Count") != want || resp.Header.Get("Content-Type") != "application/json" {
			t.Errorf("%s: total %s, want %s (%s)", query, resp.Header.Get("X-Total-Count"), want, body)
		}
		if query == "?max_results=0" && string(body) != "[]" {
			t.Errorf("max_results=0 gave %s", body)
		}
	}
	resp, err := http.Get(w.server.URL + "/api/v2/orgs/1/labels")
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != 401 || resp.Header.Get("WWW-Authenticate") == "" {
		t.Errorf("without credentials: %d", resp.StatusCode)
	}
	if resp, err = http.Get(w.server.URL + "/api/v2/health"); err != nil || resp.StatusCode != 200 {
		t.Fatalf("health: %v", err)
	}
	_ = resp.Body.Close()
}

// reply is an answer, read whole.
type reply struct {
	status int
	header http.Header
	body   []byte
}

// do sends a request as the test's user; the path is below the organisation.
func (w *world) do(method, path string, body any, header ...string) reply {
	w.t.Helper()
	encoded, err := json.Marshal(body)
	if err != nil {
		w.t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(w.t.Context(), method, w.server.URL+"/api/v2/orgs/1"+path, bytes.NewReader(encoded))
	if err != nil {
		w.t.Fatal(err)
	}
	req.SetBasicAuth(testKey, testSecret)
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		w.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return reply{resp.StatusCode, resp.Header, answer}
}
