package policystore

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"

	"github.com/ringfence/ringfence/libs/access"
	"github.com/ringfence/ringfence/libs/eventlog"
	"github.com/ringfence/ringfence/libs/identity"
	"github.com/ringfence/ringfence/libs/identity/identitytest"
	ringfencev1 "github.com/ringfence/ringfence/proto/ringfence/v1"
)

// streamNames are those of the log, and one that does not exist.
var streamNames = []string{"FACTS", "SNAP", "POLICY", "PLAN", "FLOWS", "STATUS", "OTHER"}

// publishable are subjects that one may try to publish or send a request to: all kinds of data, and the whole API of
// JetStream for every stream.
func publishable(inboxes []string) []string {
	all := []string{
		"facts.k8s.pod.shop.web", "facts.k8s.node._.node-1", "facts.pce.object.x", "facts.pce.provisioned.0", "facts.pce.label.1",
		"facts.ctl.settings", "facts.ctl.link", "facts.ctl.synced.watcher", "facts.ctl.synced.pce-bridge", "facts.ctl.synced.enforcer",
		"facts.ctl.epoch.watcher", "facts.ctl.epoch.pce-bridge", "facts.ctl.epoch.policy-store", "facts.other.x", "facts", "live.facts.x",
		"policy.window", "policy.head", "policy.namespaces", "policy.set.x", "policy.set.x.1", "policy.workload.x", "policy",
		"plan.node-1", "plan.node-2", "plan.node-1.x", "snap.1.0", "snap.1.done",
		"status.node-1", "status.node-2", "status.node-1.x", "status", "flows.node-1", "flows.node-2", "flows.node-1.x",
		"query.status", "query.explain", "query", "alive.pce-bridge", "alive.watcher", "alive", "_INBOX", "_R_.x", "$SRV.PING", "$SRV.INFO.ringfence-policy-store", "$SYS.REQ.SERVER.PING",
		"$SYS.REQ.SERVER.PING.CONNZ", "$SYS.REQ.SERVER.PING.VARZ", "$SYS.REQ.SERVER.N.KICK", "$SYS.REQ.SERVER.N.RELOAD", "$SYS.REQ.USER.AUTH",
		"$SYS.REQ.ACCOUNT.PING.CONNZ", "$JS.ACK.FACTS.c.1.1.1.1.1", "$JS.FC.FACTS.c.x", "$JSC.R.x", "$NRG.x", "$KV.x.y",
		"$JS.SNAPSHOT.ACK.FACTS.someone", "$JS.SNAPSHOT.RESTORE.FACTS.someone",
		"$JS.API.INFO", "$JS.API.STREAM.NAMES", "$JS.API.STREAM.LIST", "$JS.API.META.LEADER.STEPDOWN", "$JS.API.SERVER.REMOVE",
		"$JS.API.ACCOUNT.PURGE.$G", "$JS.API.ACCOUNT.STREAM.MOVE.$G.FACTS",
	}
	for _, inbox := range inboxes {
		all = append(all, inbox+".x")
	}
	data := map[string][]string{
		"FACTS": {"facts.k8s.pod.shop.web", "facts.k8s.>", "facts.pce.>", "facts.ctl.settings", "facts.ctl.epoch.watcher", "facts.ctl.epoch.pce-bridge", "facts.>", "facts.*.>", ">"},
		"SNAP":  {"snap.1.0", "snap.*.done", "snap.>", ">"}, "POLICY": {"policy.head", "policy.set.x", "policy.>", "policy.*", ">"},
		"PLAN": {"plan.node-1", "plan.node-2", "plan.*", "plan.>", ">"}, "FLOWS": {"flows.node-1", "flows.*", ">"},
		"STATUS": {"status.node-1", "status.node-2", "status.*", ">"}, "OTHER": {"x", ">"},
	}
	for _, stream := range streamNames {
		for _, verb := range []string{
			"INFO", "CREATE", "UPDATE", "DELETE", "PURGE", "SNAPSHOT", "RESTORE", "MSG.GET", "MSG.DELETE", "LEADER.STEPDOWN", "PEER.REMOVE", "PEER.EVACUATE", "CANCEL_MOVE",
		} {
			all = append(all, "$JS.API.STREAM."+verb+"."+stream)
		}
		for _, verb := range []string{"NAMES", "LIST", "CREATE"} {
			all = append(all, "$JS.API.CONSUMER."+verb+"."+stream)
		}
		for _, verb := range []string{"CREATE", "DURABLE.CREATE", "INFO", "DELETE", "PAUSE", "RESET", "UNPIN", "MSG.NEXT", "LEADER.STEPDOWN", "PEER.REMOVE"} {
			all = append(all, "$JS.API.CONSUMER."+verb+"."+stream+".someone")
		}
		all = append(all, "$JS.API.DIRECT.GET."+stream)
		for _, subject := range data[stream] {
			all = append(all, "$JS.API.DIRECT.GET."+stream+"."+subject, "$JS.API.CONSUMER.CREATE."+stream+".someone."+subject)
		}
	}
	return all
}

