package policyfile

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	api "github.com/ringfence/ringfence/libs/pce"
)

// What a change does.
const (
	Create = "create"
	Update = "update"
	Delete = "delete"
)

// Change is one call of the console.
type Change struct {
	Action string `json:"action"`
	// Kind is a section of a file, or sec_rules and deny_rules within a rule set.
	Kind string `json:"kind"`
	Name string `json:"name"`
	Href string `json:"href,omitempty"`
	// Fields are those that an update changes.
	Fields []Difference `json:"fields,omitempty"`
	// Done tells that it was applied.
	Done bool `json:"done"`

	shape record
	plain map[string]any
	// owner is the name of the rule set of a rule.
	owner string
	// atOnce says that it acts without being provisioned.
	atOnce bool
}

// Difference is a field before and after, as a file has it.
type Difference struct {
	Field  string `json:"field"`
	Before any    `json:"before"`
	After  any    `json:"after"`
}

// Plan is what has to be done for a console to have a policy.
type Plan struct {
	Changes   []*Change `json:"changes"`
	Unchanged int       `json:"unchanged"`
	Notes     []string  `json:"notes,omitempty"`

	console Console
	there   *contents
	// versioned are the drafts that the files are about, by kind.
	versioned map[string][]string
}

// NewPlan compares a policy with a console's draft. With prune, objects that the files do not have are to be deleted, of those kinds that
// the files have a section for. The error has every reference to something that is not there.
func NewPlan(ctx context.Context, c Console, wanted *Policy, prune bool) (*Plan, error) {
	c = patiently(c)
	there, err := load(ctx, c, api.Draft)
	if err != nil {
		return nil, err
	}
	if wanted.namesKubernetes() {
		if err := there.nameKubernetes(ctx, c); err != nil {
			return nil, err
		}
	}
	p := &Plan{Changes: []*Change{}, console: c, there: there, versioned: map[string][]string{}}
	if err := p.check(wanted, prune); err != nil {
		return nil, err
	}
	for i := range kinds {
		k := &kinds[i]
		objects, given := wanted.sections[k.name]
		switch {
		case !given:
		case there.absent[k.name]:
			p.Notes = append(p.Notes, fmt.Sprintf("%s: the console does not serve them; %d of the files are left out", k.name, len(objects)))
		default:
			p.section(k, objects)
		}
	}
	for i := len(kinds) - 1; i >= 0 && prune; i-- {
		if objects, given := wanted.sections[kinds[i].name]; given {
			p.prune(&kinds[i], objects)
		}
	}
	return p, nil
}

// namesKubernetes tells whether the policy may name a Kubernetes workload: cluster/namespace/kind/name.
func (p *Policy) namesKubernetes() bool {
	return slices.ContainsFunc(p.refs, func(r reference) bool { return r.kind == kindWorkloads && strings.Count(r.name, "/") == 3 })
}

// check finds references to nothing.
func (p *Plan) check(wanted *Policy, prune bool) error {
	inFiles := map[[2]string]bool{}
	for kind, objects := range wanted.sections {
		for _, o := range objects {
			inFiles[[2]string{kind, o.name}] = !p.there.absent[kind]
		}
	}
	var wrong []error
	for _, r := range wanted.refs {
		at := [2]string{r.kind, r.name}
		if inFiles[at] {
			continue
		}
		problem := Problem{File: r.file, Line: r.line, Object: r.where}
		href, known := p.there.hrefs[at]
		_, listed := wanted.sections[r.kind]
		other, twice := p.there.twice[at]
		switch {
		case !known && r.kind == kindClusters:
			problem.Message = fmt.Sprintf("container cluster %q does not exist; make it with: pce init --cluster %s", r.name, r.name)
		case !known:
			problem.Message = fmt.Sprintf("%s %q is neither in the files nor in the console", singular(r.kind), r.name)
		case twice:
			problem.Message = fmt.Sprintf("%q is the name of both %s and %s in the console", r.name, href, other)
		case prune && listed && p.prunable(r.kind, r.name):
			problem.Message = fmt.Sprintf("%s %q is not in the files, and would be pruned", singular(r.kind), r.name)
		default:
			continue
		}
		wrong = append(wrong, problem)
	}
	return errors.Join(wrong...)
}

