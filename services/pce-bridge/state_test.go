package pcebridge

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ringfence/ringfence/libs/pce"
	ringfencev1 "github.com/ringfence/ringfence/proto/ringfence/v1"
)

// A workload stands as the worst of its pods; a Service, which lives in the policies of others, as the nodes do.
func TestStatesOfWorkloads(t *testing.T) {
	enforced, failed, pending := ringfencev1.PodState_POD_STATE_ENFORCED, ringfencev1.PodState_POD_STATE_FAILED, ringfencev1.PodState_POD_STATE_PENDING
	statuses := []*ringfencev1.NodeStatus{
		{Node: "n1", ProvisionedVersion: 7, Pods: []*ringfencev1.PodStatus{{Uid: "a1", State: enforced}, {Uid: "b1", State: enforced}, {Uid: "c1", Name: "c-1", State: failed, Problem: "no room"}}},
		{Node: "n2", ProvisionedVersion: 6, Pods: []*ringfencev1.PodStatus{{Uid: "a2", State: enforced}, {Uid: "b2", State: pending}, {Uid: "c2", State: pending}}},
	}
	hrefs := map[string]string{"s/Deployment/a": "/a", "s/Deployment/b": "/b", "s/Deployment/c": "/c", "s/Deployment/d": "/d", "s/Deployment/new": "/new", "s/Service/a": "/s"}
	members := map[string][]string{"s/Deployment/a": {"a1", "a2"}, "s/Deployment/b": {"b1", "b2"}, "s/Deployment/c": {"c1", "c2"}, "s/Deployment/new": {"n1"}}
	want := map[string]pce.PolicyAck{
		"s/Deployment/a": {Href: "/a", State: pce.SyncApplied, Version: 6}, "s/Deployment/b": {Href: "/b", State: pce.SyncSyncing},
		"s/Deployment/c": {Href: "/c", State: pce.SyncError, Detail: "pod c-1: no room"}, "s/Deployment/d": {Href: "/d", State: pce.SyncApplied, Version: 6},
		"s/Deployment/new": {Href: "/new", State: pce.SyncSyncing}, "s/Service/a": {Href: "/s", State: pce.SyncApplied, Version: 6},
	}
	if diff := cmp.Diff(want, statesOf(hrefs, members, statuses, 2)); diff != "" {
		t.Error(diff)
	}
	statuses[1].Problems = []string{"programming is switched off"}
	if got := statesOf(hrefs, members, statuses, 2)["s/Service/a"]; got.State != pce.SyncError || got.Detail != "node n2: programming is switched off" {
		t.Errorf("%+v", got)
	}
	statuses[1].Problems = nil
	for nodes, want := range map[int]string{3: pce.SyncSyncing, 2: pce.SyncApplied} {
		if got := statesOf(hrefs, members, statuses, nodes); got["s/Service/a"].State != want || got["s/Deployment/d"].State != want || got["s/Deployment/a"].State != pce.SyncApplied {
			t.Errorf("two of %d nodes have reported: %+v", nodes, got)
		}
	}
	if got := statesOf(hrefs, nil, nil, 0)["s/Deployment/a"]; got.State != pce.SyncSyncing {
		t.Errorf("without nodes: %+v", got)
	}
}
