package identity

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/ringfence/ringfence/libs/identity/identitytest"
)

// FuzzVerify gives the verifier tokens of strangers: whatever they write, they are nobody, or whom the issuer signed.
func FuzzVerify(f *testing.F) {
	i := identitytest.New(f)
	v, _ := verifierOf(i)
	good := i.Enforcer("node-1")
	parts := strings.Split(good, ".")
	for _, seed := range []string{
		good, "", "..", "a.b.c", good + ".", parts[0] + "." + parts[1] + ".", "e30.e30.e30", "eyJhbGciOiJub25lIn0." + parts[1] + ".",
		identitytest.New(f).Enforcer("node-1"), i.Token(identitytest.Claims{Service: "x", Issuer: "y"}), `{"payload":"e30","signatures":[{}]}`,
	} {
		f.Add(seed, uint16(len(seed)/2), byte('A'))
	}
	f.Fuzz(func(t *testing.T, token string, at uint16, b byte) {
		// The keys are new in every process, so a token from the corpus is a stranger's: one of our own is changed, too.
		changed := []byte(good)
		changed[int(at)%len(changed)] = b
		for _, token := range []string{token, string(changed)} {
			id, err := v.Verify(t.Context(), token)
			if err == nil && (id.Service != "enforcer" || id.Node != "node-1" || id.Pod != "enforcer-of-node-1" || !id.Expired.IsZero()) {
				t.Fatalf("%q passes as %+v", token, id)
			}
			if err != nil && id != (Identity{}) {
				t.Fatalf("%+v with error %v", id, err)
			}
			_, _ = IssuerOf(token)
		}
	})
}

// FuzzKeys reads documents of keys: what is taken is public and has its place by its own id.
func FuzzKeys(f *testing.F) {
	i := identitytest.New(f)
	i.Rotate()
	for _, seed := range []string{
		string(i.Document()), "", "{}", `{"keys":null}`, `{"keys":[]}`, `{"keys":[{"kty":"RSA","n":"AQAB","e":"AQAB"}]}`,
		`{"keys":[{"kty":"oct","k":"c2VjcmV0"}]}`, `{"keys":[1,{"kty":"EC","crv":"P-256","x":"AA","y":"AA"}]}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, document []byte) {
		keys, err := parseKeys(document)
		if (err == nil) != (len(keys) > 0) {
			t.Fatalf("%d keys with error %v", len(keys), err)
		}
		for id, key := range keys {
			if key.KeyID != id || !key.IsPublic() || !key.Valid() {
				t.Fatalf("%q: %+v", id, key)
			}
		}
	})
}

func pemOf(der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

// otherCertificate is of an authority that nobody knows.
func otherCertificate(t *testing.T) []byte {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}
