package eventlog

import (
	"testing"
	"time"
)

func TestPaceFollowsWhatTheDiskTakes(t *testing.T) {
	var p pace
	if p.batches(1) || p.batches(7) || !p.batches(8) {
		t.Error("before anything was measured, eight facts are a batch")
	}
	for range 50 {
		p.took(1, time.Millisecond)
		p.took(20, 20*time.Millisecond)
	}
	if p.batches(19) || !p.batches(21) {
		t.Errorf("a batch costs twenty syncs: %+v", p)
	}
	for range 50 {
		p.took(10, 2*time.Millisecond)
		p.took(batchSize, time.Minute) // tells nothing of small ones
	}
	if p.batches(1) || p.batches(2) && !p.batches(3) || !p.batches(3) {
		t.Errorf("a batch costs two syncs: %+v", p)
	}
}
