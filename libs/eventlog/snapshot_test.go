package eventlog_test

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/ringfence/ringfence/libs/eventlog"
	"github.com/ringfence/ringfence/libs/eventlog/eventlogtest"
	ringfencev1 "github.com/ringfence/ringfence/proto/ringfence/v1"
)

func snapshotEntries(n int) []*ringfencev1.SnapshotEntry {
	var out []*ringfencev1.SnapshotEntry
	for i := range n {
		out = append(out, &ringfencev1.SnapshotEntry{
			Subject: fmt.Sprintf("facts.k8s.pod.shop.web-%d", i), Sequence: uint64(i + 1), Fact: []byte(strings.Repeat("x", 1000)),
		})
	}
	return out
}

func TestSnapshotsAreReadAsTheyWereWritten(t *testing.T) {
	s, l := eventlogtest.StartLog(t)
	want := snapshotEntries(2000) // several chunks
	policy := eventlog.Computed{Engine: "clas/2", Digest: "abc"}
	first, err := l.WriteSnapshot(t.Context(), 2000, policy, slices.Values(want))
	if err != nil || first.GetChunks() < 2 || first.GetEngine() != "clas/2" || first.GetDigest() != "abc" || first.GetFormat() != 2 {
		t.Fatalf("%v, %v", first, err)
	}
	if _, err := l.WriteSnapshot(t.Context(), 3000, policy, slices.Values(want[:1])); err != nil {
		t.Fatal(err)
	}
	infos, err := l.Snapshots(t.Context())
	if err != nil || len(infos) != 2 || infos[0].GetVersion().GetSequence() != 3000 || !proto.Equal(infos[1], first) {
		t.Fatalf("%v, %v", infos, err)
	}
	got, err := readSnapshot(t, l, first)
	if err != nil || !slices.EqualFunc(got, want, func(a, b *ringfencev1.SnapshotEntry) bool { return proto.Equal(a, b) }) {
		t.Errorf("%d entries, %v", len(got), err)
	}

	// A chunk that is another one than was written.
	nc := s.Conn("stranger")
	forged, err := proto.Marshal(&ringfencev1.SnapshotChunk{Entries: want[:1]})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := nc.Request("snap.2000.0", forged, 5*time.Second); err != nil {
		t.Fatal(err)
	}
	if _, err := readSnapshot(t, l, first); !errors.Is(err, eventlog.ErrSnapshot) {
		t.Errorf("a forged chunk: %v", err)
	}
	// One that was cut off goes, the complete ones stay.
	if _, err := nc.Request("snap.4000.0", forged, 5*time.Second); err != nil {
		t.Fatal(err)
	}
	if err := l.DropPartialSnapshots(t.Context(), infos); err != nil {
		t.Fatal(err)
	}
	if err := l.DropSnapshot(t.Context(), 2000); err != nil {
		t.Fatal(err)
	}
	if infos, err = l.Snapshots(t.Context()); err != nil || len(infos) != 1 {
		t.Errorf("left: %v, %v", infos, err)
	}
	if _, err := readSnapshot(t, l, first); !errors.Is(err, eventlog.ErrSnapshot) {
		t.Errorf("a dropped snapshot: %v", err)
	}
	other := proto.CloneOf(infos[0])
	other.Format = 99
	if _, err := readSnapshot(t, l, other); !errors.Is(err, eventlog.ErrSnapshot) {
		t.Errorf("another format: %v", err)
	}
	other = proto.CloneOf(infos[0])
	other.Version.Incarnation = "another"
	if _, err := readSnapshot(t, l, other); !errors.Is(err, eventlog.ErrSnapshot) {
		t.Errorf("another incarnation: %v", err)
	}
}

// A snapshot is written anew where it says another thing: after an upgrade of the engine it would be compared with nothing.
func TestASnapshotOfTheSameFactsStaysAndOneOfAnotherPolicyDoesNot(t *testing.T) {
	_, l := eventlogtest.StartLog(t)
	entries := snapshotEntries(3)
	write := func(policy eventlog.Computed, n int) *ringfencev1.SnapshotInfo {
		info, err := l.WriteSnapshot(t.Context(), 3, policy, slices.Values(entries[:n]))
		if err != nil {
			t.Fatal(err)
		}
		return info
	}
	first := write(eventlog.Computed{Engine: "clas/1", Digest: "a"}, 3)
	if again := write(eventlog.Computed{Engine: "clas/1", Digest: "a"}, 1); !proto.Equal(first, again) {
		t.Errorf("written again: %v", again)
	}
	for _, policy := range []eventlog.Computed{{Engine: "clas/2", Digest: "a"}, {Engine: "clas/2", Digest: "b"}} {
		info := write(policy, 3)
		if info.GetEngine() != policy.Engine || info.GetDigest() != policy.Digest {
			t.Errorf("%+v was not written: %v", policy, info)
		}
		if got, err := readSnapshot(t, l, info); err != nil || len(got) != 3 {
			t.Errorf("%d entries, %v", len(got), err)
		}
	}
}

