package authority

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"time"
)

const (
	authorityLife   = 365 * 24 * time.Hour
	certificateLife = 30 * 24 * time.Hour
	// announced is how long clients can have a new authority, from when it is published, before anything is signed by it. The
	// kubelet brings a ConfigMap to pods in a minute or two.
	announced = 24 * time.Hour
	// skew is how far the clocks of nodes may be behind.
	skew = 10 * time.Minute
	// maxEarlier bounds how many earlier authorities are trusted.
	maxEarlier = 8
	// maxPEM bounds what is read of a stored value.
	maxPEM = 256 << 10
)

// pair is a certificate with its key.
type pair struct {
	cert *x509.Certificate
	key  crypto.Signer
}

// material is all that is issued. A nil pair is not there.
type material struct {
	authority *pair
	next      *pair // is announced
	earlier   []*x509.Certificate
	server    *pair
	published published
}

// published is since when clients can have an authority, by its fingerprint. One that is not in it they do not have.
type published map[string]time.Time

func fingerprint(c *x509.Certificate) string {
	sum := sha256.Sum256(c.Raw)
	return hex.EncodeToString(sum[:])
}

// long says whether all clients have an authority by now.
func (p published) long(c *x509.Certificate, now time.Time) bool {
	since, found := p[fingerprint(c)]
	return found && !now.Before(since.Add(announced))
}

// with gives what it is once these are published.
func (p published) with(certs []*x509.Certificate, now time.Time) published {
	out := published{}
	for _, c := range certs {
		since, found := p[fingerprint(c)]
		if !found {
			since = now.UTC().Truncate(time.Second)
		}
		out[fingerprint(c)] = since
	}
	return out
}

// parsePublished reads what was kept of the authorities that are published. A time that is to come says nothing.
func parsePublished(text string, certs []*x509.Certificate, now time.Time) (published, error) {
	var kept published
	if text != "" {
		if err := json.Unmarshal([]byte(text[:min(len(text), maxPEM)]), &kept); err != nil {
			return nil, err
		}
	}
	out := published{}
	for _, c := range certs {
		if since, found := kept[fingerprint(c)]; found && !since.After(now) {
			out[fingerprint(c)] = since
		}
	}
	return out, nil
}

// trusted are the authorities of clients, the newest first.
func (m material) trusted() []*x509.Certificate {
	var out []*x509.Certificate
	for _, p := range []*pair{m.next, m.authority} {
		if p != nil {
			out = append(out, p.cert)
		}
	}
	return append(out, m.earlier...)
}

// renewed gives what there should be at a time, with what was done in words. Nothing is done where all is well.
func renewed(m material, names []string, now time.Time) (next material, done []string, err error) {
	next = m
	next.earlier = slices.DeleteFunc(slices.Clone(m.earlier), func(c *x509.Certificate) bool { return !now.Before(c.NotAfter) })
	if gone := len(m.earlier) - len(next.earlier); gone > 0 {
		done = append(done, fmt.Sprintf("%d earlier authorities have ended", gone))
	}
	for _, step := range []func(*material, []string, time.Time) (string, error){dropEnded, dropUnverified, demote, announce, promote, sign} {
		said, err := step(&next, names, now)
		if err != nil {
			return m, nil, err
		}
		if said != "" {
			done = append(done, said)
		}
	}
	return next, done, nil
}

// dropEnded takes away what cannot be used any more.
func dropEnded(m *material, _ []string, now time.Time) (string, error) {
	ended := func(p *pair) bool { return p != nil && !now.Before(p.cert.NotAfter) }
	if ended(m.server) {
		m.server = nil
	}
	if ended(m.next) {
		m.next = nil
	}
	if ended(m.authority) {
		m.authority = nil
		return "the authority has ended", nil
	}
	return "", nil
}

// dropUnverified takes away a certificate that no client can verify: it is as good as none.
func dropUnverified(m *material, _ []string, _ time.Time) (string, error) {
	if m.server == nil || issuer(m.server.cert, m.trusted()) != nil {
		return "", nil
	}
	m.server = nil
	return "what the log serves is issued by nobody whom clients trust, and replaced", nil
}

// demote has an authority announced that neither issued what the log serves nor is known to all clients: somebody put it here, or
// what clients know of was lost.
func demote(m *material, _ []string, now time.Time) (string, error) {
	if m.authority == nil || m.server == nil || m.server.cert.CheckSignatureFrom(m.authority.cert) == nil || m.published.long(m.authority.cert, now) {
		return "", nil
	}
	m.next, m.authority = m.authority, nil // whatever was announced has signed nothing yet
	return "the authority is not known to all clients, and announced", nil
}

// issuer gives the one of certs that issued c, nil where none did.
func issuer(c *x509.Certificate, certs []*x509.Certificate) *x509.Certificate {
	for _, by := range certs {
		if c.CheckSignatureFrom(by) == nil {
			return by
		}
	}
	return nil
}

