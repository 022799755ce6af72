package console

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"net/http"
	"strings"
)

// access says who may use a route.
type access int

const (
	// anyone, without credentials.
	anyone access = iota
	// users: holders of an API key.
	users
	// readers: users, and clusters by their tokens.
	readers
	// owners: users, and the cluster that the path names.
	owners
	// agent: the cluster that the path names, alone.
	agent
)

// identity is who asks: a user, by an API key or a session, or a cluster.
type identity struct {
	// href is the author of edits.
	href string
	// cluster is the UUID of the cluster whose token was given.
	cluster string
	// user is the id of the user; key the API key that was given, session what a session is known by.
	user, key, session string
}

// authenticate finds the request's identity by HTTP Basic and holds it against the route's access.
func (c *Console) authenticate(r *http.Request, allow access) (identity, error) {
	user, secret, given := r.BasicAuth()
	who, known := identity{}, false
	if given {
		who, known = c.identify(user, secret)
	}
	if !known {
		if given {
			c.noteRefusal(r, authenticationFailed, "", "the credentials of "+shortened(user)+" are not accepted")
		}
		return identity{}, refuse(http.StatusUnauthorized, "unauthorized", "the credentials are not accepted")
	}
	if !who.allowed(allow, r.PathValue("cluster")) {
		c.noteRefusal(r, authorizationFailed, who.href, "not allowed: "+r.Method+" "+shortened(r.URL.Path))
		return identity{}, refuse(http.StatusForbidden, "forbidden", "%s may not %s %s", who.href, r.Method, r.URL.Path)
	}
	return who, nil
}

func (i identity) allowed(allow access, cluster string) bool {
	switch allow {
	case users:
		return i.cluster == ""
	case owners:
		return i.cluster == "" || i.cluster == cluster
	case agent:
		return i.cluster != "" && i.cluster == cluster
	default:
		return true
	}
}

func (c *Console) identify(name, secret string) (who identity, known bool) {
	if who, known = c.sessions.find(name, secret); known {
		return who, true
	}
	c.store.view(func(s *state) {
		if r := s.get(tableClusters, name); r != nil && matches(r.Doc.text(hashField), secret) {
			who, known = identity{href: hrefOf(tableClusters, name, ""), cluster: name}, true
		}
		if r := s.get(tableKeys, name); r != nil && matches(r.Doc.text(hashField), secret) {
			who, known = identity{href: hrefOf(tableUsers, r.Owner, ""), user: r.Owner, key: name}, true
		}
	})
	return who, known
}

// shortened keeps what strangers send from filling events.
func shortened(text string) string {
	const most = 200
	return strings.ToValidUTF8(text[:min(len(text), most)], "?")
}

// hashField holds the SHA-256 of a secret, which is random and long enough to need no slow hash. Fields that begin with
// an underscore are never served.
const hashField = "_secret_sha256"

func hashOf(secret string) string {
	sum := sha256.Sum256([]byte(secret))
	return hex.EncodeToString(sum[:])
}

func matches(hash, secret string) bool {
	return subtle.ConstantTimeCompare([]byte(hash), []byte(hashOf(secret))) == 1
}
