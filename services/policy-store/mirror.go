package policystore

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"github.com/ringfence/ringfence/libs/access"
	"github.com/ringfence/ringfence/libs/eventlog"
)

// mirror is the mode in which policy-store holds the copy of another's log, and nothing else.
const mirror = "mirror"

// accountMirror is what a mirror's link is in: it takes over what eventlog.MirrorLinks lists, and nothing else.
const accountMirror = "MIRROR"

// mirrorReconnect is how often a broken link is tried again.
const mirrorReconnect = time.Second

// Mirror is what policy-store can be told of a mirror for disaster recovery. The log dials the mirror.
type Mirror struct {
	URL        string `help:"Address of a policy-store in mode mirror (tls://host:7422) that is to hold a copy of this log." name:"url"`
	KeyFile    string `help:"File with the seed by which the mirror knows this log; policy-store mirror-key makes it." name:"key-file"`
	CAFile     string `help:"File with the authorities of the mirror's certificate, in PEM form." name:"ca-file"`
	ServerName string `help:"Name that the mirror's certificate must be for." name:"server-name" default:"policy-store"`
	Offer      bool   `help:"In mode external: feed a mirror that the servers of the cluster link, as policy-store nats-config --mirror configures it." name:"offer"`
	Of         string `help:"In mode mirror: the public key of the log that may be mirrored here, as policy-store mirror-key prints it." name:"of"`
	Promote    bool   `help:"Make the mirror in --store-dir the log. Only where the log itself is lost: two logs of one incarnation must never both be written." name:"promote"`
}

func (m Mirror) check(mode string) error {
	switch {
	case mode == mirror && m.Of == "":
		return errors.New("mirror-of: a mirror must know whose log it may hold; policy-store mirror-key prints the key")
	case mode == mirror && !nkeys.IsValidPublicUserKey(m.Of):
		return fmt.Errorf("mirror-of: %q is no public key of a user", m.Of)
	case mode == mirror && m.Promote:
		return errors.New("mirror-promote: a mirror becomes the log in mode embedded")
	case (mode == external || mode == mirror) && m.URL != "":
		return errors.New("mirror-url: policy-store links a mirror in mode embedded alone; the servers of an external cluster link theirs themselves: set --mirror-offer")
	case mode != external && m.Offer:
		return errors.New("mirror-offer: it is for mode external; set --mirror-url")
	case m.URL != "" && m.KeyFile == "":
		return errors.New("mirror-key-file: the mirror must know who comes; policy-store mirror-key makes the key")
	}
	if m.URL == "" {
		return nil
	}
	u, err := url.Parse(m.URL)
	if err != nil || u.Host == "" || u.Scheme != "tls" && u.Scheme != "nats" {
		return fmt.Errorf("mirror-url: %q is no address such as tls://host:7422", m.URL)
	}
	if u.Scheme == "tls" && m.CAFile == "" {
		return errors.New("mirror-ca-file: name the authorities of the mirror's certificate")
	}
	return nil
}

// link puts into the server's options that it dials the mirror.
func (m Mirror) link(opts *server.Options) error {
	if m.URL == "" {
		return nil
	}
	u, err := url.Parse(m.URL)
	if err != nil {
		return fmt.Errorf("mirror: %w", err)
	}
	seed, _, err := mirrorKey(m.KeyFile)
	if err != nil {
		return err
	}
	remote := &server.RemoteLeafOpts{URLs: []*url.URL{u}, LocalAccount: accountMirror, Nkey: seed, DialTimeout: 5 * time.Second}
	if u.Scheme == "tls" {
		authorities := x509.NewCertPool()
		pem, err := os.ReadFile(m.CAFile)
		if err != nil {
			return fmt.Errorf("mirror: authorities: %w", err)
		}
		if !authorities.AppendCertsFromPEM(pem) {
			return fmt.Errorf("mirror: %s holds no certificate in PEM form", m.CAFile)
		}
		remote.TLS, remote.TLSTimeout = true, authTimeout
		remote.TLSConfig = &tls.Config{ServerName: m.ServerName, RootCAs: authorities, MinVersion: tls.VersionTLS13}
	}
	opts.LeafNode.Remotes, opts.LeafNode.ReconnectInterval = []*server.RemoteLeafOpts{remote}, mirrorReconnect
	opts.Accounts = append(opts.Accounts, server.NewAccount(accountMirror))
	return nil
}

