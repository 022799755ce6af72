package authority

import (
	"bytes"
	"context"
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
	nextCert   = "next.crt"
	nextKey    = "next.key"
	earlierKey = "earlier.crt"

	// sinceAnnotation of the ConfigMap says since when it has had each authority. As a key it would be a file in the pods of clients.
	sinceAnnotation = "ringfence.dev/published-since"
)

const (
	// lookEvery is how often all of it is looked at.
	lookEvery = 10 * time.Minute
	// apiTimeout bounds one look, with what it writes.
	apiTimeout = 30 * time.Second
)

// Authority keeps what it issues current. Only one of a namespace may run, which is the watcher that holds the lease; if there
// are two for a moment, the API server refuses what one of them writes over what it has not read, and that one looks again.
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

// look reads what is stored, and writes what should be.
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
	for _, what := range done {
		a.metrics.issued.Inc()
		a.Log.Info().Str("namespace", a.Namespace).Msg(what)
	}
	want, err := next.contents(now)
	if err != nil {
		return err
	}
	if err := a.store(ctx, have, want); err != nil {
		return err
	}
	a.gauge("authority", next.authority)
	a.gauge("certificate", next.server)
	return nil
}

func (a *Authority) gauge(of string, p *pair) {
	if p != nil {
		a.metrics.ends.WithLabelValues(of).Set(float64(p.cert.NotAfter.Unix()))
	}
}

// objects are what is stored, nil what is not.
type objects struct {
	keys, server *corev1.Secret
	published    *corev1.ConfigMap
}

// contents are the values in objects.
type contents struct {
	keys, server  map[string][]byte
	bundle, times string // of the ConfigMap
}

// fetch reads in the opposite order of store's writing: so nothing is newer than what it was made from, and what a leader writes
// by something old, it writes over something old, which the API server refuses.
func (a *Authority) fetch(ctx context.Context) (o objects, err error) {
	if o.server, err = a.secret(ctx, serverName); err != nil {
		return o, err
	}
	if o.published, err = a.configMap(ctx); err != nil {
		return o, err
	}
	o.keys, err = a.secret(ctx, authorityName)
	return o, err
}

func (o objects) contents() (c contents) {
	if o.keys != nil {
		c.keys = o.keys.Data
	}
	if o.server != nil {
		c.server = o.server.Data
	}
	if o.published != nil {
		c.bundle, c.times = o.published.Data[bundleKey], o.published.Annotations[sinceAnnotation]
	}
	return c
}

// contents gives what is to be stored of it.
func (m material) contents(now time.Time) (c contents, err error) {
	c.keys = map[string][]byte{earlierKey: writeCertificates(m.earlier...)}
	c.server = map[string][]byte{}
	for _, x := range []struct {
		in        map[string][]byte
		p         *pair
		cert, key string
	}{
		{c.keys, m.authority, corev1.TLSCertKey, corev1.TLSPrivateKeyKey},
		{c.keys, m.next, nextCert, nextKey},
		{c.server, m.server, corev1.TLSCertKey, corev1.TLSPrivateKeyKey},
	} {
		if x.in[x.cert], x.in[x.key], err = writePair(x.p); err != nil {
			return c, err
		}
	}
	c.bundle, c.times, err = m.writePublished(now)
	c.server[bundleKey] = []byte(c.bundle)
	return c, err
}

// read takes from what is stored what is of use, and names what is not.
func (a *Authority) read(c contents, now time.Time) (m material) {
	damaged := func(what string, err error) {
		if err != nil && !errors.Is(err, errNothing) {
			a.Log.Error().Err(err).Str("object", what).Str("namespace", a.Namespace).Msg("what is stored is damaged, and replaced; clients go on with what they have")
		}
	}
	var lost, err error
	m.authority, lost = parseAuthority(c.keys[corev1.TLSCertKey], c.keys[corev1.TLSPrivateKeyKey])
	damaged("secret "+authorityName, lost)
	m.next, err = parseAuthority(c.keys[nextCert], c.keys[nextKey])
	damaged("secret "+authorityName+", "+nextCert, err)
	m.earlier, err = parseCertificates(c.keys[earlierKey])
	damaged("secret "+authorityName+", "+earlierKey, err)
	m.server, err = parsePair(c.server[corev1.TLSCertKey], c.server[corev1.TLSPrivateKeyKey])
	damaged("secret "+serverName, err)
	m.published, err = parsePublished(c.bundle, c.times, now)
	damaged("config map "+authorityName, err)
	// What stands beside the served may be others' work, and is of use only where nothing else says who signed it. Where the
	// authority is not there because the next one is announced, nothing was lost.
	if lost != nil && (m.next == nil || !errors.Is(lost, errNothing)) {
		m.beside, err = parseCertificates(c.server[bundleKey])
		damaged("secret "+serverName+", "+bundleKey, err)
	}
	return m
}

// store writes what is not as it was read: the authority with its key first, for nothing may be signed by one that could be lost;
// then what clients trust; then what the log shows them.
func (a *Authority) store(ctx context.Context, have objects, want contents) error {
	if err := a.writeSecret(ctx, authorityName, have.keys, corev1.SecretTypeOpaque, want.keys); err != nil {
		return err
	}
	if err := a.writeFile([]byte(want.bundle)); err != nil {
		return err
	}
	if err := a.writeConfigMap(ctx, have.published, want); err != nil {
		return err
	}
	return a.writeSecret(ctx, serverName, have.server, corev1.SecretTypeTLS, want.server)
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

// writeConfigMap writes the ConfigMap where it is not as it was read.
func (a *Authority) writeConfigMap(ctx context.Context, have *corev1.ConfigMap, want contents) (err error) {
	configMaps := a.Client.CoreV1().ConfigMaps(a.Namespace)
	next := have.DeepCopy()
	if have == nil {
		next = &corev1.ConfigMap{ObjectMeta: a.meta(authorityName)}
	}
	next.Data = map[string]string{bundleKey: want.bundle}
	metav1.SetMetaDataAnnotation(&next.ObjectMeta, sinceAnnotation, want.times)
	switch {
	case have == nil:
		_, err = configMaps.Create(ctx, next, metav1.CreateOptions{})
	case have.Data[bundleKey] != want.bundle || have.Annotations[sinceAnnotation] != want.times:
		_, err = configMaps.Update(ctx, next, metav1.UpdateOptions{})
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
