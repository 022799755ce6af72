package console

import (
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// syncCap is how many objects a list answers with at once; larger ones are had as asynchronous jobs.
const syncCap = 500

// place is where a request's collection is: a table and the object that owns it.
type place struct {
	kind
	table, owner string
	version      string
}

// locate reads a place from the path. Versioned kinds live under {version}, rules under {rule_set}, profiles under
// {cluster}.
func (k kind) locate(s *state, r request) (place, error) {
	at := place{kind: k, table: k.table, version: r.PathValue("version")}
	switch at.version {
	case "":
	case "draft", "active":
		at.table = at.version + "/" + k.table
	default:
		return at, notFound("policy version " + at.version + " (draft and active do)")
	}
	if set := r.PathValue("rule_set"); set != "" {
		if table := at.version + "/" + tableRuleSets; s.get(table, set) == nil {
			return at, notFound(hrefOf(table, set, ""))
		}
		at.owner = set
	}
	if cluster := r.PathValue("cluster"); cluster != "" && k.table == tableProfiles {
		if s.get(tableClusters, cluster) == nil {
			return at, notFound(hrefOf(tableClusters, cluster, ""))
		}
		at.owner = cluster
	}
	if user := r.PathValue("user"); user != "" {
		if s.get(tableUsers, user) == nil {
			return at, notFound(hrefOf(tableUsers, user, ""))
		}
		at.owner = user
	}
	return at, nil
}

// object is the record that a path names.
func (at place) object(s *state, id string) (*record, error) {
	r := s.get(at.table, id)
	if r == nil || r.Owner != at.owner {
		return nil, notFound(hrefOf(at.table, id, at.owner))
	}
	return r, nil
}

func (at place) writable() error {
	if at.version == "active" {
		return refuse(http.StatusMethodNotAllowed, "active_policy_is_read_only", "change the draft and provision it")
	}
	return nil
}

// collection mounts the five verbs of a kind at path.
func (c *Console) collection(path string, k kind, read, write access) {
	c.route(read, "GET "+path, c.list(k))
	c.route(read, "GET "+path+"/{id}", c.read(k))
	c.route(write, "POST "+path, c.create(k))
	c.route(write, "PUT "+path+"/{id}", c.update(k))
	c.route(write, "DELETE "+path+"/{id}", c.remove(k))
}

func (c *Console) list(k kind) handler {
	return func(r request) (response, error) {
		var items []rendered
		var err error
		c.store.view(func(s *state) { items, err = c.items(s, k, r) })
		if err != nil {
			return response{}, err
		}
		return c.answerList(r, items)
	}
}

// items renders the objects of a collection that the query asks for and the asker may see.
func (c *Console) items(s *state, k kind, r request) ([]rendered, error) {
	at, err := k.locate(s, r)
	if err != nil {
		return nil, err
	}
	found := []rendered{}
	rules := map[string][]string{}
	if k.table == tableRuleSets {
		rules = s.rulesBySet(at.version + "/")
	}
	for _, id := range s.ids(at.table) {
		o := s.get(at.table, id)
		if !at.shows(o, r) || !k.selects(o.Doc, r.URL.Query()) {
			continue
		}
		if k.table == tableRuleSets {
			found = append(found, s.renderRuleSet(at.table, id, rules))
		} else {
			found = append(found, s.render(at.table, id, c.agents))
		}
	}
	return found, nil
}

// shows keeps a cluster to its own workloads and to itself.
func (at place) shows(o *record, r request) bool {
	if at.kind.table == tableWorkloads || at.kind.table == tableContainers {
		return r.who.cluster == "" || o.Owner == r.who.cluster
	}
	return o.Owner == at.owner
}

// selects applies the query's filters.
func (k kind) selects(doc document, query url.Values) bool {
	for _, field := range k.exact {
		if query.Has(field) && doc.text(field) != query.Get(field) {
			return false
		}
	}
	for _, field := range k.substring {
		if !strings.Contains(strings.ToLower(doc.text(field)), strings.ToLower(query.Get(field))) {
			return false
		}
	}
	return true
}

// answerList gives as many items as may be had at once, with their whole number, or starts a job.
func (c *Console) answerList(r request, items []rendered) (response, error) {
	if slices.Contains(r.Header.Values("Prefer"), "respond-async") {
		return c.jobs.start(r, items)
	}
	limit := syncCap
	if text := r.URL.Query().Get("max_results"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 0 {
			return response{}, invalid("max_results", "%q is not a number", text)
		}
		limit = min(n, syncCap)
	}
	answer := ok(items[:min(limit, len(items))])
	answer.header = map[string]string{"X-Total-Count": strconv.Itoa(len(items))}
	return answer, nil
}

func (c *Console) read(k kind) handler {
	return func(r request) (response, error) {
		var out rendered
		var err error
		c.store.view(func(s *state) { out, err = c.one(s, k, r) })
		return ok(out), err
	}
}

func (c *Console) one(s *state, k kind, r request) (rendered, error) {
	at, err := k.locate(s, r)
	if err != nil {
		return nil, err
	}
	id := r.PathValue("id")
	o := s.get(at.table, id)
	if o == nil || !at.shows(o, r) {
		return nil, notFound(hrefOf(at.table, id, at.owner))
	}
	if k.table == tableRuleSets {
		return s.renderRuleSet(at.table, id, s.rulesBySet(at.version+"/")), nil
	}
	return s.render(at.table, id, c.agents), nil
}

func (c *Console) create(k kind) handler {
	return func(r request) (response, error) {
		doc, err := r.document()
		if err != nil {
			return response{}, err
		}
		var at place
		var id string
		err = c.store.write(r.Context(), r.who.href, k.event+".create", func(t *transaction) error {
			if at, err = k.locate(t.state, r); err != nil {
				return err
			}
			id, err = at.add(t, doc)
			return err
		})
		if err != nil {
			return response{}, err
		}
		return c.created(at, id)
	}
}

// created answers with an object that was just made.
func (c *Console) created(at place, id string) (response, error) {
	var out rendered
	var err error
	c.store.view(func(s *state) {
		if _, err = at.object(s, id); err != nil {
			return
		}
		out = s.render(at.table, id, c.agents)
		if at.kind.table == tableRuleSets {
			out = s.renderRuleSet(at.table, id, s.rulesBySet(at.version+"/"))
		}
	})
	return response{status: http.StatusCreated, header: map[string]string{"Location": hrefOf(at.table, id, at.owner)}, body: out}, err
}

// add validates and creates one object, with the rules of a rule set, and gives its id.
func (at place) add(t *transaction, doc document) (string, error) {
	if err := at.writable(); err != nil {
		return "", err
	}
	doc, nested, err := takeRules(at.kind, doc)
	if err != nil {
		return "", err
	}
	id := at.newID(t)
	if doc, err = at.check(&validation{state: t.state, table: at.table, owner: at.owner}, id, doc.mapHrefs(toDraft), nil); err != nil {
		return "", err
	}
	t.create(at.table, id, at.owner, doc)
	for _, rule := range nested {
		inner := place{kind: rule.kind, table: draftTables + rule.table, owner: id, version: at.version}
		if _, err := inner.add(t, rule.doc); err != nil {
			return "", err
		}
	}
	return id, nil
}

// nestedRule is a rule that came within its rule set.
type nestedRule struct {
	kind
	doc document
}

// takeRules separates a new rule set from its rules.
func takeRules(k kind, doc document) (document, []nestedRule, error) {
	if k.table != tableRuleSets {
		return doc, nil, nil
	}
	var nested []nestedRule
	rest := doc.merge(nil)
	for _, of := range []struct {
		field string
		kind  kind
	}{{"rules", rules}, {"deny_rules", denyRules}} {
		delete(rest, of.field)
		if doc[of.field] == nil {
			continue
		}
		var bodies []json.RawMessage
		if err := json.Unmarshal(doc[of.field], &bodies); err != nil {
			return nil, nil, invalid(of.field, "want an array")
		}
		for _, body := range bodies {
			rule, err := decodeDocument(body)
			if err != nil {
				return nil, nil, err
			}
			nested = append(nested, nestedRule{kind: of.kind, doc: rule})
		}
	}
	return rest, nested, nil
}

func (c *Console) update(k kind) handler {
	return func(r request) (response, error) {
		change, err := r.document()
		if err != nil {
			return response{}, err
		}
		err = c.store.write(r.Context(), r.who.href, k.event+".update", func(t *transaction) error {
			at, err := k.locate(t.state, r)
			if err != nil {
				return err
			}
			return at.change(t, r.PathValue("id"), change)
		})
		return noContent, err
	}
}

func (at place) change(t *transaction, id string, change document) error {
	if err := at.writable(); err != nil {
		return err
	}
	o, err := at.object(t.state, id)
	if err != nil {
		return err
	}
	if o.Deleted {
		return refuse(http.StatusNotAcceptable, "object_is_deleted", "%s is to be deleted by the next provisioning", hrefOf(at.table, id, at.owner))
	}
	doc, err := at.check(&validation{state: t.state, table: at.table, owner: at.owner}, id, o.Doc.merge(change.mapHrefs(toDraft)), o.Doc)
	if err != nil {
		return err
	}
	t.update(at.table, id, doc)
	return nil
}

func (c *Console) remove(k kind) handler {
	return func(r request) (response, error) {
		err := c.store.write(r.Context(), r.who.href, k.event+".delete", func(t *transaction) error {
			at, err := k.locate(t.state, r)
			if err != nil {
				return err
			}
			return at.delete(t, r.PathValue("id"), r.URL.Query().Get("force") == "true")
		})
		return noContent, err
	}
}

func (at place) delete(t *transaction, id string, force bool) error {
	if err := at.writable(); err != nil {
		return err
	}
	if _, err := at.object(t.state, id); err != nil {
		return err
	}
	if at.inUse && !force {
		if user := t.state.userOf(hrefOf(at.table, id, at.owner), at.version == ""); user != "" {
			return refuse(http.StatusNotAcceptable, at.event+"_in_use", "%s is used by %s", hrefOf(at.table, id, at.owner), user)
		}
	}
	if at.version == "" {
		at.removeNow(t, id)
		return nil
	}
	t.discard(at.kind.table, id)
	if at.kind.table == tableRuleSets {
		for _, rules := range ruleTables {
			for rule := range t.state.owned(draftTables+rules, id) {
				t.discard(rules, rule)
			}
		}
	}
	return nil
}

// removeNow removes an unversioned object with what belongs to it.
func (at place) removeNow(t *transaction, id string) {
	t.remove(at.table, id)
	for _, table := range belongings[at.kind.table] {
		for owned := range t.state.owned(table, id) {
			t.remove(table, owned)
		}
	}
}

// belongings go with the object that owns them.
var belongings = map[string][]string{
	tableClusters: {tableProfiles, tableWorkloads, tableContainers},
	tableUsers:    {tableKeys},
}

// userOf finds an object that refers to href, or "". What takes effect at once must not be missed by the active policy
// either; what is only a draft yet must not be missed by drafts.
func (s *state) userOf(href string, atOnce bool) string {
	tables := []string{draftTables + tableRuleSets, draftTables + tableRules, draftTables + tableDenyRules}
	if atOnce {
		tables = append(tables, tableProfiles, tablePairing,
			activeTables+tableRuleSets, activeTables+tableRules, activeTables+tableDenyRules)
	}
	for _, table := range tables {
		for _, id := range s.ids(table) {
			if r := s.get(table, id); !r.Deleted && r.Doc.names(href) {
				return hrefOf(table, id, r.Owner)
			}
		}
	}
	return ""
}
