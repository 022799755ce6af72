package authority

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// Names of what is kept, and keys in it.
const (
	authorityName = "ringfence-ca"
	serverName    = "ringfence-log-tls"

	bundleKey  = "ca.crt"
	sinceKey   = "published.json" // since when each of the bundle is in it, by fingerprint (SHA-256)
	nextCert   = "next.crt"
	nextKey    = "next.key"
	earlierKey = "earlier.crt"
)

const (
	// lookEvery is how often all of it is looked at.
	lookEvery = 10 * time.Minute
	// apiTimeout bounds one look, with what it writes.
	apiTimeout = 30 * time.Second
)

// Authority keeps what it issues current. Only one of a namespace may run, which is the watcher that holds the lease; if there
// are two for a moment, one of them is refused by the API server, which knows what each had read, and looks again.
type Authority struct {
	Client    kubernetes.Interface
	Namespace string
	// BundleFile, where set, is given the authorities, too: the watcher's own pod cannot wait for a ConfigMap that it writes.
	BundleFile string
	// Now is the clock, nil for the machine's.
	Now func() time.Time
	Log zerolog.Logger
	// Metrics takes the authority's metrics, nil for none.
	Metrics prometheus.Registerer

	metrics *metrics
}

type metrics struct {
	ends     *prometheus.GaugeVec
	issued   prometheus.Counter
	failures prometheus.Counter
}

func (a *Authority) register() {
	a.metrics = &metrics{
		ends: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "ringfence_watcher_certificate_expires_timestamp_seconds", Help: "When the authority and the log's certificate end, in seconds since 1970.",
		}, []string{"of"}),
		issued: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "ringfence_watcher_certificate_changes_total", Help: "How often an authority or a certificate was issued, announced or dropped.",
		}),
		failures: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "ringfence_watcher_certificate_failures_total", Help: "How often the certificates could not be looked at or written.",
		}),
	}
	if a.Metrics != nil {
		a.Metrics.MustRegister(a.metrics.ends, a.metrics.issued, a.metrics.failures)
	}
}

// Run looks at everything until ctx ends, and writes what is missing, damaged or due. Failures are logged and tried again. It
// may be called again when it has returned.
func (a *Authority) Run(ctx context.Context) {
	if a.metrics == nil {
		a.register()
	}
	patience := backoff.NewExponentialBackOff()
	patience.InitialInterval, patience.MaxInterval = time.Second, time.Minute
	for wait := time.Duration(0); ; {
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
		err := a.look(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err):
			wait = patience.NextBackOff() // somebody else was faster
		case err != nil:
			a.metrics.failures.Inc()
			wait = patience.NextBackOff()
			a.Log.Error().Err(err).Dur("again_in", wait).Msg("the certificate of the log is not looked after; the one that there is stays in use until it ends")
		default:
			patience.Reset()
			wait = lookEvery
		}
	}
}

// look reads what is stored, and writes what should be. The authority with its key is stored first, for nothing may be signed
// by one that could be lost; then what clients trust; then what the log shows them.
func (a *Authority) look(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, apiTimeout)
	defer cancel()
	have, err := a.fetch(ctx)
	if err != nil {
		return err
	}
	now := a.now()
	next, done, err := renewed(a.read(have.contents(), now), a.names(), now)
	if err != nil {
		return err
	}
	next.published = next.published.with(next.trusted(), now)
	for _, what := range done {
		a.metrics.issued.Inc()
		a.Log.Info().Str("namespace", a.Namespace).Msg(what)
	}
	if err := a.store(ctx, have, next); err != nil {
		return err
	}
	a.gauge("authority", next.authority)
	a.gauge("certificate", next.server)
	return a.writeFile(writeCertificates(next.trusted()...))
}

func (a *Authority) gauge(of string, p *pair) {
	if p != nil {
		a.metrics.ends.WithLabelValues(of).Set(float64(p.cert.NotAfter.Unix()))
	}
}

// objects are what is stored, nil what is not. Each is written only as it was read: the API server refuses it otherwise.
type objects struct {
	keys, server *corev1.Secret
	bundle       *corev1.ConfigMap
}

// contents are the values of objects.
type contents struct {
	keys, server map[string][]byte
	bundle       map[string]string // nil where there is no ConfigMap
}

