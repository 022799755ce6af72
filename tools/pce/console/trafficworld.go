package console

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"go4.org/netipx"

	"github.com/ringfence/ringfence/libs/pce"
	"github.com/ringfence/ringfence/tools/pce/traffic"
)

// trafficWorld shows a query the console's objects as they are while it runs.
type trafficWorld struct {
	store    *store
	lists    []traffic.IPList
	machines map[netip.Addr]string // href; "" where several have the address
}

func (c *Console) trafficWorld() *trafficWorld {
	w := &trafficWorld{store: c.store, machines: map[netip.Addr]string{}}
	c.store.view(func(s *state) {
		w.lists = s.trafficLists()
		for id, r := range s.tables[tableMachines] {
			w.addMachine(hrefOf(tableMachines, id, ""), r.Doc)
		}
	})
	return w
}

// trafficLists are the IP lists of the active policy.
func (s *state) trafficLists() []traffic.IPList {
	var lists []traffic.IPList
	table := activeTables + tableIPLists
	for _, id := range s.ids(table) {
		var l pce.IPList
		if s.get(table, id).Doc.into(&l) != nil {
			continue
		}
		list := traffic.IPList{Href: hrefOf(table, id, ""), Name: l.Name, Set: setOf(l.IPRanges)}
		for _, f := range l.FQDNs {
			list.FQDNs = append(list.FQDNs, f.FQDN)
		}
		lists = append(lists, list)
	}
	slices.SortStableFunc(lists, func(a, b traffic.IPList) int { return strings.Compare(a.Name, b.Name) })
	return lists
}

// setOf gives the addresses of ranges less those of exclusions, whatever their order. Ranges were validated when they were
// written; one that does not parse holds nothing.
func setOf(ranges []pce.IPRange) *netipx.IPSet {
	var in, out netipx.IPSetBuilder
	for _, r := range ranges {
		b := &in
		if r.Exclusion {
			b = &out
		}
		if prefix, err := netip.ParsePrefix(r.FromIP); err == nil {
			b.AddPrefix(prefix)
			continue
		}
		from, err := netip.ParseAddr(r.FromIP)
		if err != nil {
			continue
		}
		to := from
		if parsed, err := netip.ParseAddr(r.ToIP); err == nil {
			to = parsed
		}
		b.AddRange(netipx.IPRangeFrom(from, to))
	}
	excluded, err := out.IPSet()
	if err == nil {
		in.RemoveSet(excluded)
	}
	set, err := in.IPSet()
	if err != nil {
		return &netipx.IPSet{}
	}
	return set
}

func (w *trafficWorld) IPLists() []traffic.IPList { return w.lists }

func (w *trafficWorld) addMachine(href string, doc document) {
	var m pce.Workload
	if doc.into(&m) != nil {
		return
	}
	for _, i := range m.Interfaces {
		addr, err := netip.ParseAddr(i.Address)
		if err != nil {
			continue
		}
		addr = addr.Unmap().WithZone("")
		if other, twice := w.machines[addr]; twice && other != href {
			w.machines[addr] = ""
			continue
		}
		w.machines[addr] = href
	}
}

// Machine gives the machine that has an address, unless several have it.
func (w *trafficWorld) Machine(addr netip.Addr) *traffic.Workload {
	if href := w.machines[addr]; href != "" {
		return w.Workload(href)
	}
	return nil
}

// Members gives the labels of an active label group and of those in it.
func (w *trafficWorld) Members(group string) (labels []string, err error) {
	w.store.view(func(s *state) {
		table, id, ok := tableOf(toActive(group))
		if !ok || table != activeTables+tableGroups || s.get(table, id) == nil {
			err = fmt.Errorf("%.100q is not a label group of the active policy", group)
			return
		}
		seen := map[string]bool{}
		labels = s.members(id, seen)
	})
	return labels, err
}

// members gives the labels of an active group. Groups that contain each other were refused, but are not followed for ever.
func (s *state) members(group string, seen map[string]bool) (labels []string) {
	r := s.get(activeTables+tableGroups, group)
	if r == nil || seen[group] {
		return nil
	}
	seen[group] = true
	for _, href := range r.refs {
		switch table, id, _ := tableOf(href); table {
		case tableLabels:
			labels = append(labels, href)
		case draftTables + tableGroups:
			labels = append(labels, s.members(id, seen)...)
		}
	}
	return labels
}

// Workload gives a workload of any kind as it is now.
func (w *trafficWorld) Workload(href string) (found *traffic.Workload) {
	table, id, ok := tableOf(href)
	if !ok || (table != tableWorkloads && table != tableContainers && table != tableMachines) {
		return nil
	}
	w.store.view(func(s *state) {
		r := s.get(table, id)
		if r == nil {
			return
		}
		if table == tableMachines {
			found = s.machineInTraffic(href, r)
			return
		}
		name, profile := r.Doc.text("name"), s.profileOf(r.Owner, r.Doc.text("namespace"))
		found = &traffic.Workload{
			Href: href, Name: &name, OSType: "unknown", EnforcementMode: pce.ModeIdle, Labels: s.labelsOf(profile, r.Doc),
			Namespace: r.Doc.text("namespace"), Kind: r.Doc.text("kind"), Cluster: r.Owner, Pod: true,
		}
		if profile.Managed != nil && *profile.Managed {
			found.Managed, found.EnforcementMode = true, profile.EnforcementMode
		}
	})
	return found
}

func (s *state) machineInTraffic(href string, r *record) *traffic.Workload {
	w := &traffic.Workload{
		Href: href, OSType: "linux", Managed: r.Doc.flag("managed", false), EnforcementMode: r.Doc.text("enforcement_mode"), Labels: s.namedLabels(r.Doc),
	}
	if name := r.Doc.text("name"); name != "" {
		w.Name = &name
	}
	if name := r.Doc.text("hostname"); name != "" {
		w.Hostname = &name
	}
	return w
}

// Network gives every cluster's pods one of their own, since clusters may use the same addresses.
func (w *trafficWorld) Network(cluster string) (n traffic.Network) {
	n = traffic.Network{Href: org + "/networks/" + uuidFrom(org+"/networks"), Name: "Corporate"}
	if cluster == "" {
		return n
	}
	w.store.view(func(s *state) {
		if r := s.get(tableClusters, cluster); r != nil {
			n = podNetwork(cluster, r.Doc.text("name"))
		}
	})
	return n
}

func podNetwork(cluster, name string) traffic.Network {
	return traffic.Network{Href: org + "/networks/" + cluster, Name: name + " container network"}
}
