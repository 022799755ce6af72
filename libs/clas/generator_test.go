package clas_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"

	pb "github.com/ringfence/ringfence/proto/ringfence/v1"
	"google.golang.org/protobuf/proto"
)

// generator writes the log of a small random cluster with a busy console. Names, addresses and labels come from small
// pools, so that facts meet: addresses are reused, labels go while rules name them, versions arrive in pieces. What is about the
// cluster is in generator_cluster_test.go, the console's objects in generator_console_test.go, and what must be refused in
// generator_malformed_test.go.
type generator struct {
	*rand.Rand
	draft map[string]*pb.PceObject
	// versions are those provisioned so far, to be restored; backlog is what was held back.
	versions [][]entry
	version  int64
	backlog  []entry
	written  []entry
	living   map[string]entry // the last fact of what may be there, by subject
}

var (
	worldLabels = []string{"role/web", "role/api", "role/db", "app/shop", "app/pay", "env/prod", "env/dev", "zone/eu", "tier/gold"}
	worldKeys   = []string{"role", "app", "env", "zone", "tier"}
	worldSpaces = []string{"a", "b", "c"}
	worldNodes  = []string{"n1", "n2", "n3"}
	// Other owners' addresses are in most pools, so that claims meet.
	worldV4           = addressPool("10.0.0.%d", 10)
	worldV6           = addressPool("fd00::%d", 4)
	worldVIPs         = append(addressPool("10.96.0.%d", 4), "fd96::1", "10.0.0.1")
	worldOutside      = []string{"203.0.113.1", "203.0.113.2", "10.96.0.1"}
	worldNodeIPs      = []string{"192.168.0.1", "192.168.0.2", "192.168.0.3", "fd01::1", "10.0.0.2"}
	worldMachines     = []string{"172.16.0.1", "172.16.0.2", "fd02::1", "10.0.0.3", "192.168.0.1"}
	worldVirtual      = []string{"198.51.100.1", "198.51.100.2", "10.0.0.4"}
	worldOther        = []string{"192.0.2.7", "10.0.0.200", "2001:db8::9"}
	worldNames        = []string{"db.example.com", "API.Example.com.", "a.b.example.com", "example.com", "files.test"}
	worldIncarnations = []string{"i1", "i2"}
	worldPorts        = []uint32{80, 81, 443, 8080, 9000}
	worldNodePort     = []uint32{30080, 30081}
)

func addressPool(format string, n int) []string {
	var out []string
	for i := range n {
		out = append(out, fmt.Sprintf(format, i+1))
	}
	return out
}

// worldPeers are the addresses, and then the DNS names, that somebody may talk to.
func worldPeers() (peers []string, addresses int) {
	for _, pool := range [][]string{worldV4, worldV6, worldVIPs, worldOutside, worldNodeIPs, worldMachines, worldVirtual, worldOther} {
		for _, a := range pool {
			if !slices.Contains(peers, a) {
				peers = append(peers, a)
			}
		}
	}
	return append(peers, worldNames...), len(peers)
}

// worldProbes are the ports on which they may.
var worldProbes = []probe{{6, 80, 0}, {6, 81, 0}, {6, 443, 0}, {6, 8080, 0}, {6, 9000, 0}, {6, 22, 0}, {6, 53, 0}, {17, 53, 0}, {17, 9000, 0},
	{17, 80, 0}, {6, 30080, 0}, {6, 30081, 0}, {17, 30080, 0}, {1, 8, 0}, {1, 8, 1}, {1, 3, 1}, {58, 128, 0}, {47, 0, 0}, {132, 80, 0}, {6, 65535, 0}}

func newGenerator(source rand.Source) *generator {
	return &generator{Rand: rand.New(source), draft: map[string]*pb.PceObject{}, living: map[string]entry{}}
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
	for _, l := range worldLabels {
		if g.chance(85) {
			out = append(out, g.label(l))
		}
	}
	for _, n := range worldSpaces {
		out = append(out, g.profile(n))
	}
	if g.chance(50) {
		out = append(out, g.labelMap())
	}
	if g.chance(60) {
		out = append(out, g.pairing())
	}
	for range 12 {
		out = append(out, g.pod())
	}
	for range 4 {
		out = append(out, g.service(), g.node(), g.machine(), g.acknowledgement())
	}
	for range 6 {
		out = append(out, g.slice())
	}
	for kind := range consoleKinds {
		for name := range namesOf(kind) {
			g.redraft(kind, fmt.Sprint(name))
		}
	}
	return g.note(append(out, g.provision(false)...))
}

// note remembers what was written.
func (g *generator) note(entries []entry) []entry {
	for _, e := range entries {
		g.written = append(g.written, e)
		if g.living[e.subject] = e; e.fact.GetGone() != nil {
			delete(g.living, e.subject)
		}
	}
	return entries
}

