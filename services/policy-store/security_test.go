package policystore

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/ringfence/ringfence/libs/access"
	"github.com/ringfence/ringfence/libs/eventlog"
	"github.com/ringfence/ringfence/libs/identity"
	"github.com/ringfence/ringfence/libs/identity/identitytest"
	ringfencev1 "github.com/ringfence/ringfence/proto/ringfence/v1"
)

// collect reads an iteration to its end.
func collect[T any](t *testing.T, what string, all iter.Seq2[T, error]) (out []T) {
	t.Helper()
	for x, err := range all {
		if err != nil {
			t.Errorf("%s: %v", what, err)
			return out
		}
		out = append(out, x)
	}
	return out
}

// many are more pods than go one by one, so that they go in an atomic batch.
func many() []eventlog.Draft {
	var out []eventlog.Draft
	for n := range 60 {
		out = append(out, pod(n+10))
	}
	return out
}

// TestTheServicesCanDoTheirWork runs the real code of everyone with no more rights than theirs.
func TestTheServicesCanDoTheirWork(t *testing.T) { onEachServer(t, servicesWork) }

func servicesWork(t *testing.T, s *secured) {
	watcher, bridge, enforcer, viewer := s.service(access.Watcher), s.service(access.PceBridge), s.enforcer(node), s.viewer()
	clients := map[string]*client{"watcher": watcher, "pce-bridge": bridge, "enforcer": enforcer, "viewer": viewer}

	followed := follow(t, enforcer.Conn)
	byWatcher, byBridge := s.open(watcher), s.open(bridge)
	produce(t, byWatcher, access.Watcher, append(kubernetes(), many()...))
	produce(t, byBridge, access.PceBridge, append(console(t),
		eventlog.Draft{Subject: eventlog.SettingsSubject, Fact: &ringfencev1.Fact{Body: &ringfencev1.Fact_Settings{Settings: &ringfencev1.Settings{}}}}))
	followed.holds(62)
	// Both lead as their services do: the epoch of an earlier process is in the log, and stops that one.
	for name, l := range map[string]*eventlog.Log{access.Watcher: byWatcher, access.PceBridge: byBridge} {
		first, err := l.Lead(t.Context(), name, "first")
		if err != nil {
			t.Fatal(err)
		}
		second, err := l.Lead(t.Context(), name, "second")
		if err != nil {
			t.Fatal(err)
		}
		if err := second.Synced(t.Context()); err != nil {
			t.Error(err)
		}
		if err := first.Synced(t.Context()); !errors.Is(err, eventlog.ErrDeposed) {
			t.Errorf("%s: the one before: %v", name, err)
		}
	}

	// What the watcher and the bridge read at their start, and follow after it.
	if got := collect(t, "watcher", byWatcher.Latest(t.Context(), "facts.k8s.>")); len(got) != 64 {
		t.Errorf("watcher: %d facts of its own", len(got))
	}
	filters := []string{"facts.pce.provisioned.>", "facts.pce.profile.>", eventlog.SettingsSubject, eventlog.LinkSubject, eventlog.SyncedSubject("pce-bridge")}
	if got := collect(t, "bridge", byBridge.Latest(t.Context(), filters...)); len(got) != 4 {
		t.Errorf("bridge: %d facts of its own", len(got))
	}
	seen := make(chan string, 100)
	ctx, cancel := context.WithCancel(t.Context())
	tailed := make(chan error, 1)
	go func() {
		tailed <- byBridge.Tail(ctx, 1, []string{"facts.k8s.>", eventlog.SyncedSubject("watcher")}, func(e eventlog.Entry) error {
			seen <- e.Subject
			return nil
		})
	}()
	for range 65 {
		select {
		case <-seen:
		case <-time.After(10 * time.Second):
			t.Fatal("bridge: the tail stands still")
		}
	}
	cancel()
	if err := <-tailed; !errors.Is(err, context.Canceled) {
		t.Errorf("bridge: tail: %v", err)
	}

	// What the enforcer reports.
	status := &ringfencev1.NodeStatus{Node: node, ProvisionedVersion: 7}
	flows := &ringfencev1.FlowBatch{Node: node, Flows: []*ringfencev1.Flow{{PodName: "web-1", Connections: 3}}}
	if err := errors.Join(eventlog.PublishStatus(enforcer.Conn, status), eventlog.PublishFlows(enforcer.Conn, flows), enforcer.Flush()); err != nil {
		t.Error(err)
	}
	eventually(t, func() error {
		statuses, err := byBridge.NodeStatuses(t.Context())
		if err == nil && (len(statuses) != 1 || statuses[0].GetNode() != node) {
			err = fmt.Errorf("%v", statuses)
		}
		return err
	})

	readOnly, err := eventlog.OpenReadOnly(t.Context(), viewer.Conn)
	if err != nil {
		t.Fatal(err)
	}
	viewed(t, readOnly)
	for _, subject := range []string{StatusSubject, ExplainSubject} {
		answer, err := viewer.Request(subject, []byte(`{"source":"shop/web-1","destination":"shop/web-2","port":80,"protocol":6}`), 5*time.Second)
		if err != nil || len(answer.Data)+len(answer.Header) == 0 {
			t.Errorf("viewer: %s: %v", subject, err)
		}
	}
	eventually(t, func() error { // an answer that came is no more in the server's books
		server := s.host.current.Load()
		if server == nil { // another's books
			return nil
		}
		for _, e := range slices.Concat(slices.Collect(maps.Values(access.Exports()))...) {
			if open := server.nats.GlobalAccount().NumPendingResponses(e.Subject); open > 0 && e.Kind == access.Sent {
				return fmt.Errorf("%s: %d answers are pending", e.Subject, open)
			}
		}
		return nil
	})
	for name, c := range clients {
		if said := c.violations(); len(said) > 0 {
			t.Errorf("%s: %q", name, said)
		}
	}
	if strings.Contains(s.said.String(), "ermissions") {
		t.Error("policy-store lacks rights on its own log")
	}
}

