// Package pki makes the lab's certificates, its ServiceAccount signing key and its kubeconfigs. Everything is fresh
// for each life of a lab and good for one year; there is no renewal and no revocation.
package pki

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

const lifetime = 365 * 24 * time.Hour

// Authority is a certificate authority that keeps its files in one folder. It is not safe for concurrent use.
type Authority struct {
	dir    string
	key    crypto.Signer
	cert   *x509.Certificate
	serial int64
}

// Identity says whom a certificate names. Hosts are the DNS names and IP addresses it serves under, if any.
type Identity struct {
	User   string
	Groups []string
	Hosts  []string
}

// New makes an authority in dir: ca.crt and ca.key.
func New(dir string) (*Authority, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the PKI folder: %w", err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("generate the CA key: %w", err)
	}
	template := &x509.Certificate{
		SerialNumber:          big.NewInt(1),
		Subject:               pkix.Name{CommonName: "ringfence-lab-ca"},
		NotBefore:             time.Now().Add(-time.Hour),
		NotAfter:              time.Now().Add(lifetime),
		IsCA:                  true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("sign the CA certificate: %w", err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("parse the CA certificate: %w", err)
	}
	a := &Authority{dir: dir, key: key, cert: cert, serial: 1}
	return a, a.writePair("ca", der, key)
}

// CACert is the path of the authority's own certificate.
func (a *Authority) CACert() string { return a.Cert("ca") }

// Cert is the path of the certificate that Issue wrote under name.
func (a *Authority) Cert(name string) string { return filepath.Join(a.dir, name+".crt") }

// Key is the path of the private key that belongs to Cert(name).
func (a *Authority) Key(name string) string { return filepath.Join(a.dir, name+".key") }

// Issue writes name.crt and name.key, good as client and as server certificate for id.
func (a *Authority) Issue(name string, id Identity) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return fmt.Errorf("generate the key of %s: %w", name, err)
	}
	a.serial++
	template := &x509.Certificate{
		SerialNumber: big.NewInt(a.serial),
		Subject:      pkix.Name{CommonName: id.User, Organization: id.Groups},
		NotBefore:    a.cert.NotBefore,
		NotAfter:     a.cert.NotAfter,
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
	}
	for _, host := range id.Hosts {
		if ip := net.ParseIP(host); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, host)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	if err != nil {
		return fmt.Errorf("sign the certificate of %s: %w", name, err)
	}
	return a.writePair(name, der, key)
}

// SigningKey writes name.key and name.pub, an RSA pair for ServiceAccount tokens: RS256 is what every verifier knows.
func (a *Authority) SigningKey(name string) error {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return fmt.Errorf("generate the signing key %s: %w", name, err)
	}
	public, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return fmt.Errorf("encode the signing key %s: %w", name, err)
	}
	if err := writePEM(filepath.Join(a.dir, name+".pub"), "PUBLIC KEY", public, 0o644); err != nil {
		return err
	}
	return writeKey(a.Key(name), key)
}

// Kubeconfig writes a kubeconfig for the identity issued under name. It carries the certificates in itself, so the
// file may be copied; it is as secret as the key in it (mode 0600).
func (a *Authority) Kubeconfig(path, name, server string) error {
	var data [3]string
	for i, file := range []string{a.CACert(), a.Cert(name), a.Key(name)} {
		content, err := os.ReadFile(file)
		if err != nil {
			return fmt.Errorf("write the kubeconfig of %s: %w", name, err)
		}
		data[i] = base64.StdEncoding.EncodeToString(content)
	}
	text := fmt.Sprintf(kubeconfig, server, data[0], data[1], data[2])
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		return fmt.Errorf("write the kubeconfig of %s: %w", name, err)
	}
	return nil
}

const kubeconfig = `apiVersion: v1
kind: Config
clusters:
- name: ringfence-lab
  cluster:
    server: %s
    certificate-authority-data: %s
users:
- name: ringfence-lab
  user:
    client-certificate-data: %s
    client-key-data: %s
contexts:
- name: ringfence-lab
  context: {cluster: ringfence-lab, user: ringfence-lab}
current-context: ringfence-lab
`

func (a *Authority) writePair(name string, der []byte, key crypto.Signer) error {
	if err := writePEM(a.Cert(name), "CERTIFICATE", der, 0o644); err != nil {
		return err
	}
	return writeKey(a.Key(name), key)
}

func writeKey(path string, key crypto.Signer) error {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return fmt.Errorf("encode %s: %w", path, err)
	}
	return writePEM(path, "PRIVATE KEY", der, 0o600)
}

func writePEM(path, kind string, der []byte, mode os.FileMode) error {
	block := pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
	if err := os.WriteFile(path, block, mode); err != nil {
		return fmt.Errorf("write a %s: %w", kind, err)
	}
	return nil
}
