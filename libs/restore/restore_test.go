package restore_test

import (
	"errors"
	"iter"
	"slices"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/ringfence/ringfence/libs/clas"
	"github.com/ringfence/ringfence/libs/eventlog"
	"github.com/ringfence/ringfence/libs/restore"
	ringfencev1 "github.com/ringfence/ringfence/proto/ringfence/v1"
)

// given yields entries, and then an error where there is one.
func given(entries []*ringfencev1.SnapshotEntry, last error) iter.Seq2[*ringfencev1.SnapshotEntry, error] {
	return func(yield func(*ringfencev1.SnapshotEntry, error) bool) {
		for _, e := range entries {
			if !yield(e, nil) {
				return
			}
		}
		if last != nil {
			yield(nil, last)
		}
	}
}

func TestASnapshotProvesItself(t *testing.T) {
	engine := clas.New()
	fact := &ringfencev1.Fact{Body: &ringfencev1.Fact_Namespace{Namespace: &ringfencev1.Namespace{Name: "shop", Uid: "u"}}}
	if err := engine.Apply("facts.k8s.namespace._.shop", 7, fact); err != nil {
		t.Fatal(err)
	}
	entries := slices.Collect(engine.Snapshot())
	good := &ringfencev1.SnapshotInfo{Version: &ringfencev1.Version{Sequence: 7}, Engine: clas.Version, Digest: engine.Digest()}
	changed := func(change func(*ringfencev1.SnapshotInfo)) *ringfencev1.SnapshotInfo {
		info := proto.CloneOf(good)
		change(info)
		return info
	}
	broken := errors.New("the connection broke")
	foreign := []*ringfencev1.SnapshotEntry{{Subject: "nonsense", Sequence: 7}}
	for _, tt := range []struct {
		name    string
		info    *ringfencev1.SnapshotInfo
		entries iter.Seq2[*ringfencev1.SnapshotEntry, error]
		want    error
	}{
		{"good", good, given(entries, nil), nil},
		{"of another engine", changed(func(i *ringfencev1.SnapshotInfo) { i.Engine, i.Digest = "clas/0", "another" }), given(entries, nil), nil},
		{"of another policy", changed(func(i *ringfencev1.SnapshotInfo) { i.Digest = "another" }), given(entries, nil), eventlog.ErrSnapshot},
		{"that ends elsewhere", changed(func(i *ringfencev1.SnapshotInfo) { i.Version.Sequence = 8 }), given(entries, nil), eventlog.ErrSnapshot},
		{"of no facts", good, given(foreign, nil), eventlog.ErrSnapshot},
		{"that cannot be read", good, given(entries, broken), broken},
		{"that was found damaged while it was read", good, given(entries, eventlog.ErrSnapshot), eventlog.ErrSnapshot},
	} {
		restored, err := restore.Snapshot(tt.info, tt.entries)
		if !errors.Is(err, tt.want) || errors.Is(err, eventlog.ErrSnapshot) != errors.Is(tt.want, eventlog.ErrSnapshot) {
			t.Errorf("a snapshot %s: %v, want %v", tt.name, err, tt.want)
		}
		if tt.want == nil && restored.Digest() != engine.Digest() {
			t.Errorf("a snapshot %s gives the policy %s, want %s", tt.name, restored.Digest(), engine.Digest())
		}
	}
}
