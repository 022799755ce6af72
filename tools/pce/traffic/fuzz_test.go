package traffic

import (
	"encoding/json"
	"errors"
	"testing"

	"github.com/ringfence/ringfence/libs/pce"
)

// FuzzQuery gives a query any body: it is refused with its field, or it is answered.
func FuzzQuery(f *testing.F) {
	for _, seed := range []string{
		`{}`, `null`, `{"sources":{"include":[[{"label":{"href":"/l/app-shop"}}],[]],"exclude":[{"actors":"ams"}]},"max_results":1}`,
		`{"destinations":{"include":[[{"ip_address":{"value":"10.0.0.0/8"}},{"transmission":"unicast"}]]},"sources_destinations_query_op":"or"}`,
		`{"services":{"include":[{"port":1,"to_port":2,"proto":6}]},"policy_decisions":["allowed"],"start_date":"2026-01-01","end_date":"2026-12-31T00:00:00Z"}`,
		`{"sources":{"include":[[{"ip_list":{"href":"/2"}}]]},"exclude_workloads_from_ip_list_query":false}`, `{"sources":{"include":[[null]]}}`,
	} {
		f.Add([]byte(seed))
	}
	store, _ := story(f)
	f.Fuzz(func(t *testing.T, body []byte) {
		var q Query
		if json.Unmarshal(body, &q) != nil {
			return
		}
		answer, err := store.Ask(t.Context(), q, newStage())
		var i *Invalid
		switch {
		case err != nil && !errors.As(err, &i):
			t.Fatalf("refused without a field: %v", err)
		case err == nil && (answer.Len() > answer.Matches || answer.Matches > 7):
			t.Fatalf("%d rows of %d flows", answer.Len(), answer.Matches)
		}
	})
}

// FuzzFlow gives a flow any body: what is taken is found again, as it was.
func FuzzFlow(f *testing.F) {
	for _, seed := range []string{
		`{"src":{"ip":"10.0.0.1"},"dst":{"ip":"fe80::1%eth0","workload":{"href":"/w/web"}},"service":{"port":80,"proto":6},"flow_direction":"inbound","policy_decision":"allowed","state":"timed out","num_connections":18446744073709551615,"timestamp_range":{"first_detected":"2026-01-02T03:04:05Z","last_detected":"2026-01-02T03:04:05.6+01:00"}}`,
		`{}`, `{"src":{"ip":"::ffff:1.2.3.4"}}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		var summary pce.FlowSummary
		if json.Unmarshal(body, &summary) != nil {
			return
		}
		flow, err := Check(summary)
		if err != nil {
			return
		}
		store := opened(t, newShelf(1))
		if _, err := store.Add(t.Context(), "a", "b", []Flow{flow}); err != nil {
			t.Fatal(err)
		}
		answer, err := store.Ask(t.Context(), Query{}, newStage())
		if err != nil || answer.Matches != 1 {
			t.Fatalf("%+v (%v)", answer, err)
		}
		for row := range answer.Rows() {
			if row.Connections != summary.Connections {
				t.Fatalf("%+v", row)
			}
		}
	})
}

// FuzzRecord gives the store what a damaged ring may hold: it is left out.
func FuzzRecord(f *testing.F) {
	f.Add([]byte("{}\n"))
	f.Add([]byte(`{"cluster":"a","batch":"b","first":"2026-01-01T00:00:00Z","last":"2026-01-02T00:00:00Z"}` + "\n(\xb5/\xfd\x04\x00\x11\x00\x00[]"))
	f.Add([]byte("?"))
	f.Fuzz(func(t *testing.T, record []byte) {
		ring := newShelf(2)
		if _, err := ring.Append(t.Context(), record); err != nil {
			t.Fatal(err)
		}
		store := opened(t, ring)
		if _, err := store.Ask(t.Context(), Query{}, newStage()); err != nil {
			t.Fatal(err)
		}
	})
}
