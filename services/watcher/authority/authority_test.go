package authority

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
)

const day = 24 * time.Hour

// world is a namespace, an authority in it, and a clock.
type world struct {
	t      *testing.T
	client *fake.Clientset
	now    time.Time
	file   string
	said   bytes.Buffer
}

func newWorld(t *testing.T) *world {
	return &world{t: t, client: fake.NewClientset(), now: time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC), file: filepath.Join(t.TempDir(), "ca.crt")}
}

// look has a new watcher, which knows nothing, look at everything once.
func (w *world) look() {
	w.t.Helper()
	a := &Authority{Client: w.client, Namespace: "ns", BundleFile: w.file, Now: func() time.Time { return w.now }, Log: zerolog.New(&w.said)}
	a.register()
	if err := a.look(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
}

// pass lets days pass, on each of which a watcher looks, and the log is served to a client that knows what it knew a day ago, to
// one that knows what there is now, and to the watcher itself.
func (w *world) pass(days int) {
	w.t.Helper()
	for range days {
		before := w.bundle()
		w.now = w.now.Add(day)
		w.look()
		w.served(before)
		w.served(w.bundle())
		own, err := os.ReadFile(w.file)
		if err != nil {
			w.t.Fatal(err)
		}
		w.served(string(own))
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

func (w *world) bundle() string {
	w.t.Helper()
	c, err := w.client.CoreV1().ConfigMaps("ns").Get(w.t.Context(), authorityName, metav1.GetOptions{})
	if err != nil {
		w.t.Fatal(err)
	}
	return c.Data[bundleKey]
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

// served has a client that trusts a bundle connect to the log, by TLS and by each of its names.
func (w *world) served(bundle string) {
	w.t.Helper()
	data := w.secret(serverName).Data
	certificate, err := tls.X509KeyPair(data["tls.crt"], data["tls.key"])
	if err != nil {
		w.t.Fatal(err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM([]byte(bundle)) {
		w.t.Fatalf("no authority in %q", bundle)
	}
	clock := func() time.Time { return w.now }
	for _, name := range []string{"policy-store", "policy-store.ns", "policy-store.ns.svc"} {
		at, from := net.Pipe()
		server := tls.Server(at, &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS13, Time: clock})
		client := tls.Client(from, &tls.Config{RootCAs: roots, ServerName: name, MinVersion: tls.VersionTLS13, Time: clock})
		var serving sync.WaitGroup
		serving.Go(func() { _ = server.Handshake(); _ = at.Close() })
		err := client.Handshake()
		_ = from.Close()
		serving.Wait()
		if err != nil {
			w.t.Fatalf("%s, as %s: %v", w.now.Format(time.DateOnly), name, err)
		}
	}
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
		"the ConfigMap is deleted": func(w *world) {
			if err := w.client.CoreV1().ConfigMaps("ns").Delete(w.t.Context(), authorityName, metav1.DeleteOptions{}); err != nil {
				w.t.Fatal(err)
			}
		},
		"the ConfigMap trusts a stranger, too": func(w *world) {
			c := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: authorityName}, Data: map[string]string{bundleKey: w.bundle() + other.bundle()}}
			if _, err := w.client.CoreV1().ConfigMaps("ns").Update(w.t.Context(), c, metav1.UpdateOptions{}); err != nil {
				w.t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.look()
			w.pass(3)
			before := w.bundle()
			spoil(w)
			w.look()
			w.served(before)
			w.served(w.bundle())
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

func (w *world) edit(secret, key string, value []byte) {
	w.t.Helper()
	s := w.secret(secret).DeepCopy()
	s.Data[key] = value
	if _, err := w.client.CoreV1().Secrets("ns").Update(w.t.Context(), s, metav1.UpdateOptions{}); err != nil {
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
	if said := w.said.String(); !strings.Contains(said, `"secret":"ns/ringfence-ca"`) || !strings.Contains(said, "no key in PEM form") {
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

// TestOfTwoAtOnceOneGivesIn: the API server refuses the slower, which writes nothing more and looks again.
func TestOfTwoAtOnceOneGivesIn(t *testing.T) {
	w := newWorld(t)
	w.client.PrependReactor("create", "secrets", func(a clienttesting.Action) (bool, runtime.Object, error) {
		return true, nil, apierrors.NewAlreadyExists(schema.GroupResource{Resource: "secrets"}, a.(clienttesting.CreateAction).GetObject().(metav1.Object).GetName())
	})
	a := &Authority{Client: w.client, Namespace: "ns", Log: zerolog.Nop()}
	a.register()
	if err := a.look(t.Context()); !apierrors.IsAlreadyExists(err) {
		t.Fatal(err)
	}
	if _, err := w.client.CoreV1().ConfigMaps("ns").Get(t.Context(), authorityName, metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("clients are told to trust what is not stored: %v", err)
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

// FuzzStored reads what may be stored: whatever it is, there is a certificate to serve afterwards, and it is verified by what
// clients are told to trust.
func FuzzStored(f *testing.F) {
	now := time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)
	names := []string{"policy-store"}
	m, _, err := renewed(material{}, names, now)
	if err != nil {
		f.Fatal(err)
	}
	caCert, caKey, err := writePair(m.authority)
	if err != nil {
		f.Fatal(err)
	}
	cert, key, err := writePair(m.server)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(caCert, caKey, cert, key, caCert)
	f.Add(caCert, key, cert, caKey, cert)
	f.Add(cert, key, caCert, caKey, []byte("garbage"))
	f.Add(caCert[:len(caCert)/2], caKey, []byte{}, []byte{}, slices.Concat(caCert, caCert))
	f.Fuzz(func(t *testing.T, caCert, caKey, cert, key, bundle []byte) {
		a := &Authority{Log: zerolog.Nop()}
		stored := a.read(map[string][]byte{"tls.crt": caCert, "tls.key": caKey, earlierKey: bundle}, map[string][]byte{"tls.crt": cert, "tls.key": key, bundleKey: bundle})
		m, _, err := renewed(stored, names, now)
		if err != nil || m.server == nil {
			t.Fatalf("nothing to serve: %v", err)
		}
		if m.authority != nil && m.server.cert.CheckSignatureFrom(m.authority.cert) != nil {
			t.Error("the certificate is of another authority")
		}
		if len(m.trusted()) > maxEarlier+2 {
			t.Errorf("%d authorities are trusted", len(m.trusted()))
		}
	})
}
