package clas_test

import (
	"fmt"
	"slices"
	"testing"

	pb "github.com/ringfence/ringfence/proto/ringfence/v1"

	"github.com/ringfence/ringfence/libs/addresses"
	"github.com/ringfence/ringfence/libs/clas"
)

func TestAnAddressBelongsToItsLatestClaimant(t *testing.T) {
	e := clas.New()
	apply(t, e, shop()...)
	apply(t, e, provisioned(1, 1, webToAPI(tcp(80)))...)
	e.Flush()
	thief := runningPod("shop", "thief", "db", "n1", "10.0.0.1")
	apply(t, e, podFact(thief))
	if got := ask(t, e, "10.0.0.1", "shop/api", 80); got != clas.Blocked {
		t.Errorf("the address of the later pod: %s", got)
	}
	d := e.Flush()
	if len(d.Sets) != 1 || addresses.Len(d.Sets[0].GetRemoved()) != 1 || len(d.Policies) > 0 {
		t.Errorf("sets %v, policies %v", d.Sets, d.Policies)
	}
	// An unmanaged pod takes it just the same.
	apply(t, e, podFact(runningPod("shop", "web", "web", "n1", "10.0.0.1")))
	if got := ask(t, e, "10.0.0.1", "shop/api", 80); got != clas.Allowed {
		t.Errorf("back to web by a later fact: %s", got)
	}
	apply(t, e, podFact(runningPod("unmanaged", "u", "web", "n1", "10.0.0.1")))
	if got := ask(t, e, "10.0.0.1", "shop/api", 80); got != clas.Blocked {
		t.Errorf("the address of an unmanaged pod: %s", got)
	}
	apply(t, e, gone(podFact(runningPod("unmanaged", "u", "", "")), ""))
	if got := ask(t, e, "10.0.0.1", "shop/api", 80); got != clas.Allowed {
		t.Errorf("back to web once the other is gone: %s", got)
	}
	thief.Phase = pb.PodPhase_POD_PHASE_FAILED
	apply(t, e, podFact(thief))
	if got := ask(t, e, "10.0.0.1", "shop/api", 80); got != clas.Allowed {
		t.Errorf("a pod that failed claims nothing: %s", got)
	}
	apply(t, e, serviceFact(&pb.Service{Namespace: "shop", Name: "vip", ClusterIps: []string{"10.0.0.1"}}))
	if got := ask(t, e, "10.0.0.1", "shop/api", 80); got != clas.Blocked {
		t.Errorf("the address of a Service: %s", got)
	}
}

func TestATombstoneOfAnotherUIDRemovesNothing(t *testing.T) {
	cases := []struct {
		uid  string
		gone bool
	}{{"uid-web", true}, {"", true}, {"uid-of-its-predecessor", false}}
	for _, c := range cases {
		e := clas.New()
		apply(t, e, shop()...)
		before := e.Digest()
		apply(t, e, gone(podFact(runningPod("shop", "web", "", "")), c.uid))
		if got := e.Digest() != before; got != c.gone {
			t.Errorf("tombstone with uid %q: gone %v, want %v", c.uid, got, c.gone)
		}
	}
}

func TestTombstonesOfEveryKind(t *testing.T) {
	objects := []entry{
		namespaceFact("n"),
		nodeFact(&pb.Node{Name: "n9", Uid: "u"}),
		serviceFact(&pb.Service{Namespace: "shop", Name: "s", Uid: "u"}),
		workloadFact(&pb.KubernetesWorkload{Namespace: "shop", Kind: "Deployment", Name: "d", Uid: "u"}),
		labelFact("l", "role", "l"), profileFact("p", managed("p", full)),
		{"facts.ctl.synced.watcher", &pb.Fact{Body: &pb.Fact_Synced{Synced: &pb.Synced{Producer: "watcher", Incarnation: "i"}}}},
		{"facts.ctl.settings", &pb.Fact{Body: &pb.Fact_Settings{Settings: &pb.Settings{ClusterMode: "clas"}}}},
		{"facts.ctl.link", &pb.Fact{Body: &pb.Fact_PceLink{PceLink: &pb.PceLink{Up: true}}}},
	}
	for _, o := range objects {
		t.Run(o.subject, func(t *testing.T) {
			e := clas.New()
			apply(t, e, shop()...)
			before := e.Digest()
			apply(t, e, o, gone(o, "u"), gone(o, ""))
			if e.Digest() != before {
				t.Errorf("something of it is left: %+v", e.Policy())
			}
			if got := e.Synced("i"); len(got) > 0 {
				t.Errorf("synced: %v", got)
			}
		})
	}
}

