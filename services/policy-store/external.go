package policystore

import (
	"context"
	"errors"
	"fmt"

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
	NATSMode string `help:"Who hosts the log: policy-store itself (embedded), or a NATS cluster at --log-url with JetStream and sync_interval: always (external)." name:"nats-mode" enum:"embedded,external" default:"embedded"`
	Replicas int    `help:"Copies that an external NATS cluster keeps of every stream: 1, 3 or 5." name:"nats-replicas" default:"3"`

	eventlog.Credentials `embed:"" prefix:"log-"`
}

func (e External) check() error {
	if e.NATSMode == external && e.Replicas != 1 && e.Replicas != 3 && e.Replicas != 5 {
		return fmt.Errorf("nats-replicas: %d; use 1, 3 or 5", e.Replicas)
	}
	return nil
}

// join folds a log that somebody else hosts, until ctx ends or the log must be opened anew. It says whether it got as far as
// having the log.
func (h *host) join(ctx context.Context) (joined bool, err error) {
	nc, err := eventlog.Dialer{URL: h.cfg.LogURL, Name: access.PolicyStore, Credentials: h.cfg.Credentials, Log: h.log}.Dial(ctx)
	if err != nil {
		return false, err
	}
	defer nc.Close()
	defer h.svc.Ready(component, errors.New("the log is left"))
	log, err := eventlog.Create(ctx, nc, h.cfg.sizes())
	if err != nil {
		return false, fmt.Errorf("create the log: %w", err)
	}
	published, err := takeOver(ctx, log)
	if err != nil {
		return false, err
	}
	h.log.Info().Str("address", nc.ConnectedUrlRedacted()).Str("incarnation", log.Incarnation()).Int("replicas", h.cfg.sizes().Replicas).Msg("the log of an external NATS cluster is in use")
	h.svc.Ready(component, nil)
	return true, h.fold(ctx, nc, log, published)
}
