package identity

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/rs/zerolog"

	"github.com/ringfence/ringfence/libs/identity/identitytest"
)

// source is a file that can be out of reach, and counts how often it was asked.
type source struct {
	file  string
	away  atomic.Bool
	asked atomic.Int32
}

func (s *source) Fetch(ctx context.Context) ([]byte, error) {
	s.asked.Add(1)
	if s.away.Load() {
		return nil, errors.New("connection refused")
	}
	return FileSource(s.file).Fetch(ctx)
}

func verifierOf(i *identitytest.Issuer) (*Verifier, *source) {
	s := &source{file: i.File()}
	return &Verifier{
		Issuer: identitytest.Name, Audience: identitytest.Audience, Namespace: identitytest.Namespace, Keys: NewKeys(s, "", zerolog.Nop()),
	}, s
}

func TestWhoATokenIsAbout(t *testing.T) {
	i := identitytest.New(t)
	v, _ := verifierOf(i)
	end := time.Now().Add(time.Hour).Truncate(time.Second)
	for _, c := range []struct {
		token identitytest.Claims
		want  Identity
		text  string
	}{
		{identitytest.Claims{Service: "enforcer", Pod: "enforcer-x", Node: "node-1", To: end},
			Identity{Service: "enforcer", Pod: "enforcer-x", PodUID: "uid-enforcer-x", Node: "node-1", Deadline: end}, "enforcer (pod enforcer-x on node-1)"},
		{identitytest.Claims{Service: "viewer", To: end}, Identity{Service: "viewer", Deadline: end}, "viewer (token "},
	} {
		token := i.Token(c.token)
		got, err := v.Verify(t.Context(), token)
		c.want.Fingerprint = Fingerprint(token)
		if err != nil || got != c.want || !strings.HasPrefix(got.String(), c.text) {
			t.Errorf("%+v: %+v %q %v", c.token, got, got, err)
		}
	}
	if len(Fingerprint("a")) != 16 || Fingerprint("a") == Fingerprint("b") {
		t.Error("fingerprints do not tell tokens apart")
	}
}

func TestEveryRefusalHasItsReason(t *testing.T) {
	i, foreign := identitytest.New(t), identitytest.New(t)
	v, _ := verifierOf(i)
	now := time.Now()
	good := i.Enforcer("node-1")
	parts := strings.Split(good, ".")
	unsigned := parts[0] + "." + parts[1] + "."
	other := strings.Split(i.Enforcer("node-2"), ".")
	for name, c := range map[string]struct {
		token string
		want  error
		words string
	}{
		"none":              {"", ErrNoToken, ""},
		"garbage":           {"garbage", ErrMalformed, ""},
		"three of nothing":  {"..", ErrMalformed, ""},
		"too long":          {strings.Repeat("a", maxToken+1), ErrMalformed, "16385 bytes"},
		"no signature":      {unsigned, ErrSignature, "key-1"},
		"alg none":          {"eyJhbGciOiJub25lIn0." + parts[1] + ".", ErrMalformed, "RS256"},
		"shared secret":     {hmacToken(t, i), ErrMalformed, "RS256"},
		"another's claims":  {parts[0] + "." + other[1] + "." + parts[2], ErrSignature, "key-1"},
		"foreign key":       {foreign.Enforcer("node-1"), ErrSignature, "key-1"},
		"wrong issuer":      {i.Token(identitytest.Claims{Service: "enforcer", Issuer: "https://elsewhere"}), ErrIssuer, "https://elsewhere"},
		"no issuer":         {i.Token(identitytest.Claims{Service: "enforcer", Issuer: "-"}), ErrIssuer, ""},
		"wrong audience":    {i.Token(identitytest.Claims{Service: "enforcer", Audience: "vault"}), ErrAudience, "vault"},
		"expired":           {i.Token(identitytest.Claims{Service: "enforcer", Node: "n", From: now.Add(-2 * time.Hour)}), ErrExpired, "Z"},
		"not yet valid":     {i.Token(identitytest.Claims{Service: "enforcer", From: now.Add(time.Minute)}), ErrNotYetValid, "Z"},
		"another namespace": {i.Token(identitytest.Claims{Service: "enforcer", Namespace: "shop"}), ErrNamespace, "shop/enforcer"},
		"another subject":   {i.Token(identitytest.Claims{Service: "enforcer", Subject: "system:serviceaccount:illumio-system:watcher"}), ErrMalformed, "watcher"},
		"a person":          {i.Token(identitytest.Claims{Subject: "jane@example.org"}), ErrMalformed, "ServiceAccount"},
	} {
		id, err := v.Verify(t.Context(), c.token)
		if !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.words) {
			t.Errorf("%s: %+v %v", name, id, err)
		}
		if err != nil && len(c.token) > 20 && strings.Contains(err.Error(), c.token[len(c.token)-20:]) {
			t.Errorf("%s: the error gives the token away: %v", name, err)
		}
	}
	if _, err := v.Verify(t.Context(), good); err != nil {
		t.Errorf("the good token: %v", err)
	}
}

