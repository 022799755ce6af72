package identity

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

const (
	// Grace is how long after its end a token of a node is still taken, while the issuer cannot be reached.
	Grace = 72 * time.Hour
	// graceStep bounds how long a connection may last that such a token opened, so that the issuer is looked for again.
	graceStep = 15 * time.Minute
	// leeway is how far the clocks of issuer and verifier may be apart at the start of a token's time.
	leeway = 10 * time.Second
	// maxToken bounds the length of a token; Kubernetes writes about a kilobyte.
	maxToken = 16 << 10
)

// Reasons why a token is refused.
var (
	ErrNoToken     = errors.New("no token was given")
	ErrMalformed   = errors.New("the token is not a ServiceAccount token")
	ErrUnknownKey  = errors.New("the token's key is not one of the cluster's")
	ErrSignature   = errors.New("the token's signature is wrong")
	ErrIssuer      = errors.New("the token is of another issuer")
	ErrAudience    = errors.New("the token is for another audience")
	ErrExpired     = errors.New("the token has expired")
	ErrNotYetValid = errors.New("the token is not valid yet")
	ErrNamespace   = errors.New("the token is of a ServiceAccount in another namespace")
)

// Identity is who a token is about.
type Identity struct {
	// Service is the name of the ServiceAccount.
	Service string
	// Node and Pod are what the token is bound to, empty for a token that is bound to none, as a person's.
	Node, Pod string
	PodUID    string
	// Fingerprint tells tokens, or what stands for them, apart without giving them away.
	Fingerprint string
	// Deadline is when the identity must be proven again.
	Deadline time.Time
	// Expired is when the token ended that was taken all the same, because the issuer could not be reached; otherwise zero.
	Expired time.Time
}

// String is for logs.
func (i Identity) String() string {
	switch {
	case i.Pod != "" && i.Node != "":
		return i.Service + " (pod " + i.Pod + " on " + i.Node + ")"
	case i.Pod != "":
		return i.Service + " (pod " + i.Pod + ")"
	}
	return i.Service + " (token " + i.Fingerprint + ")"
}

// Fingerprint is the short digest of a secret such as a token, for an Identity to carry.
func Fingerprint(token string) string {
	sum := sha256.Sum256([]byte(token))
	return hex.EncodeToString(sum[:8])
}

// Verifier verifies tokens. It is safe for concurrent use.
type Verifier struct {
	// Issuer and Audience are what a token must name.
	Issuer, Audience string
	// Namespace is the one of the ServiceAccounts.
	Namespace string
	Keys      *Keys

	now func() time.Time // the clock in tests
}

// claims are those of a projected token, beyond the registered ones.
type claims struct {
	Kubernetes struct {
		Namespace      string    `json:"namespace"`
		ServiceAccount reference `json:"serviceaccount"`
		Pod            reference `json:"pod"`
		Node           reference `json:"node"`
	} `json:"kubernetes.io"`
}

type reference struct {
	Name string `json:"name"`
	UID  string `json:"uid"`
}

// algorithms are those that Kubernetes signs with. Those with a shared secret are not among them.
var algorithms = []jose.SignatureAlgorithm{jose.RS256, jose.ES256, jose.ES384, jose.ES512}

// Verify says who a token is about. It asks for the keys again when it sees one that is unknown, or a token that has
// expired, but never more often than Keys allows; ctx bounds that.
func (v *Verifier) Verify(ctx context.Context, token string) (Identity, error) {
	switch {
	case token == "":
		return Identity{}, ErrNoToken
	case len(token) > maxToken:
		return Identity{}, fmt.Errorf("%w: it has %d bytes", ErrMalformed, len(token))
	}
	parsed, err := jwt.ParseSigned(token, algorithms)
	if err != nil {
		return Identity{}, fmt.Errorf("%w: no compact JWT with one of %v", ErrMalformed, algorithms)
	}
	key, err := v.Keys.find(ctx, parsed.Headers[0].KeyID)
	if err != nil {
		return Identity{}, err
	}
	var registered jwt.Claims
	var private claims
	if err := parsed.Claims(key, &registered, &private); err != nil {
		if errors.Is(err, jose.ErrCryptoFailure) || errors.Is(err, jose.ErrUnsupportedAlgorithm) {
			return Identity{}, fmt.Errorf("%w (key %q)", ErrSignature, parsed.Headers[0].KeyID)
		}
		return Identity{}, fmt.Errorf("%w: its claims cannot be read", ErrMalformed)
	}
	id, err := v.identify(registered, private)
	if err != nil {
		return Identity{}, err
	}
	id.Fingerprint = Fingerprint(token)
	return v.inTime(ctx, id, registered)
}

