package pki

import (
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func authority(t *testing.T) *Authority {
	t.Helper()
	a, err := New(filepath.Join(t.TempDir(), "pki"))
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func certificate(t *testing.T, path string) *x509.Certificate {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(text)
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

func TestIssue(t *testing.T) {
	a := authority(t)
	id := Identity{User: "system:node:node1", Groups: []string{"system:nodes"}, Hosts: []string{"node1", "10.200.0.11", "fd00:10:200::11"}}
	if err := a.Issue("node1", id); err != nil {
		t.Fatal(err)
	}
	if err := a.Issue("other", Identity{User: "other"}); err != nil {
		t.Fatal(err)
	}
	cert := certificate(t, a.Cert("node1"))
	roots := x509.NewCertPool()
	roots.AddCert(certificate(t, a.CACert()))
	for _, usage := range []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth} {
		if _, err := cert.Verify(x509.VerifyOptions{Roots: roots, KeyUsages: []x509.ExtKeyUsage{usage}}); err != nil {
			t.Errorf("usage %v: %v", usage, err)
		}
	}
	for _, host := range id.Hosts {
		if err := cert.VerifyHostname(host); err != nil {
			t.Error(err)
		}
	}
	groups := cert.Subject.Organization
	if cert.Subject.CommonName != id.User || !cmp.Equal(groups, id.Groups) {
		t.Errorf("the certificate names %v", cert.Subject)
	}
	if cert.SerialNumber.Cmp(certificate(t, a.Cert("other")).SerialNumber) == 0 {
		t.Error("two certificates have the same serial number")
	}
	if _, err := tls.LoadX509KeyPair(a.Cert("node1"), a.Key("node1")); err != nil {
		t.Error(err)
	}
}

func TestSigningKey(t *testing.T) {
	a := authority(t)
	if err := a.SigningKey("serviceaccount"); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(a.Key("serviceaccount"))
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(text)
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if _, ok := key.(*rsa.PrivateKey); !ok {
		t.Errorf("the signing key is a %T, %v; tokens are to be RS256", key, err)
	}
}

// TestKubeconfig checks that the file stands alone and that only its owner may read it.
func TestKubeconfig(t *testing.T) {
	a := authority(t)
	if err := a.Issue("admin", Identity{User: "admin"}); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "kubeconfig")
	if err := a.Kubeconfig(path, "admin", "https://127.0.0.1:1"); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var parts [][]byte
	for _, key := range []string{"client-certificate-data", "client-key-data"} {
		found := regexp.MustCompile(key + `: (\S+)`).FindSubmatch(text)
		if found == nil {
			t.Fatalf("no %s in\n%s", key, text)
		}
		part, err := base64.StdEncoding.DecodeString(string(found[1]))
		if err != nil {
			t.Fatal(err)
		}
		parts = append(parts, part)
	}
	if _, err := tls.X509KeyPair(parts[0], parts[1]); err != nil {
		t.Error(err)
	}
	for _, secret := range []string{path, a.Key("admin"), a.Key("ca")} {
		if info, err := os.Stat(secret); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: mode %v, %v; want 0600", secret, info.Mode(), err)
		}
	}
}