// hmacToken is signed with the published key as if that were a shared secret, the oldest trick there is.
func hmacToken(t *testing.T, i *identitytest.Issuer) string {
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.HS256, Key: i.Document()}, (&jose.SignerOptions{}).WithHeader("kid", "key-1"))
	if err != nil {
		t.Fatal(err)
	}
	token, err := jwt.Signed(signer).Claims(jwt.Claims{Issuer: identitytest.Name}).Serialize()
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func TestChangedKeysAreTakenUp(t *testing.T) {
	i := identitytest.New(t)
	v, s := verifierOf(i)
	first := i.Enforcer("node-1")
	verify := func(token string, want error) {
		t.Helper()
		if _, err := v.Verify(t.Context(), token); !errors.Is(err, want) {
			t.Fatalf("%v, want %v", err, want)
		}
	}
	later := func() { v.Keys.next = time.Time{} }
	verify(first, nil)
	i.Rotate()
	second := i.Enforcer("node-1")
	verify(second, ErrUnknownKey) // so soon after the last fetch nobody is asked
	if asked := s.asked.Load(); asked != 1 {
		t.Fatalf("the issuer was asked %d times", asked)
	}
	later()
	verify(second, nil)
	verify(first, nil)
	i.Forget()
	later()
	v.Keys.refresh(t.Context(), true)
	verify(first, ErrUnknownKey)
	verify(second, nil)
}

func TestExpiredTokensAreTakenOnlyWhileTheIssuerIsAway(t *testing.T) {
	i := identitytest.New(t)
	v, s := verifierOf(i)
	end := time.Now().Add(-time.Hour).Truncate(time.Second)
	bound := i.Token(identitytest.Claims{Service: "enforcer", Pod: "p", Node: "node-1", From: end.Add(-time.Hour), To: end})
	loose := i.Token(identitytest.Claims{Service: "viewer", From: end.Add(-time.Hour), To: end})
	if _, err := v.Verify(t.Context(), bound); !errors.Is(err, ErrExpired) {
		t.Fatalf("with the issuer there: %v", err)
	}
	s.away.Store(true)
	v.Keys.next = time.Time{}
	id, err := v.Verify(t.Context(), bound)
	if err != nil || !id.Expired.Equal(end) || time.Until(id.Deadline) > graceStep {
		t.Fatalf("with the issuer away: %+v %v", id, err)
	}
	if _, err := v.Verify(t.Context(), loose); !errors.Is(err, ErrExpired) {
		t.Errorf("a token that is bound to no node: %v", err)
	}
	wrong := identitytest.New(t).Token(identitytest.Claims{Service: "enforcer", Pod: "p", Node: "node-1", From: end.Add(-time.Hour), To: end})
	if _, err := v.Verify(t.Context(), wrong); !errors.Is(err, ErrSignature) {
		t.Errorf("a wrong signature: %v", err)
	}
	v.now = func() time.Time { return end.Add(Grace - time.Minute) }
	if id, err = v.Verify(t.Context(), bound); err != nil || !id.Deadline.Equal(end.Add(Grace)) {
		t.Errorf("a minute before the end of grace: %+v %v", id, err)
	}
	v.now = func() time.Time { return end.Add(Grace) }
	if _, err = v.Verify(t.Context(), bound); !errors.Is(err, ErrExpired) {
		t.Errorf("at the end of grace: %v", err)
	}
	v.now = nil
	s.away.Store(false)
	v.Keys.next = time.Time{}
	if _, err := v.Verify(t.Context(), bound); !errors.Is(err, ErrExpired) {
		t.Errorf("with the issuer back: %v", err)
	}
}

