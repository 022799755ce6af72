package authority

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
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

// material is all that is issued, and what clients were told of it when it was read. A nil pair is not there.
type material struct {
	authority *pair
	next      *pair // is announced
	earlier   []*x509.Certificate
	server    *pair
	published []publication
	// beside are authorities that are kept with what is served, where those with their keys were lost.
	beside []*x509.Certificate
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
	// What begins to sign may be old already, where it was put there: then its successor is announced with it.
	for _, step := range []func(*material, []string, time.Time) (string, error){dropUseless, dropEarlier, keepIssuer, demote, announce, promote, announce, sign} {
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

// dropUseless takes away what nothing can be signed by any more, or never could: what is stored need not be of our making.
func dropUseless(m *material, names []string, now time.Time) (said string, _ error) {
	if m.authority != nil && !m.authority.useful(names, now) {
		m.authority, said = nil, "the authority has ended, or what it signs is not valid"
	}
	if m.next != nil && (!m.next.useful(names, now) || m.authority != nil && m.next.cert.Equal(m.authority.cert)) {
		m.next = nil
	}
	return said, nil
}

// dropEarlier takes away earlier authorities that have ended, that are trusted for another reason, or that are too many.
func dropEarlier(m *material, _ []string, now time.Time) (said string, _ error) {
	all := m.earlier
	m.earlier = nil
	ended := 0
	for _, c := range all {
		switch {
		case !now.Before(c.NotAfter):
			ended++
		case c.IsCA && len(m.earlier) < maxEarlier && !slices.ContainsFunc(m.trusted(), c.Equal):
			m.earlier = append(m.earlier, c)
		}
	}
	if ended > 0 {
		said = fmt.Sprintf("%d earlier authorities have ended", ended)
	}
	return said, nil
}

// keepIssuer goes on trusting who signed what is served, where the present authority may not sign yet. Where nobody knows who that
// was, no client can verify it, and it counts as nothing.
func keepIssuer(m *material, names []string, now time.Time) (string, error) {
	signed := func(c *x509.Certificate) bool { return verified(m.server.cert, c, names, now) }
	if m.server == nil || slices.ContainsFunc(m.trusted(), signed) {
		return "", nil
	}
	if m.authority == nil || !m.known(m.authority.cert, now) {
		var candidates []*x509.Certificate
		for _, p := range m.published {
			candidates = append(candidates, p.cert)
		}
		candidates = append(candidates, m.beside...)
		if i := slices.IndexFunc(candidates, signed); i >= 0 {
			m.keepEarlier(candidates[i])
			return "the authority that signed what is served was lost, and is trusted until it ends", nil
		}
	}
	m.server = nil
	return "what is served has ended, or is of no authority that is trusted", nil
}

// demote has an authority announced that clients need not know: it signed nothing that they have seen, and was not published for
// long enough. Somebody put it there, or put an older one back.
func demote(m *material, names []string, now time.Time) (string, error) {
	if m.authority == nil || m.maySign(m.authority, names, now) {
		return "", nil
	}
	if m.next == nil {
		m.next = m.authority
	}
	m.authority = nil
	return "the authority that is stored is not known to clients, and signs nothing before it was announced", nil
}

// maySign says whether clients know an authority, or lose nothing where they do not.
func (m material) maySign(p *pair, names []string, now time.Time) bool {
	return m.server == nil || verified(m.server.cert, p.cert, names, now) || m.known(p.cert, now)
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
func promote(m *material, names []string, now time.Time) (string, error) {
	if m.next == nil || !m.known(m.next.cert, now) && (m.authority != nil || !m.maySign(m.next, names, now)) {
		return "", nil
	}
	if m.authority != nil {
		m.keepEarlier(m.authority.cert)
	}
	m.authority, m.next = m.next, nil
	return "the announced authority signs from now on", nil
}

// keepEarlier goes on trusting an authority, before the oldest.
func (m *material) keepEarlier(c *x509.Certificate) {
	m.earlier = append([]*x509.Certificate{c}, m.earlier[:min(len(m.earlier), maxEarlier-1)]...)
}

// sign issues the log's certificate where the one that there is is old, is of another authority, or lacks a name.
func sign(m *material, names []string, now time.Time) (string, error) {
	if m.authority == nil {
		return "", nil
	}
	if s := m.server; s != nil && verified(s.cert, m.authority.cert, names, now) && hasNames(s.cert, names) &&
		(now.Before(due(s.cert)) || !s.cert.NotAfter.Before(m.authority.cert.NotAfter)) { // it cannot outlive the authority
		return "", nil
	}
	p, err := m.authority.sign(names, now)
	if err != nil {
		return "", fmt.Errorf("certificate of the log: %w", err)
	}
	m.server = p
	return "the certificate of the log is issued", nil
}

// sign issues a certificate of the log.
func (p *pair) sign(names []string, now time.Time) (*pair, error) {
	end := now.Add(certificateLife)
	if p.cert.NotAfter.Before(end) {
		end = p.cert.NotAfter
	}
	return issue(&x509.Certificate{
		Subject: pkix.Name{CommonName: names[0]}, DNSNames: names, NotBefore: now.Add(-skew), NotAfter: end,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}, p)
}

// useful says whether clients verify what an authority signs. A certificate that is thrown away shows it, for there are many
// reasons why they may not: its time, its key, what it is restricted to.
func (p *pair) useful(names []string, now time.Time) bool {
	trial, err := p.sign(names, now)
	return err == nil && verified(trial.cert, p.cert, names, now)
}

// verified says whether a client that trusts one authority alone takes a certificate for the log's.
func verified(c, authority *x509.Certificate, names []string, now time.Time) bool {
	roots := x509.NewCertPool()
	roots.AddCert(authority)
	_, err := c.Verify(x509.VerifyOptions{DNSName: names[0], Roots: roots, CurrentTime: now})
	return err == nil
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