// step gives the next facts; most steps give one.
func (g *generator) step() []entry {
	one := func(make func() entry) func() []entry { return func() []entry { return []entry{make()} } }
	steps := []struct {
		weight int
		make   func() []entry
	}{
		{20, one(g.pod)}, {6, g.swap}, {10, one(g.removal)}, {9, one(g.service)}, {4, one(g.slice)}, {7, one(g.workload)},
		{6, func() []entry { return []entry{g.profile(pick(g, append(worldSpaces, "")))} }},
		{6, func() []entry { return []entry{g.orGone(g.label(pick(g, worldLabels)), 40)} }},
		{3, func() []entry { return []entry{g.orGone(g.labelMap(), 25)} }},
		{1, func() []entry { return []entry{g.orGone(dimensionFact("d0", pick(g, []string{"zone", "tier"})), 40)} }},
		{4, one(g.node)}, {4, one(g.machine)}, {2, one(g.pairing)}, {5, one(g.acknowledgement)}, {3, one(g.settings)},
		{3, func() []entry { return []entry{g.orGone(linkFact(g.chance(45)), 10)} }},
		{2, func() []entry { return []entry{namespaceFact(pick(g, append(worldSpaces, "d")))} }}, {2, one(g.synced)},
		{14, g.revise}, {3, g.late}, {2, g.reinstate}, {3, g.again},
	}
	total := 0
	for _, s := range steps {
		total += s.weight
	}
	n := g.IntN(total)
	for _, s := range steps {
		if n -= s.weight; n < 0 {
			return g.note(s.make())
		}
	}
	return nil
}

// orGone gives a fact, or at a chance its tombstone.
func (g *generator) orGone(e entry, percent int) entry {
	if g.chance(percent) {
		return gone(e, "")
	}
	return e
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

// late gives what was held back of an earlier version.
func (g *generator) late() []entry {
	out := g.backlog
	g.backlog = nil
	return out
}

// reinstate provisions an earlier version once more.
func (g *generator) reinstate() []entry {
	if len(g.versions) == 0 {
		return nil
	}
	return pick(g, g.versions)
}

// synced says that a producer's start is complete, in one of two incarnations.
func (g *generator) synced() entry {
	producer := pick(g, []string{"watcher", "pce-bridge"})
	return g.orGone(entry{"facts.ctl.synced." + producer, &pb.Fact{Body: &pb.Fact_Synced{Synced: &pb.Synced{Producer: producer,
		Incarnation: pick(g, worldIncarnations)}}}}, 10)
}

// again brings an object back to an earlier state, or repeats its last one.
func (g *generator) again() []entry {
	if len(g.written) == 0 {
		return nil
	}
	return []entry{pick(g, g.written)}
}

// swap lets two pods have each other's addresses within one batch; half of the time under new names.
func (g *generator) swap() []entry {
	var pods []entry
	for _, e := range g.written {
		if last := g.living[e.subject]; last.fact.GetPod() != nil && !slices.ContainsFunc(pods, func(p entry) bool { return p.subject == e.subject }) {
			pods = append(pods, last)
		}
	}
	if len(pods) < 2 {
		return []entry{g.pod()}
	}
	a, b := pick(g, pods), pick(g, pods)
	x, y := proto.CloneOf(a.fact.GetPod()), proto.CloneOf(b.fact.GetPod())
	x.Addresses, y.Addresses = y.Addresses, x.Addresses
	if g.chance(50) {
		x.Name = fmt.Sprintf("p%d", g.IntN(6))
		x.Uid, x.RuntimeUid = x.Namespace+x.Name+"uid9", ""
		return []entry{gone(a, ""), podFact(x), podFact(y)}
	}
	return []entry{podFact(x), podFact(y)}
}

// labelName gives the name of a label of the pool.
func labelName(label string) string { return strings.Replace(label, "/", "-", 1) }

func (g *generator) labelName() string { return labelName(pick(g, worldLabels)) }

func (g *generator) label(label string) entry {
	key, value, _ := strings.Cut(label, "/")
	switch n := g.IntN(100); {
	case n < 5:
		value = "other"
	case n < 7:
		key = pick(g, worldKeys)
	}
	return labelFact(labelName(label), key, value)
}

// spelled gives addresses, some of them in another spelling.
func (g *generator) spelled(addresses []string) []string {
	var out []string
	for _, a := range addresses {
		if g.chance(4) && is4(a) {
			a = "::ffff:" + a
		} else if g.chance(4) {
			a = strings.ToUpper(a)
		}
		out = append(out, a)
	}
	return out
}

// labelHrefs gives labels for something that lists them, mostly one of a key.
func (g *generator) labelHrefs(n int) []string {
	var out []string
	seen := map[string]bool{}
	for _, label := range some(g, worldLabels, n) {
		if key, _, _ := strings.Cut(label, "/"); !seen[key] || g.chance(25) {
			seen[key] = true
			out = append(out, labelHref(labelName(label)))
		}
	}
	return out
}

func (g *generator) mode() pb.EnforcementMode {
	switch n := g.IntN(20); {
	case n < 2:
		return pb.EnforcementMode_ENFORCEMENT_MODE_IDLE
	case n < 6:
		return pb.EnforcementMode_ENFORCEMENT_MODE_VISIBILITY_ONLY
	case n < 11:
		return pb.EnforcementMode_ENFORCEMENT_MODE_SELECTIVE
	}
	return full
}
