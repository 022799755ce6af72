package policystore

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"github.com/ringfence/ringfence/libs/access"
	"github.com/ringfence/ringfence/libs/eventlog"
	"github.com/ringfence/ringfence/libs/identity"
	"github.com/ringfence/ringfence/libs/identity/identitytest"
	ringfencev1 "github.com/ringfence/ringfence/proto/ringfence/v1"
)

// onEachServer runs a test on the embedded server, and on three of a cluster that asks policy-store by auth callout.
func onEachServer(t *testing.T, test func(*testing.T, *secured)) {
	t.Parallel() // a cluster elects for seconds
	t.Run("embedded", func(t *testing.T) { test(t, startSecured(t)) })
	t.Run("external", func(t *testing.T) {
		s, _ := startSecuredCluster(t)
		test(t, s)
	})
}

// startSecuredCluster starts three NATS servers with the configuration that policy-store nats-config writes, and a
// policy-store in this process that uses them. Both stop with the test.
func startSecuredCluster(t *testing.T, change ...func(*Config)) (*secured, *natsCluster) {
	t.Helper()
	keys := filepath.Join(t.TempDir(), "keys")
	var rights strings.Builder
	if err := (NATSConfig{Dir: keys}).Write(&rights); err != nil {
		t.Fatal(err)
	}
	c := startClusterWith(t, rights.String())
	s := startSecured(t, append([]func(*Config){func(cfg *Config) {
		cfg.LogURL, cfg.External = c.url(), External{NATSMode: external, Replicas: 3, KeysDir: keys}
	}}, change...)...)
	for _, says := range []string{"ask here about their clients", "the log of an external NATS cluster is in use"} {
		elected(t, func() error {
			if !strings.Contains(s.said.String(), says) {
				return fmt.Errorf("policy-store does not say %q", says)
			}
			return nil
		})
	}
	return s, c
}

// startClusterWith starts three servers that share a part of their configuration.
func startClusterWith(t *testing.T, shared string) *natsCluster {
	t.Helper()
	const size = 3
	c := &natsCluster{t: t, cmds: make([]*exec.Cmd, size)}
	var routes []string
	for range size {
		c.clients, routes = append(c.clients, freeAddress(t)), append(routes, freeAddress(t))
	}
	dir := t.TempDir()
	for i := range size {
		c.configs = append(c.configs, fmt.Sprintf(`
			server_name: n%d
			listen: %q
			cluster { name: test, listen: %q, routes: [ %s ] }
			jetstream { store_dir: %q, sync_interval: always, max_file_store: 2GB }
			%s`, i, c.clients[i], routes[i], `"nats://`+strings.Join(routes, `", "nats://`)+`"`, filepath.Join(dir, fmt.Sprint(i)), shared))
		c.start(i)
	}
	t.Cleanup(func() {
		for i := range size {
			c.kill(i)
		}
	})
	return c
}

// TestWhoIsInStaysWhilePolicyStoreIsAway stops the one that lets clients into the cluster, and starts another.
func TestWhoIsInStaysWhilePolicyStoreIsAway(t *testing.T) {
	t.Parallel()
	s, _ := startSecuredCluster(t)
	c := s.enforcer(node)
	lost := c.StatusChanged(nats.DISCONNECTED, nats.RECONNECTING, nats.CLOSED)
	s.stop()
	if err := errors.Join(eventlog.PublishStatus(c.Conn, &ringfencev1.NodeStatus{Node: node}), c.FlushTimeout(10*time.Second)); err != nil {
		t.Error(err)
	}
	token := s.issuer.Enforcer("node-2")
	first, _, _ := strings.Cut(s.url(), ",")
	if nc, err := nats.Connect(first, nats.Token(token), nats.NoReconnect(), nats.IgnoreDiscoveredServers(), nats.Timeout(time.Minute)); err == nil {
		nc.Close()
		t.Error("somebody let a client in")
	}
	cfg := s.host.cfg
	next := startSecured(t, func(change *Config) { *change = cfg })
	next.issuer = s.issuer
	if c := next.dial(eventlog.EnforcerName("node-2"), token); !c.IsConnected() {
		t.Error("the next policy-store lets nobody in")
	}
	select {
	case status := <-lost:
		t.Errorf("who was in became %s", status)
	default:
	}
}

