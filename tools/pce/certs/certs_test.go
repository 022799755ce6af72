package certs

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func leaf(t *testing.T, config *tls.Config) *x509.Certificate {
	t.Helper()
	cert, err := config.GetCertificate(nil)
	if err != nil {
		t.Fatal(err)
	}
	return cert.Leaf
}

func verify(t *testing.T, dir, host string, cert *x509.Certificate) error {
	t.Helper()
	text, err := os.ReadFile(CAFile(dir))
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(text)
	_, err = cert.Verify(x509.VerifyOptions{Roots: roots, DNSName: host})
	return err
}

func TestAuthorityOutlivesRestarts(t *testing.T) {
	dir := t.TempDir()
	for _, hosts := range [][]string{{"pce", "127.0.0.1"}, {"pce.example", "::1"}} {
		config, err := Server(dir, hosts, Files{})
		if err != nil {
			t.Fatal(err)
		}
		for _, host := range hosts {
			if err := verify(t, dir, host, leaf(t, config)); err != nil {
				t.Errorf("%s: %v", host, err)
			}
		}
		if err := verify(t, dir, "elsewhere", leaf(t, config)); err == nil {
			t.Error("the certificate is good for a host that was not named")
		}
	}
	before, err := os.ReadFile(CAFile(dir))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Server(dir, nil, Files{}); err != nil {
		t.Fatal(err)
	}
	if after, err := os.ReadFile(CAFile(dir)); err != nil || string(after) != string(before) {
		t.Fatalf("the authority changed (%v)", err)
	}
	if info, err := os.Stat(filepath.Join(dir, "ca.key")); err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("the key is readable by others: %v %v", info.Mode(), err)
	}
}

func TestDamagedAuthorityIsNotReplaced(t *testing.T) {
	dir := t.TempDir()
	if _, err := Server(dir, nil, Files{}); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(dir, "ca.key")); err != nil {
		t.Fatal(err)
	}
	if _, err := Server(dir, nil, Files{}); err == nil {
		t.Fatal("an authority without its key was replaced in silence")
	}
}

func TestCertificateIsRenewed(t *testing.T) {
	ca, err := openAuthority(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	i := &issuer{authority: ca, hosts: []string{"pce"}, now: func() time.Time { return now }}
	serial := func() string {
		cert, err := i.certificate(nil)
		if err != nil {
			t.Fatal(err)
		}
		return cert.Leaf.SerialNumber.String()
	}
	first := serial()
	now = now.Add(serverLife - renewBefore - time.Minute)
	if serial() != first {
		t.Error("renewed too early")
	}
	now = now.Add(2 * time.Minute)
	if serial() == first {
		t.Error("not renewed")
	}
}

func TestFilesFromOutside(t *testing.T) {
	dir := t.TempDir()
	if _, err := Server(dir, nil, Files{Cert: filepath.Join(dir, "none.crt"), Key: filepath.Join(dir, "none.key")}); err == nil {
		t.Fatal("files that are not there were taken")
	}
	ca, err := newAuthority(dir)
	if err != nil {
		t.Fatal(err)
	}
	files := Files{Cert: filepath.Join(dir, "given.crt"), Key: filepath.Join(dir, "given.key")}
	first := give(t, ca, files)
	config, err := Server(t.TempDir(), nil, files)
	if err != nil {
		t.Fatal(err)
	}
	if !leaf(t, config).Equal(first) {
		t.Fatal("another certificate than the one that was given")
	}

	// Half of a renewal, as a client may meet it, leaves the certificate of before; the whole of it is served without a restart.
	if err := os.WriteFile(files.Cert, []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	touch(t, files, time.Minute)
	if !leaf(t, config).Equal(first) {
		t.Fatal("half of a renewal is served")
	}
	second := give(t, ca, files)
	touch(t, files, 2*time.Minute)
	if !leaf(t, config).Equal(second) {
		t.Fatal("what was renewed is not served")
	}
	if err := os.Remove(files.Key); err != nil {
		t.Fatal(err)
	}
	if !leaf(t, config).Equal(second) {
		t.Fatal("the certificate went with its file")
	}
}

// give writes a certificate and its key into the files.
func give(t *testing.T, ca *authority, files Files) *x509.Certificate {
	t.Helper()
	issued, err := (&issuer{authority: ca, hosts: []string{"given"}, now: time.Now}).issue()
	if err != nil {
		t.Fatal(err)
	}
	key, err := x509.MarshalPKCS8PrivateKey(issued.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	for path, block := range map[string]*pem.Block{files.Cert: {Type: "CERTIFICATE", Bytes: issued.Certificate[0]}, files.Key: {Type: "PRIVATE KEY", Bytes: key}} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return issued.Leaf
}

// touch lets the files be newer, also on a disk that keeps time in seconds.
func touch(t *testing.T, files Files, by time.Duration) {
	t.Helper()
	for _, path := range []string{files.Cert, files.Key} {
		if err := os.Chtimes(path, time.Now(), time.Now().Add(by)); err != nil {
			t.Fatal(err)
		}
	}
}
