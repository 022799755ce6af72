package policystore

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/ringfence/ringfence/libs/eventlog"
)

func TestChurnIsOfTheLastHour(t *testing.T) {
	var c churn
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	if c.perSecond() != 0 {
		t.Error("a churn from nothing")
	}
	for second := 0; second <= 3600; second++ {
		c.note(start.Add(time.Duration(second)*time.Second), uint64(second)*10)
	}
	if got := c.perSecond(); got != 10 {
		t.Errorf("%v facts a second, want 10", got)
	}
	for second := 3601; second <= 3*3600; second++ { // calm
		c.note(start.Add(time.Duration(second)*time.Second), 36000)
	}
	if got := c.perSecond(); got != 0 || len(c.places) > int(churnSpan/churnInterval)+1 {
		t.Errorf("%v facts a second after an hour of calm, %d places", got, len(c.places))
	}
}

func TestCapacity(t *testing.T) {
	usage := eventlog.Usage{Facts: 1000, Bytes: 600_000, MaxBytes: 600 * 3600 * 100}
	c := capacityOf(900, 10, usage)
	if math.Abs(c.History-8) > 1e-9 { // a hundred hours of one fact a second, of which eighty percent, at ten a second
		t.Errorf("%v hours of history, want 8", c.History)
	}
	if c := capacityOf(900, 0, usage); c.History != 0 || c.short() != "" {
		t.Errorf("without churn: %+v, %q", c, c.short())
	}
	for _, tt := range []struct {
		syncs, facts float64
		want         string
	}{
		{900, 10, ""}, {0, 10, ""}, {900, 1000, "1000 changes"}, {20, 1, "less than 50"},
	} {
		if said := capacityOf(tt.syncs, tt.facts, usage).short(); !strings.Contains(said, tt.want) || tt.want == "" && said != "" {
			t.Errorf("%v syncs, %v facts: %q", tt.syncs, tt.facts, said)
		}
	}
	if syncs, err := measureSyncs(t.TempDir()); err != nil || syncs <= 0 {
		t.Errorf("%v syncs a second, %v", syncs, err)
	}
	if _, err := measureSyncs("/nowhere"); err == nil {
		t.Error("a disk that is not there was measured")
	}
}
