package console

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"net/http"
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

// identity is who asks: an API key, or a cluster.
type identity struct {
	// href is the author of edits.
	href string
	// cluster is the UUID of the cluster whose token was given.
	cluster string
}

// authenticate finds the request's identity by HTTP Basic and holds it against the route's access.
func (c *Console) authenticate(r *http.Request, allow access) (identity, error) {
	user, secret, given := r.BasicAuth()
	who, known := identity{}, false
	if given {
		who, known = c.identify(user, secret)
	}
	if !known {
		return identity{}, refuse(http.StatusUnauthorized, "unauthorized", "the credentials are not accepted")
	}
	if !who.allowed(allow, r.PathValue("cluster")) {
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

func (c *Console) identify(user, secret string) (who identity, known bool) {
	c.store.view(func(s *state) {
		for _, table := range []string{tableKeys, tableClusters} {
			r := s.get(table, user)
			if r == nil || !matches(r.Doc.text(hashField), secret) {
				continue
			}
			who, known = identity{href: hrefOf(table, user, "")}, true
			if table == tableClusters {
				who.cluster = user
			}
		}
	})
	return who, known
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
