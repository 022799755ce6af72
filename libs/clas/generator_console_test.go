package clas_test

import (
	"fmt"
	"maps"
	"slices"

	pb "github.com/ringfence/ringfence/proto/ringfence/v1"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// What the generator lets the console provision.

// consoleKinds are how many kinds of objects the console drafts; those after them are rule sets, too.
const consoleKinds = 6

// edit changes an object of the console's draft.
func (g *generator) edit() {
	kind := g.IntN(2 * consoleKinds)
	g.redraft(kind, fmt.Sprint(g.IntN(namesOf(kind))))
}

// namesOf is how many objects of a kind there may be.
func namesOf(kind int) int {
	if kind >= consoleKinds-1 {
		return 5
	}
	return 3
}

func (g *generator) redraft(kind int, name string) {
	var o *pb.PceObject
	switch kind {
	case 0:
		o = g.ipList(name)
	case 1:
		o = pceService(name, g.ports()...)
	case 2:
		o = g.labelGroup(name)
	case 3:
		o = g.boundary(name)
	case 4:
		o = g.virtualService(name)
	default:
		o = ruleSet(g.ruleSet(name))
	}
	if g.chance(7) {
		delete(g.draft, objectHref(o))
		return
	}
	g.draft[objectHref(o)] = o
}

func (g *generator) ipList(name string) *pb.PceObject {
	o := ipList(name, g.ranges()...)
	if g.chance(60) {
		o.GetIpList().Fqdns = some(g, []string{"*.example.com", "db.example.com", "API.example.COM.", "*", "f*s.t*t", "*b.*", "**.EXAMPLE.com."}, 2)
	}
	return o
}

func (g *generator) ranges() []*pb.IpRange {
	var out []*pb.IpRange
	for range g.IntN(4) {
		r := pick(g, []*pb.IpRange{span("0.0.0.0/0", ""), span("::/0", ""), span("10.0.0.2", "10.0.0.6"), span("10.96.0.0/16", ""),
			span("fd00::1", ""), span("fd00::2", "fd00::4"), span("192.0.2.7", ""), span("10.0.0.4/30", ""), span("192.168.0.0/24", "")})
		r = proto.CloneOf(r)
		r.Exclusion = g.chance(30)
		out = append(out, r)
	}
	return out
}

func (g *generator) ports() []*pb.PortRange {
	var out []*pb.PortRange
	for range 1 + g.IntN(2) {
		switch n := g.IntN(20); {
		case n < 6:
			out = append(out, tcp(pick(g, worldPorts)))
		case n < 9:
			out = append(out, tcpRange(80, pick(g, []uint32{80, 500, 9000})))
		case n < 11:
			out = append(out, &pb.PortRange{Protocol: pick(g, []int32{6, 17})})
		case n < 12:
			out = append(out, tcpRange(0, pick(g, []uint32{100, 65535})))
		case n < 16:
			out = append(out, allPorts())
		case n < 17:
			out = append(out, pick(g, []*pb.PortRange{icmp(8), icmp(8, 0), icmp(3, 1), {Protocol: 1}, {Protocol: 58, IcmpType: new(uint32(128))}}))
		case n < 18:
			out = append(out, &pb.PortRange{Protocol: 6, Port: pick(g, worldNodePort)})
		default:
			out = append(out, &pb.PortRange{Protocol: pick(g, []int32{17, 47, 132}), Port: pick(g, worldPorts)})
		}
	}
	return out
}

// services are those of a rule or a virtual service: ports in place and services by reference, one of them missing.
func (g *generator) services() []*pb.IngressService {
	out := on(g.ports()...)
	if g.chance(30) {
		out = append(out, byHref(fmt.Sprint(g.IntN(4))))
	}
	return out
}

// labelGroup is mostly of one key; sub-groups may be missing, of another key, or lead back.
func (g *generator) labelGroup(name string) *pb.PceObject {
	key := worldKeys[name[0]-'0']
	if g.chance(10) {
		key = pick(g, worldKeys)
	}
	var members []string
	for range g.IntN(3) {
		members = append(members, g.assignable(key))
	}
	if g.chance(20) {
		members = append(members, fmt.Sprintf("group:%d", g.IntN(4)))
	}
	if g.chance(5) {
		members = append(members, "never-there")
	}
	return labelGroup(name, key, members...)
}

func (g *generator) boundary(name string) *pb.PceObject {
	return boundary(&pb.EnforcementBoundary{Href: boundaryHref(name), Name: "boundary " + name, Enabled: g.chance(85), Consumers: g.actors(),
		Providers: g.actors(), Services: g.services()})
}

func (g *generator) virtualService(name string) *pb.PceObject {
	v := &pb.VirtualService{Href: virtualHref(name), Name: "virtual " + name, Labels: g.labelHrefs(3)}
	if g.chance(65) {
		v.ServiceUid = serviceUID(pick(g, worldSpaces), pick(g, []string{"s0", "s1"}), g.IntN(2))
	}
	switch {
	case v.ServiceUid == "" || g.chance(30):
		v.Services = g.services()
	case g.chance(5):
		v.Services = []*pb.IngressService{byHref("never-there")}
	}
	for _, address := range some(g, worldVirtual, 2) {
		v.Addresses = append(v.Addresses, &pb.VirtualServiceAddress{Address: address, Port: pick(g, []uint32{0, 0, 80, 8080})})
	}
	for _, name := range some(g, []string{"kw:0", "kw:1", "kw:2", "kw:5", "vm:v0", "vm:v1", "kw:never"}, 4) {
		v.Workloads = append(v.Workloads, actorOf(name).GetWorkload())
	}
	return virtualService(v)
}

func (g *generator) ruleSet(name string) *pb.RuleSet {
	s := &pb.RuleSet{Href: setHref(name), Name: "set " + name, Enabled: g.chance(92)}
	for range 1 + g.IntN(3)/2 {
		s.Scopes = append(s.Scopes, g.scope())
	}
	if g.chance(3) {
		s.Scopes = nil
	}
	for i := range 1 + g.IntN(5) {
		s.Rules = append(s.Rules, g.rule(ruleHref(name, fmt.Sprint(i))))
	}
	for i := range g.IntN(3) {
		s.DenyRules = append(s.DenyRules, &pb.DenyRule{Rule: g.rule(denyHref(name, fmt.Sprint(i))), Override: g.chance(40)})
	}
	return s
}

func (g *generator) scope() *pb.Scope {
	x := &pb.Scope{}
	for range pick(g, []int{0, 0, 0, 1, 1, 2}) {
		switch n := g.IntN(20); {
		case n < 14:
			x.Entries = append(x.Entries, actors(g.labelName())...)
		case n < 16:
			x.Entries = append(x.Entries, actors(g.groupName())...)
		case n < 19:
			x.Entries = append(x.Entries, actors("-"+pick(g, []string{g.labelName(), g.groupName()}))...)
		default:
			x.Entries = append(x.Entries, actors(pick(g, []string{"ams", "list:0", "!a user group", "never-there", "vm:v0", "vs:0"}))...)
		}
	}
	return x
}

func (g *generator) groupName() string { return fmt.Sprintf("group:%d", g.IntN(31)/10) } // the last one is never there

func (g *generator) rule(href string) *pb.Rule {
	r := &pb.Rule{Href: href, Enabled: g.chance(92), Consumers: g.actors(), Providers: g.actors(), UnscopedConsumers: g.chance(35),
		Services: g.services(), ResolveConsumersAs: g.resolution(), ResolveProvidersAs: g.resolution()}
	if g.chance(6) {
		r.Services = nil
	}
	return r
}

// resolution is what labels stand for; mostly workloads, which goes without saying.
func (g *generator) resolution() []pb.LabelResolution {
	workloads, virtuals := pb.LabelResolution_LABEL_RESOLUTION_WORKLOADS, pb.LabelResolution_LABEL_RESOLUTION_VIRTUAL_SERVICES
	switch g.IntN(12) {
	case 0:
		return []pb.LabelResolution{workloads}
	case 1:
		return []pb.LabelResolution{virtuals}
	case 2:
		return []pb.LabelResolution{workloads, virtuals}
	}
	return nil
}

func (g *generator) actors() []*pb.Actor {
	var names []string
	for range pick(g, []int{1, 1, 1, 2, 2, 3}) {
		switch n := g.IntN(66); {
		case n < 26:
			names = append(names, g.labelName())
		case n < 30:
			names = append(names, "-"+g.labelName())
		case n < 35:
			names = append(names, g.groupName())
		case n < 37:
			names = append(names, "-"+g.groupName())
		case n < 45:
			names = append(names, "ams")
		case n < 53:
			names = append(names, fmt.Sprintf("list:%d", g.IntN(31)/10))
		case n < 57:
			names = append(names, fmt.Sprintf("kw:%d", g.IntN(7)))
		case n < 59:
			names = append(names, fmt.Sprintf("vm:v%d", g.IntN(5)))
		case n < 65:
			names = append(names, fmt.Sprintf("vs:%d", g.IntN(31)/10))
		default:
			names = append(names, pick(g, []string{"!a user group", "never-there"}))
		}
	}
	return actors(names...)
}

// revise edits the draft and provisions it.
func (g *generator) revise() []entry {
	for range 1 + g.IntN(3) {
		g.edit()
	}
	return g.provision(true)
}

// lie makes a version list an object under the href of something else; it can never be in force.
func (g *generator) lie(version []entry) {
	for _, e := range version {
		if entries := e.fact.GetProvisioned().GetEntries(); len(entries) > 0 {
			pick(g, entries).Href += "-of-something-else"
			return
		}
	}
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
	if interrupted && g.chance(2) {
		g.lie(out)
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
