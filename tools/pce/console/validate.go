package console

import (
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"github.com/ringfence/ringfence/libs/pce"
)

// validation is the state and place against which a document is checked.
type validation struct {
	state *state
	// table is where the document goes; owner the object that it belongs to.
	table, owner string
}

// taken refuses a document that another one of the table equals in all the fields.
func (v *validation) taken(id string, doc document, fields ...string) error {
	for other, r := range v.state.tables[v.table] {
		if other == id || r.Owner != v.owner || r.Deleted {
			continue
		}
		same := func(field string) bool { return r.Doc.text(field) == doc.text(field) }
		if !slices.ContainsFunc(fields, func(f string) bool { return !same(f) }) {
			return refuse(http.StatusNotAcceptable, fields[0]+"_must_be_unique", "%s %q: %s has it already",
				strings.Join(fields, " and "), doc.text(fields[len(fields)-1]), hrefOf(v.table, other, r.Owner))
		}
	}
	return nil
}

// refers checks that href names an object of the kind that exists (and, for a draft, is not about to go).
func (v *validation) refers(field, kind, href string) error {
	table, id, ok := tableOf(toDraft(href))
	if !ok || strings.TrimPrefix(table, draftTables) != kind {
		return invalid(field, "%q is not the href of one of %s", href, kind)
	}
	if r := v.state.get(table, id); r == nil || r.Deleted {
		return invalid(field, "%s does not exist", href)
	}
	return nil
}

func checkLabel(v *validation, id string, doc, before document) (document, error) {
	var l pce.Label
	if err := doc.into(&l); err != nil {
		return nil, err
	}
	switch {
	case !isDimension(l.Key):
		return nil, invalid("key", "%q is not the key of a label dimension", l.Key)
	case before != nil && before.text("key") != l.Key:
		return nil, invalid("key", "cannot be changed")
	case strings.TrimSpace(l.Value) == "":
		return nil, invalid("value", "must not be empty")
	}
	return doc, v.taken(id, doc, "key", "value")
}

func checkNamed(v *validation, id string, doc document) error {
	if strings.TrimSpace(doc.text("name")) == "" {
		return invalid("name", "must not be empty")
	}
	return v.taken(id, doc, "name")
}

func checkIPList(v *validation, id string, doc, _ document) (document, error) {
	var l pce.IPList
	if err := doc.into(&l); err != nil {
		return nil, err
	}
	for _, r := range l.IPRanges {
		if err := checkRange(r); err != nil {
			return nil, err
		}
	}
	for _, f := range l.FQDNs {
		if f.FQDN == "" || strings.ContainsAny(f.FQDN, " /") {
			return nil, invalid("fqdns.fqdn", "%q is not a name", f.FQDN)
		}
	}
	return doc, checkNamed(v, id, doc)
}

func checkRange(r pce.IPRange) error {
	if r.ToIP == "" {
		if _, err := netip.ParsePrefix(r.FromIP); err == nil {
			return nil
		}
	}
	from, err := netip.ParseAddr(r.FromIP)
	if err != nil {
		return invalid("ip_ranges.from_ip", "%q is neither an address nor, alone, a CIDR", r.FromIP)
	}
	if r.ToIP == "" {
		return nil
	}
	to, err := netip.ParseAddr(r.ToIP)
	if err != nil || to.Is4() != from.Is4() || !from.Less(to) {
		return invalid("ip_ranges.to_ip", "%q is not an address above %s", r.ToIP, r.FromIP)
	}
	return nil
}

func checkService(v *validation, id string, doc, _ document) (document, error) {
	var s pce.Service
	if err := doc.into(&s); err != nil {
		return nil, err
	}
	if len(s.ServicePorts) == 0 && len(s.WindowsServices) == 0 && s.ProcessName == "" {
		return nil, invalid("service_ports", "must not be empty")
	}
	for _, p := range s.ServicePorts {
		if err := checkPort("service_ports", p, true); err != nil {
			return nil, err
		}
	}
	return doc, checkNamed(v, id, doc)
}

