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

// call sends a request signed by sign and gives its status and body.
func (w *world) call(method, path string, body any, sign func(*http.Request)) (*http.Response, []byte) {
	w.t.Helper()
	encoded, err := json.Marshal(body)
	if err != nil {
		w.t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(w.t.Context(), method, w.server.URL+"/api/v2"+path, bytes.NewReader(encoded))
	if err != nil {
		w.t.Fatal(err)
	}
	sign(req)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		w.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return resp, answer
}

func basic(name, secret string) func(*http.Request) {
	return func(r *http.Request) { r.SetBasicAuth(name, secret) }
}

func nobody(*http.Request) {}

// answered sends a request as the test's user, expects the status and decodes the answer into out where that is not nil.
func (w *world) answered(status int, method, path string, body, out any) {
	w.t.Helper()
	w.answeredTo(basic(testKey, testSecret), status, method, path, body, out)
}

func (w *world) answeredTo(sign func(*http.Request), status int, method, path string, body, out any) {
	w.t.Helper()
	resp, answer := w.call(method, path, body, sign)
	if resp.StatusCode != status {
		w.t.Fatalf("%s %s: %d %s, want %d", method, path, resp.StatusCode, answer, status)
	}
	if out == nil {
		return
	}
	if err := json.Unmarshal(answer, out); err != nil {
		w.t.Fatalf("%s %s: %v in %s", method, path, err, answer)
	}
}
