package ringfence

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/ringfence/ringfence/libs/eventlog"
	"github.com/ringfence/ringfence/libs/identity"
	"github.com/ringfence/ringfence/tools/cluster"
)

// What the chart, and the watcher, call what a person needs.
const (
	// Viewer is the ServiceAccount whose tokens people use, and Audience what those are for.
	Viewer   = "viewer"
	Audience = "ringfence"
	// AuthoritiesName is the ConfigMap with the authorities of the log's certificate, authoritiesKey where they are in it.
	AuthoritiesName = "ringfence-ca"
	authoritiesKey  = "ca.crt"
	// certificateVolume is the volume of policy-store's pod with its certificate. Without it, there is no TLS.
	certificateVolume = "tls"
)

const (
	// tokenLifetime is how long a token is asked for. At its end the log closes the connection, and the next one opens it again.
	tokenLifetime = time.Hour
	// tokenReserve is how long before its end a token is not used for another connection.
	tokenReserve = 5 * time.Minute
	// tokenTimeout bounds how long a connection waits for its token.
	tokenTimeout = 10 * time.Second
)

var (
	errNotAllowed  = errors.New("the cluster's administrator can allow it, see docs/security.md")
	errNoAuthority = errors.New("name the authorities of its certificate with --log-ca-file")
)

// allowed adds to a refusal of the API server how to ask what one may do.
func allowed(err error, namespace, what string) error {
	if !cluster.Forbidden(err) {
		return err
	}
	return fmt.Errorf("%w; kubectl -n %s auth can-i %s: %w", err, namespace, what, errNotAllowed)
}

// identify asks the cluster for a token of the viewer. A cluster without viewer has a log that asks nobody who they are; so it
// may be where one may not ask, which untold says.
func (a Address) identify(ctx context.Context, kube *cluster.Cluster, d *eventlog.Dialer) (untold, err error) {
	// The connection outlives ctx's patience, and tokens are asked for as long as it stands.
	t := &tokens{ctx: ctx, kube: kube, namespace: a.Namespace}
	switch _, err := t.give(); {
	case apierrors.IsNotFound(err):
		return nil, nil
	case cluster.Forbidden(err):
		return allowed(err, a.Namespace, "create serviceaccounts/"+Viewer+" --subresource=token"), nil
	case err != nil:
		return nil, err
	}
	d.Credentials.Source, d.Credentials.Session = t.give, rand.Text()
	d.Name = eventlog.ViewerName(identity.Fingerprint(d.Credentials.Session))
	return nil, nil
}

// tokens are those of one command, the next where the one before ends. It is safe for concurrent use.
type tokens struct {
	ctx       context.Context //nolint:containedctx // it is asked from where there is none
	kube      *cluster.Cluster
	namespace string

	mu    sync.Mutex
	token string
	end   time.Time
}

// give gives a token that is good for a while.
func (t *tokens) give() (string, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if time.Until(t.end) > tokenReserve {
		return t.token, nil
	}
	ctx, cancel := context.WithTimeout(t.ctx, tokenTimeout)
	defer cancel()
	token, end, err := t.kube.Token(ctx, t.namespace, Viewer, Audience, tokenLifetime)
	if err != nil {
		return "", err
	}
	t.token, t.end = token, end
	return token, nil
}

// authorities are those of the log's certificate, none where its pod has no certificate: the watcher publishes them, and
// otherwise they are beside the certificate.
func (a Address) authorities(ctx context.Context, kube *cluster.Cluster, volumes []corev1.Volume) ([]byte, error) {
	secret := ""
	for _, v := range volumes {
		if v.Name == certificateVolume && v.Secret != nil {
			secret = v.Secret.SecretName
		}
	}
	if secret == "" {
		return nil, nil
	}
	published, err := kube.Client.CoreV1().ConfigMaps(a.Namespace).Get(ctx, AuthoritiesName, metav1.GetOptions{})
	if err == nil && published.Data[authoritiesKey] != "" {
		return []byte(published.Data[authoritiesKey]), nil
	}
	if err != nil && !apierrors.IsNotFound(err) {
		return nil, allowed(fmt.Errorf("authorities of the log's certificate: %w", err), a.Namespace, "get configmaps/"+AuthoritiesName)
	}
	beside, err := kube.Client.CoreV1().Secrets(a.Namespace).Get(ctx, secret, metav1.GetOptions{})
	if err != nil {
		return nil, fmt.Errorf("the log speaks TLS, there is no ConfigMap %s, and its Secret cannot be read: %w; %w", AuthoritiesName, err, errNoAuthority)
	}
	if len(beside.Data[authoritiesKey]) == 0 {
		return nil, fmt.Errorf("the log speaks TLS, there is no ConfigMap %s, and Secret %s has no %s; %w", AuthoritiesName, secret, authoritiesKey, errNoAuthority)
	}
	return beside.Data[authoritiesKey], nil
}
