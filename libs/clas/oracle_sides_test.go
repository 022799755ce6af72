package clas_test

import (
	"slices"

	pb "github.com/ringfence/ringfence/proto/ringfence/v1"
)

// Sections 4.1, 4.2 and 5.3: who is on which side of a rule.

// demand is what a label part asks of one key.
type demand struct {
	includes            bool // at least one label or group is included, be it gone or empty
	included, forbidden map[string]bool
}

// labelPart is the labels, groups and exclusions of a list of actors.
type labelPart struct {
	demands map[string]*demand
	// unreadable says that something in it cannot be told, so that it matches nobody.
	unreadable bool
	// ams says that all workloads are named beside it.
	ams bool
}

func (l labelPart) demand(key string) *demand {
	if l.demands[key] == nil {
		l.demands[key] = &demand{included: map[string]bool{}, forbidden: map[string]bool{}}
	}
	return l.demands[key]
}

func (o *oracle) labelPart(list []*pb.Actor) labelPart {
	if len(list) == 0 {
		return labelPart{}
	}
	out, known := o.memory.parts[list[0]]
	if !known {
		out = o.readLabelPart(list)
		o.memory.parts[list[0]] = out
	}
	return out
}

func (o *oracle) readLabelPart(list []*pb.Actor) labelPart {
	out := labelPart{demands: map[string]*demand{}}
	for _, a := range list {
		switch x := a.GetActor().(type) {
		case *pb.Actor_Label:
			o.addLabel(&out, x.Label, false)
		case *pb.Actor_ExcludedLabel:
			o.addLabel(&out, x.ExcludedLabel, true)
		case *pb.Actor_LabelGroup:
			o.addGroup(&out, x.LabelGroup, false)
		case *pb.Actor_ExcludedLabelGroup:
			o.addGroup(&out, x.ExcludedLabelGroup, true)
		case *pb.Actor_AllWorkloads:
			out.ams = out.ams || x.AllWorkloads
		case *pb.Actor_Unsupported, nil:
			out.unreadable = true
		}
	}
	return out
}

func (o *oracle) addLabel(part *labelPart, href string, excluded bool) {
	key, known := o.keyOf(href)
	if !known {
		part.unreadable = true
		return
	}
	_, value, exists := o.label(href)
	part.demand(key).add(excluded, value, exists)
}

func (d *demand) add(excluded bool, value string, exists bool) {
	d.includes = d.includes || !excluded
	switch {
	case !exists:
	case excluded:
		d.forbidden[value] = true
	default:
		d.included[value] = true
	}
}

func (o *oracle) addGroup(part *labelPart, href string, excluded bool) {
	key, values, readable := o.group(href, nil)
	if !readable {
		part.unreadable = true
		return
	}
	part.demand(key).add(excluded, "", false)
	for _, value := range values {
		part.demand(key).add(excluded, value, true)
	}
}

// group gives the values of a label group with its sub-groups; path are the groups that it was reached by.
func (o *oracle) group(href string, path []string) (key string, values []string, readable bool) {
	g := o.console[href].GetLabelGroup()
	if g == nil || slices.Contains(path, href) {
		return "", nil, false
	}
	for _, label := range g.GetLabels() {
		if key, value, exists := o.label(label); exists && key == g.GetKey() {
			values = append(values, value)
		}
	}
	for _, sub := range g.GetSubGroups() {
		key, more, readable := o.group(sub, append(slices.Clone(path), href))
		if !readable || key != g.GetKey() {
			return "", nil, false
		}
		values = append(values, more...)
	}
	return g.GetKey(), values, true
}

// fulfils tells whether labels fulfil the part.
func (l labelPart) fulfils(labels map[string]string) bool {
	if l.unreadable || len(l.demands) == 0 {
		return false
	}
	for key, d := range l.demands {
		value, carried := labels[key]
		if !carried || d.includes && !d.included[value] || d.forbidden[value] {
			return false
		}
	}
	return true
}

