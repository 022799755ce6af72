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
	// within is the edit that the document is a part of, nil for the first part.
	within *transaction
}

// taken refuses a document that another one of the table equals in all the fields, which must be a tuple of the index.
func (v *validation) taken(id string, doc document, fields ...string) error {
	if other := v.holder(id, doc, fields); other != "" {
		return refuse(http.StatusNotAcceptable, fields[0]+"_must_be_unique", "%s %q: %s has it already",
			strings.Join(fields, " and "), doc.text(fields[len(fields)-1]), hrefOf(v.table, other, v.get(v.table, other).Owner))
	}
	return nil
}

// unique refuses a document whose pair of external data another one of the table has.
func (v *validation) unique(id string, doc document) error {
	for _, field := range external {
		if err := decodeInto(normal(doc[field]), new(*string)); err != nil {
			return invalid(field, "want a string")
		}
	}
	if doc.text(external[0]) == "" && doc.text(external[1]) == "" {
		return nil
	}
	if other := v.holder(id, doc, external); other != "" {
		return refuse(http.StatusNotAcceptable, "external_reference_not_unique", "external_data_set %q and external_data_reference %q: %s has them already",
			doc.text(external[0]), doc.text(external[1]), hrefOf(v.table, other, v.get(v.table, other).Owner))
	}
	return nil
}

// holder finds another object that has the same values in the fields.
func (v *validation) holder(id string, doc document, fields []string) string {
	at := lookupOf(v.table, &record{Doc: doc, Owner: v.owner}, fields)
	if v.within != nil {
		if other, made := v.within.taken[at]; made && other != id && v.holds(other, at, fields) {
			return other
		}
	}
	for other := range v.state.index.found[at] {
		if other != id && v.holds(other, at, fields) {
			return other
		}
	}
	return ""
}

// holds tells whether an object still has the values when the edit is done. The names that clusters give are their own.
func (v *validation) holds(id string, at lookup, fields []string) bool {
	r := v.get(v.table, id)
	if r != nil && r.ofCluster() && fields[0] == "name" {
		return false
	}
	return r != nil && !r.Deleted && lookupOf(v.table, r, fields) == at
}

func (v *validation) get(table, id string) *record {
	if v.within != nil {
		return v.within.get(table, id)
	}
	return v.state.get(table, id)
}

// refers checks that href names an object of the kind that exists (and, for a draft, is not about to go).
func (v *validation) refers(field, kind, href string) error {
	table, id, ok := tableOf(toDraft(href))
	if !ok || strings.TrimPrefix(table, draftTables) != kind {
		return invalid(field, "%q is not the href of one of %s", href, kind)
	}
	if r := v.get(table, id); r == nil || r.Deleted {
		return invalid(field, "%s does not exist", href)
	}
	return nil
}

// oneLabelPerKey checks references to labels of different keys, and gives the field with the hrefs alone.
func (v *validation) oneLabelPerKey(doc document, field string, refs []pce.Ref) (document, error) {
	keys := map[string]string{}
	bare := make([]pce.Ref, len(refs))
	for i, ref := range refs {
		if err := v.refers(field, tableLabels, ref.Href); err != nil {
			return nil, err
		}
		key := v.labelKey(ref.Href)
		if other, twice := keys[key]; twice {
			return nil, invalid(field, "%s and %s are both of key %q", other, ref.Href, key)
		}
		keys[key], bare[i] = ref.Href, pce.Ref{Href: ref.Href}
	}
	return doc.set(field, bare), nil
}

// labelKey is the key of a label that exists.
func (v *validation) labelKey(href string) string {
	_, id, _ := tableOf(href)
	return v.get(tableLabels, id).Doc.text("key")
}

func checkLabel(v *validation, id string, doc, before document) (document, error) {
	var l pce.Label
	if err := doc.into(&l); err != nil {
		return nil, err
	}
	switch {
	case !v.state.isDimension(l.Key):
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

// within tells whether a number, where there is one, is in a range.
func within(n *int, low, high int) bool { return n == nil || (*n >= low && *n <= high) }

// oneOf checks a field of a few words.
func oneOf(field, value string, words []string) error {
	if !slices.Contains(words, value) {
		return invalid(field, "%q is not one of %v", value, words)
	}
	return nil
}
