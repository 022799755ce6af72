package clas

import (
	"fmt"
	"slices"

	ringfencev1 "github.com/ringfence/ringfence/proto/ringfence/v1"
)

// annotationPrefix starts the annotations that request labels: com.illumio.<key>: <value>.
const annotationPrefix = "com.illumio."

// LabelSource says where a label of an endpoint came from.
type LabelSource string

// The sources of labels. Of a Kubernetes workload, the first that gives a key its value wins.
const (
	// SourceLabelMap is an entry of the LabelMap.
	SourceLabelMap LabelSource = "label-map"
	// SourceProfile is the assignment of the namespace's container workload profile.
	SourceProfile LabelSource = "profile"
	// SourceAnnotation is a com.illumio annotation of the workload.
	SourceAnnotation LabelSource = "annotation"
	// SourceBackends says that a Service has the labels that all its pods agree on.
	SourceBackends LabelSource = "backends"
	// SourceWorkload is the console's own workload, for nodes and external workloads.
	SourceWorkload LabelSource = "workload"
	// SourcePairingProfile is the pairing profile, for nodes that the console does not know as workloads.
	SourcePairingProfile LabelSource = "pairing profile"
)

// sourced is a label with its source.
type sourced struct {
	label  *label
	source LabelSource
}

// identity is the labels that an actor gets, while they are worked out. It is used again for the next actor.
type identity struct {
	// labels are one a key.
	labels []sourced
	// requests are the labels that annotations and the LabelMap ask for, with or without success.
	requests []*label
	// ignored says in words which requests had no effect, if reasons are asked for.
	reasons bool
	ignored []string
}

func (i *identity) reset() {
	i.labels, i.requests, i.ignored = i.labels[:0], i.requests[:0], nil
}

func (i *identity) ignore(format string, args ...any) {
	if i.reasons {
		i.ignored = append(i.ignored, fmt.Sprintf(format, args...))
	}
}

// give adds a label unless its key has one.
func (i *identity) give(l *label, source LabelSource) bool {
	for _, have := range i.labels {
		if have.label.key == l.key {
			return false
		}
	}
	i.labels = append(i.labels, sourced{l, source})
	return true
}

// plain appends the labels, sorted.
func (i *identity) plain(out []*label) []*label {
	start := len(out)
	for _, s := range i.labels {
		out = append(out, s.label)
	}
	if len(out)-start > 1 {
		slices.SortFunc(out[start:], compareLabels)
	}
	return out
}

// identify works out the labels of a Kubernetes workload: from the LabelMap, then the profile's assignments, then the
// annotations for keys that the profile leaves open.
func (e *Engine) identify(id *identity, p *profile, labels, annotations packed) {
	id.reset()
	e.mapLabels(id, e.labelMap.workloads, labels)
	for i := range p.labels {
		if l := &p.labels[i]; l.assigned != nil && l.assigned.label != nil && l.assigned.label.key == l.key {
			id.give(l.assigned.label, SourceProfile)
		}
	}
	for name, value := range annotations.all() {
		if key, asks := requestsLabel(name); asks {
			e.annotate(id, p, name, key, value)
		}
	}
}

func (e *Engine) annotate(id *identity, p *profile, name, key, value string) {
	l := e.table.label(key, value)
	id.requests = append(id.requests, l)
	if reason := refuses(p, l); reason != "" {
		id.ignore("annotation %s: %q: %s", name, value, reason)
	} else if !id.give(l, SourceAnnotation) {
		id.ignore("annotation %s: %q: the LabelMap gives this key", name, value)
	}
}

// refuses says why an annotation's label is not taken, or nothing.
func refuses(p *profile, l *label) string {
	say := p.on(l.key)
	switch {
	case say != nil && say.assigned != nil:
		return "the profile fixes this key"
	case l.hrefs == 0:
		return "the console has no such label"
	case say != nil && !slices.ContainsFunc(say.restriction, func(r *reference) bool { return r.label == l }):
		return "the profile's restriction does not list it"
	}
	return ""
}

// labelMap is the LabelMap, its lists found by the keys that they map.
type labelMap struct {
	message          *ringfencev1.LabelMap
	sequence         uint64
	workloads, nodes mappings
}

// mappings are the entries of one list by the key that they map, each with its place in the list.
type mappings map[string][]mapping

