package policystore

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/cenkalti/backoff/v5"
	"github.com/rs/zerolog"

	"github.com/ringfence/ringfence/libs/access"
	"github.com/ringfence/ringfence/libs/eventlog"
)

// How the log is hosted.
const (
	embedded = "embedded"
	external = "external"
)

// External is what policy-store can be told of a NATS cluster that hosts the log in its place.
type External struct {
	NATSMode string `help:"Who hosts the log: policy-store itself (embedded), or a NATS cluster at --log-url with JetStream and sync_interval: always (external). In mode mirror it only holds a copy of another's log." name:"nats-mode" enum:"embedded,external,mirror" default:"embedded"`
	KeysDir  string `help:"Folder of the keys that policy-store nats-config made: with it, and with --token-keys, policy-store lets clients into the external cluster, each with its rights." name:"nats-keys-dir"`
	Move     bool   `help:"First move the log here from where the other mode keeps it: to external from --store-dir, to embedded from --log-url. Where that was done before, nothing is." name:"nats-move"`
	Replicas int    `help:"Copies that an external NATS cluster keeps of every stream: 1, 3 or 5." name:"nats-replicas" default:"3"`

	eventlog.Credentials `embed:"" prefix:"log-"`
}

func (e External) check() error {
	if e.NATSMode == external && e.Replicas != 1 && e.Replicas != 3 && e.Replicas != 5 {
		return fmt.Errorf("nats-replicas: %d; use 1, 3 or 5", e.Replicas)
	}
	if e.NATSMode != external && e.KeysDir != "" && !e.Move {
		return errors.New("nats-keys-dir: the embedded server needs no keys; set --nats-mode external, or leave it out")
	}
	return nil
}

// asks says whether policy-store is who the external cluster asks about clients.
func (c Config) asks() error {
	if c.NATSMode == external && (c.KeysDir == "") != (c.TokenKeys == "") {
		return errors.New("nats-keys-dir and token-keys: an external cluster asks policy-store about tokens only with both; set both or none")
	}
	return nil
}

// dialer dials the external cluster, with one of the keys where there are any.
func (h *host) dialer(name, key string) eventlog.Dialer {
	d := eventlog.Dialer{URL: h.cfg.LogURL, Name: name, Credentials: h.cfg.Credentials, Log: h.log}
	if h.keys != nil {
		d.Credentials.Key = h.keys[key]
	}
	if name != access.PolicyStore { // that one says all that is to be said
		d.Log = h.log.Level(zerolog.ErrorLevel)
	}
	return d
}

// admitAll answers the servers of an external cluster about their clients, and ends the connections of those whose pods are
// gone, until ctx ends. It goes on while the log is away or is opened anew.
func (h *host) admitAll(ctx context.Context) {
	var running sync.WaitGroup
	defer running.Wait()
	running.Go(func() {
		nc, err := h.dialer(systemName, keySystem).Dial(ctx)
		if err == nil { // it ends with ctx alone
			defer nc.Close()
			h.admission.withdraw(ctx, everywhere{nc: nc, page: pageOfConnections})
		}
	})
	c := &callout{admission: h.admission, keys: h.keys}
	for wait := backoff.NewExponentialBackOff(); ctx.Err() == nil; pause(ctx, wait.NextBackOff()) {
		err := h.answerServers(ctx, c)
		if ctx.Err() == nil {
			h.svc.Ready(componentCallout, err)
			h.log.Error().Err(err).Msg("nobody new is let into the external NATS cluster; it is tried again with back-off")
		}
	}
}

func (h *host) answerServers(ctx context.Context, c *callout) error {
	nc, err := h.dialer(calloutName, keyCallout).Dial(ctx)
	if err != nil {
		return err
	}
	defer nc.Close()
	return c.serve(ctx, nc, func() {
		h.log.Info().Str("address", nc.ConnectedUrlRedacted()).Msg("the servers of the external NATS cluster ask here about their clients")
		h.svc.Ready(componentCallout, nil)
	})
}

// join folds a log that somebody else hosts, until ctx ends or the log must be opened anew. It says whether it got as far as
// having the log.
func (h *host) join(ctx context.Context) (joined bool, err error) {
	nc, err := h.dialer(access.PolicyStore, keyStore).Dial(ctx)
	if err != nil {
		return false, err
	}
	defer nc.Close()
	defer h.svc.Ready(component, errors.New("the log is left"))
	if err := h.fetch(ctx, nc); err != nil {
		return false, err
	}
	log, err := h.createLog(ctx, nc)
	if err != nil {
		return false, err
	}
	published, err := takeOver(ctx, log)
	if err != nil {
		return false, err
	}
	h.log.Info().Str("address", nc.ConnectedUrlRedacted()).Str("incarnation", log.Incarnation()).Int("replicas", h.cfg.sizes().Replicas).Msg("the log of an external NATS cluster is in use")
	h.svc.Ready(component, nil)
	if h.cfg.Mirror.Offer {
		offering, stop := context.WithCancel(ctx)
		defer stop()
		go h.followMirror(offering, log, func(string) error { return nil }) // the servers' configuration opens it
	}
	return true, h.fold(ctx, nc, log, published)
}