// Snapshots that releases before compression wrote are read as they always were.
func TestASnapshotOfFormat1IsRead(t *testing.T) {
	s, l := eventlogtest.StartLog(t)
	fixture := func(name string) []byte {
		data, err := os.ReadFile("testdata/snapshot-format-1/" + name)
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	info := &ringfencev1.SnapshotInfo{}
	if err := proto.Unmarshal(fixture("info.binpb"), info); err != nil {
		t.Fatal(err)
	}
	info.Version.Incarnation = l.Incarnation()
	done, err := proto.Marshal(info)
	if err != nil {
		t.Fatal(err)
	}
	nc := s.Conn("an earlier release")
	for subject, data := range map[string][]byte{"snap.4.0": fixture("chunk-0.binpb"), "snap.4.done": done} {
		if _, err := nc.Request(subject, data, 5*time.Second); err != nil {
			t.Fatal(err)
		}
	}
	infos, err := l.Snapshots(t.Context())
	if err != nil || len(infos) != 1 || infos[0].GetFormat() != 1 || infos[0].GetDigest() != "" {
		t.Fatalf("%v, %v", infos, err)
	}
	entries, err := readSnapshot(t, l, infos[0])
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		fact := &ringfencev1.Fact{}
		if err := proto.Unmarshal(e.GetFact(), fact); err != nil || fact.GetBody() == nil {
			t.Errorf("%s: %v, %v", e.GetSubject(), fact, err)
		}
		names = append(names, fmt.Sprintf("%d %s", e.GetSequence(), e.GetSubject()))
	}
	want := []string{"1 facts.k8s.node._.node-1", "2 facts.k8s.namespace._.shop", "3 facts.k8s.pod.shop.web-1", "4 facts.pce.label.1"}
	if !slices.Equal(names, want) {
		t.Errorf("read %q", names)
	}
}

func TestStatusAndFlows(t *testing.T) {
	s, l := eventlogtest.StartLog(t)
	nc := s.Conn("enforcer")
	start := time.Now()
	for i := range 3 {
		if err := eventlog.PublishStatus(nc, &ringfencev1.NodeStatus{Node: "b.example", Window: uint64(i)}); err != nil {
			t.Fatal(err)
		}
		if err := eventlog.PublishFlows(nc, &ringfencev1.FlowBatch{Node: "b.example", Lost: uint64(i)}); err != nil {
			t.Fatal(err)
		}
	}
	if err := eventlog.PublishStatus(nc, &ringfencev1.NodeStatus{Node: "a"}); err != nil {
		t.Fatal(err)
	}
	if err := eventlog.PublishStatus(nc, &ringfencev1.NodeStatus{}); err == nil {
		t.Error("a status of no node was sent")
	}
	if err := nc.Publish("status.c", []byte("\xff garbage")); err != nil {
		t.Fatal(err)
	}
	eventlogtest.Eventually(t, func() error {
		all, err := l.NodeStatuses(t.Context())
		if err != nil || len(all) != 2 || all[0].GetNode() != "a" || all[1].GetWindow() != 2 {
			return fmt.Errorf("statuses %v, %w", all, err)
		}
		return nil
	})
	flows := func(since time.Time) (lost []uint64) {
		for b, err := range l.Flows(t.Context(), since) {
			if err != nil {
				t.Fatal(err)
			}
			lost = append(lost, b.GetLost())
		}
		return lost
	}
	if got := flows(start); !slices.Equal(got, []uint64{0, 1, 2}) {
		t.Errorf("flows %v", got)
	}
	if got := flows(time.Now().Add(time.Hour)); got != nil {
		t.Errorf("flows of the future %v", got)
	}
}

func readSnapshot(t *testing.T, l *eventlog.Log, info *ringfencev1.SnapshotInfo) (all []*ringfencev1.SnapshotEntry, err error) {
	t.Helper()
	for entry, err := range l.ReadSnapshot(t.Context(), info) {
		if err != nil {
			return nil, err
		}
		all = append(all, entry)
	}
	return all, nil
}