func (o objects) contents() (c contents) {
	if o.keys != nil {
		c.keys = o.keys.Data
	}
	if o.server != nil {
		c.server = o.server.Data
	}
	if o.bundle != nil {
		c.bundle = o.bundle.Data
		if c.bundle == nil {
			c.bundle = map[string]string{}
		}
	}
	return c
}

func (a *Authority) fetch(ctx context.Context) (o objects, err error) {
	if o.keys, err = a.secret(ctx, authorityName); err != nil {
		return objects{}, err
	}
	if o.server, err = a.secret(ctx, serverName); err != nil {
		return objects{}, err
	}
	o.bundle, err = a.configMap(ctx)
	return o, err
}

// read takes from what is stored what is of use, and names what is not.
func (a *Authority) read(c contents, now time.Time) (m material) {
	take := func(object string, parse func(cert, key []byte) (*pair, error), cert, key []byte) *pair {
		p, err := parse(cert, key)
		if err != nil && !errors.Is(err, errNothing) {
			a.Log.Error().Err(err).Str("secret", a.Namespace+"/"+object).Msg("what is stored is damaged, and replaced; clients go on with what they have")
		}
		return p
	}
	m.authority = take(authorityName, parseAuthority, c.keys[corev1.TLSCertKey], c.keys[corev1.TLSPrivateKeyKey])
	m.next = take(authorityName+" ("+nextCert+")", parseAuthority, c.keys[nextCert], c.keys[nextKey])
	m.server = take(serverName, parsePair, c.server[corev1.TLSCertKey], c.server[corev1.TLSPrivateKeyKey])
	for _, earlier := range a.certificates("the list of earlier authorities", c.keys[earlierKey]) {
		m.keepEarlier(earlier)
	}
	bundle := []byte(c.bundle[bundleKey])
	if c.bundle == nil {
		bundle = c.server[bundleKey]
	}
	clients := a.certificates("the list of authorities that clients trust", bundle)
	// Where the authority was lost, what clients trust still says who issued what is served. Nobody else of that list counts.
	if m.server != nil && issuer(m.server.cert, m.trusted()) == nil {
		if by := issuer(m.server.cert, clients); by != nil {
			m.keepEarlier(by)
		}
	}
	if c.bundle == nil {
		return m // nothing is published
	}
	var err error
	if m.published, err = parsePublished(c.bundle[sinceKey], clients, now); err != nil {
		a.Log.Error().Err(err).Str("config_map", a.Namespace+"/"+authorityName).Msg("it is not known since when authorities are published; it counts from now on")
	}
	return m
}

func (a *Authority) certificates(what string, text []byte) []*x509.Certificate {
	certs, err := parseCertificates(text)
	if err != nil {
		a.Log.Error().Err(err).Str("namespace", a.Namespace).Msg(what + " is damaged, and left out")
	}
	return certs
}

// keepEarlier goes on trusting an authority that is not among those trusted.
func (m *material) keepEarlier(c *x509.Certificate) {
	for _, known := range m.trusted() {
		if known.Equal(c) {
			return
		}
	}
	if c.IsCA && len(m.earlier) < maxEarlier {
		m.earlier = append(m.earlier, c)
	}
}

func (a *Authority) store(ctx context.Context, have objects, m material) error {
	bundle := writeCertificates(m.trusted()...)
	data := map[string][]byte{earlierKey: writeCertificates(m.earlier...)}
	for _, x := range []struct {
		p         *pair
		cert, key string
	}{{m.authority, corev1.TLSCertKey, corev1.TLSPrivateKeyKey}, {m.next, nextCert, nextKey}} {
		cert, key, err := writePair(x.p)
		if err != nil {
			return err
		}
		data[x.cert], data[x.key] = cert, key
	}
	if err := a.writeSecret(ctx, authorityName, have.keys, corev1.SecretTypeOpaque, data); err != nil {
		return err
	}
	since, err := json.Marshal(m.published)
	if err != nil {
		return err
	}
	if err := a.writeBundle(ctx, have.bundle, map[string]string{bundleKey: string(bundle), sinceKey: string(since)}); err != nil {
		return err
	}
	cert, key, err := writePair(m.server)
	if err != nil {
		return err
	}
	return a.writeSecret(ctx, serverName, have.server, corev1.SecretTypeTLS, map[string][]byte{corev1.TLSCertKey: cert, corev1.TLSPrivateKeyKey: key, bundleKey: bundle})
}