func (p *Plan) find(kind, name string) *held {
	for i := range p.there.objects[kind] {
		if h := &p.there.objects[kind][i]; h.name == name {
			return h
		}
	}
	return nil
}

func (p *Plan) prunable(kind, name string) bool {
	h, k := p.find(kind, name), kindNamed(kind)
	return h != nil && !k.single && (k.stays == nil || !k.stays(h.raw))
}

// section plans the objects of a kind.
func (p *Plan) section(k *kind, objects []object) {
	if k.name == kindGroups {
		objects = innermostFirst(objects)
	}
	for _, h := range p.there.going[k.name] { // something else takes its place
		if slices.ContainsFunc(objects, func(o object) bool { return o.name == h.name }) {
			p.versioned[k.name] = append(p.versioned[k.name], h.href)
		}
	}
	have := map[string]*held{}
	for i := range p.there.objects[k.name] {
		h := &p.there.objects[k.name][i]
		have[h.name] = h
	}
	for _, o := range objects {
		h := have[o.name]
		if h != nil && k.versioned {
			p.versioned[k.name] = append(p.versioned[k.name], h.href)
		}
		p.object(k, o, h)
		if k.name == kindRuleSets {
			p.rules(o, h)
		}
	}
}

// innermostFirst puts label groups behind those that they contain.
func innermostFirst(objects []object) []object {
	var out []object
	placed := map[string]bool{}
	var place func(o object)
	place = func(o object) {
		if placed[o.name] {
			return
		}
		placed[o.name] = true
		subs, _ := o.plain["sub_groups"].([]any)
		for _, other := range objects {
			if slices.Contains(subs, any(other.name)) {
				place(other)
			}
		}
		out = append(out, o)
	}
	for _, o := range objects {
		place(o)
	}
	return out
}

func (p *Plan) object(k *kind, o object, h *held) {
	plain := without(o.plain, k.name == kindRuleSets)
	change := &Change{Action: Create, Kind: k.name, Name: o.name, shape: k.record, plain: plain, atOnce: !k.versioned}
	if h != nil {
		change.Action, change.Href = Update, h.href
		change.Fields = k.differences(without(h.plain, k.name == kindRuleSets), plain, k.single)
		if len(change.Fields) == 0 {
			p.Unchanged++
			return
		}
	}
	p.Changes = append(p.Changes, change)
}

// without gives an object without its rules, which are objects of their own.
func without(plain map[string]any, rules bool) map[string]any {
	if !rules {
		return plain
	}
	out := map[string]any{}
	for name, v := range plain {
		if ruleCollections[name] == "" {
			out[name] = v
		}
	}
	return out
}

// differences compares field by field; with onlyGiven, only those that after has.
func (s record) differences(before, after map[string]any, onlyGiven bool) (found []Difference) {
	for _, f := range s.fields {
		a, b := before[f.name], after[f.name]
		if (onlyGiven && b == nil) || equal(a, b) {
			continue
		}
		found = append(found, Difference{Field: f.name, Before: a, After: b})
	}
	return found
}

// rules plans those of a rule set, which are always the whole of it. They have no names: equal ones are the same, and of the others a new
// one takes the place of the old one that it has most in common with.
func (p *Plan) rules(o object, h *held) {
	for _, field := range []string{fieldRules, fieldDeny} {
		shape := ruleShapes[field]
		wanted, _ := o.plain[field].([]any)
		var have []held
		if h != nil {
			have = h.rules[field]
		}
		left, old := unmatched(wanted, have)
		p.Unchanged += len(wanted) - len(left)
		for _, plain := range left {
			change := &Change{Action: Create, Kind: ruleCollections[field], Name: o.name + ": " + ruleName(plain), owner: o.name, shape: shape, plain: plain}
			if i := closest(shape, old, plain); i >= 0 {
				change.Action, change.Href = Update, old[i].href
				change.Fields = shape.differences(old[i].plain, plain, false)
				old = slices.Delete(old, i, i+1)
			}
			p.Changes = append(p.Changes, change)
		}
		for _, h := range old {
			p.Changes = append(p.Changes, &Change{Action: Delete, Kind: ruleCollections[field], Name: o.name + ": " + ruleName(h.plain), Href: h.href, owner: o.name})
		}
	}
}

