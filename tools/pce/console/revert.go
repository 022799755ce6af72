package console

import (
	"net/http"

	"github.com/ringfence/ringfence/libs/pce"
)

// revert throws drafts away: those of a change subset, or all that are pending.
func (c *Console) revert(r request) (response, error) {
	var body pce.Provisioning
	if r.Method == http.MethodPut {
		if err := r.decode(&body); err != nil {
			return response{}, err
		}
		if isEmpty(body.ChangeSubset) {
			return response{}, invalid("change_subset", "must not be empty; DELETE sec_policy/pending reverts everything")
		}
	}
	err := c.store.write(r.Context(), r.who.href, "sec_policy.restore", func(t *transaction) error {
		chosen, err := t.state.subset(body.ChangeSubset)
		if err != nil {
			return err
		}
		if err := t.state.checkReverted(chosen); err != nil {
			return err
		}
		t.edit.Revert = chosen
		return nil
	})
	return noContent, err
}

// checkReverted refuses to throw away a draft that was never active and that another draft, which stays, refers to.
func (s *state) checkReverted(chosen []key) error {
	c := s.changeOf(chosen)
	for _, k := range chosen {
		if s.get(activeTables+k.Table, k.ID) != nil {
			continue
		}
		href := hrefOf(draftTables+k.Table, k.ID, "")
		for _, user := range s.usersOf(href) {
			r := s.get(user.Table, user.ID)
			reverted := c.chosen[key{kindOf(user.Table), user.ID}] || c.chosen[key{tableRuleSets, r.Owner}]
			if rank(user.Table) == 0 && !r.Deleted && !reverted {
				return refuse(http.StatusNotAcceptable, "missing_dependency", "%s needs %s: revert both",
					hrefOf(user.Table, user.ID, r.Owner), href)
			}
		}
	}
	return nil
}

// dependencies lists what else must be provisioned for a change subset to be: what its drafts refer to, at any depth, and is
// pending too.
func (c *Console) dependencies(r request) (response, error) {
	var body pce.Provisioning
	if err := r.decode(&body); err != nil {
		return response{}, err
	}
	out := map[string][]rendered{}
	var err error
	c.store.view(func(s *state) {
		var chosen []key
		if chosen, err = s.subset(body.ChangeSubset); err != nil {
			return
		}
		for _, k := range s.needed(chosen) {
			out[k.Table] = append(out[k.Table], s.renderBare(draftTables+k.Table, k.ID, nil))
		}
	})
	return ok(out), err
}

// needed are the pending drafts that the chosen ones refer to and that are not among them.
func (s *state) needed(chosen []key) []key {
	seen, queue := s.changeOf(chosen).chosen, append([]key{}, chosen...)
	var found []key
	for i := 0; i < len(queue); i++ {
		for _, href := range s.refsOf(queue[i]) {
			table, id, ok := tableOf(href)
			k := key{kindOf(table), id}
			if !ok || versionOf(table)+"/" != draftTables || seen[k] || s.updateType(k.Table, id) == "" {
				continue
			}
			seen[k] = true
			found, queue = append(found, k), append(queue, k)
		}
	}
	return found
}

// refsOf are the hrefs in a draft and, for a rule set, in its rules.
func (s *state) refsOf(k key) []string {
	refs := append([]string{}, s.get(draftTables+k.Table, k.ID).refs...)
	if k.Table != tableRuleSets {
		return refs
	}
	for _, table := range ruleTables {
		for _, id := range ordered(s.owned(draftTables+table, k.ID)) {
			refs = append(refs, s.get(draftTables+table, id).refs...)
		}
	}
	return refs
}
