package console

import "github.com/ringfence/ringfence/libs/pce"

// shapes are the fields of each kind's documented shape, with the values that stand for nothing: a client finds every field
// in every object, whoever wrote it.
var shapes = map[string]rendered{
	tableLabels:     {"external_data_set": nil, "external_data_reference": nil, "deleted": false},
	tableDimensions: {"display_info": map[string]string{}, "external_data_set": nil, "external_data_reference": nil, "deleted": false},
	tableIPLists: {
		"description": nil, "ip_ranges": none, "fqdns": none, "external_data_set": nil, "external_data_reference": nil,
	},
	tableServices: {
		"description": nil, "description_url": nil, "process_name": nil, "service_ports": none,
		"external_data_set": nil, "external_data_reference": nil,
	},
	tableGroups: {"description": nil, "labels": none, "sub_groups": none, "external_data_set": nil, "external_data_reference": nil},
	tableBoundaries: {
		"consumers": none, "providers": none, "ingress_services": none, "external_data_set": nil, "external_data_reference": nil,
	},
	tableVirtual: {
		"description": nil, "pce_fqdn": nil, "service_addresses": none, "ip_overrides": none, "labels": none,
		"external_data_set": nil, "external_data_reference": nil,
	},
	tableRuleSets: {"description": nil, "external_data_set": nil, "external_data_reference": nil},
	tableRules:    ruleShape(),
	tableDenyRules: func() rendered {
		shape := ruleShape()
		shape["override"] = false
		return shape
	}(),
	tableFirewall: firewallDefaults,
	tableClusters: {
		"description": nil, "manager_type": nil, "network_type": nil, "kubelink_version": nil, "container_runtime": nil, "pce_fqdn": nil,
		"nodes": none, "errors": none,
	},
	tablePairing: {
		"description": nil, "agent_software_release": nil, "total_use_count": 0, "last_pairing_at": nil,
		"external_data_set": nil, "external_data_reference": nil,
	},
	tableMachines: {
		"deleted": false, "name": nil, "description": nil, "hostname": nil, "service_principal_name": nil, "public_ip": nil,
		"distinguished_name": nil, "agent_to_pce_certificate_authentication_id": nil, "ike_authentication_certificate": nil,
		"external_data_set": nil, "external_data_reference": nil, "ignored_interface_names": none, "service_provider": nil,
		"data_center": nil, "data_center_zone": nil, "os_id": nil, "os_detail": nil, "online": false,
		"services": map[string]any{"uptime_seconds": nil, "created_at": nil, "open_service_ports": none}, "num_enforcement_boundaries": 0,
		"selectively_enforced_services": none, "containers_inherit_host_policy": false, "blocked_connection_action": "drop",
		"firewall_coexistence": map[string]bool{"illumio_primary": true}, "container_cluster": nil, "ven": nil,
	},
	tableVENs: {
		"name": nil, "description": nil, "hostname": nil, "uid": nil, "os_id": nil, "os_detail": nil, "os_platform": "linux", "version": nil,
		"active_pce_fqdn": nil, "target_pce_fqdn": nil, "secure_connect": nil, "unpair_allowed": true, "last_goodbye_at": nil,
		"conditions": none, "container_cluster": nil, "labels": none, "interfaces": none, "ven_type": "containerized-ven",
	},
	tableBindings: {"container_workload": nil, "external_data_set": nil, "external_data_reference": nil},
}

// none is a list of nothing.
var none = []struct{}{}

func ruleShape() rendered {
	return rendered{
		"description": nil, "ingress_services": none, "egress_services": none, "sec_connect": false, "stateless": false, "machine_auth": false,
		"use_workload_subnets": none, "consuming_security_principals": none, "external_data_set": nil, "external_data_reference": nil,
		"resolve_labels_as": pce.ResolveLabelsAs{Providers: []string{"workloads"}, Consumers: []string{"workloads"}},
	}
}
