package clas

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	ringfencev1 "github.com/ringfence/ringfence/proto/ringfence/v1"
	"go4.org/netipx"
)

// ipList is a list of addresses of the console, merged.
type ipList struct {
	href, name string
	addresses  *netipx.IPSet
	// prefixes are sorted, IPv4 first, and do not overlap.
	prefixes []string
	// fqdns are sorted and in lower case, without a trailing dot.
	fqdns []string
}

// parseIPList merges the ranges and subtracts the exclusions, whatever their order.
func parseIPList(m *ringfencev1.IpList) (*ipList, error) {
	var included, excluded netipx.IPSetBuilder
	for i, r := range m.GetRanges() {
		span, err := parseSpan(r)
		if err != nil {
			return nil, fmt.Errorf("ip list %s: ranges[%d].%w", m.GetHref(), i, err)
		}
		if r.GetExclusion() {
			excluded.AddRange(span)
		} else {
			included.AddRange(span)
		}
	}
	without, err := excluded.IPSet()
	if err != nil {
		return nil, fmt.Errorf("ip list %s: ranges: %w", m.GetHref(), err)
	}
	included.RemoveSet(without)
	set, err := included.IPSet()
	if err != nil {
		return nil, fmt.Errorf("ip list %s: ranges: %w", m.GetHref(), err)
	}
	list := &ipList{href: m.GetHref(), name: m.GetName(), addresses: set}
	for _, prefix := range set.Prefixes() {
		list.prefixes = append(list.prefixes, prefix.String())
	}
	for i, name := range m.GetFqdns() {
		if name = canonicalName(name); name == "" {
			return nil, fmt.Errorf("ip list %s: fqdns[%d]: empty", m.GetHref(), i)
		}
		list.fqdns = append(list.fqdns, name)
	}
	slices.Sort(list.fqdns)
	list.fqdns = slices.Compact(list.fqdns)
	return list, nil
}

// canonicalName writes a DNS name in lower case, without a trailing dot.
func canonicalName(name string) string { return strings.ToLower(strings.TrimSuffix(name, ".")) }

// matchesName tells whether a pattern, in which * is any run of characters, matches a name. Both are canonical.
func matchesName(pattern, name string) bool {
	first, rest, wild := strings.Cut(pattern, "*")
	if !wild {
		return pattern == name
	}
	if !strings.HasPrefix(name, first) {
		return false
	}
	name = name[len(first):]
	for {
		part, more, wild := strings.Cut(rest, "*")
		if !wild {
			return strings.HasSuffix(name, part)
		}
		at := strings.Index(name, part)
		if at < 0 {
			return false
		}
		name, rest = name[at+len(part):], more
	}
}

// parseSpan reads an address, a CIDR or an inclusive range.
func parseSpan(r *ringfencev1.IpRange) (netipx.IPRange, error) {
	from, to := r.GetFromIp(), r.GetToIp()
	if strings.Contains(from, "/") {
		return parseCIDR(from, to)
	}
	first, err := parseAddress(from)
	if err != nil {
		return netipx.IPRange{}, fmt.Errorf("from_ip: %w", err)
	}
	if to == "" {
		return netipx.IPRangeFrom(first, first), nil
	}
	last, err := parseAddress(to)
	if err != nil {
		return netipx.IPRange{}, fmt.Errorf("to_ip: %w", err)
	}
	span := netipx.IPRangeFrom(first, last)
	if !span.IsValid() {
		return span, fmt.Errorf("to_ip: %s does not come after %s in the same family", last, first)
	}
	return span, nil
}

func parseCIDR(from, to string) (netipx.IPRange, error) {
	prefix, err := netip.ParsePrefix(from)
	if err != nil || prefix.Addr().Is4In6() {
		return netipx.IPRange{}, fmt.Errorf("from_ip: %q is not a CIDR", from)
	}
	if to != "" {
		return netipx.IPRange{}, fmt.Errorf("to_ip: %q follows the CIDR %s; a range has no CIDR", to, from)
	}
	return netipx.RangeOfPrefix(prefix), nil
}

// parseAddress reads an address in text form, without a zone. IPv4 in IPv6 form is IPv4.
func parseAddress(text string) (netip.Addr, error) {
	addr, err := netip.ParseAddr(text)
	if err != nil || addr.Zone() != "" {
		return netip.Addr{}, fmt.Errorf("%q is not an IP address", text)
	}
	return addr.Unmap(), nil
}
