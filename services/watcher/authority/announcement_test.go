package authority

import (
	"encoding/json"
	"errors"
	"maps"
	"os"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clienttesting "k8s.io/client-go/testing"
)

// hours lets hours pass, in each of which a watcher looks, and clients with a bundle are served.
func (w *world) hours(hours int, bundle string) {
	w.t.Helper()
	for range hours {
		w.now = w.now.Add(time.Hour)
		w.look()
		w.served(bundle, w.bundle())
	}
}

// newAnnounced gives a world in which the next authority was published just now, and what clients trusted before.
func newAnnounced(t *testing.T) (w *world, before string) {
	w = newWorld(t)
	w.look()
	w.later(242)
	for range 5 {
		before = w.bundle()
		w.now = w.now.Add(day)
		if w.look(); len(w.secret(authorityName).Data[nextCert]) > 0 {
			return w, before
		}
	}
	t.Fatal("no authority was announced")
	return nil, ""
}

// signs says whether the authority that was announced signs.
func (w *world) signs() bool { return len(w.secret(authorityName).Data[nextCert]) == 0 }

// TestTheDayOfAnnouncementCountsFromPublication: where the ConfigMap cannot be written, nothing is signed by what it lacks.
func TestTheDayOfAnnouncementCountsFromPublication(t *testing.T) {
	w := newWorld(t)
	w.look()
	w.later(242)
	w.pass(1)
	refuse := true
	w.client.PrependReactor("update", "configmaps", func(clienttesting.Action) (bool, runtime.Object, error) {
		return refuse, nil, errors.New("forbidden")
	})
	before := w.bundle()
	for range 48 {
		w.now = w.now.Add(time.Hour)
		if err := w.leader(0).look(t.Context()); err != nil && !strings.Contains(err.Error(), "config map ns/ringfence-ca: forbidden") {
			t.Fatal(err)
		}
		w.served(before)
	}
	if w.signs() || w.bundle() != before {
		t.Fatal("no authority was waiting to be announced")
	}
	if own, err := os.ReadFile(w.file); err != nil || strings.Count(string(own), "BEGIN") != 2 {
		t.Errorf("the watcher's own file waits for a ConfigMap that is refused: %v, %s", err, own)
	}
	refuse = false
	w.look()
	published := w.bundle()
	if w.hours(23, before); w.signs() {
		t.Fatal("it signs before the day is over")
	}
	if w.hours(1, published); !w.signs() {
		t.Error("it does not sign after the day")
	}
	w.pass(30)
}

// TestWhatWasWithdrawnIsAnnouncedAnew: the ConfigMap is changed when the next authority was announced for twelve hours. What clients
// cannot have had all the time counts from then on.
func TestWhatWasWithdrawnIsAnnouncedAnew(t *testing.T) {
	annotate := func(at func(*world) string) func(*world) {
		return func(w *world) {
			w.editConfigMap(func(c *corev1.ConfigMap) {
				since := map[string]string{}
				if err := json.Unmarshal([]byte(c.Annotations[sinceAnnotation]), &since); err != nil || len(since) != 2 {
					w.t.Fatalf("%s: %v", c.Annotations, err)
				}
				for name := range since {
					since[name] = at(w)
				}
				text, err := json.Marshal(since)
				if err != nil {
					w.t.Fatal(err)
				}
				c.Annotations[sinceAnnotation] = string(text)
			})
		}
	}
	for name, story := range map[string]struct {
		change func(*world)
		hours  int // until it signs
	}{
		"nothing happens":                      {func(*world) {}, 12},
		"the leader's clock is an hour behind": {func(w *world) { w.skewed(-time.Hour) }, 12},
		"the leader's clock is an hour ahead":  {func(w *world) { w.skewed(time.Hour) }, 12},
		"the ConfigMap is deleted":             {func(w *world) { w.removeConfigMap() }, 24},
		"the authority is taken out of it": {func(w *world) {
			w.editConfigMap(func(c *corev1.ConfigMap) { c.Data[bundleKey] = string(w.secret(authorityName).Data["tls.crt"]) })
		}, 24},
		"the bundle is garbage":  {func(w *world) { w.editConfigMap(func(c *corev1.ConfigMap) { c.Data[bundleKey] = "garbage" }) }, 24},
		"the annotation is gone": {func(w *world) { w.editConfigMap(func(c *corev1.ConfigMap) { c.Annotations = nil }) }, 24},
		"the annotation is garbage": {func(w *world) {
			w.editConfigMap(func(c *corev1.ConfigMap) { c.Annotations[sinceAnnotation] = "garbage" })
		}, 24},
		"the times are none":          {annotate(func(*world) string { return "soon" }), 24},
		"the times are to come":       {annotate(func(w *world) string { return w.now.Add(time.Minute).Format(time.RFC3339) }), 24},
		"the times are before it was": {annotate(func(w *world) string { return w.now.Add(-day).Format(time.RFC3339) }), 24},
	} {
		t.Run(name, func(t *testing.T) {
			w, before := newAnnounced(t)
			w.hours(12, before)
			story.change(w)
			w.look()
			if w.hours(story.hours-1, before); w.signs() {
				t.Fatalf("it signs before %d more hours have passed", story.hours)
			}
			if w.hours(1, w.bundle()); !w.signs() {
				t.Errorf("it does not sign after %d more hours", story.hours)
			}
			w.pass(30)
		})
	}
}

