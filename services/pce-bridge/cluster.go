package pcebridge

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/ringfence/ringfence/libs/pce"
	ringfencev1 "github.com/ringfence/ringfence/proto/ringfence/v1"
)

// reporting says what of the cluster the console is told, which its mode decides.
type reporting struct {
	// workloads: controllers and Services as Kubernetes workloads; containers: every pod as a container workload.
	workloads, containers bool
	// allServices: every Service with an address as a virtual service, not those alone that outsiders reach.
	allServices bool
	hostNetwork bool
	// nothing: the cluster leaves the console.
	nothing bool
}

// reporting gives what the cluster mode asks for. Between two modes both kinds of workloads are there, so that no rule loses
// its ends before the new ones are known; what the final mode does not have goes once that is set.
func (c *Config) reporting() reporting {
	r := reporting{hostNetwork: c.ReportHostNetwork}
	switch c.ClusterMode {
	case modeLegacy:
		r.containers, r.allServices = true, true
	case modeToClas, modeToLegacy:
		r.workloads, r.containers, r.allServices = true, true, true
	case modeUnpair:
		r.nothing = true
	default:
		r.workloads = true
	}
	return r
}

// Cluster modes.
const (
	modeClas     = "clas"
	modeLegacy   = "legacy"
	modeToClas   = "migrateLegacyToClas"
	modeToLegacy = "migrateClasToLegacy"
	modeUnpair   = "unpair"
)

// cluster is what the console is told: complete, sorted.
type cluster struct {
	nodes      []*ringfencev1.Node
	namespaces []string
	labelMap   *ringfencev1.LabelMap
	// workloads by namespace/kind/name; the others by uid, hosts by name.
	workloads  map[string]pce.KubernetesWorkload
	services   map[string]pce.ClusterService
	containers map[string]pce.ContainerWorkload
	hosts      map[string]pce.Host
	// wanted are labels that a LabelMap asks for, may make, and the console does not have.
	wanted map[pce.Label]bool
	// known is what the console has of labels.
	known labels
}

// labels are the console's labels, and the keys that they may have.
type labels struct {
	keys   map[string]bool
	labels map[pce.Label]bool // by key and value alone
}

// cluster gives the state of now; ok is false until the watcher is in sync.
func (i *inventory) cluster(known labels) (c cluster, ok bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	c = cluster{
		workloads: map[string]pce.KubernetesWorkload{}, services: map[string]pce.ClusterService{},
		containers: map[string]pce.ContainerWorkload{}, hosts: map[string]pce.Host{}, wanted: map[pce.Label]bool{}, known: known,
	}
	for _, f := range i.facts {
		if m := f.GetLabelMap(); m.GetName() == "default" {
			c.labelMap = m
		}
	}
	for _, subject := range slices.Sorted(maps.Keys(i.nodes)) {
		c.nodes = append(c.nodes, i.nodes[subject])
		if !i.reports.nothing {
			c.host(i.nodes[subject])
		}
	}
	for _, subject := range slices.Sorted(maps.Keys(i.facts)) {
		c.take(i.facts[subject], i.reports)
	}
	c.observe(i.pods)
	slices.Sort(c.namespaces)
	return c, i.synced
}

func (c *cluster) take(f *ringfencev1.Fact, reports reporting) {
	if ns := f.GetNamespace(); ns != nil {
		c.namespaces = append(c.namespaces, ns.GetName())
	}
	if reports.nothing {
		return
	}
	switch body := f.GetBody().(type) {
	case *ringfencev1.Fact_KubernetesWorkload:
		c.controller(body.KubernetesWorkload, reports)
	case *ringfencev1.Fact_Service:
		c.service(body.Service, reports)
	case *ringfencev1.Fact_Pod:
		c.pod(body.Pod, reports)
	}
}

// controller takes a controller in. The policy of hostNetwork pods is their node's, so they are no workloads unless somebody
// wants to look at them.
func (c *cluster) controller(w *ringfencev1.KubernetesWorkload, reports reporting) {
	if reports.workloads && (!w.GetHostNetwork() || reports.hostNetwork) {
		c.add(w.GetNamespace(), w.GetKind(), w.GetName(), w.GetUid(), w.GetLabels(), w.GetAnnotations())
	}
}

// pod takes a pod in as the workload that it is, or that its controller is: of several pods of one controller, which may
// differ while they are replaced, the last by name speaks for it. In a legacy mode it is a workload itself.
func (c *cluster) pod(p *ringfencev1.Pod, reports reporting) {
	kind, name, uid := controllerOf(p)
	if reports.workloads && !slices.Contains(controllers, kind) {
		c.add(p.GetNamespace(), kind, name, uid, p.GetLabels(), p.GetAnnotations())
	}
	if !reports.containers {
		return
	}
	out := pce.ContainerWorkload{
		UID: p.GetUid(), Name: p.GetName(), Namespace: p.GetNamespace(), Node: p.GetNode(),
		Metadata: pce.KubernetesMetadata{UID: p.GetUid(), Labels: p.GetLabels(), Annotations: p.GetAnnotations()},
	}
	if !p.GetHostNetwork() {
		out.Interfaces = interfaces(addressesOf(p.GetAddresses()))
	}
	c.containers[out.UID] = out
}