// TestAnOperatorsOwnUsersNeedNoPolicyStore adds an account to the configuration, as somebody does who uses the cluster for
// other things, too.
func TestAnOperatorsOwnUsersNeedNoPolicyStore(t *testing.T) {
	var rights strings.Builder
	if err := (NATSConfig{Dir: filepath.Join(t.TempDir(), "keys")}).Write(&rights); err != nil {
		t.Fatal(err)
	}
	mixed := strings.Replace(rights.String(), "accounts {\n", "accounts {\n  OTHER { users: [ { user: jane, password: secret } ] }\n", 1)
	c := startClusterWith(t, mixed)
	elected(t, func() error {
		nc, err := nats.Connect(c.url(), nats.UserInfo("jane", "secret"), nats.NoReconnect())
		if err == nil {
			nc.Close()
		}
		return err
	})
}

// TestTheServersConfigurationHoldsNoSecret writes it twice: from keys that it makes, and from those that are there.
func TestTheServersConfigurationHoldsNoSecret(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "keys")
	var first, second strings.Builder
	if err := errors.Join(NATSConfig{Dir: dir}.Write(&first), NATSConfig{Dir: dir}.Write(&second)); err != nil {
		t.Fatal(err)
	}
	if first.String() != second.String() {
		t.Error("the same keys give another configuration")
	}
	for name := range keyKinds {
		file := filepath.Join(dir, name)
		seed, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v %v", file, info.Mode(), err)
		}
		if len(seed) < 50 || strings.Contains(first.String(), strings.TrimSpace(string(seed))) {
			t.Errorf("the configuration holds the seed of %s", name)
		}
	}
	// As operations.md says it is used.
	files := map[string]string{"ringfence.conf": first.String(), "nats.conf": "include ringfence.conf\nserver_name: n\njetstream: enabled\n"}
	for name, text := range files {
		must(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
	}
	opts, err := server.ProcessConfigFile(filepath.Join(dir, "nats.conf"))
	if err != nil || opts.AuthCallout == nil || opts.SystemAccount != accountSystem || len(opts.Accounts) != 5 || len(opts.Nkeys) != 3 || opts.ServerName != "n" {
		t.Errorf("%+v %v", opts, err)
	}
}

func TestKeysThatCannotBeUsedAreNamed(t *testing.T) {
	dir := t.TempDir()
	if err := makeNATSKeys(dir); err != nil {
		t.Fatal(err)
	}
	issuer, err := os.ReadFile(filepath.Join(dir, keyIssuer))
	if err != nil {
		t.Fatal(err)
	}
	for content, words := range map[string]string{"": "no seed", "garbage\n": "no seed", string(issuer): "another kind", string(issuer[:20]): "no seed"} {
		file := filepath.Join(dir, keyBox)
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := readNATSKeys(dir)
		if err == nil || !strings.Contains(err.Error(), file) || !strings.Contains(err.Error(), words) || len(content) > 10 && strings.Contains(err.Error(), content[:10]) {
			t.Errorf("%q: %v", content, err)
		}
	}
	if _, err := readNATSKeys(filepath.Join(dir, "none")); err == nil || !strings.Contains(err.Error(), "nats-config makes it") {
		t.Error(err)
	}
}

