package clas_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"

	pb "github.com/ringfence/ringfence/proto/ringfence/v1"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// generator writes the log of a small random cluster with a busy console. Names, addresses and labels come from small
// pools, so that facts meet: addresses are reused, labels go while rules name them, versions arrive in pieces.
type generator struct {
	*rand.Rand
	labels []string // as key/value
	draft  map[string]*pb.PceObject
	// versions are those provisioned so far, to be restored; backlog is what was held back.
	versions [][]entry
	version  int64
	backlog  []entry
	written  []entry
}

var (
	worldLabels = []string{"role/web", "role/api", "role/db", "app/shop", "app/pay", "env/prod", "env/dev", "zone/eu"}
	worldSpaces = []string{"a", "b", "c"}
	worldV4     = addressPool("10.0.0.%d", 10)
	worldV6     = addressPool("fd00::%d", 5)
	worldVIPs   = append(addressPool("10.96.0.%d", 4), "fd96::1", "10.0.0.1")
	worldOther  = []string{"192.0.2.7", "10.0.0.200", "2001:db8::9"}
	worldPorts  = []uint32{80, 81, 443, 8080, 9000}
)

func addressPool(format string, n int) []string {
	var out []string
	for i := range n {
		out = append(out, fmt.Sprintf(format, i+1))
	}
	return out
}

func newGenerator(seed, run uint64) *generator {
	return &generator{Rand: rand.New(rand.NewPCG(seed, run)), labels: worldLabels, draft: map[string]*pb.PceObject{}}
}

func pick[T any](g *generator, from []T) T { return from[g.IntN(len(from))] }

// some gives up to n picks.
func some[T any](g *generator, from []T, n int) []T {
	var out []T
	for range g.IntN(n + 1) {
		out = append(out, pick(g, from))
	}
	return out
}

func (g *generator) chance(percent int) bool { return g.IntN(100) < percent }

// start gives a world in which most things exist.
func (g *generator) start() []entry {
	var out []entry
	for _, l := range g.labels {
		if g.chance(90) {
			out = append(out, g.label(l))
		}
	}
	for _, n := range worldSpaces {
		out = append(out, g.profile(n))
	}
	for range 10 {
		out = append(out, g.pod())
	}
	for range 3 {
		out = append(out, g.service(), g.node())
	}
	for range 6 {
		g.edit()
	}
	return append(out, g.provision(false)...)
}

// step gives the next facts; most steps give one.
func (g *generator) step() []entry {
	var out []entry
	switch n := g.IntN(100); {
	case n < 30:
		out = []entry{g.pod()}
	case n < 40:
		out = []entry{g.removal()}
	case n < 48:
		out = []entry{g.service()}
	case n < 58:
		out = []entry{g.workload()}
	case n < 64:
		out = []entry{g.profile(pick(g, append(worldSpaces, "")))}
	case n < 70:
		l := g.label(pick(g, g.labels))
		if g.chance(40) {
			l = gone(l, "")
		}
		out = []entry{l}
	case n < 74:
		out = []entry{g.node()}
	case n < 77:
		out = []entry{namespaceFact(pick(g, append(worldSpaces, "d")))}
	case n < 92:
		for range 1 + g.IntN(3) {
			g.edit()
		}
		out = g.provision(true)
	case n < 96 && len(g.backlog) > 0:
		out, g.backlog = g.backlog, nil
	case n < 98 && len(g.versions) > 0:
		out = pick(g, g.versions)
	case len(g.written) > 0:
		out = []entry{pick(g, g.written)} // the object goes back to an earlier state
	}
	g.written = append(g.written, out...)
	return out
}

func (g *generator) label(name string) entry {
	key, value := name[:4], name[5:]
	if name[3] == '/' {
		key, value = name[:3], name[4:]
	}
	if g.chance(5) {
		value = "other"
	}
	return labelFact(key+"-"+name[len(key)+1:], key, value)
}

func (g *generator) labelName() string {
	name := pick(g, g.labels)
	if name[3] == '/' {
		return name[:3] + "-" + name[4:]
	}
	return name[:4] + "-" + name[5:]
}

func (g *generator) annotations() map[string]string {
	out := map[string]string{"meta.illumio.other": "x"}
	for _, name := range some(g, g.labels, 3) {
		key, value := name[:4], name[5:]
		if name[3] == '/' {
			key, value = name[:3], name[4:]
		}
		if g.chance(5) {
			value = "unheard-of"
		}
		out["com.illumio."+key] = value
	}
	return out
}

