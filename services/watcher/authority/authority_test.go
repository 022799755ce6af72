package authority

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
)

const day = 24 * time.Hour

// world is a namespace, an authority in it, and a clock.
type world struct {
	t      *testing.T
	api    *apiServer
	client *fake.Clientset
	now    time.Time
	file   string
	said   bytes.Buffer
}

func newWorld(t *testing.T) *world {
	api := newAPIServer()
	return &world{t: t, api: api, client: api.client(), now: time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC), file: filepath.Join(t.TempDir(), "ca.crt")}
}

// look has a new watcher, which knows nothing, look at everything once.
func (w *world) look() {
	w.t.Helper()
	if err := w.leader(0).look(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
}

// leader gives a new watcher's, whose clock may be ahead.
func (w *world) leader(ahead time.Duration) *Authority {
	a := &Authority{Client: w.client, Namespace: "ns", BundleFile: w.file, Now: func() time.Time { return w.now.Add(ahead) }, Log: zerolog.New(&w.said)}
	a.register()
	return a
}

// pass lets days pass, on each of which a watcher looks, and the log is served to a client that knows what it knew a day ago, to
// one that knows what there is now, and to the watcher itself.
func (w *world) pass(days int) {
	w.t.Helper()
	for range days {
		before := w.bundle()
		w.now = w.now.Add(day)
		w.look()
		own, err := os.ReadFile(w.file)
		if err != nil {
			w.t.Fatal(err)
		}
		w.served(before, w.bundle(), string(own))
	}
}

// later lets days pass, on every tenth of which a watcher looks.
func (w *world) later(days int) {
	w.t.Helper()
	for end := w.now.Add(time.Duration(days) * day); w.now.Before(end); w.look() {
		if w.now = w.now.Add(10 * day); w.now.After(end) {
			w.now = end
		}
	}
}

func (w *world) secret(name string) *corev1.Secret {
	w.t.Helper()
	s, err := w.client.CoreV1().Secrets("ns").Get(w.t.Context(), name, metav1.GetOptions{})
	if err != nil {
		w.t.Fatal(err)
	}
	return s
}

func (w *world) configMap() *corev1.ConfigMap {
	w.t.Helper()
	c, err := w.client.CoreV1().ConfigMaps("ns").Get(w.t.Context(), authorityName, metav1.GetOptions{})
	if err != nil {
		w.t.Fatal(err)
	}
	return c
}

func (w *world) bundle() string {
	w.t.Helper()
	return w.configMap().Data[bundleKey]
}

// serial names what is served.
func (w *world) serial() string {
	w.t.Helper()
	p, err := parsePair(w.secret(serverName).Data["tls.crt"], w.secret(serverName).Data["tls.key"])
	if err != nil {
		w.t.Fatal(err)
	}
	return p.cert.SerialNumber.String()
}

// served has clients connect to the log by TLS, each of which trusts one of these bundles.
func (w *world) served(bundles ...string) {
	w.t.Helper()
	data := w.secret(serverName).Data
	certificate, err := tls.X509KeyPair(data["tls.crt"], data["tls.key"])
	if err != nil {
		w.t.Fatal(err)
	}
	for _, name := range []string{"policy-store", "policy-store.ns", "policy-store.ns.svc"} {
		if err := certificate.Leaf.VerifyHostname(name); err != nil {
			w.t.Fatal(err)
		}
	}
	slices.Sort(bundles)
	for _, bundle := range slices.Compact(bundles) {
		if err := w.connect(certificate, bundle); err != nil {
			w.t.Fatalf("%s: %v", w.now.Format(time.DateTime), err)
		}
	}
}

// connect shakes hands over a socket: in a pipe without room, a client that refuses and a server that still writes wait for each other.
func (w *world) connect(certificate tls.Certificate, bundle string) error {
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM([]byte(bundle))
	clock := func() time.Time { return w.now }
	listener, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS13, Time: clock})
	if err != nil {
		return err
	}
	var serving sync.WaitGroup
	serving.Go(func() {
		if at, err := listener.Accept(); err == nil {
			_ = at.(*tls.Conn).Handshake()
			_ = at.Close()
		}
	})
	defer serving.Wait()
	defer listener.Close()
	client, err := tls.Dial("tcp", listener.Addr().String(), &tls.Config{RootCAs: roots, ServerName: "policy-store", MinVersion: tls.VersionTLS13, Time: clock})
	if err != nil {
		return err
	}
	return client.Close()
}

