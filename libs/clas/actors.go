package clas

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	ringfencev1 "github.com/ringfence/ringfence/proto/ringfence/v1"
)

// objectName names a namespaced object.
type objectName struct{ namespace, name string }

func (n objectName) String() string { return n.namespace + "/" + n.name }

// workloadName names a Kubernetes workload; kind is lower-case.
type workloadName struct {
	kind string
	objectName
}

// pod is a pod of a fact. A new fact makes a new pod; derived fields are filled in when the engine settles.
type pod struct {
	held
	objectName
	message   *ringfencev1.Pod
	addresses []netip.Addr
	// workload is the controller, or the pod itself where it is bare.
	workload workloadName

	profile  *profile
	identity identity
	// set is the label set, nil while the pod is not an actor: its namespace is not managed, it shares its node's
	// network, or it came to its end.
	set *labelSet
	// policy is nil while the pod is in no plan.
	policy *workloadPolicy
	// backs are the Services that the pod is a backend of.
	backs map[*service]struct{}
}

func parsePod(s subject, h held, m *ringfencev1.Pod) (*pod, error) {
	if err := s.names("pod", m.GetNamespace(), m.GetName()); err != nil {
		return nil, err
	}
	p := &pod{held: h, objectName: objectName{m.GetNamespace(), m.GetName()}, message: m,
		backs: map[*service]struct{}{}}
	object := "pod " + p.String()
	if m.GetUid() == "" {
		return nil, fmt.Errorf("%s: uid: empty", object)
	}
	var err error
	if p.addresses, err = parseAddresses(m.GetAddresses(), object, "addresses"); err != nil {
		return nil, err
	}
	for i, port := range m.GetPorts() {
		if port.GetPort() > maxPort {
			return nil, fmt.Errorf("%s: ports[%d].port: %d is above 65535", object, i, port.GetPort())
		}
	}
	p.workload = workloadName{"pod", p.objectName}
	if c := m.GetController(); c != nil {
		p.workload = workloadName{strings.ToLower(c.GetKind()), objectName{p.namespace, c.GetName()}}
	}
	return p, nil
}

// terminal tells whether the pod came to its end and gave up its addresses.
func (p *pod) terminal() bool {
	phase := p.message.GetPhase()
	return phase == ringfencev1.PodPhase_POD_PHASE_SUCCEEDED || phase == ringfencev1.PodPhase_POD_PHASE_FAILED
}

// ownsNetwork tells whether the pod has a network of its own, now.
func (p *pod) ownsNetwork() bool { return !p.terminal() && !p.message.GetHostNetwork() }

// planned tells whether the pod belongs into the plan of its node.
func (p *pod) planned() bool { return p.ownsNetwork() && p.message.GetNode() != "" }

// service is a Service of a fact.
type service struct {
	held
	objectName
	message   *ringfencev1.Service
	addresses []netip.Addr

	profile  *profile
	identity identity
	set      *labelSet
	// owned are those of its addresses that nobody claimed later.
	owned []netip.Addr
	ports []servicePort

	// backends are the pods that the selector picks and that still run or will; carried counts their label sets, named
	// the ports behind each of their port names.
	backends map[*pod]struct{}
	carried  tally[*labelSet]
	named    map[namedPort]tally[uint16]
}

// namedPort is the name of a container port; names are told apart by protocol.
type namedPort struct {
	protocol uint32
	name     string
}

// tally counts, and forgets what counts nothing. Both methods report whether the keys changed.
type tally[K comparable] map[K]int

func (t tally[K]) add(key K) bool {
	t[key]++
	return t[key] == 1
}

func (t tally[K]) remove(key K) bool {
	if t[key]--; t[key] > 0 {
		return false
	}
	delete(t, key)
	return true
}

// servicePort is a port of a Service with the ports of the backends behind it.
type servicePort struct {
	protocol uint8
	port     uint16
	targets  []uint16
}