// skewed has a watcher look whose clock differs.
func (w *world) skewed(by time.Duration) {
	w.t.Helper()
	if err := w.leader(by).look(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
}

// TestAnAuthorityThatIsPutThereIsAnnounced: whatever whole pair is put into the Secret, clients with the bundle of before are served
// until the pair was published for a day, and then it signs.
func TestAnAuthorityThatIsPutThereIsAnnounced(t *testing.T) {
	other := newWorld(t)
	other.look()
	stranger := other.secret(authorityName).Data
	for name, put := range map[string]func(*world){
		"a stranger": func(w *world) {
			w.edit(authorityName, "tls.crt", stranger["tls.crt"])
			w.edit(authorityName, "tls.key", stranger["tls.key"])
		},
		"a stranger's whole Secret": func(w *world) {
			w.editSecret(authorityName, func(s *corev1.Secret) { s.Data = maps.Clone(stranger) })
		},
		"a stranger, where the log's Secret says nothing of authorities": func(w *world) {
			w.editSecret(authorityName, func(s *corev1.Secret) { s.Data = maps.Clone(stranger) })
			w.editSecret(serverName, func(s *corev1.Secret) { delete(s.Data, bundleKey) })
		},
	} {
		for _, passed := range []int{0, 3, 21, 300} {
			t.Run(name, func(t *testing.T) {
				w := newWorld(t)
				w.look()
				w.later(passed)
				other.now = w.now
				before := w.bundle()
				put(w)
				w.look()
				if !strings.Contains(w.bundle(), strings.TrimSpace(string(stranger["tls.crt"]))) {
					t.Error("it is not announced")
				}
				if w.hours(23, before); string(w.secret(authorityName).Data[nextCert]) != string(stranger["tls.crt"]) {
					t.Error("it does not wait")
				}
				w.hours(1, w.bundle())
				w.served(string(stranger["tls.crt"]))
				w.pass(40)
			})
		}
	}
}

// TestAnAuthorityThatIsPutThereSignsAtOnceWhereNothingIsServed: there is no client to lose.
func TestAnAuthorityThatIsPutThereSignsAtOnceWhereNothingIsServed(t *testing.T) {
	other := newWorld(t)
	other.look()
	for name, lose := range map[string]func(*world){
		"no certificate":   func(w *world) { w.remove(serverName) },
		"it has ended":     func(w *world) { w.now = w.now.Add(31 * day) },
		"it is a fragment": func(w *world) { w.edit(serverName, "tls.crt", []byte("garbage")) },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.look()
			w.editSecret(authorityName, func(s *corev1.Secret) { s.Data = maps.Clone(other.secret(authorityName).Data) })
			lose(w)
			w.look()
			w.served(other.bundle())
			w.pass(3)
		})
	}
}

