package policystore

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/rs/zerolog"

	"github.com/ringfence/ringfence/libs/access"
	"github.com/ringfence/ringfence/libs/identity"
)

const (
	// verifyTimeout bounds how long a client waits while the keys of the tokens are looked for.
	verifyTimeout = 6 * time.Second
	// answerWithin is how long the server remembers where the answer to a request goes that was not answered, and where the
	// next one of a batch goes.
	answerWithin = 30 * time.Second
	// authTimeout is how long the server waits for a client to prove who it is. A thousand nodes come at once after a restart.
	authTimeout = 10
)

// gate lets clients in, with the rights of who they are. The server calls Check for every connection, concurrently.
type gate struct {
	verifier *identity.Verifier
	metrics  *metrics
	log      zerolog.Logger
	refusals zerolog.Logger // of a thousand nodes without token, some are named
	// secret is what policy-store's own connection proves itself by; nobody else ever sees it.
	secret string
	// accounts are those beside the log's, by name, set before the server listens.
	accounts map[string]*server.Account
}

func newGate(v *identity.Verifier, m *metrics, log zerolog.Logger) *gate {
	log = log.With().Str("component", "gate").Logger()
	return &gate{
		verifier: v, metrics: m, log: log, secret: rand.Text(),
		refusals: log.Sample(&zerolog.BurstSampler{Burst: 20, Period: 10 * time.Second}),
	}
}

var (
	errKind     = errors.New("only clients are let in")
	errNotReady = errors.New("the log is starting")
)

// reasons are the refusals as the metric counts them.
var reasons = map[error]string{
	identity.ErrNoToken: "no_token", identity.ErrMalformed: "malformed", identity.ErrUnknownKey: "unknown_key",
	identity.ErrSignature: "signature", identity.ErrIssuer: "issuer", identity.ErrAudience: "audience",
	identity.ErrExpired: "expired", identity.ErrNotYetValid: "not_yet_valid", identity.ErrNamespace: "namespace",
	access.ErrNoRights: "no_rights", access.ErrNotBound: "not_bound", errKind: "kind", errNotReady: "starting",
}

// Check implements server.Authentication.
func (g *gate) Check(c server.ClientAuthentication) bool {
	user, err := g.admit(c)
	if err == nil {
		c.RegisterUser(user)
		return true
	}
	g.metrics.refused.WithLabelValues(reason(err)).Inc()
	line := g.refusals.Warn().Err(err).Str("client", c.GetOpts().Name)
	if address := c.RemoteAddress(); address != nil {
		line = line.Stringer("address", address)
	}
	line.Msg("a client was refused")
	return false
}

func reason(err error) string {
	for known, name := range reasons {
		if errors.Is(err, known) {
			return name
		}
	}
	return "other"
}

// admit says as whom a client is let in.
func (g *gate) admit(c server.ClientAuthentication) (*server.User, error) {
	if c.Kind() != server.CLIENT {
		return nil, errKind
	}
	token := c.GetOpts().Token
	if subtle.ConstantTimeCompare([]byte(token), []byte(g.secret)) == 1 {
		return &server.User{Username: access.PolicyStore, Permissions: permissions(access.Host())}, nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), verifyTimeout)
	defer cancel()
	id, err := g.verifier.Verify(ctx, token)
	if err != nil {
		return nil, err
	}
	rights, err := access.Of(id)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", id, err)
	}
	user := &server.User{Username: id.String(), Permissions: permissions(rights), ConnectionDeadline: id.Deadline}
	if rights.Account != "" {
		if user.Account = g.accounts[rights.Account]; user.Account == nil {
			return nil, errNotReady
		}
	}
	if !id.Expired.IsZero() {
		g.metrics.graced.Inc()
		g.log.Error().Stringer("client", id).Time("expired", id.Expired).Time("until", id.Expired.Add(identity.Grace)).
			Msg("ALARM: a token that has expired was taken, because the cluster's keys cannot be fetched and tokens cannot be renewed; look at the API server")
	}
	return user, nil
}

// permissions puts rights into the server's terms. What is not named is forbidden.
func permissions(r access.Rights) *server.Permissions {
	p := &server.Permissions{
		Publish:   &server.SubjectPermission{Allow: r.Publish},
		Subscribe: &server.SubjectPermission{Allow: r.Subscribe},
	}
	if r.Answers {
		p.Response = &server.ResponsePermission{MaxMsgs: 1, Expires: queryTimeout + time.Second}
	}
	return p
}

// separate makes the accounts of enforcers and people, which take over from the log's what access.Exports lists, and
// nothing else.
func (g *gate) separate(s *server.Server) error {
	log, accounts := s.GlobalAccount(), map[string]*server.Account{}
	for name, exports := range access.Exports() {
		account, err := s.RegisterAccount(name)
		if err != nil {
			return fmt.Errorf("account %s: %w", name, err)
		}
		accounts[name] = account
		for _, e := range exports {
			if err := imported(account, log, e); err != nil {
				return fmt.Errorf("account %s: %s: %w", name, e.Subject, err)
			}
		}
	}
	g.accounts = accounts
	return nil
}

// imported makes a subject of the log's account one of another.
func imported(account, log *server.Account, e access.Export) error {
	only := []*server.Account{account}
	if e.Kind == access.Heard {
		return errors.Join(log.AddStreamExport(e.Subject, only), account.AddStreamImport(log, e.Subject, ""))
	}
	answers := server.Singleton
	if e.Kind == access.Batched {
		answers = server.Streamed
	}
	return errors.Join(
		log.AddServiceExportWithResponse(e.Subject, answers, only),
		log.SetServiceExportResponseThreshold(e.Subject, answerWithin),
		account.AddServiceImport(log, e.Subject, e.Subject))
}
