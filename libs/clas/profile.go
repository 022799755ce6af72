package clas

import (
	"cmp"
	"fmt"
	"slices"

	ringfencev1 "github.com/ringfence/ringfence/proto/ringfence/v1"
	"google.golang.org/protobuf/proto"
)

// profile is a container workload profile as it decides for its namespace.
type profile struct {
	href string
	// namespace is empty for the default profile.
	namespace string
	managed   bool
	mode      ringfencev1.EnforcementMode
	labels    []profileLabel
	// sequence decides between two profiles of one namespace: the later fact wins.
	sequence uint64
	encoded  []byte
}

// profileLabel is a profile's say on one key: an assignment, or else a restriction.
type profileLabel struct {
	key         string
	assigned    *reference
	restriction []*reference
}

// unmanaged is the profile of namespaces that no profile covers.
var unmanaged = &profile{}

func checkMode(object string, mode ringfencev1.EnforcementMode) error {
	if _, known := ringfencev1.EnforcementMode_name[int32(mode)]; !known {
		return fmt.Errorf("%s: enforcement_mode: %d is unknown", object, mode)
	}
	return nil
}

func checkProfile(s subject, m *ringfencev1.ContainerWorkloadProfile) error {
	if err := s.identifies("profile", m.GetHref()); err != nil {
		return err
	}
	object := "profile " + m.GetHref()
	if err := checkMode(object, m.GetEnforcementMode()); err != nil {
		return err
	}
	if m.GetManaged() && m.GetEnforcementMode() == ringfencev1.EnforcementMode_ENFORCEMENT_MODE_UNSPECIFIED {
		return fmt.Errorf("%s: enforcement_mode: a managed namespace needs one", object)
	}
	for i, entry := range m.GetLabels() {
		if entry.GetKey() == "" {
			return fmt.Errorf("%s: labels[%d].key: empty", object, i)
		}
		for _, before := range m.GetLabels()[:i] {
			if before.GetKey() == entry.GetKey() {
				return fmt.Errorf("%s: labels[%d].key: %q is listed twice", object, i, entry.GetKey())
			}
		}
	}
	return nil
}

func (e *Engine) putProfile(s subject, sequence uint64, m *ringfencev1.ContainerWorkloadProfile) error {
	if err := checkProfile(s, m); err != nil {
		return err
	}
	encoded, err := encode(m)
	if err != nil {
		return fmt.Errorf("profile %s: %w", m.GetHref(), err)
	}
	e.dropProfile(s.id())
	p := &profile{href: m.GetHref(), namespace: m.GetNamespace(), managed: m.GetManaged(), sequence: sequence, encoded: encoded}
	if p.managed {
		p.mode = m.GetEnforcementMode()
	}
	for _, entry := range m.GetLabels() {
		l := profileLabel{key: entry.GetKey()}
		if href := entry.GetAssignment(); href != "" {
			l.assigned = e.console.use(href, p)
		} else if entry.GetRestricted() {
			l.restriction = make([]*reference, 0, len(entry.GetRestriction()))
			for _, href := range entry.GetRestriction() {
				l.restriction = append(l.restriction, e.console.use(href, p))
			}
		} else {
			continue
		}
		p.labels = append(p.labels, l)
	}
	e.console.profiles[lastSegment(p.href)] = p
	ns := e.cluster.namespace(p.namespace)
	ns.profiles = append(ns.profiles, p)
	e.elect(ns)
	return nil
}

func (e *Engine) dropProfile(id string) {
	p := e.console.profiles[id]
	if p == nil {
		return
	}
	delete(e.console.profiles, id)
	for _, l := range p.labels {
		if l.assigned != nil {
			e.console.leave(l.assigned, p)
		}
		for _, r := range l.restriction {
			e.console.leave(r, p)
		}
	}
	ns := e.cluster.namespace(p.namespace)
	ns.profiles = slices.DeleteFunc(ns.profiles, func(q *profile) bool { return q == p })
	e.elect(ns)
}

// elect finds the profile in force for a namespace, the latest fact, and marks what it rules. The namespace without a name
// stands for the default.
func (e *Engine) elect(ns *namespace) {
	ns.profile = nil
	for _, p := range ns.profiles {
		if ns.profile == nil || cmp.Or(cmp.Compare(p.sequence, ns.profile.sequence), cmp.Compare(p.href, ns.profile.href)) > 0 {
			ns.profile = p
		}
	}
	e.ruled(ns)
}

// ruled marks what a namespace's profile decides, or the default profile where the namespace is none.
func (e *Engine) ruled(ns *namespace) {
	if ns.name != "" {
		e.stale.namespace(ns)
		return
	}
	for _, other := range e.cluster.namespaces {
		if other.profile == nil {
			e.stale.namespace(other)
		}
	}
}

// invalidate is called when a label that the profile names comes, goes or changes.
func (p *profile) invalidate(e *Engine) { e.ruled(e.cluster.namespace(p.namespace)) }

// profileOf gives the profile of a namespace: its own, else the default one, and none in a cluster that leaves the console.
func (e *Engine) profileOf(ns *namespace) *profile {
	if e.settings.unpaired {
		return unmanaged
	}
	if ns.profile != nil {
		return ns.profile
	}
	if fallback := e.cluster.namespaces[""]; fallback != nil && fallback.profile != nil {
		return fallback.profile
	}
	return unmanaged
}

// on gives the profile's say on a key.
func (p *profile) on(key string) *profileLabel {
	for i := range p.labels {
		if p.labels[i].key == key {
			return &p.labels[i]
		}
	}
	return nil
}

// warnings names what profiles refer to in vain.
func (c *console) profileWarnings() []string {
	var out []string
	for _, p := range c.profiles {
		for _, l := range p.labels {
			if r := l.assigned; r != nil && r.label == nil {
				out = append(out, fmt.Sprintf("%s: assignment of %s: label %s is gone; its workloads carry no label of this key from the profile", p, l.key, r.href))
			} else if r != nil && r.label.key != l.key {
				out = append(out, fmt.Sprintf("%s: assignment of %s: label %s has key %s; its workloads carry no label of key %s from the profile", p, l.key, r.href, r.label.key, l.key))
			}
			for _, r := range l.restriction {
				if r.label == nil {
					out = append(out, fmt.Sprintf("%s: restriction of %s: label %s is gone; no annotation can request it", p, l.key, r.href))
				}
			}
		}
	}
	return out
}

// String names the profile for people.
func (p *profile) String() string {
	if p.namespace == "" {
		return fmt.Sprintf("default profile (%s)", p.href)
	}
	return fmt.Sprintf("profile of namespace %s (%s)", p.namespace, p.href)
}

// encode writes a message the same way every time.
func encode(m proto.Message) ([]byte, error) {
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("encode: %w", err)
	}
	return b, nil
}