func TestAYearAndAHalf(t *testing.T) {
	w := newWorld(t)
	w.look()
	w.served(w.bundle())
	first, serials, most := w.bundle(), []string{w.serial()}, 0
	for range 550 {
		w.pass(1)
		if now := w.serial(); now != serials[len(serials)-1] {
			serials = append(serials, now)
		}
		certs, err := parseCertificates([]byte(w.bundle()))
		if err != nil {
			t.Fatal(err)
		}
		most = max(most, len(certs))
	}
	if len(serials) < 27 || len(serials) > 30 {
		t.Errorf("%d certificates in 550 days, want one in 20", len(serials))
	}
	if most != 2 {
		t.Errorf("up to %d authorities are trusted, want 2", most)
	}
	if w.bundle() == first || strings.Contains(w.bundle(), strings.TrimSpace(first)) {
		t.Error("the first authority is still trusted when it has ended")
	}
	if mode := w.secret(serverName).Type; mode != corev1.SecretTypeTLS {
		t.Errorf("the Secret is of type %s", mode)
	}
}

func TestNothingIsWrittenWhereAllIsWell(t *testing.T) {
	w := newWorld(t)
	w.look()
	w.client.ClearActions()
	w.now = w.now.Add(5 * day)
	w.look()
	for _, action := range w.client.Actions() {
		if action.GetVerb() != "get" {
			t.Errorf("%s %s", action.GetVerb(), action.GetResource().Resource)
		}
	}
}

// TestWhatIsLostOrDamagedIsReplaced: clients with what they have, and those with the new, verify the log all the time.
func TestWhatIsLostOrDamagedIsReplaced(t *testing.T) {
	other := newWorld(t)
	other.look()
	for name, spoil := range map[string]func(*world){
		"the authority's Secret is deleted":  func(w *world) { w.remove(authorityName) },
		"the authority's key is garbage":     func(w *world) { w.edit(authorityName, "tls.key", []byte("garbage")) },
		"the authority is another's":         func(w *world) { w.edit(authorityName, "tls.crt", other.secret(authorityName).Data["tls.crt"]) },
		"the authority is no authority":      func(w *world) { w.spoilAuthority() },
		"the list of the earlier is garbage": func(w *world) { w.edit(authorityName, earlierKey, []byte("garbage")) },
		"the log's Secret is deleted":        func(w *world) { w.remove(serverName) },
		"the log's key is another's":         func(w *world) { w.edit(serverName, "tls.key", other.secret(serverName).Data["tls.key"]) },
		"the log's certificate is garbage": func(w *world) {
			w.edit(serverName, "tls.crt", []byte("-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n"))
		},
		"the log's is signed by a stranger": func(w *world) {
			w.edit(serverName, "tls.crt", other.secret(serverName).Data["tls.crt"])
			w.edit(serverName, "tls.key", other.secret(serverName).Data["tls.key"])
		},
		"the ConfigMap is deleted": func(w *world) { w.removeConfigMap() },
		"the ConfigMap is garbage": func(w *world) {
			w.editConfigMap(func(c *corev1.ConfigMap) { c.Data[bundleKey], c.Annotations[sinceAnnotation] = "garbage", "garbage" })
		},
		"the ConfigMap trusts a stranger, too": func(w *world) {
			w.editConfigMap(func(c *corev1.ConfigMap) { c.Data[bundleKey] += other.bundle() })
		},
		"both of the authority are deleted": func(w *world) { w.remove(authorityName); w.removeConfigMap() },
		"both Secrets' lists are garbage": func(w *world) {
			w.edit(authorityName, "tls.key", []byte("garbage"))
			w.edit(serverName, bundleKey, []byte("garbage"))
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.look()
			w.pass(3)
			before := w.bundle()
			spoil(w)
			w.look()
			w.served(before, w.bundle())
			if strings.Contains(w.bundle(), strings.TrimSpace(other.bundle())) {
				t.Error("a stranger is trusted")
			}
			w.pass(40)
		})
	}
}

