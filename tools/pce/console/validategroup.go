package console

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/ringfence/ringfence/libs/pce"
)

// checkGroup holds that all members of a label group are of its key, and that no group is a part of itself.
func checkGroup(v *validation, id string, doc, before document) (document, error) {
	doc = doc.otherwise(map[string]any{"labels": []string{}, "sub_groups": []string{}})
	var g pce.LabelGroup
	if err := doc.into(&g); err != nil {
		return nil, err
	}
	switch {
	case !v.state.isDimension(g.Key):
		return nil, invalid("key", "%q is not the key of a label dimension", g.Key)
	case before != nil && before.text("key") != g.Key:
		return nil, invalid("key", "cannot be changed")
	}
	for _, l := range g.Labels {
		if err := v.refers("labels", tableLabels, l.Href); err != nil {
			return nil, err
		}
		if key := v.labelKey(l.Href); key != g.Key {
			return nil, invalid("labels", "%s is a label of key %q, not %q", l.Href, key, g.Key)
		}
	}
	for _, sub := range g.SubGroups {
		if err := v.subGroup(id, g.Key, sub.Href); err != nil {
			return nil, err
		}
	}
	return doc.set("labels", hrefsOnly(g.Labels)).set("sub_groups", hrefsOnly(g.SubGroups)), checkNamed(v, id, doc)
}

// hrefsOnly drops names and values that clients send back with references.
func hrefsOnly(refs []pce.Ref) []pce.Ref { return append([]pce.Ref{}, refs...) }

func (v *validation) subGroup(id, key, href string) error {
	if err := v.refers("sub_groups", tableGroups, href); err != nil {
		return err
	}
	_, sub, _ := tableOf(href)
	if got := v.get(draftTables+tableGroups, sub).Doc.text("key"); got != key {
		return invalid("sub_groups", "%s is a label group of key %q, not %q", href, got, key)
	}
	if sub == id || slices.Contains(v.groupsWithin(sub), id) {
		return invalid("sub_groups", "%s contains %s: a label group cannot be a part of itself", href, hrefOf(draftTables+tableGroups, id, ""))
	}
	return nil
}

// groupsWithin are the ids of the draft groups that a group contains, at any depth.
func (v *validation) groupsWithin(id string) []string {
	found := []string{id}
	for i := 0; i < len(found); i++ {
		r := v.get(draftTables+tableGroups, found[i])
		if r == nil {
			continue
		}
		for _, href := range r.Doc.references() {
			if table, sub, ok := tableOf(href); ok && table == draftTables+tableGroups && !slices.Contains(found, sub) {
				found = append(found, sub)
			}
		}
	}
	return found[1:]
}

var appliesTo = []string{"host_only", "internal_bridge_network"}

// checkVirtual holds that a virtual service has a service or ports of its own.
func checkVirtual(v *validation, id string, doc, _ document) (document, error) {
	doc = doc.otherwise(map[string]any{
		"apply_to": "host_only", "labels": []string{}, "ip_overrides": []string{}, "service_addresses": []string{},
	})
	var s pce.VirtualService
	if err := doc.into(&s); err != nil {
		return nil, err
	}
	if err := oneOf("apply_to", doc.text("apply_to"), appliesTo); err != nil {
		return nil, err
	}
	if err := v.virtualPorts(s); err != nil {
		return nil, err
	}
	for _, address := range s.IPOverrides {
		if !isAddress(address) {
			return nil, invalid("ip_overrides", "%q is neither an address nor a CIDR", address)
		}
	}
	for _, a := range s.ServiceAddresses {
		if err := checkServiceAddress(a); err != nil {
			return nil, err
		}
	}
	doc, err := v.oneLabelPerKey(doc, "labels", s.Labels)
	if err != nil {
		return nil, err
	}
	return doc, checkNamed(v, id, doc)
}

func (v *validation) virtualPorts(s pce.VirtualService) error {
	if (s.Service == nil) == (len(s.ServicePorts) == 0) {
		return invalid("service_ports", "want either service_ports or service")
	}
	if s.Service != nil {
		return v.refers("service", tableServices, s.Service.Href)
	}
	for _, p := range s.ServicePorts {
		if err := checkPort("service_ports", p, true); err != nil {
			return err
		}
	}
	return nil
}

func checkServiceAddress(a pce.ServiceAddress) error {
	_, err := netip.ParseAddr(a.IP)
	switch {
	case (a.IP == "") == (a.FQDN == ""):
		return invalid("service_addresses", "want either ip or fqdn in each entry")
	case a.IP != "" && err != nil:
		return invalid("service_addresses.ip", "%q is not an address", a.IP)
	case strings.ContainsAny(a.FQDN, " /"):
		return invalid("service_addresses.fqdn", "%q is not a name", a.FQDN)
	case !within(a.Port, 0, 65535):
		return invalid("service_addresses.port", "%d is not a port", *a.Port)
	}
	return nil
}

// isAddress tells whether text is an address or a CIDR.
func isAddress(text string) bool {
	if _, err := netip.ParseAddr(text); err == nil {
		return true
	}
	_, err := netip.ParsePrefix(text)
	return err == nil
}