// secret gives a stored Secret, nil where there is none.
func (a *Authority) secret(ctx context.Context, name string) (*corev1.Secret, error) {
	s, err := a.Client.CoreV1().Secrets(a.Namespace).Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("secret %s/%s: %w", a.Namespace, name, err)
	}
	return s, nil
}

// writeSecret writes a Secret where it is not as it was read.
func (a *Authority) writeSecret(ctx context.Context, name string, have *corev1.Secret, kind corev1.SecretType, data map[string][]byte) (err error) {
	secrets := a.Client.CoreV1().Secrets(a.Namespace)
	switch data = nonEmpty(data); {
	case have == nil:
		_, err = secrets.Create(ctx, &corev1.Secret{ObjectMeta: a.meta(name), Type: kind, Data: data}, metav1.CreateOptions{})
	case !maps.EqualFunc(have.Data, data, bytes.Equal):
		have = have.DeepCopy()
		have.Data = data
		_, err = secrets.Update(ctx, have, metav1.UpdateOptions{})
	}
	if err != nil {
		return fmt.Errorf("secret %s/%s: %w", a.Namespace, name, err)
	}
	return nil
}

func nonEmpty(data map[string][]byte) map[string][]byte {
	out := map[string][]byte{}
	for key, value := range data {
		if len(value) > 0 {
			out[key] = value
		}
	}
	return out
}

// configMap gives the stored ConfigMap, nil where there is none.
func (a *Authority) configMap(ctx context.Context) (*corev1.ConfigMap, error) {
	c, err := a.Client.CoreV1().ConfigMaps(a.Namespace).Get(ctx, authorityName, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("config map %s/%s: %w", a.Namespace, authorityName, err)
	}
	return c, nil
}

// writeBundle writes the ConfigMap where it is not as it was read.
func (a *Authority) writeBundle(ctx context.Context, have *corev1.ConfigMap, data map[string]string) (err error) {
	configMaps := a.Client.CoreV1().ConfigMaps(a.Namespace)
	switch {
	case have == nil:
		_, err = configMaps.Create(ctx, &corev1.ConfigMap{ObjectMeta: a.meta(authorityName), Data: data}, metav1.CreateOptions{})
	case !maps.Equal(have.Data, data):
		have = have.DeepCopy()
		have.Data = data
		_, err = configMaps.Update(ctx, have, metav1.UpdateOptions{})
	}
	if err != nil {
		return fmt.Errorf("config map %s/%s: %w", a.Namespace, authorityName, err)
	}
	return nil
}

// writeFile replaces BundleFile at once, so that a reader never sees half of it.
func (a *Authority) writeFile(bundle []byte) error {
	if a.BundleFile == "" {
		return nil
	}
	if have, err := os.ReadFile(a.BundleFile); err == nil && bytes.Equal(have, bundle) {
		return nil
	}
	f, err := os.CreateTemp(filepath.Dir(a.BundleFile), ".ca-*")
	if err != nil {
		return fmt.Errorf("authorities for the watcher itself: %w", err)
	}
	defer os.Remove(f.Name()) //nolint:errcheck // it was renamed
	_, err = f.Write(bundle)
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), a.BundleFile)
	}
	if err != nil {
		return fmt.Errorf("authorities for the watcher itself: %w", err)
	}
	return nil
}

func (a *Authority) meta(name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Name: name, Namespace: a.Namespace, Labels: map[string]string{
		"app.kubernetes.io/name": "ringfence", "app.kubernetes.io/component": "watcher", "app.kubernetes.io/managed-by": "ringfence-watcher",
	}}
}

// names are those by which clients reach the log; they verify the first.
func (a *Authority) names() []string {
	const service = "policy-store"
	return []string{service, service + "." + a.Namespace, service + "." + a.Namespace + ".svc"}
}

func (a *Authority) now() time.Time {
	if a.Now != nil {
		return a.Now()
	}
	return time.Now()
}
