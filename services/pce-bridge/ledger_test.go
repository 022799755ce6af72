package pcebridge

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/ringfence/ringfence/libs/clas"
	"github.com/ringfence/ringfence/libs/eventlog"
	"github.com/ringfence/ringfence/libs/eventlog/eventlogtest"
	"github.com/ringfence/ringfence/libs/pce"
	ringfencev1 "github.com/ringfence/ringfence/proto/ringfence/v1"
)

func ledgerOf(t *testing.T, log *eventlog.Log) *ledger {
	t.Helper()
	l, err := openLedger(t.Context(), log, newMetrics(prometheus.NewRegistry()))
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// picturing gives a picture with a version of n IP lists, one of which has the address.
func picturing(t *testing.T, version int64, n int, address string) *picture {
	t.Helper()
	p := &picture{policy: &policy{version: version, objects: map[string]object{}}}
	for i := range n {
		list := pce.IPList{Href: fmt.Sprintf("/orgs/1/sec_policy/active/ip_lists/%05d", i), Name: "list"}
		if i == 0 {
			list.IPRanges = []pce.IPRange{{FromIP: address}}
		}
		o, err := (&converter{}).ipList(list)
		if err == nil {
			err = p.add(o)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return p
}

// subjects lists what was written after a sequence, without the ids of objects.
func subjects(t *testing.T, log *eventlog.Log, after uint64) (list []string, last uint64) {
	t.Helper()
	for entry, err := range log.Read(t.Context(), after+1, 0, "facts.pce.>", "facts.ctl.>") {
		if err != nil {
			t.Fatal(err)
		}
		subject := entry.Subject
		if strings.HasPrefix(subject, "facts.pce.object.") {
			subject = "facts.pce.object"
		}
		if entry.Fact.GetGone() != nil {
			subject = "gone " + subject
		}
		list, last = append(list, subject), entry.Sequence
	}
	return list, last
}

func inForce(t *testing.T, log *eventlog.Log) int64 {
	t.Helper()
	engine := clas.New()
	for entry, err := range log.Read(t.Context(), 0, 0) {
		if err == nil {
			err = engine.Apply(entry.Subject, entry.Sequence, entry.Fact)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return engine.Policy().ProvisionedVersion
}

// A large version is committed in chunks, and a ledger that opens the log again knows it whole.
func TestManifestInChunks(t *testing.T) {
	_, log := eventlogtest.StartLog(t)
	p := picturing(t, 5, 9000, "10.0.0.1")
	if err := ledgerOf(t, log).record(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	_, last := subjects(t, log, 0)
	again := ledgerOf(t, log)
	if again.committed == nil || again.committed.version != 5 || len(again.committed.entries) != 9000 || !again.synced {
		t.Fatalf("the committed manifest is not known: %+v", again.committed != nil)
	}
	if err := again.record(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	if more, _ := subjects(t, log, last); len(more) != 0 {
		t.Fatalf("written for nothing: %v", more)
	}
	if objects, _ := again.version(picturing(t, 6, 0, "").policy); len(objects) != 0 {
		t.Fatal("objects for an empty version")
	}
	if err := again.record(t.Context(), picturing(t, 6, 9000, "10.0.0.2")); err != nil {
		t.Fatal(err)
	}
	more, last := subjects(t, log, last)
	want := []string{"facts.pce.object", "facts.pce.provisioned.0", "facts.pce.provisioned.1", "facts.pce.provisioned.2"}
	if diff := cmp.Diff(want, more); diff != "" {
		t.Fatal(diff)
	}
	if got := inForce(t, log); got != 6 {
		t.Fatalf("version %d is in force", got)
	}
	// Back to nothing: one chunk without entries, beside which the older chunks mean nothing.
	if err := ledgerOf(t, log).record(t.Context(), picturing(t, 7, 0, "")); err != nil {
		t.Fatal(err)
	}
	if more, _ = subjects(t, log, last); len(more) != 1 {
		t.Fatalf("wrote %v", more)
	}
	if known := ledgerOf(t, log).committed; known == nil || known.version != 7 || len(known.entries) != 0 || inForce(t, log) != 7 {
		t.Fatalf("known: %+v", known)
	}
}

// A bridge that dies between the chunks leaves the version before in force; the next one writes everything.
func TestDeathBetweenTheChunks(t *testing.T) {
	_, log := eventlogtest.StartLog(t)
	if err := ledgerOf(t, log).record(t.Context(), picturing(t, 5, 9000, "10.0.0.1")); err != nil {
		t.Fatal(err)
	}
	dying, next := ledgerOf(t, log), picturing(t, 6, 9000, "10.0.0.2")
	objects, chunks := dying.version(next.policy)
	if err := dying.write(t.Context(), "object", append(objects, chunks[:2]...)...); err != nil {
		t.Fatal(err)
	}
	if got := inForce(t, log); got != 5 {
		t.Fatalf("half a manifest put version %d in force", got)
	}
	heir := ledgerOf(t, log)
	if heir.committed != nil {
		t.Fatal("half a manifest is taken for a whole one")
	}
	if err := heir.record(t.Context(), next); err != nil {
		t.Fatal(err)
	}
	if got := inForce(t, log); got != 6 {
		t.Fatalf("version %d is in force", got)
	}
}

func profileIn(id, mode string) *ringfencev1.ContainerWorkloadProfile {
	return &ringfencev1.ContainerWorkloadProfile{Href: "/p/" + id, Namespace: id, Managed: mode != "", EnforcementMode: enforcementModes[mode]}
}

// One change of everything at once is written in the order that neither opens nor closes more than the change itself.
func TestOrderOfFacts(t *testing.T) {
	_, log := eventlogtest.StartLog(t)
	l := ledgerOf(t, log)
	before := picturing(t, 1, 1, "10.0.0.1")
	before.labels = []*ringfencev1.Label{{Href: "/l/old", Key: "app", Value: "old"}}
	before.profiles = []*ringfencev1.ContainerWorkloadProfile{profileIn("laxer", pce.ModeFull), profileIn("stricter", pce.ModeVisibilityOnly), profileIn("same", pce.ModeFull), profileIn("gone", "")}
	if err := l.record(t.Context(), before); err != nil {
		t.Fatal(err)
	}
	first, last := subjects(t, log, 0)
	want := []string{"facts.pce.label.old", "facts.pce.object", "facts.pce.provisioned.0", "facts.pce.profile.laxer", "facts.pce.profile.stricter",
		"facts.pce.profile.same", "facts.pce.profile.gone", "facts.ctl.synced.pce-bridge"}
	if diff := cmp.Diff(want, first); diff != "" {
		t.Fatal(diff)
	}
	after := picturing(t, 2, 1, "10.0.0.2")
	after.labels = []*ringfencev1.Label{{Href: "/l/new", Key: "app", Value: "new"}}
	after.profiles = []*ringfencev1.ContainerWorkloadProfile{profileIn("laxer", pce.ModeIdle), profileIn("stricter", pce.ModeFull), profileIn("same", pce.ModeFull)}
	if err := l.record(t.Context(), after); err != nil {
		t.Fatal(err)
	}
	second, _ := subjects(t, log, last)
	want = []string{"facts.pce.label.new", "facts.pce.object", "facts.pce.profile.laxer", "facts.pce.provisioned.0", "facts.pce.profile.stricter",
		"gone facts.pce.profile.gone", "gone facts.pce.label.old"}
	if diff := cmp.Diff(want, second); diff != "" {
		t.Fatal(diff)
	}
}

// The link: unknown at first, up with an answer, down after the time without one, and written only when it changes.
func TestLink(t *testing.T) {
	_, log := eventlogtest.StartLog(t)
	held := ledgerOf(t, log)
	now := time.Now()
	l := newLink(time.Minute, newMetrics(prometheus.NewRegistry()))
	l.now, l.since = func() time.Time { return now }, now
	write := func(want string) {
		t.Helper()
		state, _ := l.state()
		if err := l.write(t.Context(), held, state); err != nil {
			t.Fatal(err)
		}
		got := "unknown"
		if f := held.get(eventlog.LinkSubject); f != nil {
			got = fmt.Sprint(f.GetPceLink().GetUp(), " ", f.GetPceLink().GetReason())
		}
		if got != want {
			t.Fatalf("the log has %q, want %q", got, want)
		}
	}
	write("unknown")
	l.answer()
	write("true the PCE answers")
	l.fail("it hums")
	now = now.Add(59 * time.Second)
	write("true the PCE answers")
	now = now.Add(time.Second)
	write("false it hums")
	l.fail("it sings")
	write("false it hums")
	l.answer()
	write("true the PCE answers")
	if list, _ := subjects(t, log, 0); len(list) != 3 {
		t.Fatalf("%d facts", len(list))
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := l.keep(ctx, held); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
}

// A tombstone of a predecessor does not remove its successor of the same name.
func TestInventoryTombstones(t *testing.T) {
	i := newInventory("x")
	subject := eventlog.KubernetesSubject("deployment", "shop", "web")
	gone := func(uid string) *ringfencev1.Fact {
		return &ringfencev1.Fact{Body: &ringfencev1.Fact_Gone{Gone: &ringfencev1.Gone{Uid: uid}}}
	}
	i.apply(eventlog.Entry{Subject: subject, Fact: &ringfencev1.Fact{Body: &ringfencev1.Fact_KubernetesWorkload{
		KubernetesWorkload: &ringfencev1.KubernetesWorkload{Namespace: "shop", Kind: "Deployment", Name: "web", Uid: "new"}}}})
	i.apply(eventlog.Entry{Subject: subject, Fact: gone("old")})
	if c, _ := i.cluster(); len(c.workloads) != 1 {
		t.Fatalf("after the tombstone of another one: %d workloads", len(c.workloads))
	}
	i.apply(eventlog.Entry{Subject: subject, Fact: gone("new")})
	if c, ok := i.cluster(); len(c.workloads) != 0 || ok {
		t.Fatalf("%d workloads, in sync %v", len(c.workloads), ok)
	}
}
