package console

import (
	"slices"
	"strings"

	"github.com/ringfence/ringfence/libs/pce"
)

func checkRuleSet(v *validation, id string, doc, _ document) (document, error) {
	doc = doc.otherwise(map[string]any{"enabled": true})
	var s pce.RuleSet
	if err := doc.into(&s); err != nil {
		return nil, err
	}
	if s.Rules != nil || s.DenyRules != nil {
		return nil, invalid("rules", "can be given only when the rule set is created; use its sec_rules and deny_rules")
	}
	if s.Scopes == nil {
		return nil, invalid("scopes", "must be given; [[]] covers everything, [] nothing")
	}
	for _, scope := range s.Scopes {
		if err := v.scope("scopes", scope); err != nil {
			return nil, err
		}
	}
	return doc, checkNamed(v, id, doc)
}

// scope checks labels and label groups that an object must match together: one of a key, beside exclusions.
func (v *validation) scope(field string, scope []pce.Actor) error {
	seen := map[string]bool{}
	for _, entry := range scope {
		if (entry.Label == nil && entry.LabelGroup == nil) || len(entry.Unknown) > 0 {
			return invalid(field, "want labels and label groups only")
		}
		if err := v.actor(field, entry); err != nil {
			return err
		}
		key := v.keyOf(entry)
		if !entry.Exclusion && seen[key] {
			return invalid(field, "two entries of one scope are of key %q", key)
		}
		seen[key] = seen[key] || !entry.Exclusion
	}
	return nil
}

// keyOf is the key of the label or label group that an actor names.
func (v *validation) keyOf(a pce.Actor) string {
	if a.Label != nil {
		return v.labelKey(a.Label.Href)
	}
	_, id, _ := tableOf(toDraft(a.LabelGroup.Href))
	return v.get(draftTables+tableGroups, id).Doc.text("key")
}

func checkRule(v *validation, _ string, doc, _ document) (document, error) {
	doc = doc.otherwise(map[string]any{
		"enabled": true, "unscoped_consumers": false, "network_type": "brn",
		"resolve_labels_as": pce.ResolveLabelsAs{Providers: []string{"workloads"}, Consumers: []string{"workloads"}},
	})
	if strings.HasSuffix(v.table, tableDenyRules) {
		doc = doc.otherwise(map[string]any{"override": false})
	}
	var r pce.Rule
	if err := doc.into(&r); err != nil {
		return nil, err
	}
	if err := v.sides(r.Consumers, r.Providers, r.NetworkType); err != nil {
		return nil, err
	}
	if err := checkResolving(r.ResolveLabelsAs); err != nil {
		return nil, err
	}
	if r.ResolveLabelsAs != nil && slices.Equal(r.ResolveLabelsAs.Providers, []string{"virtual_services"}) {
		if len(r.IngressServices) > 0 {
			return nil, invalid("ingress_services", "must be empty where providers are virtual services, which have services of their own")
		}
		return doc.otherwise(map[string]any{"ingress_services": []string{}}), nil
	}
	return doc, v.ingress(r.IngressServices)
}

func checkBoundary(v *validation, id string, doc, _ document) (document, error) {
	doc = doc.otherwise(map[string]any{"enabled": true, "network_type": "brn"})
	var b pce.EnforcementBoundary
	if err := doc.into(&b); err != nil {
		return nil, err
	}
	if err := v.sides(b.Consumers, b.Providers, b.NetworkType); err != nil {
		return nil, err
	}
	if err := v.ingress(b.IngressServices); err != nil {
		return nil, err
	}
	return doc, checkNamed(v, id, doc)
}

var networkTypes = []string{"brn", "non_brn", "all"}

func (v *validation) sides(consumers, providers []pce.Actor, networkType string) error {
	if err := v.actors("consumers", consumers); err != nil {
		return err
	}
	if err := v.actors("providers", providers); err != nil {
		return err
	}
	isList := func(a pce.Actor) bool { return a.IPList != nil }
	if slices.ContainsFunc(consumers, isList) && slices.ContainsFunc(providers, isList) {
		return invalid("consumers", "an IP list on one side needs workloads on the other")
	}
	return oneOf("network_type", networkType, networkTypes)
}

// checkResolving checks what labels of each side stand for.
func checkResolving(r *pce.ResolveLabelsAs) error {
	if r == nil {
		return nil
	}
	for field, words := range map[string][]string{"providers": r.Providers, "consumers": r.Consumers} {
		if len(words) == 0 {
			return invalid("resolve_labels_as."+field, "must not be empty")
		}
		for _, word := range words {
			if err := oneOf("resolve_labels_as."+field, word, []string{"workloads", "virtual_services"}); err != nil {
				return err
			}
		}
	}
	return nil
}

func (v *validation) actors(field string, actors []pce.Actor) error {
	if len(actors) == 0 {
		return invalid(field, "must not be empty")
	}
	for _, a := range actors {
		if err := v.actor(field, a); err != nil {
			return err
		}
	}
	return nil
}

// actor checks one entry of a side: it names one thing, which exists.
func (v *validation) actor(field string, a pce.Actor) error {
	if len(a.Unknown) > 0 {
		return invalid(field, "%s is not supported by this console", strings.Join(a.Unknown, ", "))
	}
	if a.Actors != "" && a.Actors != pce.AllManagedWorkloads {
		return invalid(field+".actors", "%q is not %q", a.Actors, pce.AllManagedWorkloads)
	}
	if a.Exclusion && a.Label == nil && a.LabelGroup == nil {
		return invalid(field+".exclusion", "only labels and label groups can be excluded")
	}
	named := 0
	if a.Actors != "" {
		named++
	}
	for _, ref := range actorRefs(a) {
		if ref.at == nil {
			continue
		}
		if named++; named > 1 {
			break
		}
		if err := v.refers(field+"."+ref.name, ref.kind, ref.at.Href); err != nil {
			return err
		}
	}
	if named != 1 {
		return invalid(field, `want one of label, label_group, ip_list, workload, virtual_service and actors "ams" in each entry`)
	}
	return nil
}

type actorRef struct {
	name, kind string
	at         *pce.Ref
}

func actorRefs(a pce.Actor) []actorRef {
	return []actorRef{
		{"label", tableLabels, a.Label}, {"label_group", tableGroups, a.LabelGroup}, {"ip_list", tableIPLists, a.IPList},
		{"workload", workloadTable(a.Workload), a.Workload}, {"virtual_service", tableVirtual, a.VirtualService},
	}
}

// workloadTable is where a single workload is looked for: among machines, or, as its href says, among the controllers and Services of
// clusters.
func workloadTable(ref *pce.Ref) string {
	if ref != nil {
		if table, _, ok := tableOf(ref.Href); ok && table == tableWorkloads {
			return tableWorkloads
		}
	}
	return tableMachines
}

func (v *validation) ingress(services []pce.IngressService) error {
	if len(services) == 0 {
		return invalid("ingress_services", "must not be empty")
	}
	for _, s := range services {
		var err error
		if s.Href != "" {
			err = v.refers("ingress_services.href", tableServices, s.Href)
		} else {
			err = checkPort("ingress_services", s.ServicePort, false)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
