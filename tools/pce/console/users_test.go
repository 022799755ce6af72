package console_test

import (
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/ringfence/ringfence/tools/pce/console"
)

type signedIn struct {
	Href     string `json:"href"`
	Name     string `json:"auth_username"`
	Username string `json:"username"`
	Token    string `json:"session_token"`
	Orgs     []struct {
		ID   int    `json:"org_id"`
		Href string `json:"org_href"`
		UUID string `json:"org_uuid"`
	} `json:"orgs"`
}

// signIn goes the two steps from a password to a session.
func (w *world) signIn(name, password string) signedIn {
	w.t.Helper()
	var ticket struct {
		Token string `json:"auth_token"`
	}
	w.answeredTo(basic(name, password), 200, "POST", "/login_users/authenticate?pce_fqdn=pce.example.com", nil, &ticket)
	token := func(r *http.Request) { r.Header.Set("Authorization", "Token token="+ticket.Token) }
	var s signedIn
	w.answeredTo(token, 200, "GET", "/users/login", nil, &s)
	w.answeredTo(token, 401, "GET", "/users/login", nil, nil) // a ticket is good once
	return s
}

func (s signedIn) sign(r *http.Request) { r.SetBasicAuth(s.Name, s.Token) }

// From a password to a session, and out again; and who it was is what the audit fields say.
func TestSignIn(t *testing.T) {
	w := newWorld(t)
	w.ok(w.console.EnsureUser(t.Context(), "ada@example.com", "correct horse"))
	s := w.signIn("ada@example.com", "correct horse")
	if s.Username != "ada@example.com" || !strings.HasPrefix(s.Name, "user_") || len(s.Orgs) != 1 || s.Orgs[0].ID != 1 || s.Orgs[0].Href != "/orgs/1" || s.Orgs[0].UUID == "" {
		t.Fatalf("signed in: %+v", s)
	}
	var label struct {
		CreatedBy struct{ Href string } `json:"created_by"`
	}
	w.answeredTo(s.sign, 201, "POST", "/orgs/1/labels", map[string]string{"key": "app", "value": "x"}, &label)
	if label.CreatedBy.Href != s.Href {
		t.Fatalf("made by %s, want %s", label.CreatedBy.Href, s.Href)
	}
	w.answeredTo(basic("user_0", s.Token), 401, "GET", "/orgs/1/labels", nil, nil)
	w.answeredTo(s.sign, 403, "PUT", "/users/0/logout", struct{}{}, nil)
	other := w.signIn("ada@example.com", "correct horse")
	w.answeredTo(s.sign, 204, "PUT", s.Href+"/logout", struct{}{}, nil)
	w.answeredTo(s.sign, 401, "GET", "/orgs/1/labels", nil, nil)
	w.answeredTo(other.sign, 204, "PUT", s.Href, map[string]string{"full_name": "Ada"}, nil)
	w.answeredTo(other.sign, 200, "GET", "/orgs/1/labels", nil, nil)
	w.ok(w.console.EnsureUser(t.Context(), "ada@example.com", "another horse"))
	w.answeredTo(basic("ada@example.com", "correct horse"), 401, "POST", "/login_users/authenticate", nil, nil)
	w.close()
	w.open()
	w.answeredTo(other.sign, 401, "GET", "/orgs/1/labels", nil, nil) // a restart signs everybody out
	w.signIn("ada@example.com", "another horse")
}

func TestGuessingIsLimited(t *testing.T) {
	w := newWorld(t)
	w.ok(w.console.EnsureUser(t.Context(), "ada", "correct horse"))
	for range 20 {
		resp, _ := w.call("POST", "/login_users/authenticate", nil, basic("ada", "wrong horse"))
		if resp.StatusCode == http.StatusTooManyRequests {
			return
		}
		if resp.StatusCode != http.StatusUnauthorized {
			t.Fatalf("a wrong password: %d", resp.StatusCode)
		}
	}
	t.Fatal("twenty guesses were taken") // at most ten in each of the two minutes they may fall in
}