// unmatched gives the rules of either side that the other has no equal of.
func unmatched(wanted []any, have []held) (left []map[string]any, old []held) {
	equals := map[string][]held{}
	for _, h := range have {
		equals[rank(h.plain)] = append(equals[rank(h.plain)], h)
	}
	for _, plain := range wanted {
		if at := rank(plain); len(equals[at]) > 0 {
			equals[at] = equals[at][1:]
			continue
		}
		left = append(left, plain.(map[string]any))
	}
	for _, h := range have {
		if at := rank(h.plain); len(equals[at]) > 0 && equals[at][0].href == h.href {
			equals[at] = equals[at][1:]
			old = append(old, h)
		}
	}
	return left, old
}

// closest finds the rule with most fields in common, of which ends or services must be one; -1 for none.
func closest(shape record, old []held, plain map[string]any) int {
	best, most := -1, 0
	for i, h := range old {
		common := 0
		for _, name := range []string{"consumers", "providers", "ingress_services"} {
			if equal(h.plain[name], plain[name]) {
				common += len(shape.fields)
			}
		}
		if common > 0 {
			common += len(shape.fields) - len(shape.differences(h.plain, plain, false))
		}
		if common > most {
			best, most = i, common
		}
	}
	return best
}

// ruleName tells people which rule is meant.
func ruleName(plain map[string]any) string {
	name := ends(plain["consumers"]) + " -> " + ends(plain["providers"])
	if services := ends(plain["ingress_services"]); services != "" {
		name += " (" + services + ")"
	}
	return name
}

// ends names the entries of a list of a rule.
func ends(list any) string {
	var names []string
	items, _ := list.([]any)
	for _, item := range items {
		var words []string
		parts := item.(map[string]any)
		for _, field := range []string{"label", "label_group", "ip_list", "workload", "virtual_service", "actors", "service", "proto", "port"} {
			if v, given := parts[field]; given {
				words = append(words, fmt.Sprint(v))
			}
		}
		name := strings.Join(words, " ")
		if to, given := parts["to_port"]; given {
			name += fmt.Sprintf("-%d", to)
		}
		if parts["exclusion"] == true {
			name = "all but " + name
		}
		names = append(names, name)
	}
	return strings.Join(names, ", ")
}

// prune plans the removal of what the files do not have, and counts in what is to be deleted already.
func (p *Plan) prune(k *kind, objects []object) {
	for _, h := range p.there.going[k.name] {
		p.versioned[k.name] = append(p.versioned[k.name], h.href)
	}
	wanted := map[string]bool{}
	for _, o := range objects {
		wanted[o.name] = true
	}
	left := []object{}
	hrefs := map[string]string{}
	for _, h := range p.there.objects[k.name] {
		if !wanted[h.name] && p.prunable(k.name, h.name) {
			left, hrefs[h.name] = append(left, h.object), h.href
		}
	}
	slices.SortFunc(left, func(a, b object) int { return strings.Compare(a.name, b.name) })
	if k.name == kindGroups {
		left = innermostFirst(left)
		slices.Reverse(left)
	}
	for _, o := range left {
		if k.versioned {
			p.versioned[k.name] = append(p.versioned[k.name], hrefs[o.name])
		}
		p.Changes = append(p.Changes, &Change{Action: Delete, Kind: k.name, Name: o.name, Href: hrefs[o.name], atOnce: !k.versioned})
	}
}
