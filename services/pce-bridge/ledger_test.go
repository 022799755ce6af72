package pcebridge

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

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
	l, err := openLedger(t.Context(), log, "test", newMetrics(prometheus.NewRegistry()))
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
		last = entry.Sequence
		if entry.Fact.GetEpoch() != nil {
			continue
		}
		if strings.HasPrefix(subject, "facts.pce.object.") {
			subject = "facts.pce.object"
		}
		if entry.Fact.GetGone() != nil {
			subject = "gone " + subject
		}
		list = append(list, subject)
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

func workloadOf(id, mode string) *ringfencev1.PceWorkload {
	return &ringfencev1.PceWorkload{Href: "/w/" + id, Managed: mode != "", EnforcementMode: enforcementModes[mode]}
}

func knownAs(id string) *ringfencev1.AcknowledgedWorkload {
	return &ringfencev1.AcknowledgedWorkload{Href: "/k/" + id, Namespace: "shop", Kind: "Deployment", Name: id}
}

// One change of everything at once is written in the order that neither opens nor closes more than the change itself.
func TestOrderOfFacts(t *testing.T) {
	_, log := eventlogtest.StartLog(t)
	l := ledgerOf(t, log)
	before := picturing(t, 1, 1, "10.0.0.1")
	before.dimensions = []*ringfencev1.LabelDimension{{Href: "/d/old", Key: "old"}}
	before.labels = []*ringfencev1.Label{{Href: "/l/old", Key: "app", Value: "old"}}
	before.workloads = []*ringfencev1.PceWorkload{workloadOf("laxer", pce.ModeFull), workloadOf("stricter", pce.ModeIdle), workloadOf("gone", "")}
	before.pairing = &ringfencev1.PairingProfile{Href: "/pp/old", Enabled: true, EnforcementMode: ringfencev1.EnforcementMode_ENFORCEMENT_MODE_FULL}
	before.profiles = []*ringfencev1.ContainerWorkloadProfile{profileIn("laxer", pce.ModeFull), profileIn("stricter", pce.ModeVisibilityOnly), profileIn("same", pce.ModeFull), profileIn("gone", "")}
	before.acknowledged = []*ringfencev1.AcknowledgedWorkload{knownAs("web"), knownAs("gone")}
	if err := l.record(t.Context(), before); err != nil {
		t.Fatal(err)
	}
	first, last := subjects(t, log, 0)
	want := []string{"facts.pce.label_dimension.old", "facts.pce.label.old", "facts.pce.object", "facts.pce.provisioned.0",
		"facts.pce.workload.laxer", "facts.pce.workload.stricter", "facts.pce.workload.gone", "facts.pce.pairing_profile.old",
		"facts.pce.profile.laxer", "facts.pce.profile.stricter", "facts.pce.profile.same", "facts.pce.profile.gone",
		"facts.pce.kubernetes_workload.web", "facts.pce.kubernetes_workload.gone", "facts.ctl.synced.pce-bridge"}
	if diff := cmp.Diff(want, first); diff != "" {
		t.Fatal(diff)
	}
	if l = ledgerOf(t, log); l.record(t.Context(), before) != nil {
		t.Fatal("a ledger that opens the log again does not know it")
	}
	if more, _ := subjects(t, log, last); len(more) != 0 {
		t.Fatalf("written for nothing: %v", more)
	}
	after := picturing(t, 2, 1, "10.0.0.2")
	after.dimensions = []*ringfencev1.LabelDimension{{Href: "/d/new", Key: "new"}}
	after.labels = []*ringfencev1.Label{{Href: "/l/new", Key: "app", Value: "new"}}
	after.workloads = []*ringfencev1.PceWorkload{workloadOf("laxer", pce.ModeIdle), workloadOf("stricter", pce.ModeFull)}
	after.profiles = []*ringfencev1.ContainerWorkloadProfile{profileIn("laxer", pce.ModeIdle), profileIn("stricter", pce.ModeFull), profileIn("same", pce.ModeFull)}
	if err := l.record(t.Context(), after); err != nil {
		t.Fatal(err)
	}
	second, last := subjects(t, log, last)
	want = []string{"facts.pce.label_dimension.new", "facts.pce.label.new", "facts.pce.object", "facts.pce.workload.laxer", "facts.pce.profile.laxer",
		"facts.pce.provisioned.0", "facts.pce.workload.stricter", "facts.pce.profile.stricter", "gone facts.pce.profile.gone",
		"gone facts.pce.pairing_profile.old", "gone facts.pce.workload.gone", "gone facts.pce.label.old", "gone facts.pce.label_dimension.old"}
	if diff := cmp.Diff(want, second); diff != "" {
		t.Fatal(diff)
	}
	// What the console knows of the cluster's workloads was not asked for, so it stays; asked for as a whole, it is replaced.
	if err := l.acknowledge(t.Context(), []*ringfencev1.AcknowledgedWorkload{knownAs("web"), knownAs("api")}, true); err != nil {
		t.Fatal(err)
	}
	third, _ := subjects(t, log, last)
	if diff := cmp.Diff([]string{"facts.pce.kubernetes_workload.api", "gone facts.pce.kubernetes_workload.gone"}, third); diff != "" {
		t.Fatal(diff)
	}
}

