package pcebridge

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/ringfence/ringfence/libs/pce"
	ringfencev1 "github.com/ringfence/ringfence/proto/ringfence/v1"
)

// maxObject bounds one encoded object: the log takes messages of 1 MiB.
const maxObject = 900 << 10

// objectError says that a field of a console object cannot be.
type objectError struct{ object, field, problem string }

func (e *objectError) Error() string {
	return fmt.Sprintf("%s: %s: %s; the version is refused and the one before stays", e.object, e.field, e.problem)
}

// converter turns the console's objects into facts. It collects what could not be expressed.
type converter struct {
	// cluster is the id of the cluster that the bridge is of.
	cluster string
	// object is how the object at hand is called in messages.
	object   string
	warnings []string
}

func (c *converter) fail(field, format string, args ...any) error {
	return &objectError{object: c.object, field: field, problem: fmt.Sprintf(format, args...)}
}

func (c *converter) warn(format string, args ...any) {
	c.warnings = append(c.warnings, c.object+": "+fmt.Sprintf(format, args...))
}

func (c *converter) begin(kind, href, name string) error {
	c.object = strings.TrimSpace(kind + " " + href)
	if name != "" {
		c.object += fmt.Sprintf(" (%s)", name)
	}
	if pce.ID(href) == "" {
		return c.fail("href", "%q does not end in an id", href)
	}
	return nil
}

// activeHref gives the href of the active twin: that is what the manifest lists.
func activeHref(href string) string {
	return strings.Replace(href, "/sec_policy/draft/", "/sec_policy/active/", 1)
}

func (c *converter) label(l pce.Label) (*ringfencev1.Label, error) {
	if err := c.begin("label", l.Href, ""); err != nil {
		return nil, err
	}
	switch {
	case l.Key == "":
		return nil, c.fail("key", "is empty")
	case l.Value == "":
		return nil, c.fail("value", "is empty")
	}
	return &ringfencev1.Label{Href: l.Href, Key: l.Key, Value: l.Value}, nil
}

var enforcementModes = map[string]ringfencev1.EnforcementMode{
	pce.ModeIdle:           ringfencev1.EnforcementMode_ENFORCEMENT_MODE_IDLE,
	pce.ModeVisibilityOnly: ringfencev1.EnforcementMode_ENFORCEMENT_MODE_VISIBILITY_ONLY,
	pce.ModeSelective:      ringfencev1.EnforcementMode_ENFORCEMENT_MODE_SELECTIVE,
	pce.ModeFull:           ringfencev1.EnforcementMode_ENFORCEMENT_MODE_FULL,
}

// mode converts an enforcement mode, which may be empty unless it is needed.
func (c *converter) mode(text string, needed bool) (ringfencev1.EnforcementMode, error) {
	mode, known := enforcementModes[text]
	if !known && (needed || text != "") {
		return mode, c.fail("enforcement_mode", "%q is unknown", text)
	}
	return mode, nil
}

// modeOrVisibility converts an enforcement mode that the console need not say; without one, nothing is blocked.
func (c *converter) modeOrVisibility(text string, enforced bool) (ringfencev1.EnforcementMode, error) {
	if text == "" && enforced {
		text = pce.ModeVisibilityOnly
	}
	return c.mode(text, false)
}

func (c *converter) profile(p pce.ContainerWorkloadProfile) (*ringfencev1.ContainerWorkloadProfile, error) {
	out := &ringfencev1.ContainerWorkloadProfile{Href: p.Href}
	if p.Name != nil {
		out.Name = *p.Name
	}
	if p.Namespace != nil {
		out.Namespace = *p.Namespace
	}
	if err := c.begin("container workload profile", p.Href, strings.TrimSpace(out.GetNamespace()+" "+out.GetName())); err != nil {
		return nil, err
	}
	out.Managed = p.Managed != nil && *p.Managed
	var err error
	if out.EnforcementMode, err = c.mode(p.EnforcementMode, out.GetManaged()); err != nil {
		return nil, err
	}
	return out, c.profileLabels(out, p.Labels)
}

func (c *converter) profileLabels(out *ringfencev1.ContainerWorkloadProfile, labels []pce.ProfileLabel) error {
	seen := map[string]bool{}
	for i, l := range labels {
		field := fmt.Sprintf("labels[%d]", i)
		if l.Key == "" || seen[l.Key] {
			return c.fail(field+".key", "%q is empty or there twice", l.Key)
		}
		seen[l.Key] = true
		entry := &ringfencev1.ProfileLabel{Key: l.Key}
		switch {
		case l.Assignment != nil && l.Restriction != nil:
			return c.fail(field, "has both an assignment and a restriction")
		case l.Assignment != nil && l.Assignment.Href == "":
			return c.fail(field+".assignment.href", "is empty")
		case l.Assignment != nil:
			entry.Assignment = l.Assignment.Href
		case l.Restriction != nil:
			entry.Restricted = true
			for _, r := range *l.Restriction {
				entry.Restriction = append(entry.Restriction, r.Href)
			}
		default:
			continue // neither: annotations are free, as without the entry
		}
		out.Labels = append(out.Labels, entry)
	}
	slices.SortFunc(out.Labels, func(a, b *ringfencev1.ProfileLabel) int { return strings.Compare(a.GetKey(), b.GetKey()) })
	return nil
}