// TestAnOlderSecretIsPutBack, from a backup of any age: clients with the bundle of before are served all the time.
func TestAnOlderSecretIsPutBack(t *testing.T) {
	w := newWorld(t)
	w.look()
	backup := w.secret(authorityName).DeepCopy()
	for _, days := range []int{30, 214, 2, 60, 90, 200} {
		w.later(days)
		before := w.bundle()
		w.editSecret(authorityName, func(s *corev1.Secret) { s.Data = maps.Clone(backup.Data) })
		w.look()
		w.hours(23, before)
		w.pass(30)
	}
}

// TestAStrangerIsNotTrusted: what stands in the log's Secret makes nobody an authority, however much of it is replaced.
func TestAStrangerIsNotTrusted(t *testing.T) {
	other := newWorld(t)
	other.look()
	theirs := strings.TrimSpace(other.bundle())
	replace := func(w *world) {
		w.editSecret(serverName, func(s *corev1.Secret) { s.Data = maps.Clone(other.secret(serverName).Data) })
	}
	add := func(w *world) { w.edit(serverName, bundleKey, []byte(other.bundle()+w.bundle())) }
	for name, write := range map[string]func(*world){
		"its authorities are added":                                     add,
		"its authorities are added, and the authority's Secret is lost": func(w *world) { add(w); w.remove(authorityName) },
		"its authorities are added, and all else is lost":               func(w *world) { add(w); w.remove(authorityName); w.removeConfigMap() },
		"all is replaced": replace,
		"all is replaced, and the ConfigMap is lost":                      func(w *world) { replace(w); w.removeConfigMap() },
		"its authorities are added while another takes the place of ours": func(w *world) { w.remove(authorityName); w.look(); add(w); w.removeConfigMap() },
	} {
		for _, passed := range []int{0, 3, 244} {
			t.Run(name, func(t *testing.T) {
				w := newWorld(t)
				w.look()
				w.later(passed)
				before := w.bundle()
				write(w)
				w.look()
				w.served(before)
				for range 30 {
					if strings.Contains(w.bundle(), theirs) || strings.Contains(string(w.secret(serverName).Data[bundleKey]), theirs) {
						t.Fatal("a stranger is trusted")
					}
					w.pass(1)
				}
			})
		}
	}
}

// TestAllIsReplacedWhileAnotherTakesThePlaceOfOurs: nobody can verify what is served then, so that the announced authority signs at
// once, and the stranger is not trusted.
func TestAllIsReplacedWhileAnotherTakesThePlaceOfOurs(t *testing.T) {
	other := newWorld(t)
	other.look()
	w := newWorld(t)
	w.look()
	w.pass(3)
	w.remove(authorityName)
	w.look()
	w.editSecret(serverName, func(s *corev1.Secret) { s.Data = maps.Clone(other.secret(serverName).Data) })
	w.look()
	w.served(w.bundle())
	if strings.Contains(w.bundle(), strings.TrimSpace(other.bundle())) {
		t.Error("a stranger is trusted")
	}
	w.pass(30)
}

// TestAStolenAuthorityGoesWithBothSecrets, as docs/operations.md says.
func TestAStolenAuthorityGoesWithBothSecrets(t *testing.T) {
	w := newWorld(t)
	w.look()
	w.pass(3)
	stolen := strings.TrimSpace(w.bundle())
	w.remove(authorityName)
	w.remove(serverName)
	w.look()
	if strings.Contains(w.bundle(), stolen) {
		t.Error("the stolen authority is trusted")
	}
	w.served(w.bundle())
	w.pass(3)
}

// TestAStrangerInBothIsNotTrusted: the authority is known to clients, and so need not ask who signed what is served.
func TestAStrangerInBothIsNotTrusted(t *testing.T) {
	other := newWorld(t)
	other.look()
	w := newWorld(t)
	w.look()
	w.pass(3)
	before := w.bundle()
	w.editSecret(serverName, func(s *corev1.Secret) { s.Data = maps.Clone(other.secret(serverName).Data) })
	w.editConfigMap(func(c *corev1.ConfigMap) { c.Data[bundleKey] += other.bundle() })
	w.look()
	if w.bundle() != before {
		t.Errorf("trusted are %s", w.bundle())
	}
	w.served(before)
}
