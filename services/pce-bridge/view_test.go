package pcebridge

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ringfence/ringfence/libs/clas"
	"github.com/ringfence/ringfence/libs/eventlog"
	"github.com/ringfence/ringfence/libs/eventlog/eventlogtest"
	ringfencev1 "github.com/ringfence/ringfence/proto/ringfence/v1"
)

// labelled gives a picture of a version with these labels beside it.
func labelled(t *testing.T, labels ...string) *picture {
	t.Helper()
	p := picturing(t, 5, 3, "10.0.0.1")
	for _, id := range labels {
		p.labels = append(p.labels, &ringfencev1.Label{Href: "/orgs/1/labels/" + id, Key: "role", Value: id})
	}
	return p
}

// A ledger sees what policy-store holds: what was trimmed, and that garbage hides what was there before.
func TestALedgerSeesWhatPolicyStoreHolds(t *testing.T) {
	server, log := eventlogtest.StartLog(t)
	if err := ledgerOf(t, log).record(t.Context(), labelled(t, "1", "2", "3", "4")); err != nil {
		t.Fatal(err)
	}
	trimBelowASnapshot(t, log)
	_, before := subjects(t, log, 0)
	if err := ledgerOf(t, log).record(t.Context(), labelled(t, "1", "2", "3", "4")); err != nil {
		t.Fatal(err)
	}
	if more, _ := subjects(t, log, before); len(more) != 0 {
		t.Errorf("written for nothing after a trim: %v", more)
	}
	nc := server.Conn("stranger")
	for _, id := range []string{"3", "4"} {
		if _, err := nc.Request(eventlog.LabelSubject(id), []byte("garbage"), 5*time.Second); err != nil {
			t.Fatal(err)
		}
	}
	if err := ledgerOf(t, log).record(t.Context(), labelled(t, "1", "3")); err != nil {
		t.Fatal(err)
	}
	more, _ := subjects(t, log, before)
	want := []string{"facts.pce.label.3", "gone facts.pce.label.2", "gone facts.pce.label.4"}
	if diff := cmp.Diff(want, more); diff != "" {
		t.Errorf("after two labels were deleted and two became garbage (-want +got):\n%s", diff)
	}
}

// trimBelowASnapshot takes a snapshot as policy-store does and removes what it holds.
func trimBelowASnapshot(t *testing.T, log *eventlog.Log) {
	t.Helper()
	engine := clas.New()
	for e, err := range log.Read(t.Context(), 0, 0) {
		if err == nil {
			err = engine.Apply(e.Subject, e.Sequence, e.Fact)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	policy := eventlog.Computed{Engine: clas.Version, Digest: engine.Digest()}
	if _, err := log.WriteSnapshot(t.Context(), engine.Sequence(), policy, engine.Snapshot()); err != nil {
		t.Fatal(err)
	}
	if err := log.Trim(t.Context(), engine.Sequence()+1); err != nil {
		t.Fatal(err)
	}
}