func parseServiceActor(s subject, h held, m *ringfencev1.Service) (*service, error) {
	if err := s.names("service", m.GetNamespace(), m.GetName()); err != nil {
		return nil, err
	}
	v := &service{held: h, objectName: objectName{m.GetNamespace(), m.GetName()}, message: m,
		backends: map[*pod]struct{}{}, carried: tally[*labelSet]{}, named: map[namedPort]tally[uint16]{}}
	object := "service " + v.String()
	var err error
	if v.addresses, err = parseAddresses(m.GetClusterIps(), object, "cluster_ips"); err != nil {
		return nil, err
	}
	for i, port := range m.GetPorts() {
		switch {
		case port.GetProtocol() < 1 || port.GetProtocol() > 255:
			return nil, fmt.Errorf("%s: ports[%d].protocol: %d is not 1 to 255", object, i, port.GetProtocol())
		case port.GetPort() < 1 || port.GetPort() > maxPort:
			return nil, fmt.Errorf("%s: ports[%d].port: %d is not 1 to 65535", object, i, port.GetPort())
		case port.GetTargetPort() > maxPort:
			return nil, fmt.Errorf("%s: ports[%d].target_port: %d is above 65535", object, i, port.GetTargetPort())
		}
	}
	return v, nil
}

// selects tells whether the Service's selector picks the pod.
func (v *service) selects(p *pod) bool {
	selector := v.message.GetSelector()
	if len(selector) == 0 || p.namespace != v.namespace {
		return false
	}
	for key, value := range selector {
		if have, ok := p.message.GetLabels()[key]; !ok || have != value {
			return false
		}
	}
	return true
}

// back makes the pod a backend if it is one.
func (v *service) back(p *pod) {
	if p.terminal() || !v.selects(p) {
		return
	}
	v.backends[p], p.backs[v] = struct{}{}, struct{}{}
	if p.set != nil {
		v.carried.add(p.set)
	}
	for _, port := range p.message.GetPorts() {
		name := namedPort{port.GetProtocol(), port.GetName()}
		if v.named[name] == nil {
			v.named[name] = tally[uint16]{}
		}
		v.named[name].add(uint16(port.GetPort()))
	}
}

// unback ends what back began.
func (v *service) unback(p *pod) {
	delete(v.backends, p)
	delete(p.backs, v)
	if p.set != nil {
		v.carried.remove(p.set)
	}
	for _, port := range p.message.GetPorts() {
		name := namedPort{port.GetProtocol(), port.GetName()}
		if v.named[name].remove(uint16(port.GetPort())); len(v.named[name]) == 0 {
			delete(v.named, name)
		}
	}
}

// exposedPorts gives the ports of the Service with the backends' ports behind them, sorted.
func (v *service) exposedPorts() []servicePort {
	var out []servicePort
	for _, port := range v.message.GetPorts() {
		x := servicePort{protocol: uint8(port.GetProtocol()), port: uint16(port.GetPort())}
		switch {
		case port.GetTargetPort() != 0:
			x.targets = []uint16{uint16(port.GetTargetPort())}
		case port.GetTargetPortName() != "":
			x.targets = slices.Sorted(maps.Keys(v.named[namedPort{port.GetProtocol(), port.GetTargetPortName()}]))
		default:
			x.targets = []uint16{x.port}
		}
		out = append(out, x)
	}
	return out
}

// node is a Node of a fact with its plan.
type node struct {
	// message is nil while no fact of the node is there.
	message   *ringfencev1.Node
	addresses []netip.Addr
	pods      map[*pod]struct{}
	plan      *ringfencev1.NodePlan
}

func parseNode(s subject, m *ringfencev1.Node) ([]netip.Addr, error) {
	if err := s.names("node", "", m.GetName()); err != nil {
		return nil, err
	}
	return parseAddresses(m.GetAddresses(), "node "+m.GetName(), "addresses")
}