// listenable are subjects that one may try to listen to.
func listenable(inboxes []string) []string {
	all := []string{
		">", "*", "*.>", "facts.>", "facts.k8s.pod.shop.web", "policy.>", "policy.*", "policy.window", "policy.head", "policy.set.x",
		"plan.>", "plan.*", "plan.node-1", "plan.node-2", "*.node-1", "status.>", "alive.>", "alive.*", "alive.pce-bridge", "status.*", "status.node-1", "status.node-2", "flows.>", "flows.*", "flows.node-1",
		"snap.>", "query.>", "query.*", "query.status", "query.explain", "$SRV.>", "$SRV.PING", "$JS.>", "$JS.API.>", "$JS.API.STREAM.INFO.FACTS",
		"$JS.EVENT.>", "$JS.ACK.>", "$SYS.>", "_INBOX.>", "_INBOX.*", "_INBOX.*.*", "_INBOX.*.>", "_R_.>", "_GR_.>", "$KV.>",
		"$SYS.REQ.USER.AUTH", "$SYS.ACCOUNT.>",
	}
	for _, inbox := range inboxes {
		all = append(all, inbox+".>", inbox+".*", inbox)
	}
	return all
}

// party is somebody with a connection, and what they alone may do: patterns of NATS, written here a second time and by hand.
type party struct {
	name            string
	client          *client
	inbox           string
	publish, listen []string
}