func (w *world) remove(secret string) {
	w.t.Helper()
	if err := w.client.CoreV1().Secrets("ns").Delete(w.t.Context(), secret, metav1.DeleteOptions{}); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) removeConfigMap() {
	w.t.Helper()
	if err := w.client.CoreV1().ConfigMaps("ns").Delete(w.t.Context(), authorityName, metav1.DeleteOptions{}); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) edit(secret, key string, value []byte) {
	w.t.Helper()
	w.editSecret(secret, func(s *corev1.Secret) { s.Data[key] = value })
}

func (w *world) editSecret(name string, change func(*corev1.Secret)) {
	w.t.Helper()
	s := w.secret(name).DeepCopy()
	change(s)
	if _, err := w.client.CoreV1().Secrets("ns").Update(w.t.Context(), s, metav1.UpdateOptions{}); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) editConfigMap(change func(*corev1.ConfigMap)) {
	w.t.Helper()
	c := w.configMap().DeepCopy()
	change(c)
	if _, err := w.client.CoreV1().ConfigMaps("ns").Update(w.t.Context(), c, metav1.UpdateOptions{}); err != nil {
		w.t.Fatal(err)
	}
}

// spoilAuthority puts the log's pair where the authority's is.
func (w *world) spoilAuthority() {
	w.t.Helper()
	w.edit(authorityName, "tls.crt", w.secret(serverName).Data["tls.crt"])
	w.edit(authorityName, "tls.key", w.secret(serverName).Data["tls.key"])
}

func TestDamageIsNamed(t *testing.T) {
	w := newWorld(t)
	w.look()
	w.edit(authorityName, "tls.key", []byte("garbage"))
	w.look()
	if said := w.said.String(); !strings.Contains(said, `"object":"secret ringfence-ca"`) || !strings.Contains(said, "no key in PEM form") {
		t.Errorf("said %s", said)
	}
}

// TestAKeyIsStoredBeforeAnythingIsSignedByIt: where writing fails half-way, the next look goes on from there.
func TestAKeyIsStoredBeforeAnythingIsSignedByIt(t *testing.T) {
	w := newWorld(t)
	refused := errors.New("the API server is away")
	for _, resource := range []string{"configmaps", "secrets"} {
		fail := true
		w.client.PrependReactor("create", resource, func(a clienttesting.Action) (bool, runtime.Object, error) {
			object := a.(clienttesting.CreateAction).GetObject().(metav1.Object)
			if fail && (resource == "configmaps" || object.GetName() == serverName) {
				fail = false
				return true, nil, refused
			}
			return false, nil, nil
		})
	}
	a := &Authority{Client: w.client, Namespace: "ns", Now: func() time.Time { return w.now }, Log: zerolog.Nop()}
	a.register()
	var stored []string
	for range 3 {
		if err := a.look(t.Context()); err != nil && !errors.Is(err, refused) {
			t.Fatal(err)
		}
		stored = append(stored, string(w.secret(authorityName).Data["tls.crt"]))
	}
	w.served(w.bundle())
	if len(slices.Compact(stored)) != 1 {
		t.Error("another authority was made at each try")
	}
}

func TestRunIssuesAndEnds(t *testing.T) {
	w := newWorld(t)
	a := &Authority{Client: w.client, Namespace: "ns", BundleFile: w.file, Log: zerolog.Nop()}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); a.Run(ctx) }()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if _, err := os.Stat(w.file); err == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("no authorities were written")
		}
	}
	cancel()
	<-ended
	w.now = time.Now()
	w.served(w.bundle())
}
