package pce

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"time"
)

const (
	// lookAgain is how old what is known of the folder of authorities may be.
	lookAgain = 5 * time.Second
	// silent is how long a connection may stay without a sign of the other end, whatever a call's timeout is: a console behind
	// a firewall that forgot the connection must not be waited for.
	silent = time.Minute
)

// transport carries requests, and takes up authorities that changed. It is safe for concurrent use.
type transport struct {
	config Config
	proxy  func(*http.Request) (*url.URL, error)

	mu     sync.Mutex
	inner  *http.Transport
	looked time.Time
	sum    [sha256.Size]byte // of what the folder held
	broken error             // why it could not be read last; the authorities from before stay
}

func newTransport(config Config) (*transport, error) {
	t := &transport{config: config, proxy: http.ProxyFromEnvironment}
	if config.Proxy != "" {
		at, err := url.Parse(config.Proxy)
		if err != nil || at.Host == "" {
			return nil, fmt.Errorf("HTTP proxy %q: want a URL such as http://proxy:3128", config.Proxy)
		}
		t.proxy = http.ProxyURL(at)
	}
	roots := config.RootCAs
	if roots == nil {
		var err error
		if roots, t.sum, err = authorities(config.RootCADir); err != nil {
			return nil, err
		}
	}
	t.inner, t.looked = t.with(roots), time.Now()
	return t, nil
}

// RoundTrip sends a request over a connection that the authorities of now have verified.
func (t *transport) RoundTrip(r *http.Request) (*http.Response, error) {
	return t.current().RoundTrip(r)
}

func (t *transport) current() *http.Transport {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.config.RootCAs != nil || t.config.RootCADir == "" || time.Since(t.looked) < lookAgain {
		return t.inner
	}
	t.looked = time.Now()
	roots, sum, err := authorities(t.config.RootCADir)
	if t.broken = err; err == nil && sum != t.sum {
		t.inner.CloseIdleConnections()
		t.inner, t.sum = t.with(roots), sum
	}
	return t.inner
}

// problem says why the authorities could not be read last.
func (t *transport) problem() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.broken
}

func (t *transport) with(roots *x509.CertPool) *http.Transport {
	inner := http.DefaultTransport.(*http.Transport).Clone()
	inner.Proxy = t.proxy
	inner.DialContext = (&net.Dialer{
		Timeout: 30 * time.Second, Control: giveUpSilent,
		KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: silent / 4, Interval: silent / 4, Count: 3},
	}).DialContext
	inner.HTTP2 = &http.HTTP2Config{SendPingTimeout: silent / 2, PingTimeout: silent / 2}
	inner.TLSClientConfig = &tls.Config{
		MinVersion: tls.VersionTLS12, RootCAs: roots,
		InsecureSkipVerify: t.config.IgnoreCert, // #nosec G402 -- asked for by the operator
	}
	return inner
}

// authorities gives the system's authorities with those of the files in dir, and a sum over the files. A folder that is not
// there adds none.
func authorities(dir string) (pool *x509.CertPool, sum [sha256.Size]byte, err error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) || dir == "" {
		return nil, sum, nil
	}
	if err != nil {
		return nil, sum, fmt.Errorf("authorities: %w", err)
	}
	if pool, err = x509.SystemCertPool(); err != nil {
		pool = x509.NewCertPool() // a static image has none
	}
	digest := sha256.New()
	for _, entry := range entries {
		path := filepath.Join(dir, entry.Name())
		// A mounted ConfigMap holds its files behind links, and a folder of its own bookkeeping.
		if info, err := os.Stat(path); err != nil || info.IsDir() {
			continue
		}
		text, err := os.ReadFile(path) // #nosec G304 -- the operator's folder
		if err != nil {
			return nil, sum, fmt.Errorf("authorities: %w", err)
		}
		if !pool.AppendCertsFromPEM(text) {
			return nil, sum, fmt.Errorf("authorities: %s holds no certificate in PEM form", path)
		}
		_, _ = digest.Write(text) // never fails
	}
	return pool, [sha256.Size]byte(digest.Sum(nil)), nil
}
