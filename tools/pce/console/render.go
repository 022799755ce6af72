package console

import (
	"encoding/json"
	"maps"
	"strings"
	"time"

	"github.com/ringfence/ringfence/libs/pce"
)

// rendered is an object as it is served.
type rendered map[string]any

// render gives an object of any kind with its href and audit fields, and what is particular to its kind.
func (s *state) render(table, id string, agents *agents) rendered {
	out := s.renderBare(table, id, agents)
	if kindOf(table) == tableRuleSets {
		s.addRules(out, table, id)
	}
	return out
}

// renderBare leaves a rule set's rules out.
func (s *state) renderBare(table, id string, agents *agents) rendered {
	r := s.get(table, id)
	name, version := kindOf(table), versionOf(table)
	out := base(r, hrefOf(table, id, r.Owner), shapes[name])
	if version != "" {
		out["update_type"], out["deleted_at"], out["deleted_by"] = nil, nil, nil
		out["caps"] = []string{"write", "provision"}
	}
	if version+"/" == draftTables {
		out["update_type"] = orNull(s.updateType(name, id))
	}
	if r.Deleted {
		out["deleted_at"], out["deleted_by"] = r.UpdatedAt, pce.Ref{Href: r.UpdatedBy}
	}
	s.decorate(out, name, id, r, agents)
	return out
}

// decorate adds what is particular to a kind.
func (s *state) decorate(out rendered, name, id string, r *record, agents *agents) {
	switch name {
	case tableClusters:
		agents.decorate(out, id)
	case tableProfiles:
		s.decorateProfile(out, r)
	case tableWorkloads:
		s.decorateWorkload(out, r)
	case tableContainers:
		s.decorateWorkload(out, r)
	case tableKeys:
		decorateKey(out, id)
	case tableMachines:
		s.decorateMachine(out, id, r, agents)
	case tableVENs:
		s.decorateVEN(out, r, agents)
	case tableBindings:
		s.decorateBinding(out, r)
	case tableGroups:
		out["labels"], out["sub_groups"] = s.namedLabels(r.Doc), s.namedGroups(r.Doc)
	case tableVirtual:
		out["labels"] = s.namedLabels(r.Doc)
		if r.ofCluster() {
			out["caps"] = none
		}
	case tablePairing:
		out["caps"] = []string{"write", "generate_pairing_key"}
	}
}

// namedGroups are the label groups in a label group, with their names.
func (s *state) namedGroups(doc document) []map[string]string {
	found := []map[string]string{}
	for _, entry := range doc.list("sub_groups") {
		href, _ := entry["href"].(string)
		group := map[string]string{"href": href}
		if table, id, ok := tableOf(href); ok && s.get(table, id) != nil {
			group["name"] = s.get(table, id).Doc.text("name")
		}
		found = append(found, group)
	}
	return found
}

// addRules gives a rule set its rules.
func (s *state) addRules(out rendered, table, id string) {
	version := versionOf(table) + "/"
	for field, name := range map[string]string{"rules": tableRules, "deny_rules": tableDenyRules} {
		list := []rendered{}
		for _, rule := range ordered(s.owned(version+name, id)) {
			list = append(list, s.renderBare(version+name, rule, nil))
		}
		out[field] = list
	}
	out["ip_tables_rules"] = none
}

func base(r *record, href string, shape rendered) rendered {
	out := make(rendered, len(shape)+len(r.Doc)+8)
	maps.Copy(out, shape)
	out["href"], out["caps"] = href, []string{"write"}
	out["created_at"], out["updated_at"] = r.CreatedAt, r.UpdatedAt
	out["created_by"], out["updated_by"] = pce.Ref{Href: r.CreatedBy}, pce.Ref{Href: r.UpdatedBy}
	for field, value := range r.Doc {
		if !strings.HasPrefix(field, privatePrefix) {
			out[field] = value
		}
	}
	return out
}

func orNull(text string) any {
	if text == "" {
		return nil
	}
	return text
}

