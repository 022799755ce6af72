package policystore

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"

	"github.com/ringfence/ringfence/libs/eventlog"
)

// authority issues certificates.
type authority struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  []byte
}

func newAuthority(t *testing.T, name string) *authority {
	t.Helper()
	a := &authority{t: t}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	a.cert, a.key, a.pem, _ = a.issue(template)
	return a
}

// issue signs with the authority's key, the first time with the new one.
func (a *authority) issue(template *x509.Certificate) (cert *x509.Certificate, key *ecdsa.PrivateKey, certPEM, keyPEM []byte) {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	parent, signer := a.cert, a.key
	if parent == nil {
		parent, signer = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		a.t.Fatal(err)
	}
	if cert, err = x509.ParseCertificate(der); err != nil {
		a.t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		a.t.Fatal(err)
	}
	return cert, key, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})
}

// server issues the log's certificate into two files.
func (a *authority) server(dir string, serial int64, addresses ...net.IP) {
	a.t.Helper()
	_, _, cert, key := a.issue(&x509.Certificate{
		SerialNumber: big.NewInt(serial), DNSNames: []string{"policy-store"}, IPAddresses: addresses,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	})
	write(a.t, filepath.Join(dir, "tls.crt"), cert)
	write(a.t, filepath.Join(dir, "tls.key"), key)
}

func write(t *testing.T, name string, text []byte) {
	t.Helper()
	if err := os.WriteFile(name, text, 0o600); err != nil {
		t.Fatal(err)
	}
}

// startTLS starts a policy-store that speaks TLS with a certificate of an authority, and gives the folder of the files.
func startTLS(t *testing.T, a *authority, change ...func(*Config)) (*secured, string) {
	t.Helper()
	dir := t.TempDir()
	a.server(dir, 2)
	write(t, filepath.Join(dir, "ca.crt"), a.pem)
	return startSecured(t, append(change, func(c *Config) {
		c.TLSCertFile, c.TLSKeyFile = filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")
	})...), dir
}

// dialTLS dials once, as the services do, and gives what went wrong.
func (s *secured) dialTLS(c eventlog.Credentials) (*nats.Conn, error) {
	s.t.Helper()
	if c.TokenFile == "" {
		c.TokenFile = s.tokenFile("tls", s.issuer.Enforcer(node))
	}
	ctx, cancel := context.WithTimeout(s.t.Context(), time.Second)
	defer cancel()
	said := &lockedBuffer{}
	nc, err := eventlog.Dialer{URL: s.url(), Name: eventlog.EnforcerName(node), Credentials: c, Log: zerolog.New(said)}.Dial(ctx)
	if err != nil {
		return nil, fmt.Errorf("%w: %s", err, said.String())
	}
	s.t.Cleanup(nc.Close)
	return nc, nil
}

func TestTLS(t *testing.T) {
	a, stranger := newAuthority(t, "ringfence"), newAuthority(t, "stranger")
	s, dir := startTLS(t, a)
	ca, other := filepath.Join(dir, "ca.crt"), filepath.Join(dir, "other.crt")
	write(t, other, stranger.pem)
	if _, err := s.dialTLS(eventlog.Credentials{CAFile: ca, ServerName: "policy-store"}); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		credentials eventlog.Credentials
		words       string
	}{
		"another authority": {eventlog.Credentials{CAFile: other, ServerName: "policy-store"}, "unknown authority"},
		"another name":      {eventlog.Credentials{CAFile: ca, ServerName: "console"}, "not console"},
		"no file":           {eventlog.Credentials{CAFile: ca + ".none", ServerName: "policy-store"}, "no such file"},
		"no authorities":    {eventlog.Credentials{}, "cannot validate"},
	} {
		if _, err := s.dialTLS(c.credentials); err == nil || !strings.Contains(err.Error(), c.words) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestATokenIsNotSentInTheClear has a client that asks for TLS meet a server that offers none.
func TestATokenIsNotSentInTheClear(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	sent := make(chan string, 100)
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			fmt.Fprint(conn, "INFO {\"server_id\":\"x\",\"version\":\"2.15.2\",\"max_payload\":1048576,\"auth_required\":true}\r\n")
			_ = conn.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
			line, _ := bufio.NewReader(conn).ReadString('\n') // nothing is what should come
			sent <- line
			conn.Close()
		}
	}()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "ca.crt"), newAuthority(t, "ringfence").pem)
	write(t, filepath.Join(dir, "token"), []byte("secret"))
	said := &lockedBuffer{}
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	_, err = eventlog.Dialer{
		URL: "nats://" + l.Addr().String(), Name: "enforcer", Log: zerolog.New(said),
		Credentials: eventlog.Credentials{TokenFile: filepath.Join(dir, "token"), CAFile: filepath.Join(dir, "ca.crt"), ServerName: "policy-store"},
	}.Dial(ctx)
	if err == nil || !strings.Contains(said.String(), "secure connection not available") {
		t.Errorf("%v: %s", err, said.String())
	}
	if line := <-sent; line != "" {
		t.Errorf("sent in the clear: %q", line)
	}
}

