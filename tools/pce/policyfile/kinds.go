package policyfile

import (
	"strings"

	api "github.com/ringfence/ringfence/libs/pce"
)

// Names of kinds: of sections of a file, and of collections of the API.
const (
	kindDimensions = "label_dimensions"
	kindLabels     = "labels"
	kindGroups     = "label_groups"
	kindIPLists    = "ip_lists"
	kindServices   = "services"
	kindVirtual    = "virtual_services"
	kindWorkloads  = "workloads"
	kindRuleSets   = "rule_sets"
	kindBoundaries = "enforcement_boundaries"
	kindPairing    = "pairing_profiles"
	kindProfiles   = "container_workload_profiles"
	kindFirewall   = "firewall_settings"

	kindClusters   = "container_clusters"
	kindKubernetes = "kubernetes_workloads"
)

// kind is a section of a file.
type kind struct {
	name string
	// versioned kinds have a draft and an active form.
	versioned bool
	// single says that there is one object, which is neither made nor removed, and whose fields are left alone unless they are given.
	single bool
	record
	// called gives the name of an object in plain form.
	called func(plain map[string]any) string
	// ours tells whether an object of the console belongs into a file; nil for all. Others can be named all the same.
	ours func(object map[string]any) bool
	// stays tells whether an object is never removed for not being in a file; nil for none.
	stays func(object map[string]any) bool
}

var external = []field{{name: "external_data_set", shape: text{}}, {name: "external_data_reference", shape: text{}}}

func fields(own ...field) []field { return append(own, external...) }

func required(name string, s shape) field { return field{name: name, shape: s, required: true} }

func optional(name string, s shape) field { return field{name: name, shape: s} }

func otherwise(name string, s shape, plain any) field {
	return field{name: name, shape: s, otherwise: plain}
}

func byName(plain map[string]any) string {
	name, _ := plain["name"].(string)
	return name
}

var (
	labelRefs = list{of: ref{kindLabels}}
	// actor is one end of a rule.
	actor = record{whole: true, fields: []field{
		optional("label", ref{kindLabels}), optional("label_group", ref{kindGroups}), optional("ip_list", ref{kindIPLists}),
		optional("workload", ref{kindWorkloads}), optional("virtual_service", ref{kindVirtual}), optional("actors", text{}),
		otherwise("exclusion", flag{}, false),
	}}
	protocols = number{words: map[string]any{"tcp": int64(6), "udp": int64(17), "icmp": int64(1), "icmpv6": int64(58), "all": int64(-1)}}
	limits    = number{words: map[string]any{"unlimited": "unlimited"}}
	ports     = []field{
		optional("proto", protocols), optional("port", number{}), optional("to_port", number{}),
		optional("icmp_type", number{}), optional("icmp_code", number{}),
	}
	rulePorts = list{of: traffic{record{whole: true, flow: true, fields: append([]field{optional("service", ref{kindServices})}, ports...)}}}
	scopes    = list{of: list{of: actor}}
	resolves  = list{of: text{}}
	// everyScope is written down when it is empty, too: what firewall settings a file does not give are left alone.
	everyScope = list{of: list{of: actor}, kept: true}
)

// ruleFields are those of allow and of deny rules.
func ruleFields(own ...field) []field {
	return fields(append([]field{
		optional("description", text{}), otherwise("enabled", flag{}, true),
		required("consumers", list{of: actor}), required("providers", list{of: actor}), optional("ingress_services", rulePorts),
		otherwise("resolve_labels_as", record{fields: []field{optional("consumers", resolves), optional("providers", resolves)}},
			map[string]any{"consumers": []any{"workloads"}, "providers": []any{"workloads"}}),
		otherwise("unscoped_consumers", flag{}, false), otherwise("sec_connect", flag{}, false), otherwise("stateless", flag{}, false),
		otherwise("machine_auth", flag{}, false), otherwise("network_type", text{}, "brn"),
		// Users and their groups have no names in this API; a rule that is limited to them must not lose that.
		optional("consuming_security_principals", list{of: record{whole: true}}),
	}, own...)...)
}

var (
	allowRule = record{fields: ruleFields()}
	denyRule  = record{fields: ruleFields(otherwise("override", flag{}, false))}
)

// Names of the fields with the rules of a rule set, and of the collections they are in.
const (
	fieldRules = "rules"
	fieldDeny  = "deny_rules"
)