// decorateWorkload computes labels and mode of a Kubernetes workload as the cluster does: the profile's assignment,
// else the annotation where such a label exists and the profile's restriction, if any, has it.
func (s *state) decorateWorkload(out rendered, r *record) {
	profile := s.profileOf(r.Owner, r.Doc.text("namespace"))
	out["container_cluster"] = s.clusterRef(r.Owner)
	out["labels"] = s.labelsOf(profile, r.Doc)
	out["enforcement_mode"], out["visibility_level"] = pce.ModeIdle, profile.VisibilityLevel
	if profile.Managed != nil && *profile.Managed {
		out["enforcement_mode"] = profile.EnforcementMode
	}
}

// profileOf gives the profile of a namespace: its own, else the cluster's default.
func (s *state) profileOf(cluster, namespace string) pce.ContainerWorkloadProfile {
	var p pce.ContainerWorkloadProfile
	for _, name := range []string{namespace, ""} {
		doc := document{}.set("namespace", name)
		for id := range s.index.found[lookupOf(tableProfiles, &record{Doc: doc, Owner: cluster}, []string{"namespace"})] {
			if s.get(tableProfiles, id).Doc.into(&p) != nil {
				return pce.ContainerWorkloadProfile{}
			}
			return p
		}
	}
	return p
}

func (s *state) labelsOf(profile pce.ContainerWorkloadProfile, doc document) []pce.Label {
	found := []pce.Label{}
	if profile.Managed == nil || !*profile.Managed {
		return found
	}
	var meta pce.KubernetesMetadata
	if json.Unmarshal(doc["metadata"], &meta) != nil {
		return found
	}
	for _, key := range s.keys() {
		if l, ok := s.mappedLabel(key, doc); ok {
			found = append(found, l)
		} else if l, ok := s.labelFor(key, profile, meta.Annotations["com.illumio."+key]); ok {
			found = append(found, l)
		}
	}
	return found
}

// mappedLabel is the label of a key that the cluster's LabelMap gives, which stands before all else.
func (s *state) mappedLabel(key string, doc document) (pce.Label, bool) {
	var mapped []pce.Label
	if doc[mappedField] == nil || json.Unmarshal(doc[mappedField], &mapped) != nil {
		return pce.Label{}, false
	}
	for _, l := range mapped {
		if l.Key == key {
			return s.labelNamed(key, l.Value)
		}
	}
	return pce.Label{}, false
}

// labelNamed is the label of a key and a value.
func (s *state) labelNamed(key, value string) (pce.Label, bool) {
	for id := range s.index.found[lookupOf(tableLabels, &record{Doc: labelOf(key, value)}, []string{"key", "value"})] {
		return pce.Label{Href: hrefOf(tableLabels, id, ""), Key: key, Value: value}, true
	}
	return pce.Label{}, false
}

func (s *state) labelFor(key string, profile pce.ContainerWorkloadProfile, annotation string) (pce.Label, bool) {
	allowed := func(string) bool { return true }
	for _, l := range profile.Labels {
		switch {
		case l.Key != key:
		case l.Assignment != nil:
			return s.label(pce.ID(l.Assignment.Href))
		case l.Restriction != nil:
			allowed = func(href string) bool {
				for _, ref := range *l.Restriction {
					if ref.Href == href {
						return true
					}
				}
				return false
			}
		}
	}
	if annotation == "" {
		return pce.Label{}, false
	}
	l, there := s.labelNamed(key, annotation)
	return l, there && allowed(l.Href)
}

func labelOf(key, value string) document { return document{}.set("key", key).set("value", value) }

func (s *state) label(id string) (pce.Label, bool) {
	r := s.get(tableLabels, id)
	if r == nil {
		return pce.Label{}, false
	}
	return pce.Label{Href: hrefOf(tableLabels, id, ""), Key: r.Doc.text("key"), Value: r.Doc.text("value")}, true
}

func stamp(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return t.UTC().Format(time.RFC3339Nano)
}
