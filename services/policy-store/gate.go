package policystore

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/ringfence/ringfence/libs/access"
)

const (
	// answerWithin is how long the server remembers where the answer to a request goes that was not answered, and where the
	// next one of a batch goes.
	answerWithin = 30 * time.Second
	// authTimeout is how long the server waits for a client to prove who it is. A thousand nodes come at once after a restart.
	authTimeout = 10
)

// gate lets clients into the embedded server, with the rights of who they are. The server calls Check for every connection,
// concurrently.
type gate struct {
	*admission
	// secret is what policy-store's own connection proves itself by; nobody else ever sees it.
	secret string
	// accounts are those beside the log's, by name, set before the server listens.
	accounts map[string]*server.Account
}

func newGate(a *admission) *gate { return &gate{admission: a, secret: rand.Text()} }

// Check implements server.Authentication.
func (g *gate) Check(c server.ClientAuthentication) bool {
	user, err := g.user(c)
	if err == nil {
		c.RegisterUser(user)
		return true
	}
	address := ""
	if a := c.RemoteAddress(); a != nil {
		address = a.String()
	}
	g.refuse(err, c.GetOpts().Name, address)
	return false
}

// user says as whom a client is let in.
func (g *gate) user(c server.ClientAuthentication) (*server.User, error) {
	if c.Kind() != server.CLIENT {
		return nil, errKind
	}
	token := c.GetOpts().Token
	if subtle.ConstantTimeCompare([]byte(token), []byte(g.secret)) == 1 {
		return &server.User{Username: access.PolicyStore, Permissions: permissions(access.Host())}, nil
	}
	who, err := g.admit(context.Background(), token, c.GetOpts().Password)
	if err != nil {
		return nil, err
	}
	user := &server.User{Username: who.user(), Permissions: permissions(who.rights), ConnectionDeadline: who.id.Deadline}
	if who.rights.Account != "" {
		if user.Account = g.accounts[who.rights.Account]; user.Account == nil {
			return nil, errNotReady
		}
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
