package console

import (
	"net/http"
	"slices"
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
				out[table] = append(out[table], s.renderBare(draftTables+table, id, nil))
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

// namedIn gives a change subset by table.
func namedIn(c pce.ChangeSubset) map[string][]pce.Ref {
	return map[string][]pce.Ref{
		tableRuleSets: c.RuleSets, tableIPLists: c.IPLists, tableServices: c.Services, tableGroups: c.LabelGroups,
		tableVirtual: c.VirtualServices, tableBoundaries: c.EnforcementBoundaries, tableFirewall: c.FirewallSettings,
	}
}

func isEmpty(c pce.ChangeSubset) bool {
	for _, named := range namedIn(c) {
		if len(named) > 0 {
			return false
		}
	}
	return true
}

// subset gives the drafts of a change subset that differ from the active policy, all that do where it is empty.
func (s *state) subset(asked pce.ChangeSubset) ([]key, error) {
	refs := namedIn(asked)
	var chosen []key
	if isEmpty(asked) {
		for _, table := range provisioned {
			for _, id := range s.pending()[table] {
				chosen = append(chosen, key{table, id})
			}
		}
		return chosen, nil
	}
	for _, table := range provisioned {
		for _, ref := range refs[table] {
			at, id, ok := tableOf(toDraft(ref.Href))
			if !ok || at != draftTables+table || s.get(at, id) == nil {
				return nil, invalid("change_subset."+table, "%s does not exist", ref.Href)
			}
			if k := (key{table, id}); s.updateType(table, id) != "" && !slices.Contains(chosen, k) {
				chosen = append(chosen, k)
			}
		}
	}
	return chosen, nil
}

// change is the policy as it will be when the chosen drafts are active.
type change struct {
	*state
	chosen map[key]bool
}

func (s *state) changeOf(chosen []key) change {
	c := change{s, map[key]bool{}}
	for _, k := range chosen {
		c.chosen[k] = true
	}
	return c
}

// after gives a record as it will be, nil where it will not be.
func (c change) after(table, id, owner string) *record {
	source := activeTables
	if c.chosen[key{table, id}] || c.chosen[key{tableRuleSets, owner}] {
		source = draftTables
	}
	if r := c.get(source+table, id); r != nil && !r.Deleted {
		return r
	}
	return nil
}

// missing finds a versioned object that a record will refer to and that will not be, or "".
func (c change) missing(r *record) string {
	for _, href := range r.refs {
		table, id, ok := tableOf(href)
		if !ok || !strings.HasPrefix(table, draftTables) || c.after(strings.TrimPrefix(table, draftTables), id, "") != nil {
			continue
		}
		if table == draftTables+tableVirtual && c.get(table, id) == nil && c.get(activeTables+tableVirtual, id) == nil {
			continue // a cluster's, whose Service is gone: that must not keep everything else from being provisioned
		}
		return href
	}
	return ""
}

// checkActive refuses a change after which something active would refer to an object that is not active.
func (s *state) checkActive(chosen []key) error {
	c := s.changeOf(chosen)
	for _, table := range append(slices.Clone(provisioned), ruleTables...) {
		for _, of := range s.eitherWay(table) {
			r := c.after(table, of.ID, of.owner)
			if r == nil {
				continue
			}
			if missing := c.missing(r); missing != "" {
				return refuse(http.StatusNotAcceptable, "missing_dependency", "%s needs %s: provision both",
					hrefOf(draftTables+table, of.ID, of.owner), missing)
			}
		}
	}
	return nil
}

type ownedKey struct {
	key
	owner string
}

// eitherWay lists the objects that are drafts, active or both.
func (s *state) eitherWay(table string) []ownedKey {
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

func (s *state) renderVersion(index int) rendered {
	v := s.versions[index]
	return rendered{
		"href": org + "/sec_policy/" + strconv.FormatInt(v.Version, 10), "version": v.Version, "commit_message": v.Message,
		"workloads_affected": len(s.tables[tableWorkloads]) + len(s.tables[tableMachines]), "object_counts": v.Counts,
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
