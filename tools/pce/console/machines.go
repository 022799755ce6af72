package console

import (
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/ringfence/ringfence/libs/pce"
)

// machineReports are fields of a workload that its agent says, or the console; clients send them back with what they read.
var machineReports = []string{
	"agent", "ven", "managed", "deleted", "delete_type", "container_cluster", "num_enforcement_boundaries", "firewall_coexistence",
	"containers_inherit_host_policy", "blocked_connection_action", "selectively_enforced_services", "vulnerabilities_summary",
	"detected_vulnerabilities",
}

// agentsOwn are fields of a managed workload that its agent reports.
var agentsOwn = []string{"hostname", "interfaces", "public_ip", "os_id", "os_detail", "online", "services", "machine_id"}

var visibilityLevels = []string{"flow_summary", "flow_drops", "flow_off", "flow_full_detail", "enhanced_data_collection"}

var machineFilters = map[string]filter{
	"managed": byFlag("managed"), "online": byOnline, "ip_address": byPart("interfaces", "address"), "labels": byLabels,
	"container_clusters": byCluster, "ven": byRef("ven"),
}

func byOnline(value string) (chooses, error) {
	want, err := strconv.ParseBool(value)
	return func(s view, r *record) bool {
		if r.Owner == "" {
			return r.Doc.flag("online", true) == want
		}
		return s.agents.online(r.Owner) == want
	}, err
}

// byCluster finds what belongs to one of the clusters, given as a list of hrefs or one of them.
func byCluster(value string) (chooses, error) {
	return func(_ view, r *record) bool {
		return r.Owner != "" && strings.Contains(value, hrefOf(tableClusters, r.Owner, ""))
	}, nil
}

// checkMachine validates a workload. What its agent reports stays as it is.
func checkMachine(v *validation, _ string, doc, before document) (document, error) {
	managed := doc.flag("managed", false)
	if managed && before != nil {
		doc = doc.keep(before, agentsOwn)
	}
	doc = doc.otherwise(map[string]any{
		"interfaces": []string{}, "labels": []string{}, "managed": managed,
		"enforcement_mode": pce.ModeVisibilityOnly, "visibility_level": "flow_summary",
	})
	if !managed {
		doc = doc.otherwise(map[string]any{"online": true})
	}
	var m pce.Workload
	if err := doc.into(&m); err != nil {
		return nil, err
	}
	if strings.TrimSpace(m.Name) == "" && strings.TrimSpace(m.Hostname) == "" {
		return nil, invalid("name", "want a name or a hostname")
	}
	for _, i := range m.Interfaces {
		if err := checkInterface(i); err != nil {
			return nil, err
		}
	}
	if err := oneOf("enforcement_mode", m.EnforcementMode, modes); err != nil {
		return nil, err
	}
	if err := oneOf("visibility_level", doc.text("visibility_level"), visibilityLevels); err != nil {
		return nil, err
	}
	return v.oneLabelPerKey(doc, "labels", m.Labels)
}

// keep gives d with the fields as they are in before.
func (d document) keep(before document, fields []string) document {
	kept := d.without(fields)
	for _, field := range fields {
		if before[field] != nil {
			kept[field] = before[field]
		}
	}
	return kept
}

func checkInterface(i pce.Interface) error {
	if strings.TrimSpace(i.Name) == "" {
		return invalid("interfaces.name", "must not be empty")
	}
	if _, err := netip.ParseAddr(i.Address); i.Address != "" && err != nil {
		return invalid("interfaces.address", "%q is not an address", i.Address)
	}
	return nil
}

// decorateMachine adds the labels by name and, of a managed workload, its agent.
func (s *state) decorateMachine(out rendered, id string, r *record, agents *agents) {
	out["labels"], out["interfaces"] = s.namedLabels(r.Doc), interfacesOf(r.Doc)
	agent := rendered{"config": rendered{
		"mode": legacyMode(r.Doc.text("enforcement_mode")), "log_traffic": r.Doc.text("visibility_level") != "flow_off",
		"visibility_level": r.Doc.text("visibility_level"), "security_policy_update_mode": "adaptive",
	}}
	out["agent"] = agent
	if r.Owner == "" {
		return
	}
	out["container_cluster"] = s.clusterRef(r.Owner)
	if ven := s.venOf(id); ven != "" {
		s.decorateManaged(out, agent, r, ven, agents)
	}
}