// announce makes the next authority where the present one is old, or there is none.
func announce(m *material, _ []string, now time.Time) (string, error) {
	if m.next != nil || m.authority != nil && now.Before(due(m.authority.cert)) {
		return "", nil
	}
	p, err := issue(&x509.Certificate{
		Subject: pkix.Name{CommonName: "Ringfence event log"}, NotBefore: now.Add(-skew), NotAfter: now.Add(authorityLife),
		IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}, nil)
	if err != nil {
		return "", fmt.Errorf("authority: %w", err)
	}
	m.next = p
	return "a new authority is announced", nil
}

// promote has the announced authority sign from now on, once clients have had the time to learn of it, or where there is
// nothing that they could use meanwhile.
func promote(m *material, _ []string, now time.Time) (string, error) {
	if m.next == nil || (m.authority != nil || m.server != nil) && !m.published.long(m.next.cert, now) {
		return "", nil
	}
	if m.authority != nil {
		m.earlier = append([]*x509.Certificate{m.authority.cert}, m.earlier...)
		m.earlier = m.earlier[:min(len(m.earlier), maxEarlier)]
	}
	m.authority, m.next = m.next, nil
	return "the announced authority signs from now on", nil
}

// sign issues the log's certificate where the one that there is is old, is of another authority, or lacks a name.
func sign(m *material, names []string, now time.Time) (string, error) {
	if m.authority == nil || m.server != nil && now.Before(due(m.server.cert)) && m.server.cert.CheckSignatureFrom(m.authority.cert) == nil && hasNames(m.server.cert, names) {
		return "", nil
	}
	end := now.Add(certificateLife)
	if m.authority.cert.NotAfter.Before(end) {
		end = m.authority.cert.NotAfter
	}
	p, err := issue(&x509.Certificate{
		Subject: pkix.Name{CommonName: names[0]}, DNSNames: names, NotBefore: now.Add(-skew), NotAfter: end,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}, m.authority)
	if err != nil {
		return "", fmt.Errorf("certificate of the log: %w", err)
	}
	m.server = p
	return "the certificate of the log is issued", nil
}

// due is when two thirds of a certificate's life are over.
func due(c *x509.Certificate) time.Time { return c.NotBefore.Add(c.NotAfter.Sub(c.NotBefore) * 2 / 3) }

func hasNames(c *x509.Certificate, names []string) bool {
	return !slices.ContainsFunc(names, func(name string) bool { return c.VerifyHostname(name) != nil })
}

// issue makes a key, and a certificate of it that by signs, or the key itself.
func issue(template *x509.Certificate, by *pair) (*pair, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	if template.SerialNumber, err = rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127)); err != nil {
		return nil, err
	}
	parent, signer := template, crypto.Signer(key)
	if by != nil {
		parent, signer = by.cert, by.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(der)
	return &pair{cert, key}, err
}

var errNothing = errors.New("nothing is stored")

// parsePair reads a certificate and its key in PEM form.
func parsePair(certText, keyText []byte) (*pair, error) {
	if len(certText) == 0 && len(keyText) == 0 {
		return nil, errNothing
	}
	certs, err := parseCertificates(certText)
	if err != nil {
		return nil, err
	}
	if len(certs) == 0 {
		return nil, errors.New("no certificate in PEM form")
	}
	block, _ := pem.Decode(keyText[:min(len(keyText), maxPEM)])
	if block == nil {
		return nil, errors.New("no key in PEM form")
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("key: %w", err)
	}
	key, usable := parsed.(*ecdsa.PrivateKey)
	if !usable {
		return nil, fmt.Errorf("key: it is a %T", parsed)
	}
	if !key.PublicKey.Equal(certs[0].PublicKey) {
		return nil, errors.New("the key is not that of the certificate")
	}
	return &pair{certs[0], key}, nil
}

// parseAuthority is parsePair of an authority.
func parseAuthority(certText, keyText []byte) (*pair, error) {
	p, err := parsePair(certText, keyText)
	if err == nil && !p.cert.IsCA {
		return nil, errors.New("the certificate is not that of an authority")
	}
	return p, err
}

// parseCertificates reads certificates in PEM form, one after the other.
func parseCertificates(text []byte) (out []*x509.Certificate, err error) {
	for rest := text[:min(len(text), maxPEM)]; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			if len(bytes.TrimSpace(rest)) > 0 {
				return nil, errors.New("not in PEM form")
			}
			return out, nil
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("certificate %d: %w", len(out), err)
		}
		out = append(out, cert)
	}
}

func writeCertificates(certs ...*x509.Certificate) []byte {
	var out []byte
	for _, c := range certs {
		out = append(out, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})...)
	}
	return out
}

// writePair gives nothing where there is no pair.
func writePair(p *pair) (certText, keyText []byte, err error) {
	if p == nil {
		return nil, nil, nil
	}
	der, err := x509.MarshalPKCS8PrivateKey(p.key)
	if err != nil {
		return nil, nil, fmt.Errorf("key: %w", err)
	}
	return writeCertificates(p.cert), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}