var ruleCollections = map[string]string{fieldRules: "sec_rules", fieldDeny: "deny_rules"}

// kinds in the order in which they can be made: what others refer to comes first.
var kinds = []kind{
	{
		name: kindDimensions, called: func(plain map[string]any) string { name, _ := plain["key"].(string); return name },
		stays: func(o map[string]any) bool { return isOneOf(o["key"], "role", "app", "env", "loc") },
		record: record{fields: fields(required("key", text{}), required("display_name", text{}), optional("display_info", record{fields: []field{
			optional("icon", text{}), optional("initial", text{}), optional("background_color", text{}), optional("foreground_color", text{}),
			optional("display_name_plural", text{}), optional("sort_ordinal", number{}),
		}}))},
	},
	{
		name: kindLabels, called: func(plain map[string]any) string { name, _ := plain["label"].(string); return name },
		record: record{fields: fields(required("label", text{}))},
	},
	{
		name: kindGroups, versioned: true, called: byName,
		record: record{fields: fields(required("name", text{}), required("key", text{}), optional("description", text{}),
			optional("labels", labelRefs), optional("sub_groups", list{of: ref{kindGroups}}))},
	},
	{
		name: kindIPLists, versioned: true, called: byName,
		ours: func(o map[string]any) bool { return !isOneOf(o["name"], api.AnyIPList) },
		record: record{fields: fields(required("name", text{}), optional("description", text{}),
			optional("ip_ranges", list{of: record{fields: []field{
				required("from_ip", text{}), optional("to_ip", text{}), otherwise("exclusion", flag{}, false), optional("description", text{}),
			}}}),
			optional("fqdns", list{of: record{fields: []field{required("fqdn", text{}), optional("description", text{})}}}))},
	},
	{
		name: kindServices, versioned: true, called: byName,
		ours: func(o map[string]any) bool { return !isOneOf(o["name"], api.AllServices) },
		record: record{fields: fields(required("name", text{}), optional("description", text{}), optional("process_name", text{}),
			optional("service_ports", list{of: record{flow: true, fields: ports}}),
			optional("windows_services", list{of: record{flow: true, fields: append([]field{
				optional("service_name", text{}), optional("process_name", text{}),
			}, ports...)}}))},
	},
	{
		name: kindVirtual, versioned: true, called: byName, ours: func(o map[string]any) bool { return o["k8s_service_info"] == nil && !madeByCluster(o) },
		record: record{fields: fields(required("name", text{}), optional("description", text{}), otherwise("apply_to", text{}, "host_only"),
			optional("labels", labelRefs), optional("service", ref{kindServices}),
			optional("service_ports", list{of: record{flow: true, fields: ports}}),
			optional("service_addresses", list{of: record{flow: true, fields: []field{
				optional("ip", text{}), optional("fqdn", text{}), optional("port", number{}),
			}}}),
			optional("ip_overrides", list{of: text{}}))},
	},
	{
		name: kindWorkloads, called: workloadName, ours: func(o map[string]any) bool { return o["managed"] != true && o["ven"] == nil && !madeByCluster(o) },
		record: record{fields: fields(optional("name", text{}), optional("hostname", text{}), optional("description", text{}),
			optional("labels", labelRefs), otherwise("enforcement_mode", text{}, "visibility_only"), optional("public_ip", text{}),
			optional("interfaces", list{of: record{fields: []field{
				required("name", text{}), optional("address", text{}), optional("cidr_block", number{}), optional("default_gateway_address", text{}),
			}}}),
			optional("service_provider", text{}), optional("data_center", text{}), optional("data_center_zone", text{}),
			optional("os_id", text{}), optional("os_detail", text{}), optional("distinguished_name", text{}), optional("machine_id", text{}))},
	},
	{
		name: kindRuleSets, versioned: true, called: byName,
		record: record{fields: fields(required("name", text{}), optional("description", text{}), otherwise("enabled", flag{}, true),
			required("scopes", scopes), optional(fieldRules, list{of: allowRule}), optional(fieldDeny, list{of: denyRule}),
			optional("ip_tables_rules", list{of: record{whole: true}}))},
	},
	{
		name: kindBoundaries, versioned: true, called: byName,
		record: record{fields: fields(required("name", text{}), otherwise("enabled", flag{}, true), required("consumers", list{of: actor}),
			required("providers", list{of: actor}), required("ingress_services", rulePorts), otherwise("network_type", text{}, "brn"))},
	},
	{
		name: kindPairing, called: byName,
		record: record{fields: fields(required("name", text{}), optional("description", text{}), otherwise("enabled", flag{}, true),
			otherwise("enforcement_mode", text{}, "visibility_only"), otherwise("visibility_level", text{}, "flow_summary"),
			optional("labels", labelRefs), otherwise("key_lifespan", limits, "unlimited"), otherwise("allowed_uses_per_key", limits, "unlimited"),
			otherwise("ven_type", text{}, "server"), otherwise("log_traffic", flag{}, true), otherwise("log_traffic_lock", flag{}, true),
			otherwise("mode_lock", flag{}, true), otherwise("enforcement_mode_lock", flag{}, true), otherwise("visibility_level_lock", flag{}, true),
			otherwise("role_label_lock", flag{}, true), otherwise("app_label_lock", flag{}, true), otherwise("env_label_lock", flag{}, true),
			otherwise("loc_label_lock", flag{}, true), optional("agent_software_release", text{}))},
	},
	{
		name: kindProfiles, called: profileName,
		// Those of namespaces that the cluster has, and the default, would only be made again.
		stays: func(o map[string]any) bool { return o["linked"] == true || o["namespace"] == nil },
		record: record{fields: []field{required("cluster", ref{kindClusters}), optional("namespace", text{}), optional("name", text{}),
			optional("description", text{}), otherwise("managed", flag{}, false), otherwise("enforcement_mode", text{}, "idle"),
			otherwise("visibility_level", text{}, "flow_summary"),
			optional("labels", list{of: record{flow: true, fields: []field{
				required("key", text{}), optional("assignment", ref{kindLabels}), optional("restriction", list{of: ref{kindLabels}, kept: true}),
			}}})}},
	},
	{
		name: kindFirewall, versioned: true, single: true, called: func(map[string]any) string { return kindFirewall },
		record: record{fields: []field{
			optional("allow_dhcp_client", flag{}), optional("allow_dhcp_server", flag{}), optional("allow_igmp", flag{}), optional("allow_ipv6", flag{}),
			optional("allow_path_mtu_discovery", flag{}), optional("allow_traceroute", flag{}), optional("ipv6_mode", text{}),
			optional("log_dropped_broadcast", flag{}), optional("log_dropped_multicast", flag{}),
			optional("network_detection_mode", text{}), optional("ike_authentication_type", text{}),
			optional("static_policy_scopes", everyScope), optional("containers_inherit_host_policy_scopes", everyScope),
			optional("blocked_connection_reject_scopes", everyScope), optional("loopback_interfaces_in_policy_scopes", everyScope),
			optional("firewall_coexistence", list{kept: true, of: record{fields: []field{
				required("illumio_primary", flag{}), optional("workload_mode", text{}), optional("scope", labelRefs),
			}}}),
		}},
	},
}

