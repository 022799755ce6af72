package policystore

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/ringfence/ringfence/libs/access"
	"github.com/ringfence/ringfence/libs/eventlog"
	"github.com/ringfence/ringfence/libs/identity/identitytest"
	ringfencev1 "github.com/ringfence/ringfence/proto/ringfence/v1"
)

func ownPod(name, uid string) eventlog.Draft {
	return eventlog.Draft{
		Subject: eventlog.KubernetesSubject("pod", identitytest.Namespace, name),
		Fact:    &ringfencev1.Fact{Body: &ringfencev1.Fact_Pod{Pod: &ringfencev1.Pod{Namespace: identitytest.Namespace, Name: name, Uid: uid, Node: node}}},
	}
}

func goneFrom(namespace, name, uid string) eventlog.Draft {
	return eventlog.Draft{
		Subject: eventlog.KubernetesSubject("pod", namespace, name),
		Fact:    &ringfencev1.Fact{Body: &ringfencev1.Fact_Gone{Gone: &ringfencev1.Gone{Uid: uid}}},
	}
}

// TestATokenEndsWithItsPod deletes an enforcer's pod while its connection stands.
func TestATokenEndsWithItsPod(t *testing.T) { onEachServer(t, tokenEndsWithPod) }

func tokenEndsWithPod(t *testing.T, s *secured) {
	watcher, err := s.open(s.service(access.Watcher)).Lead(t.Context(), access.Watcher, "test")
	must(t, err)
	publish := func(drafts ...eventlog.Draft) {
		t.Helper()
		for _, d := range drafts {
			_, err := watcher.Publish(t.Context(), d)
			must(t, err)
		}
	}
	pod := func(name string) string { // its uid is uid-NAME
		return s.issuer.Token(identitytest.Claims{Service: access.Enforcer, Pod: name, Node: node})
	}
	name := eventlog.EnforcerName(node)
	stays := []*client{
		s.dial(name+"-known", pod("known")), s.dial(name+"-ahead", pod("ahead-of-the-watcher")), s.dial(name+"-elsewhere", pod("elsewhere")), s.viewer(),
		s.service(access.PceBridge),
	}
	publish(ownPod("known", "uid-known"), ownPod("leaves", "uid-leaves"))
	token := pod("leaves")
	leaves := s.dial(name, token)
	lost := leaves.StatusChanged(nats.DISCONNECTED, nats.RECONNECTING)

	publish(
		goneFrom(identitytest.Namespace, "leaves", "uid-leaves"),
		goneFrom("shop", "elsewhere", "uid-elsewhere"),                // not of Ringfence's own namespace
		goneFrom(identitytest.Namespace, "known", "uid-known-before"), // the one before, of the same name
	)
	select {
	case <-lost:
	case <-time.After(30 * time.Second):
		t.Fatal("the connection outlives its pod")
	}
	if nc, err := nats.Connect(s.url(), nats.Token(token), nats.NoReconnect()); err == nil {
		nc.Close()
		t.Error("the token of a pod that is gone is taken")
	}
	if refused := testutil.ToFloat64(s.host.metrics.refused.WithLabelValues("pod_gone")); refused < 1 || !strings.Contains(s.said.String(), "the pod of the token is gone") {
		t.Errorf("refused %v times for it", refused)
	}
	leaves.Close()
	if cut := testutil.ToFloat64(s.host.metrics.withdrawn); cut < 1 {
		t.Errorf("%v connections were ended", cut)
	}
	for _, c := range stays {
		if err := c.FlushTimeout(10 * time.Second); err != nil || c.Stats().Reconnects > 0 {
			t.Errorf("%s: reconnected %d times, %v", c.Opts.Name, c.Stats().Reconnects, err)
		}
	}
	// A token of the pod's successor on the node is another one.
	if c := s.dial(name+"-next", pod("leaves-next")); !c.IsConnected() {
		t.Error("the successor is not let in")
	}
	if s.host.cfg.NATSMode == external {
		pagesAgree(t, s)
		return
	}
	// The next policy-store learns it from the log.
	s.stop()
	cfg := s.host.cfg
	next := startSecured(t, func(change *Config) { *change = cfg })
	next.issuer = s.issuer
	eventually(t, func() error {
		if !next.host.admission.departed.has("uid-leaves") {
			return errors.New("it was forgotten")
		}
		return nil
	})
	next.refusal(token, "pod_gone")
}

// pagesAgree lists the connections of the cluster at once and two by two.
func pagesAgree(t *testing.T, s *secured) {
	nc, err := s.host.dialer(systemName, keySystem).Dial(t.Context())
	must(t, err)
	defer nc.Close()
	whole, err := everywhere{nc: nc, page: 512}.list(t.Context())
	must(t, err)
	paged, err := everywhere{nc: nc, page: 2}.list(t.Context())
	must(t, err)
	for _, all := range [][]connection{whole, paged} {
		slices.SortFunc(all, func(a, b connection) int { return cmp.Or(strings.Compare(a.server, b.server), cmp.Compare(a.id, b.id)) })
	}
	if len(whole) < 7 || !slices.Equal(whole, paged) {
		t.Errorf("%d connections at once, %d by pages: %+v, %+v", len(whole), len(paged), whole, paged)
	}
}

func TestTheLastFactOfAPodCounts(t *testing.T) {
	d := newDeparted()
	take := func(draft eventlog.Draft) { d.take(eventlog.Entry{Subject: draft.Subject, Fact: draft.Fact}) }
	take(ownPod("a", "1"))
	if d.has("1") || d.has("") || len(d.news) > 0 {
		t.Error("a pod that is there is gone")
	}
	take(goneFrom("n", "a", "1"))
	take(goneFrom("n", "a", ""))
	if !d.has("1") || d.has("") || len(d.news) != 1 {
		t.Error("a pod that is gone is not")
	}
	take(ownPod("a", "1"))
	if d.has("1") {
		t.Error("a pod that came back is gone")
	}
	for n := range maxDeparted + 10 {
		take(goneFrom("n", "a", fmt.Sprint("uid-", n)))
	}
	if len(d.uids) > maxDeparted || len(d.order) > maxDeparted || d.has("uid-0") || !d.has(fmt.Sprint("uid-", maxDeparted+9)) {
		t.Errorf("%d are remembered", len(d.uids))
	}
}