// cluster holds the Kubernetes side by name, and by whatever a change of one object reaches others.
type cluster struct {
	namespaces map[string]struct{}
	pods       map[objectName]*pod
	services   map[objectName]*service
	nodes      map[string]*node
	// workloads are the controllers whose annotations label their pods.
	workloads map[workloadName]*ringfencev1.KubernetesWorkload

	podsOf     map[workloadName]map[*pod]struct{}
	podsIn     map[string]map[*pod]struct{}
	servicesIn map[string]map[*service]struct{}

	// claims are the actors that say an address is theirs; owners and placed are, since the engine settled last, who
	// owns it and which label set has it.
	claims map[netip.Addr]map[claimant]struct{}
	owners map[netip.Addr]claimant
	placed map[netip.Addr]*labelSet
}

func newCluster() *cluster {
	return &cluster{namespaces: map[string]struct{}{}, pods: map[objectName]*pod{}, services: map[objectName]*service{},
		nodes: map[string]*node{}, workloads: map[workloadName]*ringfencev1.KubernetesWorkload{},
		podsOf: map[workloadName]map[*pod]struct{}{}, podsIn: map[string]map[*pod]struct{}{},
		servicesIn: map[string]map[*service]struct{}{}, claims: map[netip.Addr]map[claimant]struct{}{},
		owners: map[netip.Addr]claimant{}, placed: map[netip.Addr]*labelSet{}}
}

// claimant is what may own an address: a pod or a Service.
type claimant interface {
	claim() held
}

func (p *pod) claim() held     { return p.held }
func (v *service) claim() held { return v.held }

// owner decides who of the claimants owns the address: the one of the latest fact.
func (c *cluster) owner(addr netip.Addr) claimant {
	var best claimant
	for candidate := range c.claims[addr] {
		if best == nil || compareHeld(candidate.claim(), best.claim()) > 0 {
			best = candidate
		}
	}
	return best
}

func (c *cluster) addPod(p *pod) {
	c.pods[p.objectName] = p
	link(c.podsOf, p.workload, p)
	link(c.podsIn, p.namespace, p)
	if name := p.message.GetNode(); name != "" {
		c.node(name).pods[p] = struct{}{}
	}
	if p.ownsNetwork() {
		for _, addr := range p.addresses {
			link(c.claims, addr, claimant(p))
		}
	}
	for v := range c.servicesIn[p.namespace] {
		v.back(p)
	}
}

func (c *cluster) removePod(p *pod) {
	delete(c.pods, p.objectName)
	unlink(c.podsOf, p.workload, p)
	unlink(c.podsIn, p.namespace, p)
	if name := p.message.GetNode(); name != "" {
		delete(c.node(name).pods, p)
	}
	for _, addr := range p.addresses {
		unlink(c.claims, addr, claimant(p))
	}
	for v := range p.backs {
		v.unback(p)
	}
}

func (c *cluster) addService(v *service) {
	c.services[v.objectName] = v
	link(c.servicesIn, v.namespace, v)
	for _, addr := range v.addresses {
		link(c.claims, addr, claimant(v))
	}
	for p := range c.podsIn[v.namespace] {
		v.back(p)
	}
}

func (c *cluster) removeService(v *service) {
	delete(c.services, v.objectName)
	unlink(c.servicesIn, v.namespace, v)
	for _, addr := range v.addresses {
		unlink(c.claims, addr, claimant(v))
	}
	for p := range v.backends {
		v.unback(p)
	}
}

// node gives the node of the name, known by a fact or by a pod that names it.
func (c *cluster) node(name string) *node {
	if c.nodes[name] == nil {
		c.nodes[name] = &node{pods: map[*pod]struct{}{}}
	}
	return c.nodes[name]
}

// setNode takes in a node's fact, nil when it went.
func (c *cluster) setNode(name string, m *ringfencev1.Node, addresses []netip.Addr) {
	n := c.node(name)
	n.message, n.addresses = m, addresses
}

// annotations are those that label the pod: its controller's where a fact of the controller is there, else its own.
func (c *cluster) annotations(p *pod) map[string]string {
	if p.message.GetController() != nil {
		if w := c.workloads[p.workload]; w != nil {
			return w.GetAnnotations()
		}
	}
	return p.message.GetAnnotations()
}