func (g *generator) profile(namespace string) entry {
	p := &pb.ContainerWorkloadProfile{Namespace: namespace, Managed: g.chance(85),
		EnforcementMode: pb.EnforcementMode(1 + g.IntN(4))}
	for _, key := range []string{"role", "app", "env", "zone"} {
		switch n := g.IntN(10); {
		case n < 3:
			p.Labels = append(p.Labels, &pb.ProfileLabel{Key: key, Assignment: labelHref(g.assignable(key))})
		case n < 4:
			p.Labels = append(p.Labels, &pb.ProfileLabel{Key: key, Restricted: true,
				Restriction: []string{labelHref(g.labelName()), labelHref(g.assignable(key))}})
		}
	}
	name := "p-" + namespace
	if g.chance(10) {
		name += "-second"
	}
	return profileFact(name, p)
}

// assignable is mostly a label of the key.
func (g *generator) assignable(key string) string {
	var fits []string
	for _, l := range g.labels {
		if l[:len(key)] == key && l[len(key)] == '/' {
			fits = append(fits, key+"-"+l[len(key)+1:])
		}
	}
	if g.chance(5) {
		return g.labelName()
	}
	return pick(g, fits)
}

func (g *generator) pod() entry {
	p := &pb.Pod{Namespace: pick(g, worldSpaces), Name: fmt.Sprintf("p%d", g.IntN(6)), Uid: fmt.Sprintf("uid%d", g.IntN(3)),
		Phase: pb.PodPhase_POD_PHASE_RUNNING, Labels: map[string]string{"app": pick(g, []string{"x", "y"})},
		Annotations: g.annotations(), HostNetwork: g.chance(5)}
	p.Uid = p.Namespace + p.Name + p.Uid
	if g.chance(95) {
		p.Node = pick(g, []string{"n1", "n2", "n3"})
	}
	if g.chance(90) {
		p.Addresses = []string{pick(g, worldV4)}
	}
	if g.chance(50) {
		p.Addresses = append(p.Addresses, pick(g, worldV6))
	}
	if g.chance(15) {
		p.Phase = pb.PodPhase(g.IntN(5))
	}
	if g.chance(60) {
		p.Controller = &pb.ObjectRef{Kind: "Deployment", Name: pick(g, []string{"d0", "d1"})}
	}
	if g.chance(60) {
		p.Ports = []*pb.ContainerPort{{Name: "http", Port: pick(g, worldPorts), Protocol: 6}}
	}
	return podFact(p)
}

func (g *generator) workload() entry {
	return workloadFact(&pb.KubernetesWorkload{Namespace: pick(g, worldSpaces), Kind: "Deployment",
		Name: pick(g, []string{"d0", "d1"}), Annotations: g.annotations()})
}

func (g *generator) service() entry {
	s := &pb.Service{Namespace: pick(g, worldSpaces), Name: pick(g, []string{"s0", "s1"}), Uid: "u", Type: "ClusterIP",
		ClusterIps: some(g, worldVIPs, 2)}
	if g.chance(80) {
		s.Selector = map[string]string{"app": pick(g, []string{"x", "y"})}
	}
	if g.chance(40) {
		s.Annotations = g.annotations()
	}
	for range 1 + g.IntN(2) {
		port := &pb.ServicePort{Protocol: pick(g, []uint32{6, 6, 6, 17}), Port: pick(g, worldPorts)}
		switch g.IntN(3) {
		case 0:
			port.TargetPort = pick(g, worldPorts)
		case 1:
			port.TargetPortName = "http"
		}
		s.Ports = append(s.Ports, port)
	}
	return serviceFact(s)
}

func (g *generator) node() entry {
	return nodeFact(&pb.Node{Name: pick(g, []string{"n1", "n2", "n3"}), Uid: pick(g, []string{"", "u1", "u2"}),
		Addresses: []string{pick(g, []string{"192.168.0.1", "192.168.0.2"})}})
}

// removal is a tombstone for something: of no, the right or a wrong uid.
func (g *generator) removal() entry {
	if len(g.written) == 0 {
		return g.pod()
	}
	e := pick(g, g.written)
	switch g.IntN(4) {
	case 0:
		return gone(e, "a-stranger")
	case 1:
		return gone(e, uidIn(e.fact))
	}
	return gone(e, "")
}

// edit changes an object of the console's draft.
func (g *generator) edit() {
	var o *pb.PceObject
	switch name := fmt.Sprint(g.IntN(3)); g.IntN(5) {
	case 0:
		o = ipList(name, g.ranges()...)
	case 1:
		o = pceService(name, g.ports()...)
	default:
		o = ruleSet(g.ruleSet(name))
	}
	if g.chance(10) {
		delete(g.draft, objectHref(o))
		return
	}
	g.draft[objectHref(o)] = o
}