func TestACertificateIsRenewedWhileServing(t *testing.T) {
	a, next := newAuthority(t, "old"), newAuthority(t, "new")
	s, dir := startTLS(t, a)
	bundle := filepath.Join(dir, "ca.crt")
	serial := func() int64 {
		t.Helper()
		nc, err := s.dialTLS(eventlog.Credentials{CAFile: bundle, ServerName: "policy-store"})
		if err != nil {
			t.Fatal(err)
		}
		state, err := nc.TLSConnectionState()
		if err != nil {
			t.Fatal(err)
		}
		return state.PeerCertificates[0].SerialNumber.Int64()
	}
	if got := serial(); got != 2 {
		t.Fatalf("serial %d", got)
	}
	first, err := s.dialTLS(eventlog.Credentials{CAFile: bundle, ServerName: "policy-store"})
	if err != nil {
		t.Fatal(err)
	}
	write(t, bundle, append(a.pem, next.pem...)) // both overlap
	next.server(dir, 3)
	if got := serial(); got != 3 {
		t.Errorf("renewed: serial %d", got)
	}
	write(t, bundle, next.pem) // the old one is withdrawn
	if got := serial(); got != 3 {
		t.Errorf("alone: serial %d", got)
	}
	write(t, filepath.Join(dir, "tls.crt"), []byte("half a certifi"))
	if got := serial(); got != 3 || !strings.Contains(s.said.String(), "the last one stays") {
		t.Errorf("a broken renewal: serial %d, %s", got, s.said.String())
	}
	next.server(dir, 4)
	if got := serial(); got != 4 {
		t.Errorf("after a broken renewal: serial %d", got)
	}
	// A client that was there all the time comes back over the new certificate.
	back := first.StatusChanged(nats.CONNECTED)
	if err := s.host.current.Load().nats.DisconnectClientByID(clientID(t, first)); err != nil {
		t.Fatal(err)
	}
	select {
	case <-back:
	case <-time.After(10 * time.Second):
		t.Fatal("the client does not come back")
	}
	if err := first.Flush(); err != nil { // TLSConnectionState reads without the lock that reconnecting holds
		t.Fatal(err)
	}
	if state, err := first.TLSConnectionState(); err != nil || state.PeerCertificates[0].SerialNumber.Int64() != 4 {
		t.Errorf("it came back over another certificate: %v", err)
	}
}

func clientID(t *testing.T, nc *nats.Conn) uint64 {
	t.Helper()
	id, err := nc.GetClientID()
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func TestClientCertificates(t *testing.T) {
	a := newAuthority(t, "ringfence")
	clients := filepath.Join(t.TempDir(), "clients.crt")
	write(t, clients, a.pem)
	s, dir := startTLS(t, a, func(c *Config) { c.TLSClientCAFile = clients })
	if _, err := s.dialTLS(eventlog.Credentials{CAFile: filepath.Join(dir, "ca.crt"), ServerName: "policy-store"}); err == nil || !strings.Contains(err.Error(), "certificate required") {
		t.Errorf("without certificate: %v", err)
	}
	pair, err := tls.LoadX509KeyPair(filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key"))
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(a.cert)
	secure := nats.Secure(&tls.Config{RootCAs: roots, ServerName: "policy-store", Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS13})
	nc, err := nats.Connect(s.url(), secure, nats.Token(s.issuer.Enforcer(node)))
	if err != nil {
		t.Fatalf("with one: %v", err)
	}
	nc.Close()
	if nc, err = nats.Connect(s.url(), secure, nats.NoReconnect()); err == nil {
		nc.Close()
		t.Error("a certificate stands for a token")
	}
}

func TestSecurityRefusesWhatCannotBe(t *testing.T) {
	dir := t.TempDir()
	token := filepath.Join(dir, "token")
	write(t, token, []byte("garbage"))
	for words, s := range map[string]Security{
		"token-namespace":    {TokenKeys: "/keys", TokenAudience: "ringfence"},
		"token-audience":     {TokenKeys: "/keys", TokenNamespace: "n"},
		"use https":          {TokenKeys: "http://cluster/keys", TokenAudience: "ringfence", TokenNamespace: "n"},
		"set both":           {TLSCertFile: "/cert"},
		"need TLS":           {TLSClientCAFile: "/ca"},
		"names no issuer":    {TokenKeys: "/keys", TokenAudience: "ringfence", TokenNamespace: "n", TokenKeysTokenFile: token},
		"no such file":       {TokenKeys: "/keys", TokenAudience: "ringfence", TokenNamespace: "n", TokenKeysTokenFile: token + ".none"},
		"no such file ":      {TLSCertFile: filepath.Join(dir, "none"), TLSKeyFile: token},
		"certificate of the": {TLSCertFile: token, TLSKeyFile: token},
	} {
		err := s.check()
		if err == nil {
			_, err = s.verifier(dir, zerolog.Nop())
		}
		if err == nil {
			_, err = newCertificate(s, zerolog.Nop())
		}
		if err == nil || !strings.Contains(err.Error(), strings.TrimSpace(words)) {
			t.Errorf("%q: %v", words, err)
		}
	}
	environment := map[string]string{"KUBERNETES_SERVICE_HOST": "fd00::1", "KUBERNETES_SERVICE_PORT": "443"}
	for keys, want := range map[string]string{"cluster": "https://[fd00::1]:443/openid/v1/jwks", "/keys": "", "https://api/keys": "https://api/keys"} {
		if url, err := (Security{TokenKeys: keys}).keysURL(func(name string) string { return environment[name] }); err != nil || url != want {
			t.Errorf("%s: %q %v", keys, url, err)
		}
	}
	if url, err := (Security{TokenKeys: "cluster"}).keysURL(func(string) string { return "" }); err == nil {
		t.Errorf("outside of a cluster: %q", url)
	}
	said := &lockedBuffer{}
	Security{}.warn(zerolog.New(said))
	if text := said.String(); !strings.Contains(text, "--token-keys") || !strings.Contains(text, "--tls-cert-file") {
		t.Errorf("open, and not a word of what closes it: %s", text)
	}
}
