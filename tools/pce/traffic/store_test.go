package traffic

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/ringfence/ringfence/libs/pce"
)

// shelf is a ring in memory that holds a number of records.
type shelf struct {
	records map[uint64][]byte
	last    uint64
	room    int
	fail    error
}

func newShelf(room int) *shelf { return &shelf{records: map[uint64][]byte{}, room: room} }

func (s *shelf) Append(_ context.Context, record []byte) (uint64, error) {
	if s.fail != nil {
		return 0, s.fail
	}
	s.last++
	s.records[s.last] = record
	if len(s.records) > s.room {
		delete(s.records, s.last-uint64(s.room))
	}
	return s.last, nil
}

func (s *shelf) Bounds(context.Context) (first, last uint64, err error) {
	return s.last - uint64(len(s.records)) + 1, s.last, nil
}

func (s *shelf) Get(_ context.Context, number uint64) ([]byte, bool, error) {
	record, kept := s.records[number]
	return record, kept, nil
}

func (s *shelf) Replay(ctx context.Context, take func(uint64, []byte)) error {
	first, last, _ := s.Bounds(ctx)
	for number := first; number <= last; number++ {
		take(number, s.records[number])
	}
	return nil
}

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// flow is seen for a minute, so many minutes after noon.
func flow(t testing.TB, minute int, change func(*pce.FlowSummary)) Flow {
	t.Helper()
	port := 80
	s := pce.FlowSummary{
		Src: pce.FlowEnd{IP: "10.0.0.1"}, Dst: pce.FlowEnd{IP: "10.0.0.2"}, Service: pce.FlowService{Port: &port, Proto: 6},
		Direction: "inbound", Decision: "allowed", State: "closed", Connections: 1,
		Range: pce.TimeRange{First: noon.Add(time.Duration(minute) * time.Minute).Format(time.RFC3339), Last: noon.Add(time.Duration(minute+1) * time.Minute).Format(time.RFC3339)},
	}
	if change != nil {
		change(&s)
	}
	f, err := Check(s)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func opened(t testing.TB, ring Ring) *Store {
	t.Helper()
	s, err := Open(t.Context(), ring)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *Store) count(t testing.TB, q Query) int {
	t.Helper()
	a, err := s.Ask(t.Context(), q, &stage{})
	if err != nil {
		t.Fatal(err)
	}
	return a.Matches
}

func TestBatchesAreTakenOnce(t *testing.T) {
	ring := newShelf(100)
	s := opened(t, ring)
	add := func(cluster, name string, want bool) {
		t.Helper()
		if added, err := s.Add(t.Context(), cluster, name, []Flow{flow(t, 0, nil), flow(t, 1, nil)}); err != nil || added != want {
			t.Fatalf("%s of %s: added %v (%v), want %v", name, cluster, added, err, want)
		}
	}
	add("a", "1", true)
	add("a", "1", false)
	add("b", "1", true)
	s = opened(t, ring)
	add("a", "1", false)
	add("a", "2", true)
	if n := s.count(t, Query{}); n != 6 {
		t.Fatalf("%d flows, want 6", n)
	}
	ring.fail = errors.New("no disk")
	if _, err := s.Add(t.Context(), "a", "3", []Flow{flow(t, 0, nil)}); err == nil {
		t.Fatal("a batch that was not stored was acknowledged")
	}
	ring.fail = nil
	add("a", "3", true)
}

// What the ring drops is forgotten, its name too; a damaged record is left out.
func TestOldestGo(t *testing.T) {
	ring := newShelf(3)
	s := opened(t, ring)
	for i := range 5 {
		if _, err := s.Add(t.Context(), "a", fmt.Sprint(i), []Flow{flow(t, i, nil)}); err != nil {
			t.Fatal(err)
		}
	}
	if n := s.count(t, Query{}); n != 3 || len(s.batches) != 3 || len(s.known) != 3 {
		t.Fatalf("%d flows in %d batches of %d names", n, len(s.batches), len(s.known))
	}
	ring.records[4] = ring.records[4][:len(ring.records[4])-5]
	ring.records[5] = []byte("?")
	s = opened(t, ring)
	if n := s.count(t, Query{}); n != 1 {
		t.Fatalf("%d flows beside the damaged ones", n)
	}
}

func TestRangesOfTime(t *testing.T) {
	s := opened(t, newShelf(100))
	for i := range 10 {
		if _, err := s.Add(t.Context(), "a", fmt.Sprint(i), []Flow{flow(t, 10*i, nil), flow(t, 10*i+5, nil)}); err != nil {
			t.Fatal(err)
		}
	}
	at := func(minute int) string { return noon.Add(time.Duration(minute) * time.Minute).Format(time.RFC3339) }
	for want, q := range map[int]Query{
		20: {}, 10: {Start: at(50)}, 3: {End: at(10)}, 2: {Start: at(20), End: at(25)}, 0: {Start: "2026-03-02"}, 1: {Start: at(3), End: at(5)},
	} {
		if got := s.count(t, q); got != want {
			t.Errorf("%s to %s: %d flows, want %d", q.Start, q.End, got, want)
		}
	}
}

func TestCheckNamesTheField(t *testing.T) {
	big, wrong := 70000, 256
	for field, change := range map[string]func(*pce.FlowSummary){
		"src.ip":                         func(s *pce.FlowSummary) { s.Src.IP = "10.0.0" },
		"dst.ip":                         func(s *pce.FlowSummary) { s.Dst.IP = "" },
		"timestamp_range.first_detected": func(s *pce.FlowSummary) { s.Range.First = "noon" },
		"timestamp_range.last_detected":  func(s *pce.FlowSummary) { s.Range.Last = "2020-01-01T00:00:00Z" },
		"service.proto":                  func(s *pce.FlowSummary) { s.Service.Proto = -1 },
		"service.port":                   func(s *pce.FlowSummary) { s.Service.Port = &big },
		"icmp_type":                      func(s *pce.FlowSummary) { s.ICMPCode = &wrong },
		"flow_direction":                 func(s *pce.FlowSummary) { s.Direction = "up" },
		"policy_decision":                func(s *pce.FlowSummary) { s.Decision = "" },
		"state":                          func(s *pce.FlowSummary) { s.State = "odd" },
	} {
		s := flow(t, 0, nil).Summary
		change(&s)
		_, err := Check(s)
		var i *Invalid
		if !errors.As(err, &i) || i.Field != field {
			t.Errorf("%s: %v", field, err)
		}
	}
	mapped := flow(t, 0, func(s *pce.FlowSummary) { s.Src.IP = "::ffff:10.0.0.9" })
	if mapped.Src != netip.MustParseAddr("10.0.0.9") {
		t.Errorf("a mapped address became %s", mapped.Src)
	}
}