// accept puts into the options of a mirror's server that the log may dial it. No clients are let in.
func (m Mirror) accept(opts *server.Options, cert *certificate) {
	opts.LeafNode.Host, opts.LeafNode.Port, opts.LeafNode.Nkey = opts.Host, opts.Port, m.Of
	opts.LeafNode.AuthTimeout = authTimeout
	if cert != nil {
		opts.LeafNode.TLSConfig, opts.LeafNode.TLSTimeout = cert.server(), authTimeout
	}
	opts.Port = server.RANDOM_PORT // nobody listens there
}

// openToMirror opens to the account of the link what a mirror needs of the log.
func openToMirror(s *server.Server, name string) error {
	account, err := s.LookupAccount(accountMirror)
	if err != nil {
		return fmt.Errorf("account %s: %w", accountMirror, err)
	}
	log := s.GlobalAccount()
	for _, l := range eventlog.MirrorLinks(name) {
		only := []*server.Account{account}
		var err error
		switch {
		case l.Heard:
			err = errors.Join(log.AddStreamExport(l.Log, only), account.AddStreamImport(log, l.Log, ""))
		case l.Answered:
			err = errors.Join(log.AddServiceExport(l.Log, only), log.SetServiceExportResponseThreshold(l.Log, answerWithin), account.AddServiceImport(log, l.Mirror, l.Log))
		default:
			err = errors.Join(log.AddServiceExport(l.Log, only), account.AddServiceImport(log, l.Mirror, l.Log))
		}
		if err != nil {
			return fmt.Errorf("account %s: %s: %w", accountMirror, l.Log, err)
		}
	}
	return nil
}

// progressEvery is how often the progress of a mirror is looked at.
const progressEvery = 5 * time.Second

// followMirror offers the log to the mirror, opens it to the link, and says how far the mirror is, until ctx ends.
func (h *host) followMirror(ctx context.Context, log *eventlog.Log, open func(name string) error) {
	offered, linked := false, false
	for ok := true; ok; ok = pause(ctx, progressEvery) {
		if !offered {
			name, err := log.OfferMirror(ctx)
			if err == nil {
				err = open(name)
			}
			if offered = err == nil; !offered {
				h.log.Error().Err(err).Msg("no mirror can be fed; it is tried again")
				continue
			}
			h.log.Info().Str("name", name).Msg("the log can be mirrored under this name")
		}
		p, err := log.MirrorProgress(ctx)
		if err != nil {
			h.log.Warn().Err(err).Msg("it is not known how far the mirror is")
			continue
		}
		h.mirror.linked.Set(boolean(p.Linked))
		h.mirror.behind.Set(float64(p.Behind))
		if p.Linked != linked {
			linked = p.Linked
			h.log.Info().Bool("linked", linked).Uint64("behind", p.Behind).Msg("the link to the mirror changed")
		}
	}
}

// holdMirror holds the copy of another's log until ctx ends.
func (h *host) holdMirror(ctx context.Context) (held bool, err error) {
	s, err := startServer(ctx, h.cfg, nil, h.certificate, h.log)
	if err != nil {
		return false, err
	}
	h.metrics.starts.Inc()
	h.current.Store(s)
	defer func() {
		h.svc.Ready(component, errors.New("the mirror is stopping"))
		h.current.Store(nil)
		s.stop()
	}()
	nc, err := eventlog.Dialer{URL: "in-process", Name: access.PolicyStore, InProcess: s.nats, Log: h.log.Level(zerolog.ErrorLevel)}.Dial(ctx)
	if err != nil {
		return false, err
	}
	defer nc.Close()
	h.log.Info().Str("address", h.cfg.Listen).Str("dir", h.cfg.StoreDir).Msg("this is a mirror, and waits for its log")
	m, err := eventlog.MakeMirror(ctx, nc, h.cfg.sizes())
	if err != nil {
		return false, err
	}
	h.svc.Ready(component, nil)
	return true, h.compareMirror(ctx, m)
}

