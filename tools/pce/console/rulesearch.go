package console

import (
	"slices"
	"strings"

	"github.com/ringfence/ringfence/libs/pce"
)

// ruleQuery is what a rule search asks for. Every field that is given must hold, and of a list every entry: a rule is found
// that names all of them.
type ruleQuery struct {
	Providers   []pce.Actor          `json:"providers"`
	Consumers   []pce.Actor          `json:"consumers"`
	EitherSide  []pce.Actor          `json:"providers_or_consumers"`
	Services    []pce.IngressService `json:"ingress_services"`
	ResolveAs   *pce.ResolveLabelsAs `json:"resolve_labels_as"`
	Description string               `json:"description"`
	UpdateType  string               `json:"update_type"`
	NetworkType string               `json:"network_type"`
	pce.External
	flags document
}

// searchedFlags are the boolean fields of a rule that a search may name.
var searchedFlags = []string{"enabled", "unscoped_consumers", "sec_connect", "stateless", "machine_auth", "override"}

func decodeRuleQuery(body []byte) (ruleQuery, error) {
	var q ruleQuery
	if err := decodeInto(body, &q); err != nil {
		return q, err
	}
	doc, err := decodeDocument(body)
	if err != nil {
		return q, err
	}
	q.flags = doc.only(searchedFlags)
	return q, nil
}

// searchRules finds rules in all the rule sets of a version.
func (c *Console) searchRules(r request) (response, error) {
	body, err := r.body()
	if err != nil {
		return response{}, err
	}
	query, err := decodeRuleQuery(body)
	if err != nil {
		return response{}, err
	}
	limit, err := r.limit()
	if err != nil {
		return response{}, err
	}
	items, total := []rendered{}, 0
	c.store.view(func(s *state) {
		asked := r.PathValue("version")
		if s, err = s.asOf(asked); err == nil {
			items, total = s.searchRules(asked+"/", query, limit)
		}
	})
	if err != nil {
		return response{}, err
	}
	if r.async() {
		return c.jobs.start(r, items)
	}
	return listed(items, total), nil
}

func (s *state) searchRules(version string, q ruleQuery, limit int) (items []rendered, total int) {
	items = []rendered{}
	for _, table := range ruleTables {
		for _, id := range s.ids(version + table) {
			r := s.get(version+table, id)
			var rule pce.Rule
			if r.Doc.into(&rule) != nil || !q.matches(rule, r.Doc) || !s.hasUpdateType(version, table, id, q.UpdateType) {
				continue
			}
			if total++; total <= limit {
				out := s.renderBare(version+table, id, nil)
				out["rule_set"] = s.ruleSetRef(version, r.Owner)
				items = append(items, out)
			}
		}
	}
	return items, total
}

func (s *state) hasUpdateType(version, table, id, want string) bool {
	return want == "" || (version == draftTables && s.updateType(table, id) == want)
}

func (s *state) ruleSetRef(version, id string) rendered {
	out := rendered{"href": hrefOf(version+tableRuleSets, id, "")}
	if set := s.get(version+tableRuleSets, id); set != nil {
		for _, field := range []string{"name", "enabled", "scopes"} {
			out[field] = set.Doc.orNull(field)
		}
	}
	return out
}

func (q ruleQuery) matches(r pce.Rule, doc document) bool {
	for field, want := range q.flags {
		if string(want) != "null" && doc.flag(field, false) != q.flags.flag(field, false) {
			return false
		}
	}
	return hasAll(r.Providers, q.Providers) && hasAll(r.Consumers, q.Consumers) &&
		hasAll(append(slices.Clone(r.Providers), r.Consumers...), q.EitherSide) && q.servicesMatch(r.IngressServices) &&
		(q.ResolveAs == nil || sameResolving(r.ResolveLabelsAs, q.ResolveAs)) &&
		strings.Contains(strings.ToLower(r.Description), strings.ToLower(q.Description)) &&
		(q.NetworkType == "" || q.NetworkType == r.NetworkType) &&
		(q.ExternalDataSet == "" || q.ExternalDataSet == r.ExternalDataSet) &&
		(q.ExternalDataReference == "" || q.ExternalDataReference == r.ExternalDataReference)
}

func hasAll(have, want []pce.Actor) bool {
	return !slices.ContainsFunc(want, func(w pce.Actor) bool {
		return !slices.ContainsFunc(have, func(h pce.Actor) bool { return sameActor(h, w) })
	})
}

// sameActor tells whether two actors name the same thing; an exclusion is another thing.
func sameActor(a, b pce.Actor) bool {
	same := a.Actors == b.Actors && a.Exclusion == b.Exclusion
	theirs := actorRefs(b)
	for i, ref := range actorRefs(a) {
		same = same && refText(ref.at) == refText(theirs[i].at)
	}
	return same
}

func refText(r *pce.Ref) string {
	if r == nil {
		return ""
	}
	return withoutVersion(r.Href)
}

// withoutVersion gives an href that is the same for an object in all versions of the policy.
func withoutVersion(href string) string {
	before, rest, versioned := strings.Cut(href, "/sec_policy/")
	if !versioned {
		return href
	}
	_, object, _ := strings.Cut(rest, "/")
	return before + "/" + object
}

// servicesMatch finds a rule with all the services: the same reference, or ports in place that contain those asked for.
func (q ruleQuery) servicesMatch(have []pce.IngressService) bool {
	return !slices.ContainsFunc(q.Services, func(want pce.IngressService) bool {
		return !slices.ContainsFunc(have, func(h pce.IngressService) bool {
			return withoutVersion(h.Href) == withoutVersion(want.Href) && (want.Href != "" || covers(h.ServicePort, want.ServicePort))
		})
	})
}

func covers(have, want pce.ServicePort) bool {
	if want.Proto != nil && (have.Proto == nil || *have.Proto != *want.Proto) {
		return false
	}
	if want.Port == nil {
		return true
	}
	low, high := have.Port, have.ToPort
	if low == nil {
		return false
	}
	if high == nil {
		high = low
	}
	return *want.Port >= *low && *want.Port <= *high && (want.ToPort == nil || *want.ToPort <= *high)
}

func sameResolving(a, b *pce.ResolveLabelsAs) bool {
	return a != nil && slices.Equal(a.Providers, b.Providers) && slices.Equal(a.Consumers, b.Consumers)
}
