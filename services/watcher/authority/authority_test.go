package authority

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
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
	writes int
	now    time.Time
	file   string
	said   bytes.Buffer
}

func newWorld(t *testing.T) *world {
	w := &world{t: t, now: time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC), file: filepath.Join(t.TempDir(), "ca.crt")}
	w.client = fake.NewClientset()
	w.version(w.client)
	return w
}

// version does to writes as the API server does: each has a version, and one of what somebody else wrote since it was read is refused.
func (w *world) version(client *fake.Clientset) {
	for _, verb := range []string{"create", "update"} {
		client.PrependReactor(verb, "*", func(action clienttesting.Action) (bool, runtime.Object, error) {
			object := action.(clienttesting.CreateAction).GetObject().(metav1.Object)
			if verb == "update" {
				stored, err := w.client.Tracker().Get(action.GetResource(), "ns", object.GetName())
				if err != nil {
					return true, nil, err
				}
				if stored.(metav1.Object).GetResourceVersion() != object.GetResourceVersion() {
					return true, nil, apierrors.NewConflict(action.GetResource().GroupResource(), object.GetName(), errors.New("it was changed"))
				}
			}
			w.writes++
			object.SetResourceVersion(strconv.Itoa(w.writes))
			return false, nil, nil
		})
	}
}

