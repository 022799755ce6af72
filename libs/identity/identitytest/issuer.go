// Package identitytest gives tests an issuer of ServiceAccount tokens: real keys, real signatures, and the claims that
// Kubernetes 1.30 and later writes. The keys are made for the test and are in no file but its own.
package identitytest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

// What tokens are for where a test does not say otherwise.
const (
	Name      = "https://kubernetes.default.svc"
	Audience  = "ringfence"
	Namespace = "illumio-system"
)

// Issuer signs tokens. Its methods fail the test instead of returning errors; it is not safe for concurrent use.
type Issuer struct {
	t    testing.TB
	file string
	made int
	keys []jose.JSONWebKey // the last one signs
}

// New makes an issuer with an RSA key.
func New(t testing.TB) *Issuer {
	t.Helper()
	i := &Issuer{t: t, file: filepath.Join(t.TempDir(), "jwks.json")}
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	i.add(key, err, jose.RS256)
	return i
}

// Rotate makes a key (ECDSA) that signs from now on. The keys before it stay published.
func (i *Issuer) Rotate() {
	i.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	i.add(key, err, jose.ES256)
}

// Forget publishes the signing key alone.
func (i *Issuer) Forget() {
	i.t.Helper()
	i.keys = i.keys[len(i.keys)-1:]
	i.publish()
}

func (i *Issuer) add(key crypto.PrivateKey, err error, algorithm jose.SignatureAlgorithm) {
	i.t.Helper()
	if err != nil {
		i.t.Fatalf("make a key: %v", err)
	}
	i.made++
	i.keys = append(i.keys, jose.JSONWebKey{Key: key, KeyID: fmt.Sprintf("key-%d", i.made), Algorithm: string(algorithm), Use: "sig"})
	i.publish()
}

// Document is the published keys.
func (i *Issuer) Document() []byte {
	i.t.Helper()
	set := jose.JSONWebKeySet{}
	for _, k := range i.keys {
		set.Keys = append(set.Keys, k.Public())
	}
	document, err := json.Marshal(set)
	if err != nil {
		i.t.Fatalf("publish the keys: %v", err)
	}
	return document
}

// File is where the keys are published.
func (i *Issuer) File() string { return i.file }

func (i *Issuer) publish() {
	i.t.Helper()
	if err := os.WriteFile(i.file, i.Document(), 0o600); err != nil {
		i.t.Fatalf("publish the keys: %v", err)
	}
}

// Claims of a token. Fields that are zero take what a good token has; "-" leaves a text out.
type Claims struct {
	Issuer, Audience, Namespace string
	// Subject replaces the one of namespace and service.
	Subject            string
	Service, Pod, Node string
	From, To           time.Time // valid from a second ago for an hour
}

// Token signs claims.
func (i *Issuer) Token(c Claims) string {
	i.t.Helper()
	or := func(value, otherwise string) string {
		switch value {
		case "":
			return otherwise
		case "-":
			return ""
		}
		return value
	}
	if c.From.IsZero() {
		c.From = time.Now().Add(-time.Second)
	}
	if c.To.IsZero() {
		c.To = c.From.Add(time.Hour)
	}
	namespace := or(c.Namespace, Namespace)
	bound := map[string]any{"namespace": namespace, "serviceaccount": map[string]string{"name": c.Service, "uid": "uid-" + c.Service}}
	if c.Pod != "" {
		bound["pod"] = map[string]string{"name": c.Pod, "uid": "uid-" + c.Pod}
	}
	if c.Node != "" {
		bound["node"] = map[string]string{"name": c.Node, "uid": "uid-" + c.Node}
	}
	registered := jwt.Claims{
		Issuer: or(c.Issuer, Name), Subject: or(c.Subject, "system:serviceaccount:"+namespace+":"+c.Service), Audience: jwt.Audience{or(c.Audience, Audience)},
		NotBefore: jwt.NewNumericDate(c.From), IssuedAt: jwt.NewNumericDate(c.From), Expiry: jwt.NewNumericDate(c.To), ID: fmt.Sprint(c.From.UnixNano()),
	}
	key := i.keys[len(i.keys)-1]
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.SignatureAlgorithm(key.Algorithm), Key: key}, (&jose.SignerOptions{}).WithType("JWT"))
	if err != nil {
		i.t.Fatalf("sign: %v", err)
	}
	token, err := jwt.Signed(signer).Claims(registered).Claims(map[string]any{"kubernetes.io": bound}).Serialize()
	if err != nil {
		i.t.Fatalf("sign: %v", err)
	}
	return token
}

// Enforcer is the token of the enforcer's pod on a node.
func (i *Issuer) Enforcer(node string) string {
	i.t.Helper()
	return i.Token(Claims{Service: "enforcer", Pod: "enforcer-of-" + node, Node: node})
}

// Service is the token of the pod of a service.
func (i *Issuer) Service(name string) string {
	i.t.Helper()
	return i.Token(Claims{Service: name, Pod: name + "-0", Node: "node-of-" + name})
}
