package ringfence_test

import (
	"testing"
	"time"

	"github.com/ringfence/ringfence/libs/eventlog/eventlogtest"
	"github.com/ringfence/ringfence/tools/ringfence"
)

// A time that came twice, because the log's clock was set back, is the same place in the log and in a file of it, and both
// replay it to the same policy.
func TestATimeThatCameTwiceIsOnePlace(t *testing.T) {
	server, log := eventlogtest.StartLog(t)
	publish(t, log)
	server.Shift("FACTS", 10, time.Hour)
	server.Shift("FACTS", 20, -time.Hour) // the clock was an hour ahead for the facts in between
	log = server.Create()
	file, _ := export(t, log, ringfence.Place{}, ringfence.Place{})
	stored := map[uint64]time.Time{}
	for e, err := range log.Read(t.Context(), 0, 0) {
		if err != nil {
			t.Fatal(err)
		}
		stored[e.Sequence] = e.StoredAt
	}
	const last = 34
	if !stored[19].After(stored[last]) || len(stored) != last {
		t.Fatalf("%d facts; the clock was not ahead", len(stored))
	}
	for sequence, when := range stored {
		want := sequence
		if sequence >= 10 && sequence < 20 {
			want = last // that time is still to come
		}
		inLog, inFile := at(t, log, ringfence.Place{Time: when}), at(t, file, ringfence.Place{Time: when})
		if inLog.Sequence != want || inFile.Sequence != want || inLog.Engine.Digest() != inFile.Engine.Digest() {
			t.Errorf("the time of fact %d is fact %d in the log and %d in the file, want %d", sequence, inLog.Sequence, inFile.Sequence, want)
		}
	}
}
