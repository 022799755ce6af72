package policystore

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/rs/zerolog"

	"github.com/ringfence/ringfence/libs/access"
	"github.com/ringfence/ringfence/libs/identity"
)

// verifyTimeout bounds how long a client waits while the keys of the tokens are looked for.
const verifyTimeout = 6 * time.Second

// admission says as whom a client is let in, by its token: for the embedded server (gate) and for an external cluster
// (callout) alike. It is safe for concurrent use.
type admission struct {
	verifier *identity.Verifier
	departed *departed
	metrics  *metrics
	log      zerolog.Logger
	refusals zerolog.Logger // of a thousand nodes without token, some are named
}

func newAdmission(v *identity.Verifier, d *departed, m *metrics, log zerolog.Logger) *admission {
	log = log.With().Str("component", "gate").Logger()
	return &admission{verifier: v, departed: d, metrics: m, log: log, refusals: log.Sample(&zerolog.BurstSampler{Burst: 20, Period: 10 * time.Second})}
}

// admitted is who a client is and what it may do. It must prove itself again at the deadline of its identity.
type admitted struct {
	id     identity.Identity
	rights access.Rights
}

// user is the client's name in the server's terms: for people, and, by the uid at its end, for those who look for the
// connections of a pod.
func (a admitted) user() string {
	if a.id.PodUID == "" {
		return a.id.String()
	}
	return a.id.String() + uidMark + a.id.PodUID
}

// uidMark stands before the uid of a pod in the name of a user.
const uidMark = " uid "

var (
	errKind     = errors.New("only clients are let in")
	errNotReady = errors.New("the log is starting")
	errDeparted = errors.New("the pod of the token is gone")
)

// reasons are the refusals as the metric counts them.
var reasons = map[error]string{
	identity.ErrNoToken: "no_token", identity.ErrMalformed: "malformed", identity.ErrUnknownKey: "unknown_key",
	identity.ErrSignature: "signature", identity.ErrIssuer: "issuer", identity.ErrAudience: "audience",
	identity.ErrExpired: "expired", identity.ErrNotYetValid: "not_yet_valid", identity.ErrNamespace: "namespace",
	access.ErrNoRights: "no_rights", access.ErrNotBound: "not_bound", errKind: "kind", errNotReady: "starting",
	errDeparted: "pod_gone", errRequest: "request",
}

// admit says who a token lets in; ctx bounds the look for unknown keys. Every error is one of those above. A session is a
// secret that a person's command may add: its inbox is then bound to that, and outlives the token.
func (a *admission) admit(ctx context.Context, token, session string) (admitted, error) {
	ctx, cancel := context.WithTimeout(ctx, verifyTimeout)
	defer cancel()
	id, err := a.verifier.Verify(ctx, token)
	if err != nil {
		return admitted{}, err
	}
	if session != "" && id.Pod == "" {
		id.Fingerprint = identity.Fingerprint(session)
	}
	rights, err := access.Of(id)
	if err == nil && a.departed.has(id.PodUID) {
		err = errDeparted
	}
	if err != nil {
		return admitted{}, fmt.Errorf("%s: %w", id, err)
	}
	if !id.Expired.IsZero() {
		a.metrics.graced.Inc()
		a.log.Error().Stringer("client", id).Time("expired", id.Expired).Time("until", id.Expired.Add(identity.Grace)).
			Msg("ALARM: a token that has expired was taken, because the cluster's keys cannot be fetched and tokens cannot be renewed; look at the API server")
	}
	return admitted{id: id, rights: rights}, nil
}

// refuse counts a refusal and says why, which the client itself does not learn.
func (a *admission) refuse(err error, client, address string) {
	a.metrics.refused.WithLabelValues(reason(err)).Inc()
	line := a.refusals.Warn().Err(err).Str("client", client)
	if address != "" {
		line = line.Str("address", address)
	}
	line.Msg("a client was refused")
}

func reason(err error) string {
	for known, name := range reasons {
		if errors.Is(err, known) {
			return name
		}
	}
	return "other"
}
