package pcebridge

import (
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/ringfence/ringfence/libs/pce"
	ringfencev1 "github.com/ringfence/ringfence/proto/ringfence/v1"
)

// Observations of one kind become one flow with the time that they span, whoever saw them.
func TestFlowsAreSummed(t *testing.T) {
	at := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	client, server := netip.MustParseAddr("10.1.0.1"), netip.MustParseAddr("10.1.0.2")
	flow := func(connections uint64, decision ringfencev1.FlowDecision) *ringfencev1.Flow {
		return &ringfencev1.Flow{Source: client.AsSlice(), Destination: server.AsSlice(), Protocol: 6, Port: 80, Connections: connections,
			Direction: ringfencev1.FlowDirection_FLOW_DIRECTION_OUTBOUND, Decision: decision, Rule: "r1"}
	}
	batch := func(after time.Duration, flows ...*ringfencev1.Flow) *ringfencev1.FlowBatch {
		return &ringfencev1.FlowBatch{From: timestamppb.New(at.Add(after)), To: timestamppb.New(at.Add(after + 10*time.Second)), Flows: flows}
	}
	allowed, blocked := ringfencev1.FlowDecision_FLOW_DECISION_ALLOWED, ringfencev1.FlowDecision_FLOW_DECISION_BLOCKED
	sums := map[flowKey]*flowSum{}
	lost := addFlows(sums, batch(time.Minute, flow(2, allowed), flow(1, blocked)))
	lost += addFlows(sums, batch(0, flow(3, allowed), &ringfencev1.Flow{Source: []byte{1}}))
	if lost != 1 || len(sums) != 2 {
		t.Fatalf("%d flows, %d lost", len(sums), lost)
	}
	names := namer{workloads: map[netip.Addr]string{client: "shop/Deployment/web"}, hrefs: map[string]string{"shop/Deployment/web": "/w"},
		nodes: map[netip.Addr]string{server: "n1"}, hosts: map[string]string{"n1": "/h"}}
	port := 80
	want := pce.FlowSummary{
		Src: pce.FlowEnd{IP: "10.1.0.1", Workload: &pce.Ref{Href: "/w"}}, Dst: pce.FlowEnd{IP: "10.1.0.2", Workload: &pce.Ref{Href: "/h"}},
		Service: pce.FlowService{Proto: 6, Port: &port}, Direction: "outbound", Decision: "allowed", State: "new", Connections: 5, Rule: "r1",
		Range: pce.TimeRange{First: "2026-05-01T12:00:00Z", Last: "2026-05-01T12:01:10Z"},
	}
	key := flowKey{client, server, 6, 80, ringfencev1.FlowDirection_FLOW_DIRECTION_OUTBOUND, allowed, "r1"}
	if diff := cmp.Diff(want, names.summary(key, sums[key])); diff != "" {
		t.Error(diff)
	}
	key.protocol, key.port = protocolICMP, 8
	if got := names.summary(key, &flowSum{}); got.ICMPType == nil || *got.ICMPType != 8 || got.Service.Port != nil {
		t.Errorf("ICMP: %+v", got)
	}
}

func TestBatchesNameWindowAndPart(t *testing.T) {
	at := time.Date(2026, 5, 1, 12, 10, 0, 0, time.UTC)
	window, part, parts, err := parseBatch(batchOf(at, 2, 5))
	if err != nil || !window.Equal(at) || part != 2 || parts != 5 {
		t.Fatalf("%s %d %d %v", window, part, parts, err)
	}
	for _, bad := range []string{"", "x", "2026-05-01T12:10:00Z/1", "2026-05-01T12:10:00Z/a/1", "2026-05-01T12:10:00Z/1/b", "later/1/2"} {
		if _, _, _, err := parseBatch(bad); err == nil {
			t.Errorf("%q: no error", bad)
		}
	}
}
