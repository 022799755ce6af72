package console

import (
	"net/http"
	"strconv"
	"strings"

	"github.com/ringfence/ringfence/libs/pce"
)

// pending lists the drafts that differ from the active policy, by kind.
func (s *state) pending() map[string][]string {
	found := map[string][]string{}
	for _, table := range provisioned {
		for _, id := range s.ids(draftTables + table) {
			if s.updateType(table, id) != "" {
				found[table] = append(found[table], id)
			}
		}
	}
	return found
}

func (c *Console) pending(request) (response, error) {
	out := map[string][]rendered{}
	c.store.view(func(s *state) {
		for table, ids := range s.pending() {
			for _, id := range ids {
				out[table] = append(out[table], s.render(draftTables+table, id, nil))
			}
		}
	})
	return ok(out), nil
}

func (c *Console) provision(r request) (response, error) {
	var body pce.Provisioning
	if err := r.decode(&body); err != nil {
		return response{}, err
	}
	err := c.store.write(r.Context(), r.who.href, "sec_policy.create", func(t *transaction) error {
		return t.provision(body)
	})
	if err != nil {
		return response{}, err
	}
	var out rendered
	c.store.view(func(s *state) { out = s.renderVersion(len(s.versions) - 1) })
	return response{status: http.StatusCreated, body: out}, nil
}

// provision makes the subset active, everything pending where it is empty.
func (t *transaction) provision(body pce.Provisioning) error {
	chosen, err := t.state.subset(body.ChangeSubset)
	if err != nil {
		return err
	}
	if len(chosen) == 0 {
		return refuse(http.StatusNotAcceptable, "nothing_to_provision", "no draft differs from the active policy")
	}
	if err := t.state.checkActive(chosen); err != nil {
		return err
	}
	p := &provision{Version: t.state.activeVersion() + 1, Message: body.UpdateDescription, Drafts: chosen, Counts: map[string]int{}}
	for _, k := range chosen {
		p.Counts[k.Table]++
	}
	t.edit.Provision = p
	return nil
}

func (s *state) subset(asked pce.ChangeSubset) ([]key, error) {
	pending := s.pending()
	refs := map[string][]pce.Ref{tableRuleSets: asked.RuleSets, tableIPLists: asked.IPLists, tableServices: asked.Services}
	everything := len(asked.RuleSets)+len(asked.IPLists)+len(asked.Services) == 0
	var chosen []key
	for _, table := range provisioned {
		if everything {
			for _, id := range pending[table] {
				chosen = append(chosen, key{table, id})
			}
			continue
		}
		for _, ref := range refs[table] {
			at, id, ok := tableOf(toDraft(ref.Href))
			if !ok || at != draftTables+table || s.get(at, id) == nil {
				return nil, invalid("change_subset."+table, "%s does not exist", ref.Href)
			}
			if s.updateType(table, id) != "" {
				chosen = append(chosen, key{table, id})
			}
		}
	}
	return chosen, nil
}

// checkActive refuses a change after which an active rule would refer to an IP list or a service that is not active.
func (s *state) checkActive(chosen []key) error {
	change := map[key]bool{}
	for _, k := range chosen {
		change[k] = true
	}
	// after gives a record as it will be, nil where it will not be.
	after := func(table, id, owner string) *record {
		source := activeTables
		if change[key{table, id}] || change[key{tableRuleSets, owner}] {
			source = draftTables
		}
		if r := s.get(source+table, id); r != nil && !r.Deleted {
			return r
		}
		return nil
	}
	for _, table := range ruleTables {
		for _, rule := range s.rulesEitherWay(table) {
			r := after(table, rule.ID, rule.owner)
			if r == nil {
				continue
			}
			if missing := missingFrom(r.Doc, after); missing != "" {
				return refuse(http.StatusNotAcceptable, "missing_dependency", "%s needs %s: provision both",
					hrefOf(draftTables+table, rule.ID, rule.owner), missing)
			}
		}
	}
	return nil
}

type ownedKey struct {
	key
	owner string
}

// rulesEitherWay lists the rules that are drafts, active or both.
func (s *state) rulesEitherWay(table string) []ownedKey {
	var found []ownedKey
	for _, prefix := range []string{draftTables, activeTables} {
		for _, id := range s.ids(prefix + table) {
			if prefix == draftTables || s.get(draftTables+table, id) == nil {
				found = append(found, ownedKey{key{table, id}, s.get(prefix+table, id).Owner})
			}
		}
	}
	return found
}

func missingFrom(doc document, after func(table, id, owner string) *record) string {
	missing := ""
	doc.hrefs(func(href string) {
		table, id, ok := tableOf(toDraft(href))
		if ok && strings.HasPrefix(table, draftTables) && after(strings.TrimPrefix(table, draftTables), id, "") == nil {
			missing = href
		}
	})
	return missing
}

func (s *state) renderVersion(index int) rendered {
	v := s.versions[index]
	return rendered{
		"href": org + "/sec_policy/" + strconv.FormatInt(v.Version, 10), "version": v.Version, "commit_message": v.Message,
		"workloads_affected": len(s.tables[tableWorkloads]), "object_counts": v.Counts,
		"created_at": v.at, "created_by": pce.Ref{Href: v.author},
	}
}

func (c *Console) versions(r request) (response, error) {
	items := []rendered{}
	c.store.view(func(s *state) {
		for i := range s.versions {
			items = append(items, s.renderVersion(len(s.versions)-1-i))
		}
	})
	return c.answerList(r, items)
}

// version answers for "active" and for a version's number.
func (c *Console) version(r request) (response, error) {
	asked := r.PathValue("version")
	var out rendered
	c.store.view(func(s *state) {
		for i, v := range s.versions {
			if asked == strconv.FormatInt(v.Version, 10) || (asked == pce.Active && i == len(s.versions)-1) {
				out = s.renderVersion(i)
			}
		}
	})
	if out == nil {
		return response{}, notFound("policy version " + asked)
	}
	return ok(out), nil
}
