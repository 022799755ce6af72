package watcher

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"google.golang.org/protobuf/proto"

	"github.com/ringfence/ringfence/libs/eventlog"
	"github.com/ringfence/ringfence/libs/eventlog/eventlogtest"
	ringfencev1 "github.com/ringfence/ringfence/proto/ringfence/v1"
)

// What the log holds of an object may be more than its last message says. These objects go, or stay, while no watcher runs;
// whatever policy-store still has of them is what the next watcher must see.
func TestARestartSeesWhatPolicyStoreHolds(t *testing.T) {
	const unread, kept = "facts.k8s.pod.shop.unread", "facts.k8s.pod.shop.kept"
	server, log := eventlogtest.StartLog(t)
	b, client := book{t, log}, shop()
	pods := client.CoreV1().Pods("shop")
	for name, ip := range map[string]string{"unread": "10.0.0.2", "kept": "10.0.0.3"} {
		if _, err := pods.Create(t.Context(), podOf(name, ip), metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	w := start(t, client, server.URL(), "one")
	b.AwaitSynced()
	w.Stop()

	// Garbage, or what a later version wrote and this one cannot read, of a pod that goes and of one that stays, and of what no
	// watcher writes; then a snapshot, for whose sake everything before is trimmed.
	b.snapshot()
	nc := server.Conn("stranger")
	other := eventlog.KubernetesSubject("gateway", "shop", "later")
	for _, subject := range []string{unread, kept, other, "facts.k8s.nonsense"} {
		if _, err := nc.Request(subject, []byte("garbage"), 5*time.Second); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"unread", "web-1-a"} {
		if err := pods.Delete(t.Context(), name, metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	last := b.Last()
	start(t, client, server.URL(), "two")
	want := []string{kept, unread, "facts.k8s.pod.shop.web-1-a", "facts.ctl.synced.watcher"}
	eventlogtest.Eventually(t, func() error {
		written := subjects(b.Entries(last + 1))
		if diff := cmp.Diff(want, written); diff != "" {
			return fmt.Errorf("facts after the restart (-want +got):\n%s", diff)
		}
		return nil
	})
	b.AwaitSeen(kept)
	b.AwaitGone(unread, "")
	b.AwaitGone("facts.k8s.pod.shop.web-1-a", "web-1-a-uid")
}

// snapshot writes a snapshot of everything, and trims what it holds.
func (b book) snapshot() {
	b.t.Helper()
	var entries []*ringfencev1.SnapshotEntry
	for e, err := range b.log.Latest(b.t.Context()) {
		if err != nil {
			b.t.Fatal(err)
		}
		data, err := proto.Marshal(&ringfencev1.Fact{Body: e.Fact.GetBody()})
		if err != nil {
			b.t.Fatal(err)
		}
		entries = append(entries, &ringfencev1.SnapshotEntry{Subject: e.Subject, Sequence: e.Sequence, Fact: data})
	}
	last := b.Last()
	if _, err := b.log.WriteSnapshot(b.t.Context(), last, eventlog.Computed{Engine: "test"}, slices.Values(entries)); err != nil {
		b.t.Fatal(err)
	}
	if err := b.log.Trim(b.t.Context(), last+1); err != nil {
		b.t.Fatal(err)
	}
}