// viewed reads everything that the command line reads.
func viewed(t *testing.T, l *eventlog.Log) {
	t.Helper()
	usage, err := l.Usage(t.Context())
	if err != nil || usage.Facts < 60 {
		t.Errorf("viewer: usage: %+v %v", usage, err)
	}
	if head, err := l.Head(t.Context()); err != nil || head.GetProvisionedVersion() != 7 {
		t.Errorf("viewer: head: %v %v", head, err)
	}
	if statuses, err := l.NodeStatuses(t.Context()); err != nil || len(statuses) != 1 {
		t.Errorf("viewer: statuses: %v %v", statuses, err)
	}
	eventually(t, func() error {
		if flows := collect(t, "viewer: flows", l.Flows(t.Context(), time.Now().Add(-time.Hour))); len(flows) != 1 {
			return fmt.Errorf("viewer: %d batches of flows", len(flows))
		}
		return nil
	})
	for _, filters := range [][]string{nil, {"facts.k8s.pod.>"}, {"facts.k8s.pod.>", "facts.k8s.node.>"}} {
		if read := collect(t, "viewer: read", l.Read(t.Context(), 1, 0, filters...)); len(read) < 60 {
			t.Errorf("viewer: %d facts of %q", len(read), filters)
		}
		if latest := collect(t, "viewer: latest", l.Latest(t.Context(), filters...)); len(latest) < 60 {
			t.Errorf("viewer: %d last facts of %q", len(latest), filters)
		}
	}
	stop := errors.New("enough")
	if err := l.Tail(t.Context(), 2, nil, func(e eventlog.Entry) error {
		if e.Sequence == 60 {
			return stop
		}
		return nil
	}); !errors.Is(err, stop) {
		t.Errorf("viewer: tail: %v", err)
	}
	if sequence, err := l.SequenceAt(t.Context(), time.Now().Add(-time.Hour)); err != nil || sequence != 0 {
		t.Errorf("viewer: sequence an hour ago: %d %v", sequence, err)
	}
	var snapshots []*ringfencev1.SnapshotInfo
	eventually(t, func() (err error) {
		if snapshots, err = l.Snapshots(t.Context()); err == nil && len(snapshots) == 0 {
			err = errors.New("no snapshot")
		}
		return err
	})
	if entries := collect(t, "viewer: snapshot", l.ReadSnapshot(t.Context(), snapshots[0])); uint64(len(entries)) != snapshots[0].GetFacts() {
		t.Errorf("viewer: %d of %d facts of a snapshot", len(entries), snapshots[0].GetFacts())
	}
}

func TestStrangersAreRefusedAndPolicyStoreSaysWhy(t *testing.T) { onEachServer(t, strangersRefused) }

