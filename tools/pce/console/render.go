package console

import (
	"encoding/json"
	"strings"
	"time"

	"github.com/ringfence/ringfence/libs/pce"
)

// rendered is an object as it is served.
type rendered map[string]any

// render gives an object of any kind with its href and audit fields, and what is particular to its kind.
func (s *state) render(table, id string, agents *agents) rendered {
	r := s.get(table, id)
	out := base(r, hrefOf(table, id, r.Owner))
	switch name := strings.TrimPrefix(strings.TrimPrefix(table, draftTables), activeTables); name {
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
	case tableRuleSets, tableRules, tableDenyRules, tableIPLists, tableServices:
		out["update_type"] = nil
		if strings.HasPrefix(table, draftTables) {
			out["update_type"] = orNull(s.updateType(name, id))
		}
	}
	return out
}

// renderRuleSet gives a rule set with its rules.
func (s *state) renderRuleSet(table, id string, rules map[string][]string) rendered {
	out := s.render(table, id, nil)
	prefix := strings.TrimSuffix(table, tableRuleSets)
	for field, name := range map[string]string{"rules": tableRules, "deny_rules": tableDenyRules} {
		list := []rendered{}
		for _, rule := range rules[prefix+name+"/"+id] {
			list = append(list, s.render(prefix+name, rule, nil))
		}
		out[field] = list
	}
	out["ip_tables_rules"] = []struct{}{}
	return out
}

// rulesBySet lists the ids of rules by "<table>/<rule set>", for all rule sets at once.
func (s *state) rulesBySet(prefix string) map[string][]string {
	found := map[string][]string{}
	for _, name := range ruleTables {
		for _, id := range s.ids(prefix + name) {
			at := prefix + name + "/" + s.get(prefix+name, id).Owner
			found[at] = append(found[at], id)
		}
	}
	return found
}

func base(r *record, href string) rendered {
	out := rendered{
		"href": href, "created_at": r.CreatedAt, "updated_at": r.UpdatedAt,
		"created_by": pce.Ref{Href: r.CreatedBy}, "updated_by": pce.Ref{Href: r.UpdatedBy}, "caps": []string{"write"},
	}
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
	out["container_cluster"] = map[string]string{
		"href": hrefOf(tableClusters, r.Owner, ""), "name": s.get(tableClusters, r.Owner).Doc.text("name"),
	}
	out["labels"] = s.labelsOf(profile, r.Doc)
	out["enforcement_mode"], out["visibility_level"] = pce.ModeIdle, profile.VisibilityLevel
	if profile.Managed != nil && *profile.Managed {
		out["enforcement_mode"] = profile.EnforcementMode
	}
}

// profileOf gives the profile of a namespace: its own, else the cluster's default.
func (s *state) profileOf(cluster, namespace string) pce.ContainerWorkloadProfile {
	var fallback, own *record
	for _, r := range s.owned(tableProfiles, cluster) {
		switch r.Doc.text("namespace") {
		case namespace:
			own = r
		case "":
			fallback = r
		}
	}
	if own == nil {
		own = fallback
	}
	var p pce.ContainerWorkloadProfile
	if own != nil && own.Doc.into(&p) != nil {
		return pce.ContainerWorkloadProfile{}
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
	for _, d := range dimensions {
		if l, ok := s.labelFor(d.Key, profile, meta.Annotations["com.illumio."+d.Key]); ok {
			found = append(found, l)
		}
	}
	return found
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
	for id, r := range s.tables[tableLabels] {
		if annotation != "" && r.Doc.text("key") == key && r.Doc.text("value") == annotation {
			return pce.Label{Href: hrefOf(tableLabels, id, ""), Key: key, Value: annotation}, allowed(hrefOf(tableLabels, id, ""))
		}
	}
	return pce.Label{}, false
}

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