func TestPlans(t *testing.T) {
	host := runningPod("shop", "host", "web", "n1", "192.168.0.1")
	host.HostNetwork = true
	pending := runningPod("shop", "pending", "web", "n1")
	pending.Phase = pb.PodPhase_POD_PHASE_PENDING
	done := runningPod("shop", "done", "web", "n1", "10.0.0.8")
	done.Phase = pb.PodPhase_POD_PHASE_SUCCEEDED
	e := clas.New()
	apply(t, e, shop()...)
	apply(t, e, podFact(host), podFact(pending), podFact(done), podFact(runningPod("shop", "unscheduled", "web", "")),
		podFact(runningPod("else", "unmanaged", "web", "n1", "10.0.0.7")))
	plans := e.Policy().Plans
	var names []string
	for _, p := range plans[0].GetPods() {
		names = append(names, p.GetName())
		if p.GetPolicy() == "" || p.GetUid() != "uid-"+p.GetName() {
			t.Errorf("pod plan %v", p)
		}
	}
	if !slices.Equal(names, []string{"pending", "web"}) || !slices.Equal(plans[0].GetNodeAddresses(), []string{"192.168.0.1"}) {
		t.Errorf("plan of n1: %v", plans[0])
	}
	e.Flush()

	// A node that goes keeps its plan while pods are on it.
	apply(t, e, gone(nodeFact(&pb.Node{Name: "n1"}), ""))
	if d := e.Flush(); len(d.Plans) != 1 || d.Plans[0].GetRemoved() || len(d.Plans[0].GetNodeAddresses()) > 0 {
		t.Errorf("the node gone: %v", d.Plans)
	}
	for _, name := range []string{"pending", "web", "host"} {
		apply(t, e, gone(podFact(runningPod("shop", name, "", "")), ""))
	}
	if d := e.Flush(); len(d.Plans) != 1 || !d.Plans[0].GetRemoved() {
		t.Errorf("the pods gone: %v", d.Plans)
	}
	apply(t, e, gone(podFact(done), ""), gone(podFact(runningPod("else", "unmanaged", "", "")), ""))
	if d := e.Flush(); !d.Empty() {
		t.Errorf("pods in no plan gone: %+v", d)
	}
}

func TestAPodThatComesCostsOnlyItsSetsAndItsPlan(t *testing.T) {
	e := clas.New()
	apply(t, e, shop()...)
	apply(t, e, provisioned(1, 1, webToAPI(tcp(80)))...)
	e.Flush()
	apply(t, e, podFact(runningPod("shop", "web-2", "web", "n2", "10.0.0.22")))
	d := e.Flush()
	if len(d.Policies)+len(d.RemovedPolicies) > 0 || len(d.Sets) != 1 || len(d.Plans) != 1 || len(d.Namespaces) > 1 {
		t.Errorf("delta %+v", d)
	}
	if got := fmt.Sprint(addressTexts(d.Sets[0].GetAdded())); got != "[10.0.0.22]" {
		t.Errorf("added %s", got)
	}
}

func TestSynced(t *testing.T) {
	mark := func(producer, incarnation string) entry {
		return entry{"facts.ctl.synced." + producer, &pb.Fact{Body: &pb.Fact_Synced{Synced: &pb.Synced{Producer: producer, Incarnation: incarnation}}}}
	}
	e := clas.New()
	apply(t, e, mark("watcher", "one"), mark("pce-bridge", "one"))
	if got := e.Synced("one"); !slices.Equal(got, []string{"pce-bridge", "watcher"}) {
		t.Errorf("synced in one: %v", got)
	}
	apply(t, e, mark("watcher", "two"))
	if got := e.Synced("one"); !slices.Equal(got, []string{"pce-bridge"}) {
		t.Errorf("synced in one: %v", got)
	}
	restored, err := clas.Restore(withoutErrors(e.Snapshot()))
	if err != nil || !slices.Equal(restored.Synced("two"), []string{"watcher"}) {
		t.Errorf("restored: %v, %v", restored.Synced("two"), err)
	}
}