// service takes a Service in: as a workload where it has an address in the cluster, and as a virtual service.
func (c *cluster) service(s *ringfencev1.Service, reports reporting) {
	if reports.workloads && len(s.GetClusterIps()) > 0 {
		c.add(s.GetNamespace(), "Service", s.GetName(), s.GetUid(), s.GetLabels(), s.GetAnnotations())
	}
	outside := s.GetType() == "NodePort" || s.GetType() == "LoadBalancer"
	if !outside && (!reports.allServices || len(s.GetClusterIps()) == 0) {
		return
	}
	out := pce.ClusterService{
		UID: s.GetUid(), Name: s.GetName(), Namespace: s.GetNamespace(), ServiceType: s.GetType(), ExternalTrafficPolicy: s.GetExternalTrafficPolicy(),
		Addresses: []pce.ServiceAddress{}, Ports: []pce.ServicePort{}, Labels: c.labelsOf(s.GetLabels(), s.GetAnnotations()),
	}
	for _, ip := range slices.Concat(s.GetClusterIps(), s.GetExternalAddresses()) {
		out.Addresses = append(out.Addresses, pce.ServiceAddress{IP: ip})
	}
	for _, p := range s.GetPorts() {
		port, protocol := int(p.GetPort()), int(p.GetProtocol())
		out.Ports = append(out.Ports, pce.ServicePort{Port: &port, Proto: &protocol})
		if p.GetNodePort() > 0 {
			out.NodePorts = append(out.NodePorts, int(p.GetNodePort()))
		}
	}
	c.services[out.UID] = out
}

// host takes a node in as a machine.
func (c *cluster) host(n *ringfencev1.Node) {
	out := pce.Host{
		Name: n.GetName(), MachineID: n.GetMachineId(), Runtime: n.GetContainerRuntime(), Interfaces: interfaces(addressesOf(n.GetAddresses())),
		Labels: c.mapped(n.GetLabels(), c.labelMap.GetNodeLabelMap()),
	}
	c.hosts[out.Name] = out
}

func (c *cluster) add(namespace, kind, name, uid string, labels, annotations map[string]string) {
	c.workloads[workloadKey(namespace, kind, name)] = pce.KubernetesWorkload{
		Namespace: namespace, Kind: kind, Name: name, Labels: c.mapped(labels, c.labelMap.GetWorkloadLabelMap()),
		Metadata: pce.KubernetesMetadata{UID: uid, Labels: labels, Annotations: annotations},
	}
}

// labelsOf gives what the LabelMap and the annotations ask for, the first before the second.
func (c *cluster) labelsOf(labels, annotations map[string]string) []pce.Label {
	found := c.mapped(labels, c.labelMap.GetWorkloadLabelMap())
	for _, name := range slices.Sorted(maps.Keys(annotations)) {
		key, ours := strings.CutPrefix(name, "com.illumio.")
		taken := func(l pce.Label) bool { return l.Key == key }
		if ours && key != "" && !slices.ContainsFunc(found, taken) {
			found = append(found, pce.Label{Key: key, Value: annotations[name]})
		}
	}
	return sorted(found)
}

// mapped gives what a LabelMap makes of Kubernetes labels, as the engine does: the first entry that gives a key a value which
// the console has, or may be given, wins.
func (c *cluster) mapped(labels map[string]string, entries []*ringfencev1.LabelMapping) []pce.Label {
	var found []pce.Label
	for _, entry := range entries {
		value, there := labels[entry.GetFromKey()]
		for _, v := range entry.GetValuesMap() {
			if there && v.GetFrom() == value {
				value = v.GetTo()
				break
			}
		}
		l := pce.Label{Key: entry.GetToKey(), Value: value}
		taken := slices.ContainsFunc(found, func(have pce.Label) bool { return have.Key == l.Key })
		if value == "" || taken || !c.known.keys[l.Key] || !c.known.labels[l] && !entry.GetAllowCreate() {
			continue
		}
		found = append(found, l)
		if !c.known.labels[l] {
			c.wanted[l] = true
		}
	}
	return sorted(found)
}

func sorted(labels []pce.Label) []pce.Label {
	slices.SortFunc(labels, func(a, b pce.Label) int { return cmp.Compare(a.Key, b.Key) })
	return labels
}

// observe adds the addresses of pods to the workloads that ask for it.
func (c *cluster) observe(pods map[string]*member) {
	found := map[string][]pce.Interface{}
	for key, w := range c.workloads {
		if observed(w.Metadata.Annotations) {
			found[key] = nil
		}
	}
	if len(found) == 0 {
		return
	}
	for _, m := range pods {
		if _, asked := found[m.workload]; asked {
			found[m.workload] = append(found[m.workload], interfaces(m.addresses)...)
		}
	}
	for key, list := range found {
		slices.SortFunc(list, func(a, b pce.Interface) int { return cmp.Compare(a.Address, b.Address) })
		w := c.workloads[key]
		w.Interfaces = list
		c.workloads[key] = w
	}
}

// interfaces gives addresses as the console knows them. Names of interfaces do not matter to it.
func interfaces(addresses []netip.Addr) []pce.Interface {
	out := make([]pce.Interface, len(addresses))
	for i, a := range addresses {
		out[i] = pce.Interface{Name: "eth0", Address: a.String()}
	}
	return out
}