// checkPort checks a protocol with its ports; every protocol (-1) is for services alone.
func checkPort(field string, p pce.ServicePort, all bool) error {
	within := func(n *int, low, high int) bool { return n == nil || (*n >= low && *n <= high) }
	switch {
	case p.Proto == nil:
		return invalid(field+".proto", "must be given")
	case *p.Proto == -1 && all && p.Port == nil && p.ToPort == nil:
		return nil
	case !within(p.Proto, 0, 255):
		return invalid(field+".proto", "%d is not a protocol number", *p.Proto)
	case !within(p.Port, 0, 65535):
		return invalid(field+".port", "%d is not a port", *p.Port)
	case p.ToPort != nil && (p.Port == nil || *p.ToPort < *p.Port || *p.ToPort > 65535):
		return invalid(field+".to_port", "%d is not a port above port", *p.ToPort)
	case !within(p.ICMPType, 0, 255):
		return invalid(field+".icmp_type", "%d is not a type", *p.ICMPType)
	case !within(p.ICMPCode, 0, 255):
		return invalid(field+".icmp_code", "%d is not a code", *p.ICMPCode)
	}
	return nil
}

func checkRuleSet(v *validation, id string, doc, _ document) (document, error) {
	if doc["enabled"] == nil {
		doc = doc.set("enabled", true)
	}
	var s pce.RuleSet
	if err := doc.into(&s); err != nil {
		return nil, err
	}
	if s.Rules != nil || s.DenyRules != nil {
		return nil, invalid("rules", "can be given only when the rule set is created; use its sec_rules and deny_rules")
	}
	if len(s.Scopes) == 0 {
		return nil, invalid("scopes", "must not be empty; [[]] covers everything")
	}
	for _, scope := range s.Scopes {
		for _, entry := range scope {
			if entry.Label == nil || len(entry.Unknown) > 0 {
				return nil, invalid("scopes", "want labels only; other entries are not supported by this console")
			}
			if err := v.refers("scopes.label", tableLabels, entry.Label.Href); err != nil {
				return nil, err
			}
		}
	}
	return doc, checkNamed(v, id, doc)
}

func checkRule(v *validation, _ string, doc, _ document) (document, error) {
	doc = withRuleDefaults(doc)
	var r pce.Rule
	if err := doc.into(&r); err != nil {
		return nil, err
	}
	if err := v.actors("consumers", r.Consumers); err != nil {
		return nil, err
	}
	if err := v.actors("providers", r.Providers); err != nil {
		return nil, err
	}
	isList := func(a pce.Actor) bool { return a.IPList != nil }
	if slices.ContainsFunc(r.Consumers, isList) && slices.ContainsFunc(r.Providers, isList) {
		return nil, invalid("consumers", "an IP list on one side needs workloads on the other")
	}
	return doc, v.ingress(r.IngressServices)
}

func withRuleDefaults(doc document) document {
	for field, value := range map[string]any{
		"enabled": true, "unscoped_consumers": false, "network_type": "brn",
		"resolve_labels_as": map[string][]string{"providers": {"workloads"}, "consumers": {"workloads"}},
	} {
		if doc[field] == nil {
			doc = doc.set(field, value)
		}
	}
	return doc
}

func (v *validation) actors(field string, actors []pce.Actor) error {
	if len(actors) == 0 {
		return invalid(field, "must not be empty")
	}
	for _, a := range actors {
		var err error
		switch {
		case len(a.Unknown) > 0:
			err = invalid(field, "%s is not supported by this console", strings.Join(a.Unknown, ", "))
		case a.Label != nil:
			err = v.refers(field+".label", tableLabels, a.Label.Href)
		case a.IPList != nil:
			err = v.refers(field+".ip_list", tableIPLists, a.IPList.Href)
		case a.Actors != pce.AllManagedWorkloads:
			err = invalid(field, `want label, ip_list or actors "ams"; other actors are not supported by this console`)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (v *validation) ingress(services []pce.IngressService) error {
	if len(services) == 0 {
		return invalid("ingress_services", "must not be empty")
	}
	for _, s := range services {
		var err error
		if s.Href != "" {
			err = v.refers("ingress_services.href", tableServices, s.Href)
		} else {
			err = checkPort("ingress_services", s.ServicePort, false)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
