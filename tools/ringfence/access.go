package ringfence

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"

	"github.com/ringfence/ringfence/libs/addresses"
	"github.com/ringfence/ringfence/libs/clas"
	ringfencev1 "github.com/ringfence/ringfence/proto/ringfence/v1"
)

// maxAsked bounds how many pairs of label sets and ports a diff asks about.
const maxAsked = 50_000

// VerdictChange says that one label set, or what else an address set holds, may reach another on other terms than before.
// A verdict is empty where one of the two was not there.
type VerdictChange struct {
	Source      string       `json:"source"`
	Destination string       `json:"destination"`
	Ports       []string     `json:"ports"`
	Before      clas.Verdict `json:"before"`
	After       clas.Verdict `json:"after"`
}

// party is one end of what is asked: a label set, or an address or name that no policy is for.
type party struct {
	name string
	at   string // how a query names it; empty for a label set, which its workloads stand for
}

type pair struct{ source, destination party }

// access finds whose verdicts may have changed, and asks.
type access struct {
	before, after *reach
	asked         map[pair][]*ringfencev1.PortRange
}

// reach is what a side knows of who is who.
type reach struct {
	*side
	policies map[string][]*ringfencev1.WorkloadPolicy // by label set
	stand    map[string][]string                      // queries for the workloads that stand for a label set
	owners   map[netip.Addr]string                    // label sets by address
	names    map[string]string                        // queries for Services and workloads of the console by address, as text
	known    map[string][]party                       // by address set
	listed   map[string][]RuleTerm                    // by label set
}

// anyone stands for all of whom no rule of a label set says anything.
const anyone = "(whom no rule names)"

// verdictChanges names which label sets gained or lost access to which others. It follows the rules, address sets and label
// sets that changed; what no rule names changes with the mode of a label set, in one line for each direction.
func verdictChanges(before, after *side, d *Difference, step Step) (changes []VerdictChange, unasked int) {
	a := &access{newReach(before), newReach(after), map[pair][]*ringfencev1.PortRange{}}
	changes = []VerdictChange{}
	for _, name := range union(a.before.policies, a.after.policies) {
		a.candidates(name)
		changes = append(changes, a.byDefault(name)...)
	}
	a.moved(d.Sets)
	pairs := make([]pair, 0, len(a.asked))
	for p := range a.asked {
		pairs = append(pairs, p)
	}
	slices.SortFunc(pairs, func(x, y pair) int {
		return cmp.Or(cmp.Compare(x.source.name, y.source.name), cmp.Compare(x.destination.name, y.destination.name),
			cmp.Compare(x.source.at, y.source.at), cmp.Compare(x.destination.at, y.destination.at))
	})
	left := maxAsked
	for i, p := range pairs {
		step.tell("comparing verdicts", uint64(i), uint64(len(pairs)))
		ranges := splitPorts(a.asked[p], a.cuts(p))
		if len(ranges) > left {
			unasked += len(ranges)
			continue
		}
		left -= len(ranges)
		changes = append(changes, a.compare(p, ranges)...)
	}
	return changes, unasked
}

func newReach(s *side) *reach {
	r := &reach{side: s, policies: s.bySubject(), stand: map[string][]string{}, owners: map[netip.Addr]string{}, names: map[string]string{},
		known: map[string][]party{}, listed: map[string][]RuleTerm{}}
	subjects, stood := map[string]string{}, map[string]bool{}
	for name, policies := range r.policies {
		for _, p := range policies {
			subjects[p.GetId()] = name
		}
	}
	for _, x := range s.endpoints {
		if name := subjects[x.Policy]; name != "" && !stood[x.Policy] && len(x.Addresses) > 0 {
			stood[x.Policy] = true
			r.stand[name] = append(r.stand[name], x.Query())
		}
		if x.Kind == "service" || x.Kind == "workload" {
			for _, address := range x.Addresses {
				r.names[address] = x.Query()
			}
		}
	}
	for _, plan := range s.policy.Plans {
		for _, pod := range plan.GetPods() {
			r.own(pod.GetAddresses(), subjects[pod.GetPolicy()])
		}
		r.own(plan.GetNodeAddresses(), subjects[plan.GetNodePolicy()])
	}
	return r
}

func (r *reach) own(addresses []string, name string) {
	for _, text := range addresses {
		if address, err := netip.ParseAddr(text); err == nil && name != "" {
			r.owners[address] = name
		}
	}
}

// candidates adds the peers of all terms of a label set's policies that are at one place alone.
func (a *access) candidates(name string) {
	old, now := a.before.all(name), a.after.all(name)
	all := len(a.before.policies[name]) != len(a.after.policies[name]) || !slices.Equal(a.before.modes(name), a.after.modes(name))
	went, came := old, now
	if !all {
		went, came = beyond(old, now), beyond(now, old)
	}
	for _, t := range went {
		a.add(name, t, a.before.peers(t.Set))
	}
	for _, t := range came {
		a.add(name, t, a.after.peers(t.Set))
	}
}

// byDefault tells of a label set whose mode changed what became of connections that no rule names.
func (a *access) byDefault(name string) []VerdictChange {
	old, now := a.before.policies[name], a.after.policies[name]
	if len(old) != 1 || len(now) != 1 {
		return nil
	}
	before, after := clas.ByDefault(old[0].GetMode()), clas.ByDefault(now[0].GetMode())
	if before == after {
		return nil
	}
	all := []string{"all services"}
	return []VerdictChange{
		{Source: anyone, Destination: name, Ports: all, Before: before, After: after},
		{Source: name, Destination: anyone, Ports: all, Before: before, After: after},
	}
}

