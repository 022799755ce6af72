package certs

import (
	"crypto/tls"
	"fmt"
	"os"
	"sync"
	"time"
)

// given serves the certificate of files from outside. Files that are replaced are read again, so that whoever renews them need not
// restart the console; while what is there cannot be used, the certificate of before stays. It is safe for concurrent use.
type given struct {
	files Files

	mu      sync.Mutex
	written [2]time.Time // of certificate and key, when current was read
	current *tls.Certificate
}

func (g *given) certificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	written, err := g.files.written()
	if g.current != nil && (err != nil || written == g.written) {
		return g.current, nil
	}
	pair, err := tls.LoadX509KeyPair(g.files.Cert, g.files.Key)
	switch {
	case err == nil:
		g.current, g.written = &pair, written
	case g.current == nil:
		return nil, fmt.Errorf("TLS certificate %s with key %s: %w", g.files.Cert, g.files.Key, err)
	}
	return g.current, nil
}

func (f Files) written() (at [2]time.Time, err error) {
	for i, path := range []string{f.Cert, f.Key} {
		info, err := os.Stat(path)
		if err != nil {
			return at, err
		}
		at[i] = info.ModTime()
	}
	return at, nil
}