func TestKeysGoWithTokensOfAnExternalCluster(t *testing.T) {
	for name, c := range map[string]struct {
		mode, keys, tokens string
		fine               bool
	}{
		"external without rights": {external, "", "", true}, "external with both": {external, "/keys", "cluster", true},
		"keys alone": {external, "/keys", "", false}, "tokens alone": {external, "", "cluster", false},
		"embedded with keys": {embedded, "/keys", "cluster", false}, "embedded": {embedded, "", "cluster", true},
	} {
		cfg := Config{StoreDir: "/log", StorageGi: 1, SnapshotFacts: 1, SnapshotInterval: time.Hour}
		cfg.External = External{NATSMode: c.mode, Replicas: 3, KeysDir: c.keys}
		cfg.Security = Security{TokenKeys: c.tokens, TokenNamespace: "n", TokenAudience: "a"}
		if err := cfg.check(); (err == nil) != c.fine {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// asked is what a server of the cluster would ask about a client with a token.
func asked(t testing.TB, keys natsKeys, change func(*jwt.AuthorizationRequestClaims)) (sender string, sealed []byte) {
	t.Helper()
	box, err := nkeys.CreateCurveKeys()
	must(t, err)
	sender, err = box.PublicKey()
	must(t, err)
	serverKey, err := nkeys.CreateServer()
	must(t, err)
	id, err := serverKey.PublicKey()
	must(t, err)
	user, err := nkeys.CreateUser()
	must(t, err)
	request := jwt.NewAuthorizationRequestClaims("issuer")
	request.UserNkey, err = user.PublicKey()
	must(t, err)
	request.Audience, request.Server = server.AuthRequestSubject, jwt.ServerID{ID: id, XKey: sender}
	request.ClientInformation, request.Expires = jwt.ClientInformation{Kind: "Client", Type: "nats"}, time.Now().Add(time.Minute).Unix()
	if change != nil {
		change(request)
	}
	text, err := request.Encode(serverKey)
	must(t, err)
	public, err := keys.public(keyBox)
	must(t, err)
	sealed, err = box.Seal([]byte(text), public)
	must(t, err)
	return sender, sealed
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// calloutOf answers for the tokens of an issuer.
func calloutOf(t testing.TB, issuer *identitytest.Issuer) *callout {
	t.Helper()
	dir := t.TempDir()
	must(t, makeNATSKeys(dir))
	keys, err := readNATSKeys(dir)
	must(t, err)
	v := &identity.Verifier{
		Issuer: identitytest.Name, Audience: identitytest.Audience, Namespace: identitytest.Namespace,
		Keys: identity.NewKeys(identity.FileSource(issuer.File()), "", zerolog.Nop()),
	}
	m := newMetrics(prometheus.NewRegistry(), func() (float64, float64) { return 0, 0 }, func() time.Time { return time.Time{} })
	return &callout{admission: newAdmission(v, newDeparted(), m, zerolog.Nop()), keys: keys}
}

func TestOnlyAServersQuestionIsAnswered(t *testing.T) {
	c := calloutOf(t, identitytest.New(t))
	other := calloutOf(t, identitytest.New(t))
	sender, sealed := asked(t, c.keys, nil)
	if request, err := c.read(sender, sealed); err != nil || request.Server.XKey != sender {
		t.Fatalf("%+v %v", request, err)
	}
	stranger, toOthers := asked(t, other.keys, nil)
	for name, question := range map[string]question{
		"in the clear":     {"", sealed, "not encrypted"},
		"no key":           {"X", sealed, "names no key"},
		"another's key":    {stranger, sealed, "another key"},
		"for another":      {stranger, toOthers, "another key"},
		"garbage":          {sender, []byte("garbage"), "another key"},
		"nothing":          {sender, nil, "another key"},
		"another server":   questionOf(t, c.keys, "another server", func(r *jwt.AuthorizationRequestClaims) { r.Server.ID = "N" }),
		"another box":      questionOf(t, c.keys, "another server", func(r *jwt.AuthorizationRequestClaims) { r.Server.XKey = sender }),
		"another purpose":  questionOf(t, c.keys, "another purpose", func(r *jwt.AuthorizationRequestClaims) { r.Audience = "x" }),
		"too late":         questionOf(t, c.keys, "expired", func(r *jwt.AuthorizationRequestClaims) { r.Expires = 1 }),
		"about nobody":     questionOf(t, c.keys, "nkey", func(r *jwt.AuthorizationRequestClaims) { r.UserNkey = "" }),
		"about a non-user": questionOf(t, c.keys, "nkey", func(r *jwt.AuthorizationRequestClaims) { r.UserNkey = r.Server.XKey }),
	} {
		if request, err := c.read(question.sender, question.data); !errors.Is(err, errRequest) || !strings.Contains(strings.ToLower(err.Error()), question.words) {
			t.Errorf("%s: %+v %v", name, request, err)
		}
	}
}

type question = struct {
	sender string
	data   []byte
	words  string
}

func questionOf(t *testing.T, keys natsKeys, words string, change func(*jwt.AuthorizationRequestClaims)) question {
	t.Helper()
	sender, sealed := asked(t, keys, change)
	return question{sender, sealed, words}
}

// TestAnAnswerIsTheTable decodes what servers are told.
func TestAnAnswerIsTheTable(t *testing.T) {
	issuer := identitytest.New(t)
	c := calloutOf(t, issuer)
	end := time.Now().Add(time.Hour).Truncate(time.Second)
	for account, token := range map[string]string{
		access.Nodes: issuer.Token(identitytest.Claims{Service: access.Enforcer, Pod: "e", Node: node, To: end}),
		accountLog:   issuer.Token(identitytest.Claims{Service: access.Watcher, Pod: "w", Node: node, To: end}),
	} {
		sender, sealed := asked(t, c.keys, func(r *jwt.AuthorizationRequestClaims) { r.ConnectOptions.Token = token })
		request, err := c.read(sender, sealed)
		must(t, err)
		answer, err := c.decide(t.Context(), request)
		must(t, err)
		user, err := jwt.DecodeUserClaims(answer.Jwt)
		must(t, err)
		who, err := c.admit(t.Context(), token, "")
		must(t, err)
		if user.Audience != account || user.Expires != end.Unix() || user.Subject != request.UserNkey || user.Resp != nil || len(user.Pub.Deny)+len(user.Sub.Deny) > 0 ||
			!slices.Equal(user.Pub.Allow, who.rights.Publish) || !slices.Equal(user.Sub.Allow, who.rights.Subscribe) || !strings.Contains(user.Name, " uid uid-") {
			t.Errorf("%+v", user)
		}
	}
	// A table without subjects would allow everything in a JWT.
	if u := claims("U", admitted{rights: access.Rights{}}); !u.Pub.Deny.Contains(">") || !u.Sub.Deny.Contains(">") {
		t.Errorf("no rights are %+v", u.Permissions)
	}
	for _, kind := range []jwt.ClientInformation{{Kind: "Leafnode", Type: "nats"}, {Kind: "Client", Type: "mqtt"}, {}} {
		request := &jwt.AuthorizationRequestClaims{}
		request.ClientInformation, request.ConnectOptions.Token = kind, issuer.Enforcer(node)
		if _, err := c.decide(t.Context(), request); !errors.Is(err, errKind) {
			t.Errorf("%+v: %v", kind, err)
		}
	}
}

// FuzzCallout asks what no server would: only one that holds the server's own key and ours is read.
func FuzzCallout(f *testing.F) {
	issuer := identitytest.New(f)
	c := calloutOf(f, issuer)
	sender, sealed := asked(f, c.keys, func(r *jwt.AuthorizationRequestClaims) { r.ConnectOptions.Token = issuer.Enforcer(node) })
	for _, seed := range [][]byte{sealed, nil, []byte("eyJ"), []byte("xkv1"), sealed[:40]} {
		f.Add(sender, seed, uint16(len(seed)/2), byte('A'))
	}
	f.Add("", sealed, uint16(0), byte(0))
	f.Fuzz(func(t *testing.T, from string, data []byte, at uint16, b byte) {
		changed := slices.Clone(sealed)
		changed[int(at)%len(changed)] = b
		for _, q := range []struct {
			from string
			data []byte
		}{{from, data}, {sender, changed}, {sender, data}} {
			request, err := c.read(q.from, q.data)
			if err != nil && !errors.Is(err, errRequest) {
				t.Fatalf("%v", err)
			}
			if err == nil && !slices.Equal(q.data, sealed) {
				t.Fatalf("%q from %q is read as %+v", q.data, q.from, request)
			}
		}
	})
}

// FuzzSeed reads files that should hold a key.
func FuzzSeed(f *testing.F) {
	for name, kind := range keyKinds {
		key, err := kind.create()
		must(f, err)
		seed, err := key.Seed()
		must(f, err)
		f.Add(append(seed, '\n'), byte(len(name)))
	}
	f.Add([]byte("garbage"), byte(0))
	kinds := []nkeys.PrefixByte{nkeys.PrefixByteAccount, nkeys.PrefixByteCurve, nkeys.PrefixByteUser}
	f.Fuzz(func(t *testing.T, text []byte, which byte) {
		kind := kinds[int(which)%len(kinds)]
		key, err := parseSeed(text, kind)
		if (err == nil) != (key != nil) {
			t.Fatalf("%v with error %v", key, err)
		}
		if err == nil {
			if public, err := key.PublicKey(); err != nil || nkeys.Prefix(public) != kind {
				t.Fatalf("%q is a key %q: %v", text, public, err)
			}
		}
	})
}

// TestASessionKeepsItsInbox gives a person's command, on each server, an inbox that its next token does not change, and nobody
// else's.
func TestASessionKeepsItsInbox(t *testing.T) { onEachServer(t, sessionKeepsInbox) }

func sessionKeepsInbox(t *testing.T, s *secured) {
	session := func(c identitytest.Claims, secret string) (*nats.Conn, *lockedBuffer) {
		name, said := eventlog.ViewerName(identity.Fingerprint(secret)), &lockedBuffer{}
		nc, err := eventlog.Dialer{
			URL: s.url(), Name: name, Credentials: eventlog.Credentials{Token: s.issuer.Token(c), Session: secret}, Log: zerolog.New(said),
		}.Dial(t.Context())
		must(t, err)
		t.Cleanup(nc.Close)
		return nc, said
	}
	asks := func(nc *nats.Conn) error {
		_, err := nc.Request(StatusSubject, nil, 2*time.Second)
		return err
	}
	first, _ := session(identitytest.Claims{Service: access.Viewer}, "secret")
	next, _ := session(identitytest.Claims{Service: access.Viewer, From: time.Now().Add(-time.Minute)}, "secret")
	elected(t, func() error { return errors.Join(asks(first), asks(next)) })
	other, said := session(identitytest.Claims{Service: access.Viewer}, "another secret")
	_, err := other.SubscribeSync(eventlog.InboxPrefix(eventlog.ViewerName(identity.Fingerprint("secret"))) + ".>")
	must(t, errors.Join(err, other.Flush()))
	elected(t, func() error {
		if !strings.Contains(strings.ToLower(said.String()), "permissions violation for subscription") {
			return errors.New("it may listen to another's inbox")
		}
		return nil
	})
	// Only people have sessions: to a service, or a pod, it gives nothing.
	pod := identitytest.Claims{Service: access.Viewer, Pod: "p", Node: node}
	who, err := s.host.admission.admit(t.Context(), s.issuer.Token(pod), "secret")
	must(t, err)
	if slices.Contains(who.rights.Subscribe, eventlog.InboxPrefix(eventlog.ViewerName(identity.Fingerprint("secret")))+".>") {
		t.Errorf("%+v", who)
	}
}
