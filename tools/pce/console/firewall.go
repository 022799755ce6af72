package console

import (
	"github.com/ringfence/ringfence/libs/pce"
)

// firewallID is the id of the one object of its kind; no href holds it.
const firewallID = "1"

// firewallDefaults are the settings before anybody changes them.
var firewallDefaults = map[string]any{
	"allow_dhcp_client": true, "allow_dhcp_server": false, "allow_path_mtu_discovery": true, "allow_ipv6": true,
	"allow_traceroute": true, "allow_igmp": true, "ipv6_mode": "policy_based", "log_dropped_multicast": true,
	"log_dropped_broadcast": true, "network_detection_mode": "single_private_brn", "ike_authentication_type": "psk",
	"static_policy_scopes": []string{}, "firewall_coexistence": []string{}, "containers_inherit_host_policy_scopes": []string{},
	"blocked_connection_reject_scopes": []string{}, "loopback_interfaces_in_policy_scopes": []string{},
	"ip_forwarding_firewall_interfaces": []string{},
}

// firewallScopes are the settings that say for which workloads something holds.
var firewallScopes = []string{
	"static_policy_scopes", "containers_inherit_host_policy_scopes", "blocked_connection_reject_scopes",
	"loopback_interfaces_in_policy_scopes",
}

// firewall are the settings of the organisation's firewalls: one object that is changed but neither made nor removed.
var firewall = kind{table: tableFirewall, event: "firewall_settings", check: checkFirewall}

func (c *Console) firewallRoutes(path string) {
	one := func(handle handler) handler {
		return func(r request) (response, error) {
			r.SetPathValue("id", firewallID)
			return handle(r)
		}
	}
	c.route(readers, "GET "+path, one(c.read(firewall)))
	c.route(users, "PUT "+path, one(c.update(firewall)))
}

func checkFirewall(v *validation, _ string, doc, _ document) (document, error) {
	doc = doc.otherwise(firewallDefaults)
	for _, field := range firewallScopes {
		var scopes [][]pce.Actor
		if err := decodeInto(doc[field], &scopes); err != nil {
			return nil, invalid(field, "want lists of labels and label groups")
		}
		for _, scope := range scopes {
			if err := v.scope(field, scope); err != nil {
				return nil, err
			}
		}
	}
	if err := v.coexistence(doc); err != nil {
		return nil, err
	}
	if err := oneOf("ipv6_mode", doc.text("ipv6_mode"), []string{"policy_based", "allow_all", "block_all"}); err != nil {
		return nil, err
	}
	return doc, oneOf("ike_authentication_type", doc.text("ike_authentication_type"), []string{"psk", "certificate"})
}

// coexistence checks for which labels Illumio's firewall is the primary one.
func (v *validation) coexistence(doc document) error {
	var entries []struct {
		Primary *bool     `json:"illumio_primary"`
		Scope   []pce.Ref `json:"scope"`
	}
	if err := decodeInto(doc["firewall_coexistence"], &entries); err != nil {
		return invalid("firewall_coexistence", "want entries with illumio_primary and scope")
	}
	for _, entry := range entries {
		if entry.Primary == nil {
			return invalid("firewall_coexistence.illumio_primary", "must be given")
		}
		if _, err := v.oneLabelPerKey(document{}, "firewall_coexistence.scope", entry.Scope); err != nil {
			return err
		}
	}
	return nil
}
