package traffic

import (
	"net/netip"
	"path"
	"strings"

	"go4.org/netipx"

	"github.com/ringfence/ringfence/libs/pce"
)

// World tells what stands behind the ends of flows while a query runs. A query asks for each thing once.
type World interface {
	// Workload is the one at href, nil where there is none.
	Workload(href string) *Workload
	// Machine is the workload that has an address which is known all over the organisation; nil where there is none.
	Machine(addr netip.Addr) *Workload
	// Members are the hrefs of the labels in a label group, with those of its sub-groups.
	Members(group string) ([]string, error)
	// IPLists are those that addresses are held against, sorted by name.
	IPLists() []IPList
	// Network is that of a cluster's pods, or the organisation's own for "".
	Network(cluster string) Network
}

// Workload is what rows say of an end. Its fields are served as they are.
type Workload struct {
	Href            string      `json:"href"`
	Name            *string     `json:"name"`
	Hostname        *string     `json:"hostname"`
	OSType          string      `json:"os_type"`
	Managed         bool        `json:"managed"`
	Endpoint        bool        `json:"endpoint"`
	EnforcementMode string      `json:"enforcement_mode"`
	Labels          []pce.Label `json:"labels"`
	Namespace       string      `json:"namespace,omitempty"`
	Kind            string      `json:"kind,omitempty"`
	// Cluster is the UUID of the one that it belongs to, "" for none: no other cluster may speak of it.
	Cluster string `json:"-"`
	// Pod tells that its address is on the cluster's own network.
	Pod bool `json:"-"`
}

// IPList is a list of addresses and names.
type IPList struct {
	Href  string        `json:"href"`
	Name  string        `json:"name"`
	Set   *netipx.IPSet `json:"-"`
	FQDNs []string      `json:"-"`
}

func (l IPList) holds(p party) bool {
	if l.Set != nil && l.Set.Contains(p.addr) {
		return true
	}
	for _, pattern := range l.FQDNs {
		if match, err := path.Match(strings.ToLower(pattern), strings.ToLower(p.fqdn)); p.fqdn != "" && err == nil && match {
			return true
		}
	}
	return false
}

// Network is one in which addresses are unique.
type Network struct {
	Href string `json:"href"`
	Name string `json:"name"`
}

// party is one end of a flow with what stands behind it.
type party struct {
	addr     netip.Addr
	fqdn     string
	workload *Workload
}

// resolver finds parties and remembers what it found.
type resolver struct {
	world    World
	byHref   map[string]*Workload
	machines map[netip.Addr]*Workload
}

func newResolver(w World) *resolver {
	return &resolver{world: w, byHref: map[string]*Workload{}, machines: map[netip.Addr]*Workload{}}
}

// party resolves an end that cluster reported. It may name workloads of its own only; where it names none, a machine that has
// the address is meant.
func (r *resolver) party(cluster string, end pce.FlowEnd, addr netip.Addr) party {
	p := party{addr: addr, fqdn: end.FQDN}
	if end.Workload != nil {
		w := remember(r.byHref, end.Workload.Href, r.world.Workload)
		if w != nil && (w.Cluster == cluster || w.Cluster == "") {
			p.workload = w
			return p
		}
	}
	p.workload = remember(r.machines, addr, r.world.Machine)
	return p
}

func remember[K comparable](known map[K]*Workload, key K, find func(K) *Workload) *Workload {
	w, have := known[key]
	if !have {
		w = find(key)
		known[key] = w
	}
	return w
}

// transmission of what is sent to addr.
func transmission(addr netip.Addr) string {
	switch {
	case addr.IsMulticast():
		return "multicast"
	case addr == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		return "broadcast"
	default:
		return "unicast"
	}
}
