package journal

import (
	"bytes"
	"context"
	"testing"
)

// A ring keeps the newest records, over a restart too, and leaves the edits alone.
func TestRing(t *testing.T) {
	ctx, dir := t.Context(), t.TempDir()
	j := open(t, dir, 4)
	ring, err := j.Ring(ctx, "FLOWS", 1)
	if err != nil {
		t.Fatal(err)
	}
	if first, last, err := ring.Bounds(ctx); err != nil || first <= last {
		t.Fatalf("an empty ring holds %d to %d (%v)", first, last, err)
	}
	var newest uint64
	for i := range 40 {
		if newest, err = ring.Append(ctx, bytes.Repeat([]byte{byte(i)}, 100<<10)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := j.Append(ctx, []byte("edit"), 0); err != nil {
		t.Fatal(err)
	}
	j.Close()
	j = open(t, dir, 4)
	defer j.Close()
	if ring, err = j.Ring(ctx, "FLOWS", 1); err != nil {
		t.Fatal(err)
	}
	first, last, err := ring.Bounds(ctx)
	if err != nil || last != newest || first < 30 {
		t.Fatalf("holds %d to %d of %d (%v)", first, last, newest, err)
	}
	seen := 0
	if err := ring.Replay(ctx, func(number uint64, record []byte) {
		if seen++; record[0] != byte(number-1) {
			t.Errorf("record %d holds %d", number, record[0])
		}
	}); err != nil || seen != int(last-first+1) {
		t.Fatalf("%d records (%v)", seen, err)
	}
	if _, kept, err := ring.Get(ctx, 1); kept || err != nil {
		t.Fatalf("the oldest is still there (%v)", err)
	}
	if _, err := ring.Append(ctx, make([]byte, MaxRecord+1)); err == nil {
		t.Fatal("a record beyond the limit was taken")
	}
	edits := 0
	if err := j.Replay(context.Background(), 0, func(uint64, []byte) error { edits++; return nil }); err != nil || edits != 1 {
		t.Fatalf("%d edits (%v)", edits, err)
	}
}
