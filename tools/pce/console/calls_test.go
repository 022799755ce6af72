package console_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
)

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
