package clas

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	ringfencev1 "github.com/ringfence/ringfence/proto/ringfence/v1"
)

// profile is a container workload profile as it decides for its namespace.
type profile struct {
	href, namespace string
	managed         bool
	mode            ringfencev1.EnforcementMode
	// assigned gives, per label key, the href of the fixed label.
	assigned map[string]string
	// restricted gives, per label key, the hrefs of the labels that annotations may request.
	restricted map[string][]string
	// sequence decides between two profiles of one namespace: the later fact wins.
	sequence uint64
	key      string
}

// unmanaged is the profile of namespaces that no profile covers.
var unmanaged = &profile{}

func parseProfile(s subject, sequence uint64, m *ringfencev1.ContainerWorkloadProfile) (*profile, error) {
	if err := s.identifies("profile", m.GetHref()); err != nil {
		return nil, err
	}
	p := &profile{href: m.GetHref(), namespace: m.GetNamespace(), managed: m.GetManaged(),
		assigned: map[string]string{}, restricted: map[string][]string{}, sequence: sequence, key: s.key}
	mode := m.GetEnforcementMode()
	if _, known := ringfencev1.EnforcementMode_name[int32(mode)]; !known {
		return nil, fmt.Errorf("profile %s: enforcement_mode: %d is unknown", p.href, mode)
	}
	if p.managed {
		if mode == ringfencev1.EnforcementMode_ENFORCEMENT_MODE_UNSPECIFIED {
			return nil, fmt.Errorf("profile %s: enforcement_mode: a managed namespace needs one", p.href)
		}
		p.mode = mode
	}
	return p, p.takeLabels(m.GetLabels())
}

func (p *profile) takeLabels(entries []*ringfencev1.ProfileLabel) error {
	seen := map[string]bool{}
	for i, entry := range entries {
		key := entry.GetKey()
		if key == "" {
			return fmt.Errorf("profile %s: labels[%d].key: empty", p.href, i)
		}
		if seen[key] {
			return fmt.Errorf("profile %s: labels[%d].key: %q is listed twice", p.href, i, key)
		}
		seen[key] = true
		if href := entry.GetAssignment(); href != "" {
			p.assigned[key] = href
		} else if entry.GetRestricted() {
			p.restricted[key] = entry.GetRestriction()
		}
	}
	return nil
}

// profiles holds the profiles by the key of their subject and finds the one that rules a namespace.
type profiles struct {
	byKey map[string]*profile
	// ruling gives the profile in force, per namespace; "" is the default profile.
	ruling map[string]*profile
}

func newProfiles() *profiles {
	return &profiles{byKey: map[string]*profile{}, ruling: map[string]*profile{}}
}

// replace puts next (nil to remove) in the place of the key's profile and returns the namespaces of both.
func (t *profiles) replace(key string, next *profile) []string {
	var touched []string
	if old := t.byKey[key]; old != nil {
		delete(t.byKey, key)
		touched = append(touched, old.namespace)
	}
	if next != nil {
		t.byKey[key] = next
		touched = append(touched, next.namespace)
	}
	for _, namespace := range touched {
		t.elect(namespace)
	}
	return touched
}

// elect finds the profile in force for a namespace: the latest fact.
func (t *profiles) elect(namespace string) {
	delete(t.ruling, namespace)
	for _, p := range t.byKey {
		if p.namespace == namespace && (t.ruling[namespace] == nil || p.later(t.ruling[namespace])) {
			t.ruling[namespace] = p
		}
	}
}

func (p *profile) later(q *profile) bool {
	return cmp.Or(cmp.Compare(p.sequence, q.sequence), cmp.Compare(p.key, q.key)) > 0
}

// of gives the profile of a namespace: its own, else the default one.
func (t *profiles) of(namespace string) *profile {
	if p := t.ruling[namespace]; p != nil {
		return p
	}
	if p := t.ruling[""]; p != nil {
		return p
	}
	return unmanaged
}

// warnings names what profiles refer to in vain.
func (t *profiles) warnings(labels *catalogue) []string {
	var out []string
	for _, p := range t.byKey {
		for key, href := range p.assigned {
			if l, ok := labels.find(href); !ok {
				out = append(out, fmt.Sprintf("%s: assignment of %s: label %s is gone; its workloads carry no label of this key", p, key, href))
			} else if l.key != key {
				out = append(out, fmt.Sprintf("%s: assignment of %s: label %s has key %s; its workloads carry no label of key %s", p, key, href, l.key, key))
			}
		}
		for key, hrefs := range p.restricted {
			for _, href := range hrefs {
				if _, ok := labels.find(href); !ok {
					out = append(out, fmt.Sprintf("%s: restriction of %s: label %s is gone; no annotation can request it", p, key, href))
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

// namespacesMessage lists the namespaces that are known by a fact or a profile of their own.
func (t *profiles) namespacesMessage(known map[string]struct{}) *ringfencev1.Namespaces {
	names := map[string]bool{}
	for name := range known {
		names[name] = true
	}
	for name := range t.ruling {
		names[name] = true
	}
	delete(names, "")
	out := &ringfencev1.Namespaces{}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		p := t.of(name)
		out.Namespaces = append(out.Namespaces, &ringfencev1.NamespacePolicy{Namespace: name, Managed: p.managed, Mode: p.mode})
	}
	return out
}
