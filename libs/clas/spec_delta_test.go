package clas_test

import (
	"slices"
	"strings"

	"github.com/ringfence/ringfence/libs/addresses"
	pb "github.com/ringfence/ringfence/proto/ringfence/v1"
)

// expectDelta: delta WHAT: ITEM, ... or none, about the last flush. WHAT is
//
//	joined, left     the addresses that sets won or lost, sets that came or went as a whole apart
//	sets             how many sets changed in any way
//	policies         how many policies came or changed
//	removed-policies how many went
//	pods             the pods that came or changed in plans
//	removed-pods     the uids of those that left
//	nodes            the nodes whose plan changed
//	removed-nodes    the nodes whose plan is gone
//	namespaces       the namespaces that came or changed
//	removed-namespaces
//	all              none: the delta is empty
func (r *specRun) expectDelta() {
	what, text := r.about()
	list, known := map[string]func(*specRun) []string{"joined": (*specRun).joined, "left": (*specRun).left,
		"pods": (*specRun).changedPods, "removed-pods": (*specRun).removedPods, "nodes": (*specRun).changedNodes,
		"removed-nodes": (*specRun).removedNodes, "namespaces": (*specRun).changedNamespaces,
		"removed-namespaces": func(r *specRun) []string { return r.delta.RemovedNamespaces }}[what[0]]
	number, isNumber := map[string]int{"sets": len(r.delta.Sets), "policies": len(r.delta.Policies),
		"removed-policies": len(r.delta.RemovedPolicies)}[what[0]]
	switch {
	case what[0] == "all" && text == "none":
		r.check(r.delta.Empty(), "it is %+v", r.delta)
	case isNumber:
		r.check(number == int(r.number(text)), "there are %d", number)
	case known:
		got, want := slices.Sorted(slices.Values(list(r))), slices.Sorted(slices.Values(commaList(strings.TrimPrefix(text, "none"))))
		r.check(slices.Equal(slices.Compact(got), want), "got %v", got)
	default:
		r.stop("a delta has no %q", what[0])
	}
}

func addressTexts(members *pb.Addresses) []string {
	var out []string
	for a := range addresses.All(members) {
		out = append(out, a.String())
	}
	return out
}

func (r *specRun) joined() []string {
	var out []string
	for _, s := range r.delta.Sets {
		out = append(out, addressTexts(s.GetAdded())...)
	}
	return out
}

func (r *specRun) left() []string {
	var out []string
	for _, s := range r.delta.Sets {
		out = append(out, addressTexts(s.GetRemoved())...)
	}
	return out
}

func (r *specRun) changedPods() []string {
	var out []string
	for _, p := range r.delta.Plans {
		for _, pod := range p.GetPods() {
			out = append(out, pod.GetNamespace()+"/"+pod.GetName())
		}
	}
	return out
}

func (r *specRun) removedPods() []string {
	var out []string
	for _, p := range r.delta.Plans {
		out = append(out, p.GetRemovedPods()...)
	}
	return out
}

func (r *specRun) changedNodes() []string {
	var out []string
	for _, p := range r.delta.Plans {
		if !p.GetRemoved() {
			out = append(out, p.GetNode())
		}
	}
	return out
}

func (r *specRun) removedNodes() []string {
	var out []string
	for _, p := range r.delta.Plans {
		if p.GetRemoved() {
			out = append(out, p.GetNode())
		}
	}
	return out
}

func (r *specRun) changedNamespaces() []string {
	var out []string
	for _, n := range r.delta.Namespaces {
		out = append(out, n.GetNamespace())
	}
	for _, s := range r.delta.Signatures {
		if !slices.Contains(out, s.GetNamespace()) {
			out = append(out, s.GetNamespace())
		}
	}
	return out
}
