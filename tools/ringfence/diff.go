package ringfence

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/ringfence/ringfence/libs/addresses"
	"github.com/ringfence/ringfence/libs/clas"
	ringfencev1 "github.com/ringfence/ringfence/proto/ringfence/v1"
)

// What happened to a thing between two places.
const (
	Came     = "came"
	Went     = "went"
	Changed  = "changed"
	Repeated = "repeated"      // a fact that says what was known
	Passed   = "came and went" // what is at neither place
)

// Difference is what changed between two places of a log. All lists are sorted.
type Difference struct {
	Incarnation string          `json:"incarnation"`
	From        Point           `json:"from"`
	To          Point           `json:"to"`
	Facts       []FactChange    `json:"facts"`
	Labels      []LabelChange   `json:"labels"`
	Sets        []SetChange     `json:"sets"`
	Policies    []PolicyChange  `json:"policies"`
	Plans       []PlanChange    `json:"plans"`
	Verdicts    []VerdictChange `json:"verdicts"`
	// Unasked is how many pairs of label sets and ports were not asked for their verdicts, for there were too many.
	Unasked int `json:"unasked"`
	// Pairs are the answers to the queries that were given, at both places.
	Pairs []PairAnswers `json:"pairs"`
}

// Point is one of the two places.
type Point struct {
	Sequence           uint64    `json:"sequence"`
	StoredAt           time.Time `json:"stored_at"`
	ProvisionedVersion int64     `json:"provisioned_version"`
	Digest             string    `json:"digest"`
	Start              Start     `json:"start"`
}

// FactChange is what the facts in between say of one object.
type FactChange struct {
	Subject string `json:"subject"`
	Change  string `json:"change"`
	// Facts is how many there were, Last the sequence of the last.
	Facts int    `json:"facts"`
	Last  uint64 `json:"last"`
}

// Identity is what policy knows a workload by. A workload that is not managed has no mode.
type Identity struct {
	Labels []string `json:"labels"`
	Mode   string   `json:"mode"`
}

// LabelChange is a workload whose labels or mode changed. A workload whose pods differ has several identities.
type LabelChange struct {
	Workload string     `json:"workload"`
	Before   []Identity `json:"before"`
	After    []Identity `json:"after"`
}

// SetChange is an address set that changed.
type SetChange struct {
	ID          string   `json:"id"`
	Description string   `json:"description"`
	Change      string   `json:"change"`
	Added       []string `json:"added"`
	Removed     []string `json:"removed"`
}

// PolicyChange is what changed in the policy of a label set. A mode is empty where there is no such policy.
type PolicyChange struct {
	Labels     []string   `json:"labels"`
	Workload   string     `json:"workload,omitempty"`
	Change     string     `json:"change"`
	ModeBefore string     `json:"mode_before"`
	ModeAfter  string     `json:"mode_after"`
	RulesCame  []RuleTerm `json:"rules_came"`
	RulesWent  []RuleTerm `json:"rules_went"`
}

// RuleTerm is one pairing of peers and ports of a compiled rule.
type RuleTerm struct {
	Direction string   `json:"direction"`
	Kind      string   `json:"kind"`
	ID        string   `json:"id"`
	Href      string   `json:"href"`
	Set       string   `json:"set"`
	Peers     string   `json:"peers"`
	Ports     []string `json:"ports"`

	ranges []*ringfencev1.PortRange
}

func (t RuleTerm) key() string {
	return strings.Join([]string{t.Direction, t.Kind, t.ID, t.Set, strings.Join(t.Ports, ",")}, "|")
}

// PlanChange is a node whose plan changed; pods are namespace/name.
type PlanChange struct {
	Node    string   `json:"node"`
	Change  string   `json:"change"`
	Came    []string `json:"came"`
	Went    []string `json:"went"`
	Changed []string `json:"changed"`
}

// PairAnswers are the answers to one query.
type PairAnswers struct {
	Query  clas.Query `json:"query"`
	Before Answer     `json:"before"`
	After  Answer     `json:"after"`
}

// SamePolicy tells whether the policy is the same at both places, whatever facts came in between.
func (d *Difference) SamePolicy() bool {
	return d.From.Digest == d.To.Digest && len(d.Labels)+len(d.Sets)+len(d.Policies)+len(d.Plans)+len(d.Verdicts) == 0
}

