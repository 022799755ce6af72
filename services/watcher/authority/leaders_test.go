package authority

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	clienttesting "k8s.io/client-go/testing"
)

// paused gives a leader that stops before a request of its next look, while meanwhile happens.
func (w *world) paused(before int, meanwhile func()) *Authority {
	client, requests := w.api.client(), 0
	client.PrependReactor("*", "*", func(clienttesting.Action) (bool, runtime.Object, error) {
		if requests++; requests == before {
			meanwhile()
		}
		return false, nil, nil
	})
	a := &Authority{Client: client, Namespace: "ns", Now: func() time.Time { return w.now }, Log: zerolog.Nop()}
	a.register()
	return a
}

// stories bring a world to where a look has something to do.
var stories = map[string]func(w *world){
	"a first start":                  func(*world) {},
	"nothing to do":                  func(w *world) { w.look(); w.pass(3) },
	"the certificate is due":         func(w *world) { w.look(); w.later(19); w.now = w.now.Add(day) },
	"the authority is due":           func(w *world) { w.look(); w.later(243); w.now = w.now.Add(day) },
	"the authority was announced":    func(w *world) { w.look(); w.later(242); w.pass(2); w.now = w.now.Add(day) },
	"the authority's Secret is lost": func(w *world) { w.look(); w.pass(3); w.remove(authorityName) },
	"the log's Secret is lost":       func(w *world) { w.look(); w.pass(3); w.remove(serverName) },
	"the ConfigMap is lost":          func(w *world) { w.look(); w.pass(3); w.removeConfigMap() },
	"the ConfigMap was edited": func(w *world) {
		w.look()
		w.pass(3)
		w.editConfigMap(func(c *corev1.ConfigMap) { c.Data[bundleKey] = "garbage" })
	},
	"a stranger's authority is put there": func(w *world) {
		other := newWorld(w.t)
		other.look()
		w.look()
		w.pass(3)
		w.editSecret(authorityName, func(s *corev1.Secret) { s.Data = maps.Clone(other.secret(authorityName).Data) })
	},
}

// TestOfTwoLeadersNoneWritesBackWhatTheOtherReplaced: one stops before each of its requests in turn, while the other looks once, or
// for days. What it writes then over what it has not read is refused, and clients are served all the time.
func TestOfTwoLeadersNoneWritesBackWhatTheOtherReplaced(t *testing.T) {
	refused := map[string]int{}
	for _, story := range slices.Sorted(maps.Keys(stories)) {
		for _, days := range []int{0, 3} {
			for at, stopped := 1, true; stopped; at++ {
				stopped = false
				t.Run(fmt.Sprintf("%s, before request %d, %d days", story, at, days), func(t *testing.T) {
					w := newWorld(t)
					stories[story](w)
					var err error
					if stopped, err = w.overtaken(at, days); err != nil {
						refused[story]++
					}
				})
			}
		}
	}
	for story := range stories {
		if refused[story] == 0 && story != "nothing to do" {
			t.Errorf("%s: nothing was refused, so that nothing was tried", story)
		}
	}
}

// overtaken has a leader stop before a request of its look, if it makes so many, and another lead meanwhile. It gives with what the
// first was refused.
func (w *world) overtaken(at, days int) (stopped bool, refused error) {
	w.t.Helper()
	var left, published string
	refused = w.paused(at, func() {
		stopped = true
		w.look()
		w.pass(days)
		left, published = w.state(), w.bundle()
	}).look(w.t.Context())
	if refused != nil && !apierrors.IsConflict(refused) && !apierrors.IsAlreadyExists(refused) {
		w.t.Fatal(refused)
	}
	if !stopped {
		return false, refused
	}
	// A look is ended after half a minute, in which another leader does not look for days: then the authority that the first
	// reads may be newer than all else, it takes it for a stranger's, and the next look puts that right.
	if days == 0 && w.state() != left {
		w.t.Errorf("it wrote over what it had not read (%v)\n%s\n%s", refused, left, w.state())
	}
	for range 2 {
		if w.consistent(); w.bundle() != published {
			w.t.Errorf("what clients trust was written back\n%s\n%s", published, w.bundle())
		}
		w.served(published)
		w.look()
	}
	w.pass(3)
	return true, refused
}

// state is all that is stored.
func (w *world) state() string {
	w.t.Helper()
	return fmt.Sprint(w.secret(authorityName).Data, w.configMap().Data, w.configMap().Annotations, w.secret(serverName).Data)
}

// consistent checks that what is served is verified by what is published, of which each authority is stored.
func (w *world) consistent() {
	w.t.Helper()
	w.served(w.bundle())
	keys := w.secret(authorityName).Data
	stored := string(slices.Concat(keys["tls.crt"], keys[nextCert], keys[earlierKey]))
	certs, err := parseCertificates([]byte(w.bundle()))
	if err != nil {
		w.t.Fatal(err)
	}
	for _, c := range certs {
		if !strings.Contains(stored, string(writeCertificates(c))) {
			w.t.Error("an authority is published that is not stored")
		}
	}
}