func parties(s *secured) []party {
	reads := func(stream string) []string {
		return []string{
			"$JS.API.STREAM.INFO." + stream, "$JS.API.CONSUMER.CREATE." + stream + ".>", "$JS.API.CONSUMER.MSG.NEXT." + stream + ".*",
			"$JS.API.CONSUMER.DELETE." + stream + ".*", "$JS.API.DIRECT.GET." + stream + ".>",
		}
	}
	looks := func(stream string) []string {
		return []string{"$JS.API.STREAM.INFO." + stream, "$JS.API.DIRECT.GET." + stream, "$JS.API.DIRECT.GET." + stream + ".>"}
	}
	person := func() party {
		token := s.issuer.Token(identitytest.Claims{Service: access.Viewer, From: time.Now().Add(-time.Minute)})
		name := eventlog.ViewerName(identity.Fingerprint(token))
		return party{
			name: name, client: s.dial(name, token), inbox: "_INBOX." + name,
			publish: slices.Concat(looks("FACTS"), looks("SNAP"), looks("STATUS"), looks("FLOWS"), []string{"query.*", "$JS.API.DIRECT.GET.POLICY.policy.>"}),
		}
	}
	enforcer := func(node string) party {
		return party{
			name: "enforcer-" + node, client: s.enforcer(node), inbox: "_INBOX.enforcer-" + eventlog.Token(node),
			publish: []string{"status." + eventlog.Token(node), "flows." + eventlog.Token(node), "$JS.API.DIRECT.GET.POLICY", "$JS.API.DIRECT.GET.POLICY.policy.>", "$JS.API.DIRECT.GET.PLAN.plan." + eventlog.Token(node)},
			listen:  []string{"policy.window", "plan." + eventlog.Token(node)},
		}
	}
	snapshots := []string{"$JS.API.STREAM.INFO.SNAP", "$JS.API.DIRECT.GET.SNAP.snap.>"}
	own := func(name, key string) *client {
		c := &client{}
		d := s.host.dialer(name, key)
		if server := s.host.current.Load(); server != nil {
			d.InProcess, d.Credentials.Token = server.nats, server.gate.secret
		}
		d.Log = zerolog.New(&c.complaints)
		var err error
		if c.Conn, err = d.Dial(s.t.Context()); err != nil {
			s.t.Fatal(err)
		}
		s.t.Cleanup(c.Close)
		return c
	}
	all := []party{
		{
			name: "watcher", client: s.service(access.Watcher), inbox: "_INBOX.watcher",
			publish: slices.Concat(snapshots, []string{
				"facts.k8s.>", "facts.ctl.synced.watcher", "facts.ctl.epoch.watcher", "$JS.API.STREAM.INFO.FACTS", "$JS.API.CONSUMER.CREATE.FACTS.*.facts.k8s.>",
				"$JS.API.CONSUMER.MSG.NEXT.FACTS.*", "$JS.API.CONSUMER.DELETE.FACTS.*", "$JS.API.DIRECT.GET.FACTS.facts.k8s.>", "$JS.API.DIRECT.GET.FACTS.facts.ctl.epoch.watcher",
			}),
		},
		{
			name: "pce-bridge", client: s.service(access.PceBridge), inbox: "_INBOX.pce-bridge",
			publish: slices.Concat(reads("FACTS"), reads("STATUS"), reads("FLOWS"), snapshots, []string{
				"alive.pce-bridge", "facts.pce.>", "facts.ctl.settings", "facts.ctl.link", "facts.ctl.synced.pce-bridge", "facts.ctl.epoch.pce-bridge",
			}),
		},
		enforcer("node-1"), enforcer("node-2"), enforcer("node.with.dots"), person(), person(),
		{
			name: "policy-store", client: own("policy-store", keyStore), inbox: "_INBOX.policy-store",
			publish: []string{"policy.>", "plan.*", "snap.>", "facts.ctl.epoch.*", "facts.ctl.link", "$JS.API.STREAM.>", "$JS.API.CONSUMER.>", "$JS.API.DIRECT.GET.>", "$JS.API.INFO", "$JS.SNAPSHOT.>"},
			listen:  []string{"query.>", "$SRV.>", "status.>", "alive.>"},
		},
	}
	if s.host.keys != nil { // what else policy-store is, to an external cluster
		all = append(all, party{
			name: "policy-store-system", client: own("policy-store-system", keySystem), inbox: "_INBOX.policy-store-system",
			publish: []string{"$SYS.REQ.SERVER.PING.CONNZ", "$SYS.REQ.SERVER.*.KICK"},
		})
	}
	for i := range all {
		all[i].listen = append(all[i].listen, all[i].inbox+".>")
	}
	if s.host.keys != nil {
		all = append(all, party{name: "policy-store-callout", client: own("policy-store-callout", keyCallout), inbox: "_INBOX.policy-store-callout", listen: []string{"$SYS.REQ.USER.AUTH"}})
	}
	return all
}

// matches says whether a pattern of NATS covers a subject, whose own wildcards are only covered by wider ones.
func matches(pattern, subject string) bool {
	p, s := strings.Split(pattern, "."), strings.Split(subject, ".")
	for i, token := range p {
		switch {
		case token == ">":
			return len(s) > i
		case i >= len(s), token == "*" && s[i] == ">", token != "*" && token != s[i]:
			return false
		}
	}
	return len(p) == len(s)
}