func TestKeysOutliveTheIssuer(t *testing.T) {
	i := identitytest.New(t)
	v, s := verifierOf(i)
	file := filepath.Join(t.TempDir(), "keys.json")
	v.Keys = NewKeys(s, file, zerolog.Nop())
	token := i.Enforcer("node-1")
	if _, err := v.Verify(t.Context(), token); err != nil {
		t.Fatal(err)
	}
	s.away.Store(true)
	v.Keys = NewKeys(s, file, zerolog.Nop())
	if _, err := v.Verify(t.Context(), token); err != nil {
		t.Errorf("after a start without issuer: %v", err)
	}
	if err := os.WriteFile(file, []byte(`{"keys":[{"kty":"oct","k":"c2VjcmV0"}]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	var said bytes.Buffer
	v.Keys = NewKeys(s, file, zerolog.New(&said))
	if !strings.Contains(said.String(), "none of 1 entries under keys") {
		t.Errorf("a damaged file: %s", said.String())
	}
	if _, err := v.Verify(t.Context(), token); !errors.Is(err, ErrUnknownKey) || !strings.Contains(err.Error(), "connection refused") {
		t.Errorf("without keys: %v", err)
	}
	if left, err := filepath.Glob(filepath.Join(filepath.Dir(file), ".token-keys-*")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v %v", left, err)
	}
}

func TestRunFetchesAtOnceAndAgainAfterAFailure(t *testing.T) {
	i := identitytest.New(t)
	s := &source{file: i.File()}
	s.away.Store(true)
	k := NewKeys(s, "", zerolog.Nop())
	k.wait.InitialInterval = 10 * time.Millisecond
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); k.Run(ctx) }()
	until := time.Now().Add(10 * time.Second)
	for s.asked.Load() < 3 && time.Now().Before(until) {
		time.Sleep(time.Millisecond)
	}
	if fetched, err := k.Fetched(); err == nil || !fetched.IsZero() {
		t.Errorf("away: %v %v", fetched, err)
	}
	s.away.Store(false)
	for time.Now().Before(until) {
		if _, err := k.Fetched(); err == nil {
			break
		}
		time.Sleep(time.Millisecond)
	}
	cancel()
	<-done
	if fetched, err := k.Fetched(); err != nil || time.Since(fetched) > time.Minute {
		t.Errorf("back: %v %v", fetched, err)
	}
}

func TestClusterSource(t *testing.T) {
	i := identitytest.New(t)
	answer := func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Header.Get("Authorization") != "Bearer for-the-api":
			w.WriteHeader(http.StatusForbidden)
		case r.URL.Path == "/elsewhere":
			http.Redirect(w, r, "https://example.org/", http.StatusFound)
		default:
			_, _ = w.Write(i.Document())
		}
	}
	server := httptest.NewTLSServer(http.HandlerFunc(answer))
	defer server.Close()
	dir := t.TempDir()
	write := func(name, text string) string {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	ca := write("ca.crt", pemOf(server.Certificate().Raw))
	s := ClusterSource{URL: server.URL + "/openid/v1/jwks", CAFile: ca, TokenFile: write("token", "for-the-api\n")}
	document, err := s.Fetch(t.Context())
	if keys, parseErr := parseKeys(document); err != nil || parseErr != nil || len(keys) != 1 {
		t.Fatalf("%d keys, %v, %v", len(keys), err, parseErr)
	}
	for name, c := range map[string]struct {
		change func(*ClusterSource)
		words  string
	}{
		"wrong token":    {func(s *ClusterSource) { s.TokenFile = write("wrong", "ringfence") }, "403 Forbidden"},
		"no token":       {func(s *ClusterSource) { s.TokenFile = filepath.Join(dir, "none") }, "no such file"},
		"no authority":   {func(s *ClusterSource) { s.CAFile = s.TokenFile }, "no certificate"},
		"a redirect":     {func(s *ClusterSource) { s.URL = server.URL + "/elsewhere" }, "302 Found"},
		"another's CA":   {func(s *ClusterSource) { s.CAFile = write("other.crt", pemOf(otherCertificate(t))) }, "certificate"},
		"nobody there":   {func(s *ClusterSource) { s.URL = "https://127.0.0.1:1/" }, "refused"},
		"not a good URL": {func(s *ClusterSource) { s.URL = "https://%zz/" }, "parse"},
	} {
		changed := s
		c.change(&changed)
		if _, err := changed.Fetch(t.Context()); err == nil || !strings.Contains(err.Error(), c.words) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestIssuerOf(t *testing.T) {
	i := identitytest.New(t)
	if name, err := IssuerOf(i.Service("policy-store") + "\n"); err != nil || name != identitytest.Name {
		t.Errorf("%q %v", name, err)
	}
	for _, token := range []string{"", "garbage", i.Token(identitytest.Claims{Issuer: "-"})} {
		if name, err := IssuerOf(token); !errors.Is(err, ErrMalformed) {
			t.Errorf("%q: %q %v", token, name, err)
		}
	}
}