// A tombstone of a predecessor does not remove its successor of the same name.
func TestInventoryTombstones(t *testing.T) {
	i := newInventory("x", reporting{workloads: true})
	subject := eventlog.KubernetesSubject("deployment", "shop", "web")
	gone := func(uid string) *ringfencev1.Fact {
		return &ringfencev1.Fact{Body: &ringfencev1.Fact_Gone{Gone: &ringfencev1.Gone{Uid: uid}}}
	}
	i.apply(eventlog.Entry{Subject: subject, Fact: &ringfencev1.Fact{Body: &ringfencev1.Fact_KubernetesWorkload{
		KubernetesWorkload: &ringfencev1.KubernetesWorkload{Namespace: "shop", Kind: "Deployment", Name: "web", Uid: "new"}}}})
	i.apply(eventlog.Entry{Subject: subject, Fact: gone("old")})
	if c, _ := i.cluster(labels{}); len(c.workloads) != 1 {
		t.Fatalf("after the tombstone of another one: %d workloads", len(c.workloads))
	}
	i.apply(eventlog.Entry{Subject: subject, Fact: gone("new")})
	if c, ok := i.cluster(labels{}); len(c.workloads) != 0 || ok {
		t.Fatalf("%d workloads, in sync %v", len(c.workloads), ok)
	}
}

// The console is told of controllers, of pods that have none, and of controllers that are no facts by their pods.
func TestInventoryOfPods(t *testing.T) {
	i := newInventory("x", reporting{workloads: true})
	apply := func(p *ringfencev1.Pod) (changed bool) {
		p.Namespace, p.Uid = "shop", p.GetName()+"-uid"
		i.apply(eventlog.Entry{Subject: eventlog.KubernetesSubject("pod", "shop", p.GetName()), Fact: &ringfencev1.Fact{Body: &ringfencev1.Fact_Pod{Pod: p}}})
		select {
		case <-i.changed:
			return true
		default:
			return false
		}
	}
	controller := func(kind string) *ringfencev1.ObjectRef {
		return &ringfencev1.ObjectRef{Kind: kind, Name: "c", Uid: "c-uid"}
	}
	for _, step := range []struct {
		pod     *ringfencev1.Pod
		changed bool
		want    []string
	}{
		{&ringfencev1.Pod{Name: "web-1", Controller: controller("Deployment")}, false, nil},
		{&ringfencev1.Pod{Name: "etcd", HostNetwork: true}, false, nil},
		{&ringfencev1.Pod{Name: "done", Phase: ringfencev1.PodPhase_POD_PHASE_SUCCEEDED}, false, nil},
		{&ringfencev1.Pod{Name: "bare"}, true, []string{"shop/Pod/bare bare-uid"}},
		{&ringfencev1.Pod{Name: "canary-1", Controller: controller("Rollout")}, true, []string{"shop/Pod/bare bare-uid", "shop/Rollout/c c-uid"}},
		{&ringfencev1.Pod{Name: "canary-2", Controller: controller("Rollout")}, true, []string{"shop/Pod/bare bare-uid", "shop/Rollout/c c-uid"}},
		{&ringfencev1.Pod{Name: "other", Controller: controller("Deployment.example.com")}, true, []string{"shop/Deployment.example.com/c c-uid", "shop/Pod/bare bare-uid", "shop/Rollout/c c-uid"}},
		{&ringfencev1.Pod{Name: "bare", Phase: ringfencev1.PodPhase_POD_PHASE_FAILED}, true, []string{"shop/Deployment.example.com/c c-uid", "shop/Rollout/c c-uid"}},
	} {
		if changed := apply(step.pod); changed != step.changed {
			t.Errorf("pod %s: changed %v", step.pod.GetName(), changed)
		}
		c, _ := i.cluster(labels{})
		var got []string
		for _, key := range slices.Sorted(maps.Keys(c.workloads)) {
			got = append(got, key+" "+c.workloads[key].Metadata.UID)
		}
		if diff := cmp.Diff(step.want, got); diff != "" {
			t.Errorf("after pod %s: %s", step.pod.GetName(), diff)
		}
	}
}