func may(patterns []string, subject string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool { return matches(p, subject) })
}

// trial tries things on a connection.
type trial struct {
	party
	errors chan error // what the server said, in its order
	tried  int
}

func (p party) trial() *trial {
	tr := &trial{party: p, errors: make(chan error, 64)}
	p.client.SetErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { tr.errors <- err })
	return tr
}

// forbidden does something and says whether the server forbade it. It says nothing of what it allows, so something follows
// that it is sure to forbid.
func (tr *trial) forbidden(t *testing.T, subject string, do func() error) bool {
	t.Helper()
	tr.tried++
	mark := fmt.Sprintf("mark.%d", tr.tried)
	if err := errors.Join(do(), tr.client.Publish(mark, nil)); err != nil {
		t.Fatalf("%s: %v", subject, err)
	}
	for forbidden := false; ; forbidden = true {
		select {
		case err := <-tr.errors:
			said := strings.ToLower(err.Error())
			switch {
			case strings.Contains(said, `"`+mark+`"`):
				return forbidden
			case !strings.Contains(said, "permissions violation") || !strings.Contains(said, `"`+strings.ToLower(subject)+`"`):
				t.Fatalf("%s: the server said %q", subject, said)
			}
		case <-time.After(10 * time.Second):
			t.Fatalf("%s: the server says nothing", subject)
		}
	}
}

// TestThePermissionMatrix tries everything with every identity.
func TestThePermissionMatrix(t *testing.T) { onEachServer(t, permissionMatrix) }

func permissionMatrix(t *testing.T, s *secured) {
	all := parties(s)
	var inboxes []string
	for _, p := range all {
		inboxes = append(inboxes, p.inbox)
	}
	for _, p := range all {
		t.Run(p.name, func(t *testing.T) { tryAll(t, p, inboxes) })
	}
}

func tryAll(t *testing.T, p party, inboxes []string) {
	var refused int
	tr := p.trial()
	check := func(what, subject string, allowed bool, do func() error) {
		got := tr.forbidden(t, subject, do)
		if got == allowed {
			t.Errorf("%s %s: forbidden is %v, want %v", what, subject, got, !allowed)
		}
		if got {
			refused++
		}
	}
	for _, subject := range publishable(inboxes) {
		allowed := may(p.publish, subject)
		if allowed && p.name == "policy-store" {
			continue // it would do it: to the log that is being tested
		}
		check("publish", subject, allowed, func() error { return p.client.Publish(subject, nil) })
		check("request", subject, allowed, func() error { return p.client.PublishRequest(subject, p.inbox+".answer", []byte("{}")) })
	}
	for _, subject := range listenable(inboxes) {
		allowed := may(p.listen, subject)
		for _, queue := range []string{"", "q"} {
			check("listen", subject, allowed, func() error {
				sub, err := p.client.QueueSubscribeSync(subject, queue)
				if err == nil && allowed {
					err = sub.Unsubscribe()
				}
				return err
			})
		}
	}
	t.Logf("%d tried, %d refused", tr.tried, refused)
	if refused < 200 || tr.tried == refused {
		t.Errorf("%d of %d refused: the matrix does not test", refused, tr.tried)
	}
}

// TestNoPayloadWidensARight asks the forms that carry a subject for another one.
func TestNoPayloadWidensARight(t *testing.T) { onEachServer(t, noPayloadWidens) }

