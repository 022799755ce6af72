package pcebridge

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/ringfence/ringfence/libs/pce"
	ringfencev1 "github.com/ringfence/ringfence/proto/ringfence/v1"
)

func (c *converter) labelGroup(g pce.LabelGroup) (*ringfencev1.PceObject, error) {
	if err := c.begin("label group", g.Href, g.Name); err != nil {
		return nil, err
	}
	if g.Key == "" {
		return nil, c.fail("key", "is empty")
	}
	out := &ringfencev1.LabelGroup{Href: activeHref(g.Href), Name: g.Name, Key: g.Key}
	var err error
	if out.Labels, err = c.hrefs("labels", g.Labels); err != nil {
		return nil, err
	}
	if out.SubGroups, err = c.hrefs("sub_groups", g.SubGroups); err != nil {
		return nil, err
	}
	return c.sized(&ringfencev1.PceObject{Object: &ringfencev1.PceObject_LabelGroup{LabelGroup: out}})
}

// hrefs gives references as a set: sorted, each once. Those to versioned objects are to the active ones.
func (c *converter) hrefs(field string, refs []pce.Ref) ([]string, error) {
	var out []string
	for i, ref := range refs {
		if ref.Href == "" {
			return nil, c.fail(fmt.Sprintf("%s[%d].href", field, i), "is empty")
		}
		out = append(out, activeHref(ref.Href))
	}
	slices.Sort(out)
	return slices.Compact(out), nil
}

// virtualService converts a virtual service with the bindings that name it.
func (c *converter) virtualService(v pce.VirtualService, bindings []pce.ServiceBinding) (*ringfencev1.PceObject, error) {
	if err := c.begin("virtual service", v.Href, v.Name); err != nil {
		return nil, err
	}
	out := &ringfencev1.VirtualService{Href: activeHref(v.Href), Name: v.Name}
	var err error
	if out.Labels, err = c.hrefs("labels", v.Labels); err != nil {
		return nil, err
	}
	if v.Service != nil && v.Service.Href != "" {
		out.Services = append(out.Services, serviceAt(v.Service.Href))
	}
	for i, p := range v.ServicePorts {
		port, err := c.port(fmt.Sprintf("service_ports[%d]", i), p)
		if err != nil {
			return nil, err
		}
		out.Services = append(out.Services, &ringfencev1.IngressService{Service: &ringfencev1.IngressService_Port{Port: port}})
	}
	cluster, uid := madeAfter(v.External)
	switch cluster {
	case "":
		err = c.virtualAddresses(out, v)
	case c.cluster:
		out.ServiceUid = uid
	default: // another cluster's addresses may be anybody's in this one
	}
	if err != nil {
		return nil, err
	}
	out.Workloads = c.boundTo(out.GetHref(), bindings)
	return c.sized(&ringfencev1.PceObject{Object: &ringfencev1.PceObject_VirtualService{VirtualService: out}})
}

// madeAfter gives the cluster that made a virtual service after one of its Services, and that Service's uid. Both are
// empty where somebody wrote it.
func madeAfter(e pce.External) (cluster, uid string) {
	cluster, _, made := strings.Cut(e.ExternalDataSet, "|")
	if !made || e.ExternalDataReference == "" {
		return "", ""
	}
	return cluster, e.ExternalDataReference
}

func (c *converter) virtualAddresses(out *ringfencev1.VirtualService, v pce.VirtualService) error {
	for i, a := range v.ServiceAddresses {
		field := fmt.Sprintf("service_addresses[%d]", i)
		if a.IP == "" {
			c.warn("%s: the name %q is not supported; it is no address of the virtual service", field, a.FQDN)
			continue
		}
		address, err := netip.ParseAddr(a.IP)
		port := 0
		if a.Port != nil {
			port = *a.Port
		}
		switch {
		case err != nil || address.Zone() != "":
			return c.fail(field+".ip", "%q is not an IP address", a.IP)
		case port < 0 || port > 65535:
			return c.fail(field+".port", "%d is not a port", port)
		}
		out.Addresses = append(out.Addresses, &ringfencev1.VirtualServiceAddress{Address: address.Unmap().String(), Port: uint32(port)})
	}
	for i, text := range v.IPOverrides {
		address, err := netip.ParseAddr(text)
		if err != nil || address.Zone() != "" {
			c.warn("ip_overrides[%d]: %q is not supported, for it is not one address; it is no address of the virtual service", i, text)
			continue
		}
		out.Addresses = append(out.Addresses, &ringfencev1.VirtualServiceAddress{Address: address.Unmap().String()})
	}
	return nil
}

// boundTo lists the workloads that provide the virtual service at an href. One that does so at other ports is left out:
// at the virtual service's own ports it must not be reached by this.
func (c *converter) boundTo(href string, bindings []pce.ServiceBinding) []string {
	var out []string
	for _, b := range bindings {
		if b.VirtualService == nil || activeHref(b.VirtualService.Href) != href || b.Workload == nil || b.Workload.Href == "" {
			continue
		}
		if len(b.PortOverrides) > 0 {
			c.warn("service binding %s: port_overrides are not supported; workload %s does not provide the virtual service", b.Href, b.Workload.Href)
			continue
		}
		out = append(out, b.Workload.Href)
	}
	slices.Sort(out)
	return slices.Compact(out)
}
