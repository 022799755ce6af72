package authority

import (
	"bytes"
	"crypto/x509"
	"crypto/x509/pkix"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/rs/zerolog"
)

var (
	fuzzNow   = time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)
	fuzzNames = []string{"policy-store"}
)

// seed is what FuzzStored is given of what is stored.
type seed struct{ caCert, caKey, nextCert, nextKey, earlier, cert, key, beside, bundle, times []byte }

func (s seed) contents() contents {
	return contents{
		keys:   map[string][]byte{"tls.crt": s.caCert, "tls.key": s.caKey, nextCert: s.nextCert, nextKey: s.nextKey, earlierKey: s.earlier},
		server: map[string][]byte{"tls.crt": s.cert, "tls.key": s.key, bundleKey: s.beside},
		bundle: string(s.bundle), times: string(s.times),
	}
}

// seedAt is what is stored some time after a first start.
func seedAt(f *testing.F, started time.Time) (s seed) {
	f.Helper()
	var m material
	a := &Authority{Log: zerolog.Nop()}
	for at := started; !at.After(fuzzNow); at = at.Add(day) {
		next, _, err := renewed(m, fuzzNames, at)
		if err != nil {
			f.Fatal(err)
		}
		c, err := next.contents(at)
		if err != nil {
			f.Fatal(err)
		}
		s = seed{c.keys["tls.crt"], c.keys["tls.key"], c.keys[nextCert], c.keys[nextKey], c.keys[earlierKey],
			c.server["tls.crt"], c.server["tls.key"], c.server[bundleKey], []byte(c.bundle), []byte(c.times)}
		m = a.read(c, at)
	}
	return s
}

// odd is an authority that is not of our making.
func odd(f *testing.F, change func(*x509.Certificate)) (cert, key []byte) {
	f.Helper()
	template := &x509.Certificate{
		Subject: pkix.Name{CommonName: "odd"}, NotBefore: fuzzNow.Add(-skew), NotAfter: fuzzNow.Add(authorityLife),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	change(template)
	p, err := issue(template, nil)
	if err != nil {
		f.Fatal(err)
	}
	if cert, key, err = writePair(p); err != nil {
		f.Fatal(err)
	}
	return cert, key
}

func seeds(f *testing.F) (all []seed) {
	fresh, later, announced, other := seedAt(f, fuzzNow), seedAt(f, fuzzNow.Add(-25*day)), seedAt(f, fuzzNow.Add(-244*day)), seedAt(f, fuzzNow.Add(-3*day))
	all = []seed{{}, fresh, later, announced, seedAt(f, fuzzNow.Add(-245*day)), seedAt(f, fuzzNow.Add(-300*day))}
	with := func(s seed, change func(*seed)) { change(&s); all = append(all, s) }
	for _, s := range []seed{fresh, later, announced} {
		with(s, func(s *seed) { s.caCert, s.caKey = nil, nil })
		with(s, func(s *seed) { s.caCert, s.caKey, s.beside = nil, nil, slices.Concat(other.bundle, s.beside) })
		with(s, func(s *seed) { s.caCert, s.bundle, s.times = s.caCert[:len(s.caCert)/2], nil, []byte(`{"a":1}`) })
		with(s, func(s *seed) { s.caCert, s.caKey = other.caCert, other.caKey })
		with(s, func(s *seed) { s.cert, s.key, s.beside = other.cert, other.key, other.beside })
		with(s, func(s *seed) { s.caCert, s.caKey, s.cert, s.key = s.cert, s.key, s.caCert, s.caKey })
		with(s, func(s *seed) { s.nextCert, s.nextKey = s.caCert, s.caKey })
		with(s, func(s *seed) { s.nextCert, s.nextKey, s.caCert, s.caKey = s.caCert, s.caKey, other.caCert, other.caKey })
		with(s, func(s *seed) { s.earlier, s.beside = bytes.Repeat(other.caCert, 12), []byte("garbage") })
		with(s, func(s *seed) { s.bundle, s.times = slices.Concat(s.bundle, other.bundle), []byte("garbage") })
		for _, change := range []func(*x509.Certificate){
			func(c *x509.Certificate) { c.NotBefore = fuzzNow.Add(day) },
			func(c *x509.Certificate) { c.NotAfter = fuzzNow.Add(3 * time.Minute) },
			func(c *x509.Certificate) { c.NotAfter = fuzzNow },
			func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageCRLSign },
			func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} },
			func(c *x509.Certificate) {
				c.PermittedDNSDomainsCritical, c.PermittedDNSDomains = true, []string{"elsewhere"}
			},
			func(c *x509.Certificate) { c.DNSNames = fuzzNames },
		} {
			cert, key := odd(f, change)
			with(s, func(s *seed) { s.caCert, s.caKey = cert, key })
			with(s, func(s *seed) { s.nextCert, s.nextKey = cert, key })
			with(s, func(s *seed) { s.cert, s.key, s.beside = cert, key, cert })
			with(seed{}, func(s *seed) { s.caCert, s.caKey = cert, key })
		}
	}
	return all
}