func noPayloadWidens(t *testing.T, s *secured) {
	inSync(s)
	c := s.enforcer(node)
	for _, payload := range []string{
		`{"last_by_subj":"plan.node-2"}`, `{"next_by_subj":"plan.>"}`, `{"multi_last":["plan.*"]}`, `{"multi_last":["plan.*"],"batch":10}`, `{"seq":1}`,
		`{"seq":1,"batch":100}`, `{"start_time":"2020-01-01T00:00:00Z","batch":10}`, `{"up_to_seq":100,"multi_last":["plan.node-2"]}`, `garbage`,
	} {
		answer, err := c.Request("$JS.API.DIRECT.GET.PLAN.plan."+node, []byte(payload), 5*time.Second)
		if err != nil || answer.Header.Get("Status") != "408" || len(answer.Data) > 0 {
			t.Errorf("%s: %v %v", payload, answer, err)
		}
	}
	if answer, err := c.Request("$JS.API.DIRECT.GET.PLAN.plan."+node, nil, 5*time.Second); err != nil || answer.Header.Get("Nats-Subject") != "plan."+node {
		t.Errorf("its own plan: %v %v", answer, err)
	}
}

// inSync fills the log of a policy-store until it publishes.
func inSync(s *secured) *follower {
	s.t.Helper()
	f := follow(s.t, s.enforcer(node).Conn)
	produce(s.t, s.open(s.service(access.Watcher)), access.Watcher, kubernetes())
	produce(s.t, s.open(s.service(access.PceBridge)), access.PceBridge, console(s.t))
	f.holds(2)
	return f
}

// TestNobodyMakesTheServerSendForThem asks for answers on subjects that the asker may not publish to. The server would send
// them with its own rights.
func TestNobodyMakesTheServerSendForThem(t *testing.T) { onEachServer(t, nobodySends) }

func nobodySends(t *testing.T, s *secured) {
	followed := inSync(s)
	watcher := s.service(access.Watcher)
	l := s.open(watcher)
	before, err := l.LastSequence(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	states := len(followed.all())
	inRights := map[*client][]string{
		s.enforcer("node-2"): {"$JS.API.DIRECT.GET.POLICY", "$JS.API.DIRECT.GET.POLICY.policy.head", "$JS.API.DIRECT.GET.POLICY.policy.none", "$JS.API.DIRECT.GET.PLAN.plan.node-2", "status.node-2", "flows.node-2"},
		s.viewer(): {
			"$JS.API.DIRECT.GET.POLICY.policy.head", "$JS.API.DIRECT.GET.FACTS.facts.k8s.pod.shop.web-1", "$JS.API.STREAM.INFO.FACTS", "$JS.API.DIRECT.GET.FACTS",
			"query.status", "query.explain",
		},
	}
	for c, subjects := range inRights {
		for _, target := range []string{
			"facts.k8s.pod.shop.web-1", "facts.ctl.settings", "policy.window", "policy.head", "policy.set.x", "plan." + node, "status." + node, "flows." + node,
			"snap.1.0", "query.status",
		} {
			for _, subject := range subjects {
				if err := c.PublishRequest(subject, target, []byte(`{"seq":1}`)); err != nil {
					t.Fatal(err)
				}
				if err := c.PublishRequest(subject, target, nil); err != nil {
					t.Fatal(err)
				}
			}
		}
		if err := c.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	time.Sleep(300 * time.Millisecond) // answers would be on their way
	for c := range inRights {
		if said := c.violations(); len(said) > 0 {
			t.Fatalf("the requests themselves are within its rights: %q", said)
		}
	}
	if after, err := l.LastSequence(t.Context()); err != nil || after != before {
		t.Errorf("facts %d, before %d, %v", after, before, err)
	}
	info, err := s.open(s.service(access.PceBridge)).NodeStatuses(t.Context())
	if err != nil || slices.ContainsFunc(info, func(n *ringfencev1.NodeStatus) bool { return n.GetNode() == node }) {
		t.Errorf("another node's status: %v %v", info, err)
	}
	// The other node went on undisturbed: it takes the next change, and did not join anew meanwhile.
	leader, err := l.Lead(t.Context(), access.Watcher, "test")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := leader.Publish(t.Context(), pod(3)); err != nil {
		t.Fatal(err)
	}
	followed.holds(3)
	if grown := len(followed.all()) - states; grown > 3 {
		t.Errorf("%d states for one change", grown)
	}
}