func strangersRefused(t *testing.T, s *secured) {
	foreign := identitytest.New(t)
	past := time.Now().Add(-2 * time.Hour)
	token := s.issuer.Token
	for _, c := range []struct{ name, token, reason, words string }{
		{"nothing", "", "no_token", "no token was given"},
		{"garbage", "garbage", "malformed", "not a ServiceAccount token"},
		{"a long line", strings.Repeat("x", 17<<10), "malformed", "17408 bytes"},
		{"a foreign key", foreign.Enforcer(node), "signature", "signature is wrong"},
		{"a wrong audience", token(identitytest.Claims{Service: "enforcer", Pod: "p", Node: node, Audience: "vault"}), "audience", "vault"},
		{"a wrong issuer", token(identitytest.Claims{Service: "enforcer", Pod: "p", Node: node, Issuer: "https://elsewhere"}), "issuer", "https://elsewhere"},
		{"too late", token(identitytest.Claims{Service: "enforcer", Pod: "p", Node: node, From: past}), "expired", "has expired"},
		{"too early", token(identitytest.Claims{Service: "enforcer", Pod: "p", Node: node, From: time.Now().Add(time.Minute)}), "not_yet_valid", "not valid yet"},
		{"elsewhere", token(identitytest.Claims{Service: "enforcer", Pod: "p", Node: node, Namespace: "shop"}), "namespace", "shop/enforcer"},
		{"another account", token(identitytest.Claims{Service: "default", Pod: "p", Node: node}), "no_rights", "default"},
		{"policy-store's own", s.issuer.Service("policy-store"), "no_rights", "policy-store"},
		{"an enforcer without node", token(identitytest.Claims{Service: "enforcer", Pod: "p"}), "not_bound", "names its node and pod"},
		{"a watcher without pod", token(identitytest.Claims{Service: "watcher"}), "not_bound", "names its pod"},
	} {
		if said := s.refusal(c.token, c.reason); !strings.Contains(said, c.words) || !strings.Contains(said, "stranger") {
			t.Errorf("%s: %s", c.name, said)
		}
	}
	if strings.Contains(s.said.String(), strings.Split(foreign.Enforcer(node), ".")[0]+".") {
		t.Error("the log holds a token")
	}
}

func TestRightsEndWithTheToken(t *testing.T) { onEachServer(t, rightsEnd) }

func rightsEnd(t *testing.T, s *secured) {
	name := eventlog.EnforcerName(node)
	end := time.Now().Add(3 * time.Second)
	c := s.dial(name, s.issuer.Token(identitytest.Claims{Service: "enforcer", Pod: "p", Node: node, To: end}))
	lost := c.StatusChanged(nats.DISCONNECTED, nats.RECONNECTING)
	s.tokenFile(name, s.issuer.Enforcer(node)) // as the kubelet does it
	select {
	case <-lost:
		if early := time.Until(end.Truncate(time.Second)); early > 0 {
			t.Errorf("disconnected %s before the token's end", early)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("an expired token keeps its connection")
	}
	eventually(t, func() error { // with the new token
		return errors.Join(eventlog.PublishStatus(c.Conn, &ringfencev1.NodeStatus{Node: node}), c.Flush())
	})
}

func TestNewKeysAreTakenUpWhileServing(t *testing.T) {
	s := startSecured(t)
	old := s.issuer.Enforcer(node)
	s.dial("old", old)
	s.issuer.Rotate()
	next := s.issuer.Enforcer("node-2")
	eventually(t, func() error { // tokens make the keys be fetched every five seconds at most
		nc, err := nats.Connect(s.url(), nats.Token(next), nats.NoReconnect())
		if err == nil {
			nc.Close()
		}
		return err
	})
	s.dial("old-again", old)
	s.issuer.Forget()
	eventually(t, func() error {
		s.host.verifier.Keys.Run(briefly(t)) // as it would after five minutes
		nc, err := nats.Connect(s.url(), nats.Token(old), nats.NoReconnect())
		if err != nil {
			return nil
		}
		nc.Close()
		return errors.New("a token of a key that is gone is taken")
	})
}

// briefly is a context that ends soon.
func briefly(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	t.Cleanup(cancel)
	return ctx
}

func TestTheExpiredAreTakenWithAnAlarmWhileTheIssuerIsAway(t *testing.T) {
	s := startSecured(t)
	expired := s.issuer.Token(identitytest.Claims{Service: "enforcer", Pod: "p", Node: node, From: time.Now().Add(-2 * time.Hour)})
	s.refusal(expired, "expired")
	s.host.verifier.Keys = identity.NewKeys(identity.FileSource("/nowhere"), s.host.cfg.StoreDir+"/"+keysFile, s.host.log)
	s.host.admission.verifier = s.host.verifier
	c := s.dial(eventlog.EnforcerName(node), expired)
	if !c.IsConnected() || !strings.Contains(s.said.String(), "ALARM") {
		t.Errorf("no alarm: %s", s.said.String())
	}
	if taken := testutil.ToFloat64(s.host.metrics.graced); taken != 1 {
		t.Errorf("counted %v times", taken)
	}
}
