package console_test

import (
	"strings"
	"testing"
)

func TestSettings(t *testing.T) {
	w := newWorld(t)
	var before, after map[string]any
	w.answered(200, "GET", "/orgs/1/settings/workloads", nil, &before)
	w.answered(204, "PUT", "/orgs/1/settings/workloads", map[string]any{
		"workload_goodbye_timeout_seconds": []map[string]any{{"scope": []any{}, "value": 300}}, "from_the_future": 1}, nil)
	w.close()
	w.open()
	w.answered(200, "GET", "/orgs/1/settings/workloads", nil, &after)
	if before["href"] != "/orgs/1/settings/workloads" || after["from_the_future"] != 1.0 ||
		after["workload_disconnected_timeout_seconds"] == nil ||
		after["workload_goodbye_timeout_seconds"].([]any)[0].(map[string]any)["value"] != 300.0 {
		t.Fatalf("before %v, after %v", before, after)
	}
	w.answered(406, "PUT", "/orgs/1/settings/workloads", map[string]any{"workload_goodbye_timeout_seconds": 300}, nil)
	w.answered(406, "PUT", "/orgs/1/settings/workloads", map[string]any{"workload_goodbye_timeout_seconds": []map[string]any{{"value": -2}}}, nil)
	w.answered(406, "PUT", "/orgs/1/settings/events", map[string]any{"audit_event_min_severity": "loud"}, nil)
	w.answered(204, "PUT", "/orgs/1/settings/events", map[string]any{"audit_event_min_severity": "warning"}, nil)
	w.answered(200, "GET", "/orgs/1/settings", nil, &after)
	if after["href"] != "/orgs/1/settings" {
		t.Fatalf("settings of the organisation: %v", after)
	}
}

func TestHealthAndOrganisation(t *testing.T) {
	w := newWorld(t)
	var health []struct{ Status, FQDN string }
	w.answeredTo(nobody, 200, "GET", "/health", nil, &health)
	if len(health) != 1 || health[0].Status != "normal" || !strings.HasPrefix(w.server.URL, "http://"+health[0].FQDN) {
		t.Fatalf("health %v", health)
	}
	w.answeredTo(nobody, 204, "GET", "/noop", nil, nil)
	w.answeredTo(nobody, 200, "GET", "/product_version", nil, nil)
	w.answeredTo(nobody, 401, "GET", "/orgs/1", nil, nil)
	var organisation struct{ Href string }
	w.answered(200, "GET", "/orgs/1", nil, &organisation)
	if organisation.Href != "/orgs/1" {
		t.Fatalf("organisation %v", organisation)
	}
	w.answered(404, "GET", "/orgs/2", nil, nil)
}