// Diff compares two places of a log, of which from is the earlier one, and asks queries at both.
func Diff(ctx context.Context, source Source, from, to Place, queries []clas.Query, step Step) (*Difference, error) {
	before, err := newSide(ctx, source, from, step)
	if err != nil {
		return nil, fmt.Errorf("from: %w", err)
	}
	after, err := newSide(ctx, source, to, step)
	if err != nil {
		return nil, fmt.Errorf("to: %w", err)
	}
	if before.state.Sequence > after.state.Sequence {
		return nil, fmt.Errorf("from, sequence %d, comes after to, sequence %d", before.state.Sequence, after.state.Sequence)
	}
	d := &Difference{
		Incarnation: source.Incarnation(), From: before.point(), To: after.point(), Labels: labelChanges(before, after),
		Sets: setChanges(before, after), Policies: policyChanges(before, after), Plans: planChanges(before, after), Pairs: []PairAnswers{},
	}
	if d.Facts, err = factChanges(ctx, source, before.state, after.state.Sequence, step); err != nil {
		return nil, err
	}
	d.Verdicts, d.Unasked = verdictChanges(before, after, d, step)
	for _, q := range queries {
		pair := PairAnswers{Query: q}
		if pair.Before, err = before.state.Ask(q); err == nil {
			pair.After, err = after.state.Ask(q)
		}
		if err != nil {
			return nil, err
		}
		d.Pairs = append(d.Pairs, pair)
	}
	return d, nil
}

// side is one place of a diff.
type side struct {
	state     *State
	policy    clas.Policy
	endpoints []clas.Endpoint
	sets      map[string]*ringfencev1.AddressSet
}

func newSide(ctx context.Context, source Source, at Place, step Step) (*side, error) {
	state, err := At(ctx, source, at, step)
	if err != nil {
		return nil, err
	}
	s := &side{state: state, policy: state.Engine.Policy(), endpoints: state.Engine.Endpoints(), sets: map[string]*ringfencev1.AddressSet{}}
	for _, set := range s.policy.Sets {
		s.sets[set.GetId()] = set
	}
	return s, nil
}

func (s *side) point() Point {
	return Point{
		Sequence: s.state.Sequence, StoredAt: s.state.StoredAt.UTC(), ProvisionedVersion: s.policy.ProvisionedVersion,
		Digest: s.state.Engine.Digest(), Start: s.state.Start,
	}
}

// factChanges says what the facts after a state, up to a sequence, say of each object.
func factChanges(ctx context.Context, source Source, before *State, to uint64, step Step) ([]FactChange, error) {
	changes, last := map[string]*FactChange{}, map[string]*ringfencev1.Fact{}
	if to > before.Sequence {
		for e, err := range ahead(source.Read(ctx, before.Sequence+1, to)) {
			if err != nil {
				return nil, fmt.Errorf("facts: %w", err)
			}
			c := changes[e.Subject]
			if c == nil {
				c = &FactChange{Subject: e.Subject, Change: Came}
				changes[e.Subject] = c
			}
			c.Facts, c.Last, last[e.Subject] = c.Facts+1, e.Sequence, e.Fact
			step.tell("comparing facts", e.Sequence, to)
		}
	}
	known, err := bodies(before, last)
	if err != nil {
		return nil, err
	}
	out := []FactChange{}
	for subject, c := range changes {
		body, err := body(last[subject])
		if err != nil {
			return nil, fmt.Errorf("%s: %w", subject, err)
		}
		old, was := known[subject]
		gone := last[subject].GetGone() != nil
		switch {
		case was && gone:
			c.Change = Went
		case gone:
			c.Change = Passed
		case was && bytes.Equal(old, body):
			c.Change = Repeated
		case was:
			c.Change = Changed
		}
		out = append(out, *c)
	}
	slices.SortFunc(out, func(a, b FactChange) int { return cmp.Compare(a.Subject, b.Subject) })
	return out, nil
}

// bodies gives what a state knows of some subjects. What is gone it does not know.
func bodies(s *State, of map[string]*ringfencev1.Fact) (map[string][]byte, error) {
	known := map[string][]byte{}
	if len(of) == 0 {
		return known, nil
	}
	for entry := range s.Engine.Snapshot() {
		if of[entry.GetSubject()] == nil {
			continue
		}
		fact := &ringfencev1.Fact{}
		err := proto.Unmarshal(entry.GetFact(), fact)
		if err == nil && fact.GetGone() != nil {
			delete(known, entry.GetSubject())
			continue
		}
		if err == nil {
			known[entry.GetSubject()], err = body(fact)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", entry.GetSubject(), err)
		}
	}
	return known, nil
}

// body gives what a fact says, without who says it and when.
func body(fact *ringfencev1.Fact) ([]byte, error) {
	return proto.MarshalOptions{Deterministic: true}.Marshal(&ringfencev1.Fact{Body: fact.GetBody()})
}

