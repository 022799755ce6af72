package policystore

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"sync"

	"github.com/rs/zerolog"
)

// certificate serves TLS with files that their owner renews. They are read at every handshake, which costs less than the
// handshake, and a mounted Secret has no better sign of change. While they cannot be used, the last ones that could stay.
type certificate struct {
	certFile, keyFile, clientCAFile string
	log                             zerolog.Logger

	mu      sync.Mutex
	read    [3][]byte // what is in use
	config  *tls.Config
	problem string // what was said last
}

// newCertificate gives nil where none is configured.
func newCertificate(s Security, log zerolog.Logger) (*certificate, error) {
	if s.TLSCertFile == "" {
		return nil, nil
	}
	c := &certificate{
		certFile: s.TLSCertFile, keyFile: s.TLSKeyFile, clientCAFile: s.TLSClientCAFile,
		log: log.With().Str("component", "certificate").Logger(),
	}
	_, err := c.current(nil)
	return c, err
}

// server is the configuration for the log server.
func (c *certificate) server() *tls.Config {
	config := &tls.Config{MinVersion: tls.VersionTLS13, GetConfigForClient: c.current}
	if c.clientCAFile != "" {
		config.ClientAuth = tls.RequireAndVerifyClientCert
	}
	return config
}

// current gives the configuration of the files as they are now.
func (c *certificate) current(*tls.ClientHelloInfo) (*tls.Config, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	err := c.reload()
	if err == nil {
		c.problem = ""
		return c.config, nil
	}
	if c.config == nil {
		return nil, err
	}
	if c.problem != err.Error() {
		c.problem = err.Error()
		c.log.Error().Err(err).Msg("the renewed certificate cannot be used; the last one stays")
	}
	return c.config, nil
}

func (c *certificate) reload() error {
	var read [3][]byte
	for i, name := range []string{c.certFile, c.keyFile, c.clientCAFile} {
		if name == "" {
			continue
		}
		var err error
		if read[i], err = os.ReadFile(name); err != nil {
			return fmt.Errorf("certificate of the log: %w", err)
		}
	}
	if c.config != nil && bytes.Equal(read[0], c.read[0]) && bytes.Equal(read[1], c.read[1]) && bytes.Equal(read[2], c.read[2]) {
		return nil
	}
	pair, err := tls.X509KeyPair(read[0], read[1])
	if err != nil {
		return fmt.Errorf("certificate of the log: %s and %s: %w", c.certFile, c.keyFile, err)
	}
	config := &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS13}
	if c.clientCAFile != "" {
		config.ClientAuth, config.ClientCAs = tls.RequireAndVerifyClientCert, x509.NewCertPool()
		if !config.ClientCAs.AppendCertsFromPEM(read[2]) {
			return errors.New("certificate of the log: " + c.clientCAFile + " holds no certificate in PEM form")
		}
	}
	if c.config != nil {
		c.log.Info().Time("until", pair.Leaf.NotAfter).Msg("the certificate of the log was renewed")
	}
	c.read, c.config = read, config
	return nil
}
