package pcebridge

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/ringfence/ringfence/libs/pce"
	ringfencev1 "github.com/ringfence/ringfence/proto/ringfence/v1"
)

func (c *converter) dimension(d pce.LabelDimension) (*ringfencev1.LabelDimension, error) {
	if err := c.begin("label dimension", d.Href, ""); err != nil {
		return nil, err
	}
	if d.Key == "" {
		return nil, c.fail("key", "is empty")
	}
	return &ringfencev1.LabelDimension{Href: d.Href, Key: d.Key, DisplayName: d.DisplayName}, nil
}

func (c *converter) workload(w pce.Workload) (*ringfencev1.PceWorkload, error) {
	name := w.Name
	if name == "" {
		name = w.Hostname
	}
	if err := c.begin("workload", w.Href, name); err != nil {
		return nil, err
	}
	out := &ringfencev1.PceWorkload{
		Href: w.Href, Name: w.Name, Hostname: w.Hostname, MachineId: w.MachineID, Managed: w.VEN != nil && w.VEN.Href != "",
	}
	if w.Managed != nil {
		out.Managed = *w.Managed
	}
	var err error
	if out.EnforcementMode, err = c.modeOrVisibility(w.EnforcementMode, out.GetManaged()); err != nil {
		return nil, err
	}
	if out.Labels, err = c.hrefs("labels", w.Labels); err != nil {
		return nil, err
	}
	for i, n := range w.Interfaces {
		address, err := c.ownAddress(fmt.Sprintf("interfaces[%d].address", i), n.Address)
		if err != nil {
			return nil, err
		}
		if address != "" {
			out.Addresses = append(out.Addresses, address)
		}
	}
	slices.Sort(out.Addresses)
	out.Addresses = slices.Compact(out.Addresses)
	return out, nil
}

// ownAddress gives an address by which others reach the workload, or none for one that is another machine's everywhere
// else: loopback, link-local.
func (c *converter) ownAddress(field, text string) (string, error) {
	if text == "" {
		return "", nil
	}
	a, err := netip.ParseAddr(text)
	if err != nil {
		return "", c.fail(field, "%q is not an IP address", text)
	}
	if a = a.Unmap().WithZone(""); !a.IsGlobalUnicast() {
		return "", nil
	}
	return a.String(), nil
}

func (c *converter) pairingProfile(p pce.PairingProfile) (*ringfencev1.PairingProfile, error) {
	if err := c.begin("pairing profile", p.Href, p.Name); err != nil {
		return nil, err
	}
	out := &ringfencev1.PairingProfile{Href: p.Href, Name: p.Name, Enabled: p.Enabled}
	var err error
	if out.EnforcementMode, err = c.modeOrVisibility(p.EnforcementMode, p.Enabled); err != nil {
		return nil, err
	}
	out.Labels, err = c.hrefs("labels", p.Labels)
	return out, err
}

func (c *converter) acknowledged(w pce.KubernetesWorkload) (*ringfencev1.AcknowledgedWorkload, error) {
	if err := c.begin("Kubernetes workload", w.Href, w.Namespace+"/"+w.Name); err != nil {
		return nil, err
	}
	switch {
	case w.Namespace == "":
		return nil, c.fail("namespace", "is empty")
	case w.Kind == "":
		return nil, c.fail("kind", "is empty")
	case w.Name == "":
		return nil, c.fail("name", "is empty")
	}
	return &ringfencev1.AcknowledgedWorkload{Href: w.Href, Namespace: w.Namespace, Kind: w.Kind, Name: w.Name}, nil
}