// labelChanges compares the identities of workloads.
func labelChanges(before, after *side) []LabelChange {
	was, is := before.identities(), after.identities()
	out := []LabelChange{}
	for _, name := range union(was, is) {
		same := slices.EqualFunc(was[name], is[name], func(a, b Identity) bool { return a.text() == b.text() })
		if !same {
			out = append(out, LabelChange{Workload: name, Before: was[name], After: is[name]})
		}
	}
	return out
}

func (i Identity) text() string { return strings.Join(i.Labels, " ") + " " + i.Mode }

// identities gives those of every workload, by its name: namespace/kind/name, else kind and name.
func (s *side) identities() map[string][]Identity {
	out := map[string][]Identity{}
	for _, x := range s.endpoints {
		name := cmp.Or(x.Workload, x.Kind+" "+x.Name)
		id := Identity{Labels: []string{}, Mode: x.Mode}
		for _, l := range x.Labels {
			id.Labels = append(id.Labels, l.Key+"="+l.Value)
		}
		if !slices.ContainsFunc(out[name], func(other Identity) bool { return other.text() == id.text() }) {
			out[name] = append(out[name], id)
		}
	}
	for _, ids := range out {
		slices.SortFunc(ids, func(a, b Identity) int { return cmp.Compare(a.text(), b.text()) })
	}
	return out
}

// union gives the keys of both maps, sorted.
func union[V any](a, b map[string]V) []string {
	keys := slices.AppendSeq(slices.Collect(maps.Keys(a)), maps.Keys(b))
	slices.Sort(keys)
	return slices.Compact(keys)
}

func change(was, is bool) string {
	switch {
	case !was:
		return Came
	case !is:
		return Went
	}
	return Changed
}

func setChanges(before, after *side) []SetChange {
	out := []SetChange{}
	for _, id := range union(before.sets, after.sets) {
		was, is := before.sets[id], after.sets[id]
		old, now := members(was), members(is)
		added, removed := missing(now, old), missing(old, now)
		if was != nil && is != nil && len(added)+len(removed) == 0 {
			continue
		}
		out = append(out, SetChange{
			ID: id, Description: cmp.Or(is.GetDescription(), was.GetDescription()), Change: change(was != nil, is != nil), Added: added, Removed: removed,
		})
	}
	return out
}

// members gives what is in a set as text.
func members(set *ringfencev1.AddressSet) []string {
	out := make([]string, 0, addresses.Len(set.GetAddresses())+len(set.GetPrefixes())+len(set.GetFqdns()))
	for address := range addresses.All(set.GetAddresses()) {
		out = append(out, address.String())
	}
	return append(append(out, set.GetPrefixes()...), set.GetFqdns()...)
}

// missing gives what is in one list and not in the other.
func missing(of, from []string) []string {
	there := make(map[string]bool, len(from))
	for _, s := range from {
		there[s] = true
	}
	out := []string{}
	for _, s := range of {
		if !there[s] {
			out = append(out, s)
		}
	}
	return out
}

func planChanges(before, after *side) []PlanChange {
	was, is := before.plans(), after.plans()
	out := []PlanChange{}
	for _, node := range union(was, is) {
		old, had := was[node]
		now, has := is[node]
		c := PlanChange{Node: node, Change: change(had, has), Came: []string{}, Went: []string{}, Changed: []string{}}
		for _, pod := range union(old, now) {
			switch {
			case old[pod] == "":
				c.Came = append(c.Came, pod)
			case now[pod] == "":
				c.Went = append(c.Went, pod)
			case old[pod] != now[pod]:
				c.Changed = append(c.Changed, pod)
			}
		}
		if !had || !has || len(c.Came)+len(c.Went)+len(c.Changed) > 0 {
			out = append(out, c)
		}
	}
	return out
}

// plans gives by node what its plan says of each pod and, as (the node), of the node itself.
func (s *side) plans() map[string]map[string]string {
	out := map[string]map[string]string{}
	for _, plan := range s.policy.Plans {
		pods := map[string]string{"(the node)": fmt.Sprint("policy ", plan.GetNodePolicy(), plan.GetNodeAddresses())}
		for _, pod := range plan.GetPods() {
			pods[pod.GetNamespace()+"/"+pod.GetName()] = fmt.Sprint(pod.GetUid(), pod.GetPolicy(), pod.GetAddresses(), pod.GetExposed())
		}
		out[plan.GetNode()] = pods
	}
	return out
}
