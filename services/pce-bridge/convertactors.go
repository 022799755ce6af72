package pcebridge

import (
	"fmt"
	"strings"

	"github.com/ringfence/ringfence/libs/pce"
	ringfencev1 "github.com/ringfence/ringfence/proto/ringfence/v1"
)

// unsupported is an actor that matches nothing and says why.
func unsupported(what string) *ringfencev1.Actor {
	return &ringfencev1.Actor{Actor: &ringfencev1.Actor_Unsupported{Unsupported: what}}
}

// actors converts one side of a rule; field is how it is called.
func (c *converter) actors(field string, actors []pce.Actor) ([]*ringfencev1.Actor, error) {
	return c.each(field, field, actors, c.actor)
}

// scope converts one scope, which holds labels and label groups alone.
func (c *converter) scope(field string, entries []pce.Actor) ([]*ringfencev1.Actor, error) {
	return c.each(field, "scope", entries, func(field string, a pce.Actor) (*ringfencev1.Actor, error) {
		if a.Label == nil && a.LabelGroup == nil {
			return unsupported(refOf(a)), nil
		}
		return c.actor(field, a)
	})
}

// each converts a list; where is how the list is called in warnings.
func (c *converter) each(field, where string, actors []pce.Actor, convert func(string, pce.Actor) (*ringfencev1.Actor, error)) ([]*ringfencev1.Actor, error) {
	var out []*ringfencev1.Actor
	for i, a := range actors {
		at := fmt.Sprintf("%s[%d]", field, i)
		if n := references(a); n > 1 {
			return nil, c.fail(at, "names %d actors at once", n)
		}
		converted, err := convert(at, a)
		if err != nil {
			return nil, err
		}
		if what := converted.GetUnsupported(); what != "" {
			c.warn("%s: %s is not supported; it matches nothing", where, what)
		}
		out = append(out, converted)
	}
	return out, nil
}

func (c *converter) actor(field string, a pce.Actor) (*ringfencev1.Actor, error) {
	kind, ref := reference(a)
	if ref != nil && ref.Href == "" {
		return nil, c.fail(field+"."+kind+".href", "is empty")
	}
	switch {
	case a.Exclusion && kind == "label":
		return &ringfencev1.Actor{Actor: &ringfencev1.Actor_ExcludedLabel{ExcludedLabel: ref.Href}}, nil
	case a.Exclusion && kind == "label_group":
		return &ringfencev1.Actor{Actor: &ringfencev1.Actor_ExcludedLabelGroup{ExcludedLabelGroup: activeHref(ref.Href)}}, nil
	case a.Exclusion:
		return unsupported("exclusion of " + refOf(a)), nil
	case a.Actors == pce.AllManagedWorkloads:
		return &ringfencev1.Actor{Actor: &ringfencev1.Actor_AllWorkloads{AllWorkloads: true}}, nil
	case ref == nil:
		return unsupported(refOf(a)), nil
	}
	return at(kind, ref.Href), nil
}

// at is the actor of a kind at an href.
func at(kind, href string) *ringfencev1.Actor {
	switch kind {
	case "label":
		return &ringfencev1.Actor{Actor: &ringfencev1.Actor_Label{Label: href}}
	case "label_group":
		return &ringfencev1.Actor{Actor: &ringfencev1.Actor_LabelGroup{LabelGroup: activeHref(href)}}
	case "ip_list":
		return &ringfencev1.Actor{Actor: &ringfencev1.Actor_IpList{IpList: activeHref(href)}}
	case "workload":
		return &ringfencev1.Actor{Actor: &ringfencev1.Actor_Workload{Workload: href}}
	default:
		return &ringfencev1.Actor{Actor: &ringfencev1.Actor_VirtualService{VirtualService: activeHref(href)}}
	}
}

// referenceKinds are the kinds of objects that an actor refers to, as the console spells them.
var referenceKinds = []struct {
	name string
	of   func(pce.Actor) *pce.Ref
}{
	{"label", func(a pce.Actor) *pce.Ref { return a.Label }},
	{"label_group", func(a pce.Actor) *pce.Ref { return a.LabelGroup }},
	{"ip_list", func(a pce.Actor) *pce.Ref { return a.IPList }},
	{"workload", func(a pce.Actor) *pce.Ref { return a.Workload }},
	{"virtual_service", func(a pce.Actor) *pce.Ref { return a.VirtualService }},
}

// reference gives what an actor refers to, nil where it refers to no object.
func reference(a pce.Actor) (kind string, ref *pce.Ref) {
	for _, k := range referenceKinds {
		if ref := k.of(a); ref != nil {
			return k.name, ref
		}
	}
	return "", nil
}

// references counts the actors that one entry names.
func references(a pce.Actor) int {
	n := 0
	for _, k := range referenceKinds {
		if k.of(a) != nil {
			n++
		}
	}
	if a.Actors != "" {
		n++
	}
	return n
}

// refOf calls an actor by its kind and href.
func refOf(a pce.Actor) string {
	kind, ref := reference(a)
	switch {
	case ref != nil:
		return strings.NewReplacer("ip_list", "IP list", "_", " ").Replace(kind) + " " + ref.Href
	case a.Actors != "":
		return fmt.Sprintf("actors %q", a.Actors)
	case len(a.Unknown) > 0:
		return strings.Join(a.Unknown, ", ")
	default:
		return "an actor that names nothing"
	}
}
