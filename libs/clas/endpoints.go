package clas

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	ringfencev1 "github.com/ringfence/ringfence/proto/ringfence/v1"
)

// Endpoints describes everyone whom policy knows by name, sorted by kind and name: of the pods of a workload that are alike the
// first by name, bare pods each by itself, nodes, Services, workloads of the console. Those that came to their end are left out.
func (e *Engine) Endpoints() []Endpoint {
	e.settle()
	defer e.forgetParts()
	var out []Endpoint
	for _, ns := range e.cluster.namespaces {
		for _, g := range ns.groups.items {
			for _, p := range g.singled() {
				out = append(out, e.endpoint(end{pod: p}))
			}
		}
	}
	for _, v := range e.cluster.services {
		out = append(out, e.endpoint(end{service: v}))
	}
	for _, n := range e.cluster.nodes {
		if n.exists() {
			out = append(out, e.endpoint(end{node: n}))
		}
	}
	for _, x := range e.console.workloads {
		out = append(out, e.endpoint(end{external: x}))
	}
	slices.SortFunc(out, func(a, b Endpoint) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Name, b.Name), cmp.Compare(a.Href, b.Href))
	})
	return out
}

// singled gives the pods of a group that stand for it: one where it has a controller, else all.
func (g *group) singled() []*pod {
	alive := slices.DeleteFunc(slices.Clone(g.pods), (*pod).terminal)
	if g.controller == nil || len(alive) < 2 {
		return alive
	}
	return []*pod{slices.MinFunc(alive, func(a, b *pod) int { return strings.Compare(a.name, b.name) })}
}

// Query names the endpoint as a query does.
func (n Endpoint) Query() string {
	switch n.Kind {
	case "service":
		namespace, name, _ := strings.Cut(n.Name, "/")
		return namespace + "/service/" + name
	case "node":
		return "node/" + n.Name
	case "workload":
		return "workload/" + n.Href
	}
	return n.Name
}

// Verdict answers a query as Explain does, without the reasons.
func (e *Engine) Verdict(q Query) (Verdict, error) {
	e.settle()
	defer e.forgetParts()
	sources, destinations, err := e.bothEnds(q)
	if err != nil {
		return "", err
	}
	worst, known := Allowed, false
	for _, source := range sources {
		for _, destination := range destinations {
			for _, path := range e.paths(source, destination, q.target()) {
				known = true
				if badness[path.Verdict] > badness[worst] {
					worst = path.Verdict
				}
			}
		}
	}
	if !known {
		return "", fmt.Errorf("%s to %s: %w", q.Source, q.Destination, ErrNoCommonFamily)
	}
	return worst, nil
}

// ByDefault is what an end in a mode says of connections that no rule names.
func ByDefault(mode ringfencev1.EnforcementMode) Verdict {
	decision, _ := (&workloadPolicy{mode: mode}).byDefault()
	return verdict(Side{Decision: decision})
}

// bothEnds finds both ends of a query.
func (e *Engine) bothEnds(q Query) (sources, destinations []end, err error) {
	sources, err = e.ends(q.Source)
	if err == nil && slices.ContainsFunc(sources, func(x end) bool { return x.name != "" }) {
		err = fmt.Errorf("%w: a DNS name is a destination only", ErrUnknownEndpoint)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("source %s: %w", q.Source, err)
	}
	destinations, err = e.ends(q.Destination)
	if err != nil {
		return nil, nil, fmt.Errorf("destination %s: %w", q.Destination, err)
	}
	return sources, destinations, nil
}