// FuzzStored reads what may be stored. Whatever it is, a client that is told whom to trust takes what is served afterwards; nobody
// is trusted but who was made here, who stood with the authority's keys, and who signed what is served; and looking again changes
// nothing.
func FuzzStored(f *testing.F) {
	for _, s := range seeds(f) {
		f.Add(s.caCert, s.caKey, s.nextCert, s.nextKey, s.earlier, s.cert, s.key, s.beside, s.bundle, s.times)
	}
	f.Fuzz(func(t *testing.T, caCert, caKey, nextCert, nextKey, earlier, cert, key, beside, bundle, times []byte) {
		a := &Authority{Log: zerolog.Nop()}
		stored := seed{caCert, caKey, nextCert, nextKey, earlier, cert, key, beside, bundle, times}.contents()
		m, _, err := renewed(a.read(stored, fuzzNow), fuzzNames, fuzzNow)
		if err != nil {
			t.Fatal(err)
		}
		written, err := m.contents(fuzzNow)
		if err != nil {
			t.Fatal(err)
		}
		taken(t, written)
		known(t, stored, m)
		again, done, err := renewed(a.read(written, fuzzNow), fuzzNames, fuzzNow)
		if err != nil || len(done) > 0 {
			t.Errorf("looking again does more: %v, %v", done, err)
		}
		if rewritten, err := again.contents(fuzzNow); err != nil || !same(rewritten, written) {
			t.Errorf("looking again changes what is stored: %v", err)
		}
	})
}

func same(a, b contents) bool {
	return maps.EqualFunc(a.keys, b.keys, bytes.Equal) && maps.EqualFunc(a.server, b.server, bytes.Equal) && a.bundle == b.bundle && a.times == b.times
}

// taken has a client that trusts what is published verify what is served.
func taken(t *testing.T, c contents) {
	t.Helper()
	served, err := parsePair(c.server["tls.crt"], c.server["tls.key"])
	if err != nil {
		t.Fatalf("nothing to serve: %v", err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM([]byte(c.bundle))
	if _, err := served.cert.Verify(x509.VerifyOptions{Roots: roots, DNSName: fuzzNames[0], CurrentTime: fuzzNow}); err != nil {
		t.Errorf("clients do not verify what is served: %v", err)
	}
}

// known checks where each that is trusted comes from.
func known(t *testing.T, before contents, m material) {
	t.Helper()
	if len(m.trusted()) > maxEarlier+2 {
		t.Errorf("%d authorities are trusted", len(m.trusted()))
	}
	holds := func(text []byte, c *x509.Certificate) bool {
		certs, _ := parseCertificates(text)
		return slices.ContainsFunc(certs, c.Equal)
	}
	server, _ := parsePair(before.server["tls.crt"], before.server["tls.key"])
	for _, c := range m.trusted() {
		keys := holds(before.keys["tls.crt"], c) || holds(before.keys[nextCert], c) || holds(before.keys[earlierKey], c)
		signed := server != nil && verified(server.cert, c, fuzzNames, fuzzNow)
		made := !holds([]byte(before.bundle), c) && !holds(before.server[bundleKey], c) && c.NotBefore.Equal(fuzzNow.Add(-skew))
		if !keys && !signed && !made {
			t.Errorf("%s is trusted, who was neither made here nor stored with the keys nor signed what is served", c.Subject)
		}
	}
}