// all gives the terms of all policies of a label set.
func (r *reach) all(name string) []RuleTerm {
	terms, there := r.listed[name]
	if !there {
		for _, p := range r.policies[name] {
			terms = append(terms, r.terms(p)...)
		}
		r.listed[name] = terms
	}
	return terms
}

func (r *reach) modes(name string) (modes []string) {
	for _, p := range r.policies[name] {
		modes = append(modes, modeOf(p))
	}
	slices.Sort(modes)
	return modes
}

func (a *access) add(name string, t RuleTerm, peers []party) {
	for _, peer := range peers {
		p := pair{source: party{name: name}, destination: peer}
		if t.Direction == inbound {
			p = pair{source: peer, destination: party{name: name}}
		}
		if !strings.HasPrefix(p.source.at, "fqdn:") {
			a.asked[p] = append(a.asked[p], t.ranges...)
		}
	}
}

// moved adds what came into address sets or left them and is no label set, for all policies that refer to those.
func (a *access) moved(changes []SetChange) {
	moved := map[string][]party{}
	for _, c := range changes {
		for _, member := range slices.Concat(c.Added, c.Removed) {
			if p, other := a.other(member); other {
				moved[c.ID] = append(moved[c.ID], p)
			}
		}
	}
	if len(moved) == 0 {
		return
	}
	for _, r := range []*reach{a.before, a.after} {
		for name := range r.policies {
			for _, t := range r.all(name) {
				a.add(name, t, moved[t.Set])
			}
		}
	}
}

// other names a member of a set that is of no label set.
func (a *access) other(member string) (party, bool) {
	if address, err := netip.ParseAddr(member); err == nil {
		if a.before.owners[address] != "" || a.after.owners[address] != "" {
			return party{}, false
		}
		name := cmp.Or(a.after.names[member], a.before.names[member], member)
		return party{name: name, at: name}, true
	}
	at := a.after.within(member)
	return party{name: member, at: at}, at != ""
}

// within gives what stands for a prefix or a name with wildcards, empty where nothing does.
func (r *reach) within(member string) string {
	prefix, err := netip.ParsePrefix(member)
	if err != nil {
		return "fqdn:" + strings.ReplaceAll(member, "*", "any")
	}
	address := prefix.Masked().Addr()
	for range 256 { // past the cluster's own
		if !prefix.Contains(address) {
			break
		}
		if r.owners[address] == "" && r.names[address.String()] == "" && !address.IsUnspecified() {
			return address.String()
		}
		address = address.Next()
	}
	return ""
}

// peers says who is in an address set.
func (r *reach) peers(set string) []party {
	if known, there := r.known[set]; there {
		return known
	}
	var out []party
	seen, outside := map[string]bool{}, ""
	for address := range addresses.All(r.sets[set].GetAddresses()) {
		p := party{name: r.owners[address]}
		if text := address.String(); p.name == "" && r.names[text] != "" {
			p = party{name: r.names[text], at: r.names[text]}
		} else if p.name == "" {
			outside = cmp.Or(outside, text)
			continue
		}
		if !seen[p.name] {
			seen[p.name] = true
			out = append(out, p)
		}
	}
	for _, member := range slices.Concat(r.sets[set].GetPrefixes(), r.sets[set].GetFqdns()) {
		outside = cmp.Or(outside, r.within(member))
	}
	if outside != "" {
		out = append(out, party{name: r.sets[set].GetDescription(), at: outside})
	}
	r.known[set] = out
	return out
}

// cuts are the ranges at whose bounds the verdict of a pair may change.
func (a *access) cuts(p pair) (out []*ringfencev1.PortRange) {
	for _, r := range []*reach{a.before, a.after} {
		for _, end := range []party{p.source, p.destination} {
			if end.at != "" {
				continue
			}
			for _, t := range r.all(end.name) {
				out = append(out, t.ranges...)
			}
		}
	}
	return out
}

// compare asks at both places and joins ports that changed alike.
func (a *access) compare(p pair, ranges []*ringfencev1.PortRange) (out []VerdictChange) {
	for _, r := range ranges {
		before, after := a.before.ask(p, r), a.after.ask(p, r)
		// Who was not there, and is not allowed anything, or the other way round, is told by the labels.
		if before == after || before == "" && after != clas.Allowed || after == "" && before != clas.Allowed {
			continue
		}
		i := slices.IndexFunc(out, func(c VerdictChange) bool { return c.Before == before && c.After == after })
		if i < 0 {
			i = len(out)
			out = append(out, VerdictChange{Source: p.source.name, Destination: p.destination.name, Before: before, After: after})
		}
		out[i].Ports = append(out[i].Ports, PortName(r))
	}
	return out
}

// badness sorts verdicts; the worst of several decides.
var badness = map[clas.Verdict]int{"": -1, clas.Allowed: 0, clas.PotentiallyBlocked: 1, clas.Blocked: 2}

// ask gives the worst verdict between those who stand for two parties, empty where nobody does.
func (r *reach) ask(p pair, ports *ringfencev1.PortRange) (worst clas.Verdict) {
	for _, source := range r.standFor(p.source) {
		for _, destination := range r.standFor(p.destination) {
			verdict, err := r.state.Engine.Verdict(queryOn(source, destination, ports))
			if err == nil && badness[verdict] > badness[worst] {
				worst = verdict
			}
		}
	}
	return worst
}

func (r *reach) standFor(p party) []string {
	if p.at != "" {
		return []string{p.at}
	}
	return r.stand[p.name]
}