func (g *generator) ranges() []*pb.IpRange {
	var out []*pb.IpRange
	for range 1 + g.IntN(3) {
		r := pick(g, []*pb.IpRange{span("0.0.0.0/0", ""), span("::/0", ""), span("10.0.0.2", "10.0.0.6"), span("10.96.0.0/16", ""),
			span("fd00::1", ""), span("fd00::2", "fd00::4"), span("192.0.2.7", ""), span("10.0.0.4/30", "")})
		r = proto.CloneOf(r)
		r.Exclusion = g.chance(30)
		out = append(out, r)
	}
	return out
}

func (g *generator) ports() []*pb.PortRange {
	var out []*pb.PortRange
	for range 1 + g.IntN(2) {
		switch n := g.IntN(10); {
		case n < 5:
			out = append(out, tcp(pick(g, worldPorts)))
		case n < 6:
			out = append(out, tcpRange(80, 500))
		case n < 7:
			out = append(out, &pb.PortRange{Protocol: pick(g, []int32{6, 17})})
		case n < 8:
			out = append(out, allPorts())
		case n < 9:
			out = append(out, &pb.PortRange{Protocol: 1, IcmpType: new(uint32(8))})
		default:
			out = append(out, &pb.PortRange{Protocol: pick(g, []int32{17, 47}), Port: pick(g, worldPorts)})
		}
	}
	return out
}

func (g *generator) ruleSet(name string) *pb.RuleSet {
	s := &pb.RuleSet{Href: setHref(name), Name: "set " + name, Enabled: g.chance(90)}
	for range 1 + g.IntN(2) {
		x := &pb.Scope{}
		for range g.IntN(3) {
			x.Entries = append(x.Entries, actors(g.labelName())...)
		}
		if g.chance(3) {
			x.Entries = append(x.Entries, actors(pick(g, []string{"ams", "list:0", "!a label group", "never-there"}))...)
		}
		s.Scopes = append(s.Scopes, x)
	}
	for i := range 1 + g.IntN(3) {
		r := &pb.Rule{Href: ruleHref(name, fmt.Sprint(i)), Enabled: g.chance(90), Consumers: g.actors(), Providers: g.actors(),
			UnscopedConsumers: g.chance(30), Services: on(g.ports()...)}
		if g.chance(30) {
			r.Services = append(r.Services, byHref(fmt.Sprint(g.IntN(4))))
		}
		s.Rules = append(s.Rules, r)
	}
	return s
}

func (g *generator) actors() []*pb.Actor {
	var names []string
	for range 1 + g.IntN(2) {
		switch n := g.IntN(20); {
		case n < 12:
			names = append(names, g.labelName())
		case n < 15:
			names = append(names, "ams")
		case n < 19:
			names = append(names, fmt.Sprintf("list:%d", g.IntN(4)))
		default:
			names = append(names, pick(g, []string{"!a workload", "never-there"}))
		}
	}
	return actors(names...)
}

// provision writes the draft as a new version, in one to three chunks. Where it may be interrupted, some of it is held
// back, and the order is anything.
func (g *generator) provision(interrupted bool) []entry {
	g.version++
	if g.chance(10) {
		g.version = 1 + g.Int64N(g.version) // a console restored from its backup
	}
	var objects []*pb.PceObject
	for _, href := range slices.Sorted(maps.Keys(g.draft)) {
		objects = append(objects, g.draft[href])
	}
	out := provisioned(g.version, 1+g.IntN(3), objects...)
	at := &timestamppb.Timestamp{Seconds: int64(len(g.versions) + 1)}
	for _, e := range out {
		if p := e.fact.GetProvisioned(); p != nil {
			p.ProvisionedAt = at
		}
	}
	g.versions = append(g.versions, out)
	if !interrupted {
		return out
	}
	out = slices.Clone(out)
	if g.chance(30) {
		g.Shuffle(len(out), func(i, j int) { out[i], out[j] = out[j], out[i] })
	}
	if g.chance(25) {
		cut := g.IntN(len(out))
		g.backlog = append(g.backlog, out[cut:]...)
		out = out[:cut]
	}
	return out
}

// malformed gives a fact that must be refused.
func (g *generator) malformed() entry {
	good := g.pod()
	p := proto.CloneOf(good.fact)
	switch g.IntN(4) {
	case 0:
		p.GetPod().Addresses = append(p.GetPod().Addresses, "10.0.0.256")
	case 1:
		p.GetPod().Uid = ""
	case 2:
		return objectFact(ipList("bad", span("10.0.0.0/33", "")))
	case 3:
		e := objectFact(ipList("bad", span("10.0.0.1", "")))
		return entry{e.subject, &pb.Fact{Body: &pb.Fact_PceObject{PceObject: ipList("bad", span("10.0.0.2", ""))}}}
	}
	return entry{good.subject, p}
}
