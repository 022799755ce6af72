package console

import (
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	// ticketLife is how long a sign-in may take from the password to the session.
	ticketLife = time.Minute
	// inactiveAfter ends a session that is not used; sessionLife ends every one.
	inactiveAfter = 10 * time.Minute
	sessionLife   = 24 * time.Hour
	// sessionsKept bounds how many there are of each.
	sessionsKept = 1000
	// guessesAMinute bounds refused sign-ins under one name.
	guessesAMinute = 10
)

// sessions are the users who signed in. They are kept in memory only: a restart signs everybody out.
type sessions struct {
	now     func() time.Time
	guesses *window
	hashing sync.Mutex // one slow hash at a time, however many guess

	mu      sync.Mutex
	tickets map[string]session // by the hash of their token, as sessions
	open    map[string]session
}

type session struct {
	user       string
	begun, use time.Time
}

func newSessions() *sessions {
	return &sessions{
		now: time.Now, guesses: newWindow(guessesAMinute), tickets: map[string]session{}, open: map[string]session{},
	}
}

// ticket stands for a password that was right.
func (s *sessions) ticket(user string) string { return s.begin(s.tickets, user) }

func (s *sessions) begin(in map[string]session, user string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	token, now := secretOf(), s.now()
	if len(in) >= sessionsKept {
		delete(in, slices.MinFunc(slices.Collect(maps.Keys(in)), func(a, b string) int { return in[a].use.Compare(in[b].use) }))
	}
	in[hashOf(token)] = session{user: user, begun: now, use: now}
	return token
}

// redeem makes a session of a ticket, which is good once.
func (s *sessions) redeem(token string) (user, secret string, good bool) {
	s.mu.Lock()
	t, found := s.tickets[hashOf(token)]
	delete(s.tickets, hashOf(token))
	s.mu.Unlock()
	if !found || s.now().Sub(t.begun) > ticketLife {
		return "", "", false
	}
	return t.user, s.begin(s.open, t.user), true
}

// sessionUser begins the name under which a session signs its requests.
const sessionUser = "user_"

func (s *sessions) find(name, token string) (identity, bool) {
	user, named := strings.CutPrefix(name, sessionUser)
	if !named {
		return identity{}, false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	id := hashOf(token)
	found, known := s.open[id]
	if !known || found.user != user {
		return identity{}, false
	}
	now := s.now()
	if now.Sub(found.use) > inactiveAfter || now.Sub(found.begun) > sessionLife {
		delete(s.open, id)
		return identity{}, false
	}
	found.use = now
	s.open[id] = found
	return identity{href: hrefOf(tableUsers, user, ""), user: user, session: id}, true
}

// end ends one session, or all of the user's where none is named.
func (s *sessions) end(user, one string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, in := range []map[string]session{s.open, s.tickets} {
		for id, found := range in {
			if found.user == user && (one == "" || id == one) {
				delete(in, id)
			}
		}
	}
}

// authenticateUser takes a password and gives a token that signs the user in, as the public API has it in two steps.
func (c *Console) authenticateUser(r request) (response, error) {
	name, password, given := r.BasicAuth()
	if wait, taken := c.sessions.guesses.left(name); !taken {
		return response{}, tooMany(wait, "too many refused sign-ins as %s", shortened(name))
	}
	user, right := "", false
	if given {
		user, right = c.passwordOf(name, password)
	}
	if !right {
		c.sessions.guesses.take(name)
		c.noteRefusal(r.Request, authenticationFailed, "", "the password of "+shortened(name)+" is not accepted")
		return response{}, refuse(http.StatusUnauthorized, "unauthorized", "the name or the password is not accepted")
	}
	return ok(map[string]string{"auth_token": c.sessions.ticket(user)}), nil
}

// signIn makes a session of the token of authenticateUser.
func (c *Console) signIn(r request) (response, error) {
	token, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Token token=")
	user, secret, good := c.sessions.redeem(strings.Trim(token, `"`))
	var out rendered
	c.store.view(func(s *state) {
		if good = good && s.get(tableUsers, user) != nil; good {
			out = s.render(tableUsers, user, nil)
		}
	})
	if !good {
		return response{}, refuse(http.StatusUnauthorized, "unauthorized", "the token is not accepted; authenticate anew")
	}
	out["auth_username"], out["session_token"] = sessionUser+user, secret
	out["inactivity_expiration_minutes"] = int(inactiveAfter.Minutes())
	out["product_version"] = productVersion()
	out["orgs"] = []rendered{{
		"org_id": 1, "org_href": org, "href": org, "org_uuid": uuidFrom(org), "display_name": orgName, "permissions": []struct{}{},
	}}
	c.note(r.Context(), event{Kind: signedIn, Author: hrefOf(tableUsers, user, ""), Severity: info, Status: success, Action: actionOf(r.Context())})
	return ok(out), nil
}

func (c *Console) signOut(r request) (response, error) {
	if r.PathValue("user") != r.who.user {
		return response{}, refuse(http.StatusForbidden, "forbidden", "%s may sign out only itself", r.who.href)
	}
	c.sessions.end(r.who.user, r.who.session)
	c.note(r.Context(), event{Kind: signedOut, Author: r.who.href, Severity: info, Status: success, Action: actionOf(r.Context())})
	return noContent, nil
}