func kindNamed(name string) *kind {
	for i := range kinds {
		if kinds[i].name == name {
			return &kinds[i]
		}
	}
	return nil
}

func isOneOf(v any, names ...string) bool {
	for _, name := range names {
		if v == name {
			return true
		}
	}
	return false
}

func madeByCluster(o map[string]any) bool {
	by, _ := o["created_by"].(map[string]any)
	href, _ := by["href"].(string)
	return strings.Contains(href, "/"+kindClusters+"/")
}

func workloadName(plain map[string]any) string {
	if name := byName(plain); name != "" {
		return name
	}
	name, _ := plain["hostname"].(string)
	return name
}

func profileName(plain map[string]any) string {
	cluster, _ := plain["cluster"].(string)
	namespace, _ := plain["namespace"].(string)
	if namespace == "" {
		return cluster + " (default)"
	}
	return cluster + "/" + namespace
}

// fromConsole and forConsole turn the fields of a label into one, and back.
func (k kind) fromConsole(o map[string]any) map[string]any {
	if k.name == kindLabels {
		key, _ := o["key"].(string)
		value, _ := o["value"].(string)
		o["label"] = key + "=" + value
	}
	return o
}

func (k kind) forConsole(o map[string]any) map[string]any {
	switch k.name {
	case kindLabels:
		if label, given := o["label"].(string); given {
			o["key"], o["value"], _ = strings.Cut(label, "=")
			delete(o, "label")
		}
	case kindProfiles:
		delete(o, "cluster")
	}
	return o
}