// inScope tells whether labels are in a scope; an empty one covers everything.
func (o *oracle) inScope(labels map[string]string, s *pb.Scope) bool {
	if len(s.GetEntries()) == 0 {
		return true
	}
	for _, entry := range s.GetEntries() {
		switch entry.GetActor().(type) {
		case *pb.Actor_Label, *pb.Actor_LabelGroup, *pb.Actor_ExcludedLabel, *pb.Actor_ExcludedLabelGroup:
		default:
			return false
		}
	}
	return o.labelPart(s.GetEntries()).fulfils(labels)
}

// side is one side of a rule within a scope; scope is nil where nothing narrows it.
type side struct {
	actors  []*pb.Actor
	resolve []pb.LabelResolution
	scope   *pb.Scope
}

// standsFor tells what the labels of the side stand for.
func (s side) standsFor(what pb.LabelResolution) bool {
	if len(s.resolve) == 0 {
		return what == pb.LabelResolution_LABEL_RESOLUTION_WORKLOADS
	}
	return slices.Contains(s.resolve, what)
}

// has tells whether a workload is on the side, by label, as one of all, or by itself.
func (o *oracle) has(s side, a *actor) bool {
	if s.scope != nil && !o.inScope(a.labels, s.scope) {
		return false
	}
	part := o.labelPart(s.actors)
	if s.standsFor(pb.LabelResolution_LABEL_RESOLUTION_WORKLOADS) && (part.ams || part.fulfils(a.labels)) {
		return true
	}
	return slices.ContainsFunc(s.actors, func(x *pb.Actor) bool { return x.GetWorkload() != "" && o.names(x.GetWorkload(), a) })
}

// ipLists are the IP lists of a side.
func (o *oracle) ipLists(s side) []*pb.IpList {
	var out []*pb.IpList
	for _, a := range s.actors {
		if l := o.console[a.GetIpList()].GetIpList(); l != nil {
			out = append(out, l)
		}
	}
	return out
}

// virtual is a virtual service; service is the Service of the cluster that it is, if it is one.
type virtual struct {
	message *pb.VirtualService
	service *pb.Service
}

// virtuals are the virtual services of a side: those that it names, and those that its labels stand for.
func (o *oracle) virtuals(s side) []virtual {
	var out []virtual
	for _, a := range s.actors {
		if v := o.console[a.GetVirtualService()].GetVirtualService(); v != nil && o.virtualInScope(v, s.scope) {
			out = append(out, o.virtual(v)...)
		}
	}
	if !s.standsFor(pb.LabelResolution_LABEL_RESOLUTION_VIRTUAL_SERVICES) {
		return out
	}
	part := o.labelPart(s.actors)
	for _, object := range o.console {
		v := object.GetVirtualService()
		if v != nil && (part.ams || part.fulfils(o.ofHrefs(v.GetLabels()).labels)) && o.virtualInScope(v, s.scope) {
			out = append(out, o.virtual(v)...)
		}
	}
	if o.settings.GetClusterMode() == "legacy" {
		for _, a := range o.actors {
			if a.service != nil && (part.ams || part.fulfils(a.labels)) && (s.scope == nil || o.inScope(a.labels, s.scope)) {
				out = append(out, virtual{message: &pb.VirtualService{}, service: a.service})
			}
		}
	}
	return out
}

func (o *oracle) virtualInScope(v *pb.VirtualService, scope *pb.Scope) bool {
	return scope == nil || o.inScope(o.ofHrefs(v.GetLabels()).labels, scope)
}

// virtual gives what a virtual service is: none where it is a Service that takes no part.
func (o *oracle) virtual(v *pb.VirtualService) []virtual {
	s := latest(o.services, func(f logged) bool {
		return v.GetServiceUid() != "" && f.fact.GetService().GetUid() == v.GetServiceUid()
	}).fact.GetService()
	if s != nil && !o.managed(s.GetNamespace()) {
		return nil
	}
	return []virtual{{message: v, service: s}}
}

// providedBy tells whether a workload provides a virtual service.
func (o *oracle) providedBy(v virtual, a *actor) bool {
	if v.service != nil {
		return a.pod != nil && backs(a.pod, v.service)
	}
	return slices.ContainsFunc(v.message.GetWorkloads(), func(href string) bool { return o.names(href, a) })
}