type mapping struct {
	place int
	entry *ringfencev1.LabelMapping
	value string
}

func newMappings(entries []*ringfencev1.LabelMapping) mappings {
	if len(entries) == 0 {
		return nil
	}
	out := mappings{}
	for i, entry := range entries {
		out[entry.GetFromKey()] = append(out[entry.GetFromKey()], mapping{place: i, entry: entry})
	}
	return out
}

// of gives the entries that map any of the labels, in the order of the list.
func (m mappings) of(labels packed, room []mapping) []mapping {
	if len(m) == 0 {
		return nil
	}
	for key, value := range labels.all() {
		for _, x := range m[key] {
			x.value = translate(x.entry, value)
			room = append(room, x)
		}
	}
	slices.SortFunc(room, func(a, b mapping) int { return a.place - b.place })
	return room
}

// mapLabels gives what the entries of a LabelMap make of Kubernetes labels. The first entry that gives a key its value wins.
func (e *Engine) mapLabels(id *identity, list mappings, labels packed) {
	e.mappingRoom = list.of(labels, e.mappingRoom[:0])
	for _, x := range e.mappingRoom {
		entry := x.entry
		if x.value == "" {
			continue
		}
		l := e.table.label(entry.GetToKey(), x.value)
		id.requests = append(id.requests, l)
		switch {
		case !e.dimension(l.key):
			id.ignore("LabelMap %s: %s: the console has no labels of key %s", entry.GetFromKey(), l, l.key)
		case l.hrefs == 0 && !entry.GetAllowCreate():
			id.ignore("LabelMap %s: the console has no label %s, and allowCreate is not set", entry.GetFromKey(), l)
		case !id.give(l, SourceLabelMap):
			id.ignore("LabelMap %s: %s: an earlier entry gives this key", entry.GetFromKey(), l)
		}
	}
}

// translate gives the console's value for a Kubernetes one. A value that no entry names is passed through.
func translate(entry *ringfencev1.LabelMapping, value string) string {
	for _, v := range entry.GetValuesMap() {
		if v.GetFrom() == value {
			return v.GetTo()
		}
	}
	return value
}

// labelMapName is the one LabelMap that counts.
const labelMapName = "default"

func (e *Engine) putLabelMap(s subject, sequence uint64, m *ringfencev1.LabelMap) error {
	if err := s.names("labelmap", "", m.GetName()); err != nil {
		return err
	}
	if err := checkMappings(m.GetName(), "node_label_map", m.GetNodeLabelMap()); err != nil {
		return err
	}
	if err := checkMappings(m.GetName(), "workload_label_map", m.GetWorkloadLabelMap()); err != nil {
		return err
	}
	if m.GetName() != labelMapName {
		return fmt.Errorf("label map %s: name: only %s counts", m.GetName(), labelMapName)
	}
	e.labelMap = labelMap{m, sequence, newMappings(m.GetWorkloadLabelMap()), newMappings(m.GetNodeLabelMap())}
	e.relabelAll()
	return nil
}

func checkMappings(name, list string, entries []*ringfencev1.LabelMapping) error {
	for i, entry := range entries {
		if entry.GetFromKey() == "" {
			return fmt.Errorf("label map %s: %s[%d].from_key: empty", name, list, i)
		}
		if entry.GetToKey() == "" {
			return fmt.Errorf("label map %s: %s[%d].to_key: empty", name, list, i)
		}
	}
	return nil
}

// relabelMapped labels everything anew where a LabelMap may map differently now.
func (e *Engine) relabelMapped() {
	if len(e.labelMap.nodes)+len(e.labelMap.workloads) > 0 {
		e.relabelAll()
	}
}

func (e *Engine) relabelAll() {
	for _, ns := range e.cluster.namespaces {
		e.stale.namespace(ns)
	}
	for _, n := range e.cluster.nodes {
		n.relabel(e)
	}
}

// request notes which labels an actor asks for now, so that it is labelled anew when one of them comes or goes.
func (e *Engine) request(actor labelled, before, now []*label) []*label {
	if slices.Equal(before, now) {
		return before
	}
	for _, l := range now {
		l.requesters.add(actor)
	}
	for _, l := range before {
		if !slices.Contains(now, l) {
			l.requesters.remove(actor)
			e.table.collect(l)
		}
	}
	return slices.Clone(now)
}
