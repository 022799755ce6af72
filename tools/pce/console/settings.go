package console

import (
	"bytes"
	"encoding/json"
	"slices"
)

// orgName is what the console's one organisation is called.
const orgName = "Ringfence"

func (c *Console) organisation(request) (response, error) {
	return ok(rendered{"href": org, "id": 1, "name": orgName, "display_name": orgName, "uuid": uuidFrom(org), "caps": []string{}}), nil
}

// timeout is a number of seconds for the workloads of a scope; -1 stands for never.
type timeout struct {
	Scope []json.RawMessage `json:"scope"`
	Value int               `json:"value"`
}

func seconds(value int) []timeout { return []timeout{{Scope: []json.RawMessage{}, Value: value}} }

var timeouts = rendered{
	"workload_disconnected_timeout_seconds":      seconds(3600),
	"workload_goodbye_timeout_seconds":           seconds(900),
	"workload_disconnected_notification_seconds": seconds(1800),
	"workload_uninstall_timeout_hours":           seconds(168),
	"ven_uninstall_timeout_hours":                seconds(168),
}

// settings are documents of which there is one each, by the last part of their path.
var settings = map[string]struct {
	defaults rendered
	check    func(document) error
}{
	"workloads": {timeouts, checkTimeouts},
	"events": {rendered{
		"audit_event_retention_seconds": 2592000, "audit_event_min_severity": "informational", "format": "JSON",
	}, checkEventSettings},
	"organisation": {rendered{
		"max_api_key_expiration_time": -1, "allow_dhcp_client": true, "ven_maintenance_token_required": false,
	}, func(document) error { return nil }},
}

func (c *Console) settingsRoutes() {
	const at = "/orgs/{org}/settings"
	for name, path := range map[string]string{"workloads": at + "/workloads", "events": at + "/events", "organisation": at} {
		c.route(users, "GET "+path, func(request) (response, error) { return ok(c.settingsOf(name)), nil })
		c.route(users, "PUT "+path, c.updateSettings(name))
	}
}

// settingsOf gives a document of settings, those that nobody changed with their defaults.
func (c *Console) settingsOf(name string) rendered {
	out := rendered{"href": hrefOf(tableSettings, name, "")}
	if name == "organisation" {
		out["href"] = org + "/" + tableSettings
	}
	for field, value := range settings[name].defaults {
		out[field] = value
	}
	c.store.view(func(s *state) {
		if r := s.get(tableSettings, name); r != nil {
			for field, value := range r.Doc {
				out[field] = value
			}
		}
	})
	return out
}

func (c *Console) updateSettings(name string) handler {
	return func(r request) (response, error) {
		change, err := r.document()
		if err != nil {
			return response{}, err
		}
		if err := settings[name].check(change); err != nil {
			return response{}, err
		}
		err = c.store.write(r.Context(), r.who.href, "settings.update", func(t *transaction) error {
			if before := t.state.get(tableSettings, name); before != nil {
				t.update(tableSettings, name, before.Doc.merge(change))
			} else {
				t.create(tableSettings, name, "", change)
			}
			return nil
		})
		return noContent, err
	}
}

func checkTimeouts(change document) error {
	for field := range timeouts {
		if change[field] == nil {
			continue
		}
		var values []timeout
		if err := decodeInto(change[field], &values); err != nil || bytes.Equal(change[field], []byte("null")) {
			return invalid(field, "want a list of {scope, value}")
		}
		for _, v := range values {
			if v.Value < -1 {
				return invalid(field, "%d is neither a number of seconds nor -1", v.Value)
			}
		}
	}
	return nil
}

func checkEventSettings(change document) error {
	allowed := []string{"error", "warning", "informational"}
	if level := change.text("audit_event_min_severity"); change["audit_event_min_severity"] != nil && !slices.Contains(allowed, level) {
		return invalid("audit_event_min_severity", "%q is not one of %v", level, allowed)
	}
	return nil
}
