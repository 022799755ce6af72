// Package certs gives the console its TLS identity: an authority of its own in the data folder, made at first start and
// kept ever after, and a server certificate that is issued at every start and again before it ends. Files given from
// outside take the place of both. It serves no one but the console.
package certs

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"
)

const (
	authorityLife = 10 * 365 * 24 * time.Hour
	serverLife    = 90 * 24 * time.Hour
	renewBefore   = 30 * 24 * time.Hour
)

// Files are paths of a PEM certificate and key given from outside.
type Files struct {
	Cert string `help:"TLS certificate (PEM); a certificate of the console's own authority where empty." env:"PCE_TLS_CERT"`
	Key  string `help:"Private key of the TLS certificate (PEM)." env:"PCE_TLS_KEY"`
}

// Server gives the TLS configuration of a console that answers under hosts. Without files it issues from the authority
// in dir (ca.crt, ca.key), which it makes where there is none.
func Server(dir string, hosts []string, files Files) (*tls.Config, error) {
	if files.Cert != "" || files.Key != "" {
		g := &given{files: files}
		if _, err := g.certificate(nil); err != nil {
			return nil, err
		}
		return &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: g.certificate}, nil
	}
	ca, err := openAuthority(dir)
	if err != nil {
		return nil, err
	}
	i := &issuer{authority: ca, hosts: hosts, now: time.Now}
	if _, err := i.certificate(nil); err != nil {
		return nil, err
	}
	return &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: i.certificate}, nil
}

// Authority gives the certificate of the authority in dir, making one where there is none.
func Authority(dir string) (*x509.Certificate, error) {
	a, err := openAuthority(dir)
	if err != nil {
		return nil, err
	}
	return a.cert, nil
}

// CAFile is where the authority's certificate is, for those who are to trust the console.
func CAFile(dir string) string { return filepath.Join(dir, "ca.crt") }

type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func openAuthority(dir string) (*authority, error) {
	if _, err := os.Stat(CAFile(dir)); errors.Is(err, fs.ErrNotExist) {
		return newAuthority(dir)
	}
	pair, err := tls.LoadX509KeyPair(CAFile(dir), filepath.Join(dir, "ca.key"))
	if err != nil {
		return nil, fmt.Errorf("console authority in %s: %w", dir, err)
	}
	key, ok := pair.PrivateKey.(*ecdsa.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("console authority in %s: ca.key is not an ECDSA key", dir)
	}
	return &authority{cert: pair.Leaf, key: key}, nil
}

func newAuthority(dir string) (*authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("console authority: %w", err)
	}
	template := &x509.Certificate{
		Subject: pkix.Name{CommonName: "Ringfence PCE authority"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(authorityLife),
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign, MaxPathLenZero: true,
	}
	der, cert, err := sign(template, template, key, key)
	if err != nil {
		return nil, fmt.Errorf("console authority: %w", err)
	}
	return &authority{cert: cert, key: key}, writeAuthority(dir, der, key)
}

// writeAuthority writes the key before the certificate: a folder with only a key is taken as having no authority.
func writeAuthority(dir string, der []byte, key *ecdsa.PrivateKey) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("console authority: %w", err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return fmt.Errorf("console authority: %w", err)
	}
	if err := writePEM(filepath.Join(dir, "ca.key"), "PRIVATE KEY", secret, 0o600); err != nil {
		return err
	}
	return writePEM(CAFile(dir), "CERTIFICATE", der, 0o644)
}

func writePEM(path, kind string, der []byte, mode os.FileMode) error {
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), mode); err != nil {
		return fmt.Errorf("console authority: %w", err)
	}
	return nil
}

// issuer keeps one server certificate fresh. It is safe for concurrent use.
type issuer struct {
	authority *authority
	hosts     []string
	now       func() time.Time

	mu      sync.Mutex
	current *tls.Certificate
}

func (i *issuer) certificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.current != nil && i.now().Before(i.current.Leaf.NotAfter.Add(-renewBefore)) {
		return i.current, nil
	}
	issued, err := i.issue()
	if err == nil {
		i.current = issued
	}
	return i.current, err
}

func (i *issuer) issue() (*tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("console certificate: %w", err)
	}
	template := &x509.Certificate{
		Subject:   pkix.Name{CommonName: "pce"},
		NotBefore: i.now().Add(-time.Hour), NotAfter: i.now().Add(serverLife),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	for _, host := range i.hosts {
		if ip := net.ParseIP(host); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, host)
		}
	}
	der, leaf, err := sign(template, i.authority.cert, key, i.authority.key)
	if err != nil {
		return nil, fmt.Errorf("console certificate: %w", err)
	}
	return &tls.Certificate{Certificate: [][]byte{der, i.authority.cert.Raw}, PrivateKey: key, Leaf: leaf}, nil
}

func sign(template, parent *x509.Certificate, key, by *ecdsa.PrivateKey) ([]byte, *x509.Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, nil, err
	}
	template.SerialNumber = serial
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), by)
	if err != nil {
		return nil, nil, err
	}
	cert, err := x509.ParseCertificate(der)
	return der, cert, err
}