// second is a client of its own for the same objects, which waits before each request.
func (w *world) second(wait func()) *fake.Clientset {
	client := &fake.Clientset{}
	client.AddReactor("*", "*", clienttesting.ObjectReaction(w.client.Tracker()))
	w.version(client)
	client.PrependReactor("*", "*", func(clienttesting.Action) (bool, runtime.Object, error) {
		wait()
		return false, nil, nil
	})
	return client
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

// wait lets days pass, on each of which a watcher looks.
func (w *world) wait(days int) {
	w.t.Helper()
	for range days {
		w.now = w.now.Add(day)
		w.look()
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
			w.publish(bundleKey, w.bundle()+other.bundle())
		},
		"it is not known since when authorities are published": func(w *world) { w.publish(sinceKey, "garbage") },
		"the log's Secret trusts a stranger, too": func(w *world) {
			w.edit(serverName, bundleKey, []byte(w.bundle()+other.bundle()))
		},
		"the authority's Secret is deleted, and the log's trusts a stranger": func(w *world) {
			w.remove(authorityName)
			w.edit(serverName, bundleKey, []byte(w.bundle()+other.bundle()))
		},
		"only the log's Secret is left": func(w *world) {
			w.remove(authorityName)
			if err := w.client.CoreV1().ConfigMaps("ns").Delete(w.t.Context(), authorityName, metav1.DeleteOptions{}); err != nil {
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

// TestAnAuthorityFromElsewhereIsAnnouncedFirst: whoever puts a whole one in place of ours, as restoring an older backup does, cuts
// nobody off.
func TestAnAuthorityFromElsewhereIsAnnouncedFirst(t *testing.T) {
	other := newWorld(t)
	other.look()
	w := newWorld(t)
	w.look()
	w.pass(3)
	before, serial := w.bundle(), w.serial()
	for _, key := range []string{"tls.crt", "tls.key"} {
		w.edit(authorityName, key, other.secret(authorityName).Data[key])
	}
	w.look()
	w.served(before)
	if w.serial() != serial {
		t.Error("it signed at once")
	}
	if !strings.Contains(w.bundle(), strings.TrimSpace(other.bundle())) {
		t.Error("it is not announced")
	}
	w.pass(1)
	if w.serial() == serial {
		t.Error("it does not sign when it was announced for a day")
	}
	w.pass(40)
}

// TestTheDayCountsFromPublication: where what clients trust cannot be written, nothing is signed by what they do not have.
func TestTheDayCountsFromPublication(t *testing.T) {
	w := newWorld(t)
	w.look()
	w.wait(243) // one day before the next authority is due
	refuse := true
	w.client.PrependReactor("update", "configmaps", func(clienttesting.Action) (bool, runtime.Object, error) {
		return refuse, nil, errors.New("refused")
	})
	before, made := w.bundle(), false
	a := &Authority{Client: w.client, Namespace: "ns", Now: func() time.Time { return w.now }, Log: zerolog.Nop()}
	a.register()
	for range 48 {
		w.now = w.now.Add(time.Hour)
		made = a.look(t.Context()) != nil
		w.served(before)
	}
	if !made || w.bundle() != before {
		t.Fatal("no authority was to be announced")
	}
	refuse = false
	w.look()
	w.served(before)
	announced := w.bundle()
	for range 23 {
		w.now = w.now.Add(time.Hour)
		w.look()
		w.served(before)
	}
	serial := w.serial()
	w.now = w.now.Add(time.Hour)
	w.look()
	w.served(announced)
	if w.serial() == serial {
		t.Error("the new authority does not sign a day after it was published")
	}

	// A ConfigMap that comes anew is not everywhere, either.
	w.wait(242)
	announced = w.bundle()
	if strings.Count(announced, "BEGIN") != 2 {
		t.Fatalf("the next authority is not announced: %s", announced)
	}
	w.publish(sinceKey, `{}`)
	serial = w.serial()
	w.now = w.now.Add(23 * time.Hour)
	w.look()
	w.now = w.now.Add(2 * time.Hour)
	w.look()
	if w.serial() != serial {
		t.Error("the new authority signs a day after it was published for the first time")
	}
}

// TestAnEarlierLeaderWritesNothingBack stops a leader at each of its requests, and lets it go on when another has led for months.
func TestAnEarlierLeaderWritesNothingBack(t *testing.T) {
	for at := 1; ; at++ {
		w := newWorld(t)
		w.look()
		w.wait(243)
		w.now = w.now.Add(day) // the next authority is due
		then, requests, reached := w.now, 0, false
		stopped := w.second(func() {
			if requests++; requests == at {
				reached = true
				w.look()
				w.wait(100)
			}
		})
		a := &Authority{Client: stopped, Namespace: "ns", Now: func() time.Time { return then }, Log: zerolog.Nop()}
		a.register()
		err := a.look(t.Context())
		if !reached {
			if at < 5 {
				t.Fatalf("it made only %d requests", requests)
			}
			return
		}
		if err != nil && !apierrors.IsConflict(err) {
			t.Fatalf("stopped at request %d: %v", at, err)
		}
		before := w.bundle()
		w.served(before)
		if strings.Count(before, "BEGIN") != 2 {
			t.Errorf("stopped at request %d, %d authorities are trusted", at, strings.Count(before, "BEGIN"))
		}
		w.look()
		w.served(before)
		w.pass(3)
	}
}

func (w *world) publish(key, value string) {
	w.t.Helper()
	c, err := w.client.CoreV1().ConfigMaps("ns").Get(w.t.Context(), authorityName, metav1.GetOptions{})
	if err != nil {
		w.t.Fatal(err)
	}
	c = c.DeepCopy()
	c.Data[key] = value
	if _, err := w.client.CoreV1().ConfigMaps("ns").Update(w.t.Context(), c, metav1.UpdateOptions{}); err != nil {
		w.t.Fatal(err)
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

// FuzzStored reads what may be stored. Whatever it is, there is a certificate to serve afterwards, clients are told to trust who
// issued it, they are told to trust nobody of whom only the log's Secret knows, and once it is stored there is nothing more to do.
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
	since, err := json.Marshal(published{}.with(m.trusted(), now.Add(-2*day)))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(caCert, caKey, cert, key, caCert, caCert, since)
	f.Add(caCert, key, cert, caKey, cert, []byte{}, []byte("{}"))
	f.Add(cert, key, caCert, caKey, []byte("garbage"), cert, []byte("null"))
	f.Add(caCert[:len(caCert)/2], caKey, cert, key, slices.Concat(caCert, caCert), caCert, []byte(`{"a": 1}`))
	f.Add([]byte{}, []byte{}, []byte{}, []byte{}, []byte{}, []byte{}, []byte{})
	f.Fuzz(func(t *testing.T, caCert, caKey, cert, key, earlier, bundle, since []byte) {
		a := &Authority{Log: zerolog.Nop()}
		c := contents{
			keys:   map[string][]byte{"tls.crt": caCert, "tls.key": caKey, earlierKey: earlier},
			server: map[string][]byte{"tls.crt": cert, "tls.key": key, bundleKey: earlier},
			bundle: map[string]string{bundleKey: string(bundle), sinceKey: string(since)},
		}
		m, _, err := renewed(a.read(c, now), names, now)
		if err != nil || m.server == nil {
			t.Fatalf("nothing to serve: %v", err)
		}
		if issuer(m.server.cert, m.trusted()) == nil {
			t.Error("clients do not trust who issued the certificate")
		}
		if len(m.trusted()) > maxEarlier+2 {
			t.Errorf("%d authorities are trusted", len(m.trusted()))
		}
		m.published = m.published.with(m.trusted(), now)
		if _, done, err := renewed(m, names, now); err != nil || len(done) > 0 {
			t.Errorf("there is more to do: %v %v", done, err)
		}
		c.keys = nil
		for _, trusted := range a.read(c, now).trusted() {
			if !bytes.Contains(bundle, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: trusted.Raw})) && issuer(trusted, a.certificates("", bundle)) == nil {
				t.Error("clients are told to trust who is only in the log's Secret")
			}
		}
	})
}