// interfacesOf are the interfaces of a workload with every field of the shape.
func interfacesOf(doc document) []map[string]any {
	full := []map[string]any{}
	for _, entry := range doc.list("interfaces") {
		for field, value := range map[string]any{
			"name": "", "address": nil, "cidr_block": nil, "default_gateway_address": nil, "link_state": nil, "network": nil,
			"network_detection_mode": "single_private_brn", "friendly_name": nil, "loopback": false,
		} {
			if _, given := entry[field]; !given {
				entry[field] = value
			}
		}
		full = append(full, entry)
	}
	return full
}

// decorateManaged adds what the VEN knows, in both of the forms that clients read: agent and ven.
func (s *state) decorateManaged(out, agent rendered, r *record, ven string, agents *agents) {
	v := s.get(tableVENs, ven)
	out["online"] = agents.online(r.Owner)
	out["ven"] = map[string]any{
		"href": hrefOf(tableVENs, ven, ""), "name": orNull(v.Doc.text("name")), "hostname": orNull(v.Doc.text("hostname")),
		"status": v.Doc.text("status"),
	}
	maps.Copy(agent, rendered{
		"href": org + "/agents/" + ven, "type": "Host", "unpair_allowed": true, "active_pce_fqdn": nil, "target_pce_fqdn": nil,
		"secure_connect": map[string]string{"matching_issuer_name": ""}, "status": s.venStatus(v, agents),
	})
}

// venStatus is what a VEN says of itself, in the words of a workload's agent.status; what it never said is null.
func (s *state) venStatus(v *record, agents *agents) rendered {
	status := rendered{
		"uid": v.Doc.orNull("uid"), "instance_id": nil, "managed_since": v.CreatedAt, "status": v.Doc.text("status"),
		"agent_version": v.Doc.orNull("version"), "last_heartbeat_on": stamp(agents.lastSeen(s.ownerOf(v))), "uptime_seconds": v.Doc.orNull("uptime_seconds"),
		"agent_health": []struct{}{}, "agent_health_errors": map[string][]string{"errors": {}, "warnings": {}},
		"fw_config_current": v.Doc.text("security_policy_sync_state") == pce.SyncApplied, "firewall_rule_count": 0,
	}
	for _, field := range []string{
		"security_policy_sync_state", "security_policy_applied_at", "security_policy_received_at", "security_policy_refresh_at",
	} {
		status[field] = v.Doc.orNull(field)
	}
	return status
}

// ownerOf is the cluster of a VEN's workload.
func (s *state) ownerOf(ven *record) string {
	if m := s.get(tableMachines, ven.Owner); m != nil {
		return m.Owner
	}
	return ""
}

func (d document) orNull(field string) any {
	if d[field] == nil {
		return nil
	}
	return d[field]
}

// legacyMode is the name that enforcement modes had in agent.config.
func legacyMode(mode string) string {
	switch mode {
	case pce.ModeVisibilityOnly:
		return "illuminated"
	case pce.ModeFull:
		return "enforced"
	default:
		return mode
	}
}

// namedLabels are the labels of an object with key and value, in the order of their keys.
func (s *state) namedLabels(doc document) []pce.Label {
	found := []pce.Label{}
	for _, href := range doc.labelHrefs() {
		if l, ok := s.label(pce.ID(href)); ok {
			found = append(found, l)
		}
	}
	slices.SortStableFunc(found, func(a, b pce.Label) int { return strings.Compare(a.Key, b.Key) })
	return found
}

func (s *state) clusterRef(id string) any {
	r := s.get(tableClusters, id)
	if r == nil {
		return nil
	}
	return map[string]string{"href": hrefOf(tableClusters, id, ""), "name": r.Doc.text("name")}
}