func (c *converter) ipList(l pce.IPList) (*ringfencev1.PceObject, error) {
	if err := c.begin("IP list", l.Href, l.Name); err != nil {
		return nil, err
	}
	out := &ringfencev1.IpList{Href: activeHref(l.Href), Name: l.Name}
	for i, r := range l.IPRanges {
		if field, problem := checkRange(r); field != "" {
			return nil, c.fail(fmt.Sprintf("ip_ranges[%d].%s", i, field), "%s", problem)
		}
		out.Ranges = append(out.Ranges, &ringfencev1.IpRange{FromIp: r.FromIP, ToIp: r.ToIP, Exclusion: r.Exclusion})
	}
	for i, f := range l.FQDNs {
		if strings.TrimSuffix(f.FQDN, ".") == "" {
			return nil, c.fail(fmt.Sprintf("fqdns[%d].fqdn", i), "%q is no name", f.FQDN)
		}
		out.Fqdns = append(out.Fqdns, f.FQDN)
	}
	return c.sized(&ringfencev1.PceObject{Object: &ringfencev1.PceObject_IpList{IpList: out}})
}

// checkRange names the field of a range that is no address, and why; an empty field says that all is well.
func checkRange(r pce.IPRange) (field, problem string) {
	if strings.Contains(r.FromIP, "/") {
		prefix, err := netip.ParsePrefix(r.FromIP)
		switch {
		case err != nil || prefix.Addr().Is4In6():
			return "from_ip", fmt.Sprintf("%q is not a CIDR", r.FromIP)
		case r.ToIP != "":
			return "to_ip", fmt.Sprintf("%q follows the CIDR %s", r.ToIP, r.FromIP)
		}
		return "", ""
	}
	from, err := netip.ParseAddr(r.FromIP)
	if err != nil || from.Zone() != "" {
		return "from_ip", fmt.Sprintf("%q is not an IP address", r.FromIP)
	}
	if r.ToIP == "" {
		return "", ""
	}
	to, err := netip.ParseAddr(r.ToIP)
	if err != nil || to.Zone() != "" {
		return "to_ip", fmt.Sprintf("%q is not an IP address", r.ToIP)
	}
	if from, to = from.Unmap(), to.Unmap(); from.Is4() != to.Is4() || to.Less(from) {
		return "to_ip", fmt.Sprintf("%s does not come after %s in the same family", to, from)
	}
	return "", ""
}

func (c *converter) service(s pce.Service) (*ringfencev1.PceObject, error) {
	if err := c.begin("service", s.Href, s.Name); err != nil {
		return nil, err
	}
	out := &ringfencev1.PceService{Href: activeHref(s.Href), Name: s.Name}
	switch {
	case s.ProcessName != "":
		c.warn("is limited to process %q, which is not supported; it covers no port", s.ProcessName)
	default:
		for i, p := range s.ServicePorts {
			port, err := c.port(fmt.Sprintf("service_ports[%d]", i), p)
			if err != nil {
				return nil, err
			}
			out.Ports = append(out.Ports, port)
		}
	}
	return c.sized(&ringfencev1.PceObject{Object: &ringfencev1.PceObject_Service{Service: out}})
}

func (c *converter) port(field string, p pce.ServicePort) (*ringfencev1.PortRange, error) {
	number := func(n *int) int {
		if n == nil {
			return 0
		}
		return *n
	}
	port, to := number(p.Port), number(p.ToPort)
	switch {
	case p.Proto == nil:
		return nil, c.fail(field+".proto", "is missing")
	case *p.Proto != -1 && (*p.Proto < 1 || *p.Proto > 255):
		return nil, c.fail(field+".proto", "%d is neither -1 nor 1 to 255", *p.Proto)
	case port < 0 || port > 65535:
		return nil, c.fail(field+".port", "%d is not a port", port)
	case to < 0 || to > 65535 || (to != 0 && to < port):
		return nil, c.fail(field+".to_port", "%d does not end a range that begins at %d", to, port)
	}
	out := &ringfencev1.PortRange{Protocol: int32(*p.Proto), Port: uint32(port), ToPort: uint32(to)}
	return out, c.icmp(field, out, p)
}

func (c *converter) icmp(field string, out *ringfencev1.PortRange, p pce.ServicePort) error {
	if p.ICMPType == nil && p.ICMPCode == nil {
		return nil
	}
	byteSized := func(n *int) bool { return n == nil || (*n >= 0 && *n <= 255) }
	switch {
	case *p.Proto != 1 && *p.Proto != 58:
		return c.fail(field+".icmp_type", "protocol %d has none", *p.Proto)
	case p.ICMPType == nil:
		return c.fail(field+".icmp_code", "%d comes without an icmp_type", *p.ICMPCode)
	case !byteSized(p.ICMPType):
		return c.fail(field+".icmp_type", "%d is not a type", *p.ICMPType)
	case !byteSized(p.ICMPCode):
		return c.fail(field+".icmp_code", "%d is not a code", *p.ICMPCode)
	}
	out.IcmpType = proto.Uint32(uint32(*p.ICMPType))
	if p.ICMPCode != nil {
		out.IcmpCode = proto.Uint32(uint32(*p.ICMPCode))
	}
	return nil
}

func (c *converter) sized(o *ringfencev1.PceObject) (*ringfencev1.PceObject, error) {
	if size := proto.Size(o); size > maxObject {
		return nil, c.fail("(whole)", "it takes %d KiB and the log takes %d KiB an object; split it in the console", size>>10, maxObject>>10)
	}
	return o, nil
}