// identify takes the identity out of claims whose signature is right.
func (v *Verifier) identify(registered jwt.Claims, private claims) (Identity, error) {
	k := private.Kubernetes
	switch {
	case registered.Issuer != v.Issuer:
		return Identity{}, fmt.Errorf("%w: it is of %q, not of %q", ErrIssuer, registered.Issuer, v.Issuer)
	case !registered.Audience.Contains(v.Audience):
		return Identity{}, fmt.Errorf("%w: it is for %q, not for %q", ErrAudience, registered.Audience, v.Audience)
	case registered.Expiry == nil:
		return Identity{}, fmt.Errorf("%w: it has no end (exp)", ErrMalformed)
	case k.ServiceAccount.Name == "" || k.Namespace == "":
		return Identity{}, fmt.Errorf("%w: kubernetes.io names no ServiceAccount", ErrMalformed)
	case registered.Subject != "system:serviceaccount:"+k.Namespace+":"+k.ServiceAccount.Name:
		return Identity{}, fmt.Errorf("%w: sub %q is not the ServiceAccount %s/%s of kubernetes.io", ErrMalformed, registered.Subject, k.Namespace, k.ServiceAccount.Name)
	case k.Namespace != v.Namespace:
		return Identity{}, fmt.Errorf("%w: %s/%s, not in %s", ErrNamespace, k.Namespace, k.ServiceAccount.Name, v.Namespace)
	}
	return Identity{
		Service: k.ServiceAccount.Name, Node: k.Node.Name, Pod: k.Pod.Name, PodUID: k.Pod.UID, Deadline: registered.Expiry.Time(),
	}, nil
}

// inTime holds the token's time against the clock.
func (v *Verifier) inTime(ctx context.Context, id Identity, registered jwt.Claims) (Identity, error) {
	now := v.clock()
	for _, start := range []*jwt.NumericDate{registered.NotBefore, registered.IssuedAt} {
		if start != nil && start.Time().After(now.Add(leeway)) {
			return Identity{}, fmt.Errorf("%w: it begins at %s", ErrNotYetValid, start.Time().UTC().Format(time.RFC3339))
		}
	}
	if now.Before(id.Deadline) {
		return id, nil
	}
	expired := id.Deadline
	refused := fmt.Errorf("%w: at %s", ErrExpired, expired.UTC().Format(time.RFC3339))
	end := expired.Add(Grace)
	if id.Node == "" || !now.Before(end) || v.Keys.away(ctx) == nil {
		return Identity{}, refused
	}
	id.Expired, id.Deadline = expired, now.Add(graceStep)
	if id.Deadline.After(end) {
		id.Deadline = end
	}
	return id, nil
}

func (v *Verifier) clock() time.Time {
	if v.now != nil {
		return v.now()
	}
	return time.Now()
}

// IssuerOf is the issuer that a token names, without any proof that it is true. It is for a token that comes from the
// kubelet itself, to learn by what name the cluster signs.
func IssuerOf(token string) (string, error) {
	parsed, err := jwt.ParseSigned(strings.TrimSpace(token), algorithms)
	var registered jwt.Claims
	if err == nil {
		err = parsed.UnsafeClaimsWithoutVerification(&registered)
	}
	if err != nil || registered.Issuer == "" {
		return "", fmt.Errorf("%w: it names no issuer", ErrMalformed)
	}
	return registered.Issuer, nil
}
