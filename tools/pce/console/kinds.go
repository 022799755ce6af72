package console

import (
	"strings"
)

// kind describes a collection of the API that follows the common pattern: list, create, read, update, delete.
type kind struct {
	table string
	// event begins the names of the kind's events, "label" of "label.create".
	event string
	// uuids tells whether ids are UUIDs rather than integers.
	uuids bool
	// owner is the name under which the path holds the id of the object that owns those of the kind, "" where none does.
	owner string
	// exact, substring and filters are what a list can be filtered by: strings that are equal to a field, that are in it,
	// and what needs more.
	exact, substring []string
	filters          map[string]filter
	// reported are fields that clients may send back but not set, beside those that no kind takes.
	reported []string
	// check validates a document that is to be stored under id; before is what is there now, nil for a new object.
	check func(v *validation, id string, doc, before document) (document, error)
	// inUse refuses the removal of an object that others refer to.
	inUse bool
}

// unversioned kinds act at once.
var (
	labels = kind{
		table: tableLabels, event: "label", exact: withExternal("key"), substring: []string{"value"},
		reported: []string{"deleted", "usage"}, check: checkLabel, inUse: true,
	}
	dimensions = kind{
		table: tableDimensions, event: "label_dimension", uuids: true, exact: withExternal("key"),
		substring: []string{"display_name"}, reported: []string{"deleted", "usage"}, check: checkDimension,
	}
	clusters = kind{
		table: tableClusters, event: "container_cluster", uuids: true, exact: []string{"manager_type", "cluster_mode"},
		substring: []string{"name", "description"}, check: checkCluster,
	}
	profiles = kind{
		table: tableProfiles, event: "container_workload_profile", uuids: true, owner: "cluster",
		exact: []string{"namespace", "enforcement_mode", "visibility_level"}, substring: []string{"name"},
		filters: map[string]filter{"managed": byFlag("managed"), "assign_labels": byLabels, "linked": byLinked}, check: checkProfile,
	}
	pairing = kind{
		table: tablePairing, event: "pairing_profile", exact: withExternal("agent_software_release"),
		substring: []string{"name", "description"}, filters: map[string]filter{"labels": byLabels, "enabled": byFlag("enabled")},
		reported: []string{"total_use_count", "last_pairing_at", "is_default"}, check: checkPairing, inUse: false,
	}
	machines = kind{
		table: tableMachines, event: "workload", uuids: true,
		exact:     withExternal("enforcement_mode", "visibility_level", "data_center", "data_center_zone", "os_id"),
		substring: []string{"name", "hostname", "description", "public_ip", "service_provider", "distinguished_name"},
		filters:   machineFilters, reported: machineReports, check: checkMachine, inUse: true,
	}
	vens = kind{
		table: tableVENs, event: "ven", uuids: true, exact: []string{"status", "version", "os_id", "os_platform", "activation_type"},
		substring: []string{"name", "hostname", "description"}, filters: venFilters, check: checkVEN,
	}
	bindings = kind{
		table: tableBindings, event: "service_binding", uuids: true, exact: external,
		filters: map[string]filter{"virtual_service": byRef("virtual_service"), "workload": byRef("workload")}, check: checkBinding,
	}
	kubernetesWorkloads = kind{table: tableWorkloads, exact: []string{"namespace", "kind"}, substring: []string{"name"}}
)

// versioned kinds exist as draft and as active.
var (
	ipLists = kind{
		table: tableIPLists, event: "ip_list", exact: external, substring: named,
		filters: map[string]filter{"ip_address": byPart("ip_ranges", "from_ip", "to_ip"), "fqdn": byPart("fqdns", "fqdn")},
		check:   checkIPList, inUse: true,
	}
	services = kind{
		table: tableServices, event: "service", exact: external, substring: named,
		filters: map[string]filter{"port": byPort("service_ports"), "proto": byNumber("service_ports", "proto")},
		check:   checkService, inUse: true,
	}
	groups = kind{
		table: tableGroups, event: "label_group", uuids: true, exact: withExternal("key"), substring: named,
		reported: []string{"usage"}, check: checkGroup, inUse: true,
	}
	boundaries = kind{
		table: tableBoundaries, event: "enforcement_boundary", exact: external, substring: []string{"name"},
		filters: map[string]filter{"enabled": byFlag("enabled")}, check: checkBoundary,
	}
	virtualServices = kind{
		table: tableVirtual, event: "virtual_service", uuids: true, exact: external, substring: named,
		filters: map[string]filter{
			"labels": byLabels, "service": byRef("service"),
			"service_ports.port": byPort("service_ports"), "service_ports.proto": byNumber("service_ports", "proto"),
			"service_addresses.fqdn": byPart("service_addresses", "fqdn"), "service_addresses.ip": byPart("service_addresses", "ip"),
		},
		check: checkVirtual, inUse: true,
	}
	ruleSets = kind{
		table: tableRuleSets, event: "rule_set", exact: external, substring: named,
		filters: map[string]filter{"enabled": byFlag("enabled"), "labels": byScope}, reported: []string{"ip_tables_rules", "rule_count"}, check: checkRuleSet,
	}
	rules     = kind{table: tableRules, event: "sec_rule", owner: "rule_set", exact: external, check: checkRule}
	denyRules = kind{table: tableDenyRules, event: "deny_rule", owner: "rule_set", exact: external, check: checkRule}
)

// named are the fields of most kinds that a list can be searched in.
var named = []string{"name", "description"}

func withExternal(fields ...string) []string { return append(fields, external...) }

func (k kind) newID(t *transaction) string {
	if k.uuids {
		return newUUID()
	}
	return t.number()
}

// org is the console's one organisation.
const org = "/orgs/1"

// kindOf and versionOf take the name of a table apart: "rule_sets" and "draft" of "draft/rule_sets".
func kindOf(table string) string { return table[strings.LastIndexByte(table, '/')+1:] }

func versionOf(table string) string {
	version, _, versioned := strings.Cut(table, "/")
	if !versioned {
		return ""
	}
	return version
}

// Hrefs of objects.
func hrefOf(table, id, owner string) string {
	kind, base := kindOf(table), org+"/"
	if version := versionOf(table); version != "" {
		base = org + "/sec_policy/" + version + "/"
	}
	switch kind {
	case tableUsers:
		return "/users/" + id
	case tableKeys:
		return "/users/" + owner + "/api_keys/" + id
	case tableRules, tableDenyRules:
		return base + tableRuleSets + "/" + owner + "/" + kind + "/" + id
	case tableProfiles:
		return base + tableClusters + "/" + owner + "/" + kind + "/" + id
	case tableFirewall:
		return base + kind
	default:
		return base + kind + "/" + id
	}
}

// tableOf is the inverse of hrefOf for the objects that others may refer to.
func tableOf(href string) (table, id string, ok bool) {
	rest, ok := strings.CutPrefix(href, org+"/")
	if !ok {
		return "", "", false
	}
	prefix := ""
	for part, tables := range map[string]string{"sec_policy/draft/": draftTables, "sec_policy/active/": activeTables} {
		if after, found := strings.CutPrefix(rest, part); found {
			rest, prefix = after, tables
		}
	}
	if rest == tableFirewall {
		return prefix + rest, firewallID, true
	}
	table, id, ok = strings.Cut(rest, "/")
	return prefix + table, id, ok && id != "" && !strings.Contains(id, "/")
}