func TestUsers(t *testing.T) {
	w := newWorld(t)
	var made struct {
		Href     string
		Username string
		Password *string
	}
	w.answered(201, "POST", "/users", map[string]string{"username": "bob", "password": "long enough", "full_name": "Bob"}, &made)
	if made.Username != "bob" || made.Password != nil {
		t.Fatalf("made %+v", made)
	}
	for body, want := range map[*map[string]string]string{
		{"username": "bob"}:                                    "username_must_be_unique",
		{"username": "a:b"}:                                    "username: must not be empty",
		{"username": "c", "password": "short"}:                 "password: want 8 to 72 bytes",
		{"username": "c", "type": "external"}:                  "this console has local users only",
		{"username": "c", "password": strings.Repeat("x", 73)}: "password: want 8 to 72 bytes",
	} {
		if resp, answer := w.call("POST", "/users", body, basic(testKey, testSecret)); resp.StatusCode != 406 || !strings.Contains(string(answer), want) {
			t.Errorf("%v: %d %s, want %q", *body, resp.StatusCode, answer, want)
		}
	}
	for _, path := range []string{"/users", "/orgs/1/users", "/orgs/1/events"} {
		if body := string(get(t, w.server.URL+"/api/v2"+path)); strings.Contains(body, "$2a$") || strings.Contains(body, "long enough") || !strings.Contains(body, "bob") {
			t.Errorf("%s: %s", path, body)
		}
	}
	s := w.signIn("bob", "long enough")
	w.answered(204, "PUT", made.Href, map[string]string{"password": "longer still"}, nil)
	w.answeredTo(s.sign, 401, "GET", "/users", nil, nil) // another password ends the sessions of the one before
	s = w.signIn("bob", "longer still")
	w.answered(406, "DELETE", "/users/0", nil, nil)
	w.answered(204, "DELETE", made.Href, nil, nil)
	w.answeredTo(s.sign, 401, "GET", "/users", nil, nil)
	w.answered(404, "GET", made.Href, nil, nil)
}

func TestAPIKeys(t *testing.T) {
	w := newWorld(t)
	w.ok(w.console.EnsureUser(t.Context(), "ada", "correct horse"))
	s := w.signIn("ada", "correct horse")
	var key struct {
		Href   string
		ID     string `json:"key_id"`
		Name   string `json:"auth_username"`
		Secret string
	}
	w.answeredTo(s.sign, 201, "POST", s.Href+"/api_keys", map[string]string{"name": "ci"}, &key)
	w.answeredTo(s.sign, 406, "POST", s.Href+"/api_keys", map[string]string{"name": "ci"}, nil)
	w.answeredTo(s.sign, 406, "POST", s.Href+"/api_keys", map[string]string{"name": " "}, nil)
	w.answeredTo(s.sign, 404, "POST", "/users/99/api_keys", map[string]string{"name": "ci"}, nil)
	if key.Href != s.Href+"/api_keys/"+key.ID || len(key.Secret) != 64 {
		t.Fatalf("made %+v", key)
	}
	sign := basic(key.Name, key.Secret)
	w.answeredTo(sign, 204, "PUT", key.Href, map[string]string{"description": "for the pipeline"}, nil)
	var one map[string]any
	w.answeredTo(sign, 200, "GET", key.Href, nil, &one)
	if one["description"] != "for the pipeline" || one["secret"] != nil {
		t.Fatalf("read %v", one)
	}
	var all []map[string]any
	w.answeredTo(sign, 200, "GET", s.Href+"/api_keys", nil, &all)
	var builtin []map[string]any
	w.answeredTo(sign, 200, "GET", "/users/0/api_keys", nil, &builtin)
	if len(all) != 1 || len(builtin) != 1 || builtin[0]["key_id"] != testKey {
		t.Fatalf("keys %v and %v", all, builtin)
	}
	w.answeredTo(sign, 204, "DELETE", key.Href, nil, nil)
	w.answeredTo(sign, 401, "GET", key.Href, nil, nil)
	w.answeredTo(s.sign, 201, "POST", s.Href+"/api_keys", map[string]string{"name": "ci"}, &key)
	w.answered(204, "DELETE", s.Href, nil, nil)
	w.answeredTo(basic(key.Name, key.Secret), 401, "GET", "/users", nil, nil) // keys go with their user
}

func TestRequestsAreLimited(t *testing.T) {
	w := newWorld(t, console.LimitRequests(50))
	_, token, agent := w.onboard("lab")
	var refused *http.Response
	var answer []byte
	for range 120 {
		resp, body := w.call("GET", "/orgs/1/labels", nil, basic(testKey, testSecret))
		if resp.StatusCode == http.StatusTooManyRequests {
			refused, answer = resp, body
			break
		}
	}
	if refused == nil {
		t.Fatal("120 requests were taken, of 50 a minute")
	}
	if wait, err := strconv.Atoi(refused.Header.Get("Retry-After")); err != nil || wait < 1 || wait > 61 || !strings.Contains(string(answer), "too_many_requests_error") {
		t.Fatalf("Retry-After %q, %s", refused.Header.Get("Retry-After"), answer)
	}
	for range 120 { // the cluster goes on
		w.ok(agent.Heartbeat(t.Context()))
	}
	must(token.Labels(t.Context()))(t)
}