// compareMirror says how far behind the mirror is until ctx ends. It stays ready while the log is away: that is what it is for.
func (h *host) compareMirror(ctx context.Context, m *eventlog.Mirror) error {
	said := ""
	for ok := true; ok; ok = pause(ctx, progressEvery) {
		state, err := m.Compare(ctx)
		h.mirror.linked.Set(boolean(err == nil))
		h.metrics.sequence.Set(float64(state.Mirrored))
		if err == nil {
			h.mirror.behind.Set(float64(state.Behind()))
		}
		now := fmt.Sprint("mirrors incarnation ", state.Incarnation)
		if err != nil {
			now = err.Error()
		}
		if now != said && ctx.Err() == nil {
			said = now
			h.log.Info().Err(err).Str("incarnation", state.Incarnation).Uint64("mirrored", state.Mirrored).Uint64("behind", state.Behind()).Msg("the mirror and its log")
		}
	}
	return ctx.Err()
}

// mirrorMetrics say how far a mirror is, on either side.
type mirrorMetrics struct{ linked, behind prometheus.Gauge }

func newMirrorMetrics(r *prometheus.Registry) *mirrorMetrics {
	gauge := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts{Namespace: "ringfence", Subsystem: "policy_store", Name: name, Help: help})
	}
	m := &mirrorMetrics{
		linked: gauge("mirror_linked", "1 while the log and its mirror reach each other."),
		behind: gauge("mirror_behind_facts", "Facts of the log that its mirror does not have yet, as far as was known when they last reached each other."),
	}
	r.MustRegister(m.linked, m.behind)
	return m
}

// createLog makes or opens the log, or makes it of a mirror.
func (h *host) createLog(ctx context.Context, nc *nats.Conn) (log *eventlog.Log, err error) {
	if h.cfg.Mirror.Promote {
		log, err = eventlog.Promote(ctx, nc, h.cfg.sizes())
	} else {
		log, err = eventlog.Create(ctx, nc, h.cfg.sizes())
	}
	if errors.Is(err, eventlog.ErrMirror) {
		err = fmt.Errorf("%w; start with --nats-mode mirror, or, where the log itself is lost, with --mirror-promote", err)
	}
	if err != nil {
		return nil, fmt.Errorf("create the log: %w", err)
	}
	return log, nil
}

// MirrorKey is the command that makes the key by which a mirror knows its log.
type MirrorKey struct {
	File string `arg:"" help:"File of the key; it is made where it is not there. policy-store needs it as --mirror-key-file, and nobody else."`
}

// Write writes the public half of the key, which the mirror needs.
func (c MirrorKey) Write(w io.Writer) error {
	if _, err := os.Stat(c.File); err != nil {
		key, err := nkeys.CreateUser()
		if err != nil {
			return err
		}
		seed, err := key.Seed()
		if err == nil {
			err = os.MkdirAll(filepath.Dir(c.File), 0o700)
		}
		if err == nil {
			err = create(c.File, append(seed, '\n'))
		}
		if err != nil {
			return fmt.Errorf("key %s: %w", c.File, err)
		}
	}
	_, public, err := mirrorKey(c.File)
	if err == nil {
		_, err = fmt.Fprintln(w, public)
	}
	return err
}

// mirrorKey reads the key in a file. No error holds a part of its seed.
func mirrorKey(file string) (seed, public string, err error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return "", "", fmt.Errorf("key of the mirror: %w; policy-store mirror-key makes it", err)
	}
	key, err := parseSeed(text, nkeys.PrefixByteUser)
	if err == nil {
		public, err = key.PublicKey()
	}
	if err != nil {
		return "", "", fmt.Errorf("key of the mirror %s: %w", file, err)
	}
	return strings.TrimSpace(string(text)), public, nil
}
