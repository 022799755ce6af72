package console

import (
	"encoding/json"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/ringfence/ringfence/libs/pce"
)

// syncCap is how many objects a list answers with at once unless it is asked for more; whole lists of any length are had as
// asynchronous jobs.
const syncCap = 500

// place is where a request's collection is: a table and the object that owns it.
type place struct {
	kind
	table, owner string
	version      string
}

// locate reads a place from the path. Versioned kinds live under {version}, what belongs to an object under its id.
func (k kind) locate(s *state, r request) (place, error) {
	at := place{kind: k, table: k.table, version: r.PathValue("version")}
	if at.version != "" {
		at.table = at.version + "/" + k.table
	}
	if k.owner == "" {
		return at, nil
	}
	owners := map[string]string{"rule_set": tableRuleSets, "cluster": tableClusters, "user": tableUsers}[k.owner]
	if at.version != "" {
		owners = at.version + "/" + owners
	}
	if at.owner = r.PathValue(k.owner); s.get(owners, at.owner) == nil {
		return at, notFound(hrefOf(owners, at.owner, ""))
	}
	return at, nil
}

// object is the record that a path names.
func (at place) object(t *transaction, id string) (*record, error) {
	r := t.get(at.table, id)
	if r == nil || (at.kind.owner != "" && r.Owner != at.owner) {
		return nil, notFound(hrefOf(at.table, id, at.owner))
	}
	return r, nil
}

func (at place) writable() error {
	switch at.version {
	case "", pce.Draft:
		return nil
	case pce.Active:
		return refuse(http.StatusMethodNotAllowed, "active_policy_is_read_only", "change the draft and provision it")
	default:
		return refuse(http.StatusMethodNotAllowed, "policy_version_is_read_only", "version %s is past; change the draft and provision it", at.version)
	}
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
		choose, err := k.selection(r.URL.Query())
		if err != nil {
			return response{}, err
		}
		limit, err := r.limit()
		if err != nil {
			return response{}, err
		}
		items, total := []rendered{}, 0
		c.store.view(func(s *state) {
			if s, err = s.asOf(r.PathValue("version")); err == nil {
				items, total, err = c.items(s, k, r, choose, limit)
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
}

// items renders the first objects of a collection that are chosen and that the asker may see, and counts all of them.
func (c *Console) items(s *state, k kind, r request, choose chooses, limit int) (items []rendered, total int, err error) {
	at, err := k.locate(s, r)
	if err != nil {
		return nil, 0, err
	}
	ids := s.ids(at.table)
	if at.kind.owner != "" {
		ids = ordered(s.owned(at.table, at.owner))
	}
	items = []rendered{}
	for _, id := range ids {
		if o := s.get(at.table, id); !at.shows(o, r) || !choose(view{s, c.agents}, o) {
			continue
		}
		if total++; total <= limit {
			items = append(items, at.withUsage(s, id, r, s.render(at.table, id, c.agents)))
		}
	}
	return items, total, nil
}

// shows keeps a cluster to its own Kubernetes workloads, and a path to what belongs to its owner.
func (at place) shows(o *record, r request) bool {
	switch {
	case at.kind.table == tableWorkloads || at.kind.table == tableContainers:
		return r.who.cluster == "" || o.Owner == r.who.cluster
	case at.kind.owner != "":
		return o.Owner == at.owner
	default:
		return true
	}
}

// async tells whether the asker wants a job.
func (r request) async() bool {
	return slices.ContainsFunc(r.Header.Values("Prefer"), func(v string) bool { return strings.Contains(v, "respond-async") })
}

// limit is how many objects are to be answered with.
func (r request) limit() (int, error) {
	text := r.URL.Query().Get("max_results")
	if r.async() {
		return math.MaxInt, nil
	}
	if text == "" {
		return syncCap, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 {
		return 0, invalid("max_results", "%q is not a number", text)
	}
	return n, nil
}

func listed(items []rendered, total int) response {
	answer := ok(items)
	answer.header = map[string]string{"X-Total-Count": strconv.Itoa(total)}
	return answer
}

// answerList gives as many items as are asked for, with their whole number, or starts a job.
func (c *Console) answerList(r request, items []rendered) (response, error) {
	limit, err := r.limit()
	if err != nil {
		return response{}, err
	}
	if r.async() {
		return c.jobs.start(r, items)
	}
	return listed(items[:min(limit, len(items))], len(items)), nil
}

func (c *Console) read(k kind) handler {
	return func(r request) (response, error) {
		var out rendered
		var err error
		c.store.view(func(s *state) {
			if s, err = s.asOf(r.PathValue("version")); err == nil {
				out, err = c.one(s, k, r)
			}
		})
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
	return at.withUsage(s, id, r, s.render(at.table, id, c.agents)), nil
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
			id, err = at.add(t, doc.without(k.reported))
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
	err := notFound(hrefOf(at.table, id, at.owner))
	c.store.view(func(s *state) {
		if s.get(at.table, id) != nil {
			out, err = s.render(at.table, id, c.agents), nil
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
	if doc, err = at.validate(t, id, at.inDraft(doc), nil); err != nil {
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

// inDraft gives what is written to a draft with references to drafts: that is what it will be provisioned with. What acts at
// once keeps the references that it was given.
func (at place) inDraft(doc document) document {
	if at.version == "" {
		return doc
	}
	return doc.mapHrefs(toDraft)
}

// validate holds a document against its kind and against the pairs of external data that others have.
func (at place) validate(t *transaction, id string, doc, before document) (document, error) {
	v := &validation{state: t.state, table: at.table, owner: at.owner, within: t}
	doc, err := at.check(v, id, doc, before)
	if err != nil {
		return nil, err
	}
	return doc, v.unique(id, doc)
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
			return at.change(t, r.PathValue("id"), change.without(k.reported))
		})
		return noContent, err
	}
}

func (at place) change(t *transaction, id string, change document) error {
	if err := at.writable(); err != nil {
		return err
	}
	o, err := at.object(t, id)
	if err != nil {
		return err
	}
	if o.Deleted {
		return refuse(http.StatusNotAcceptable, "object_is_deleted", "%s is to be deleted by the next provisioning", hrefOf(at.table, id, at.owner))
	}
	if err := at.editable(o, id); err != nil {
		return err
	}
	change = at.withoutReadRules(t.state, id, change)
	doc, err := at.validate(t, id, o.Doc.merge(at.inDraft(change)), o.Doc)
	if err != nil {
		return err
	}
	t.update(at.table, id, doc)
	return nil
}

// builtIn tells whether an object is the IP list or the service that every organisation has and clients look up by name.
func (at place) builtIn(o *record) bool {
	return o.CreatedBy == builtinAuthor && slices.Contains([]string{pce.AnyIPList, pce.AllServices}, o.Doc.text("name"))
}

// editable refuses people's changes to what a cluster made and keeps as it is there.
func (at place) editable(o *record, id string) error {
	if at.kind.table == tableVirtual && o.ofCluster() {
		return refuse(http.StatusNotAcceptable, "virtual_service_is_managed", "%s is made after a Service of %s, which alone changes it",
			hrefOf(at.table, id, at.owner), o.CreatedBy)
	}
	return nil
}

// ofCluster tells whether a cluster made an object.
func (r *record) ofCluster() bool { return strings.HasPrefix(r.CreatedBy, org+"/"+tableClusters+"/") }

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
	o, err := at.object(t, id)
	if err != nil {
		return err
	}
	if err := at.removable(t.state, o, id, force); err != nil {
		return err
	}
	if at.version == "" {
		at.removeNow(t, id)
		return nil
	}
	t.discard(at.kind.table, id)
	if at.kind.table == tableRuleSets {
		for _, rules := range ruleTables {
			for _, rule := range ordered(t.state.owned(draftTables+rules, id)) {
				t.discard(rules, rule)
			}
		}
	}
	return nil
}

// removable refuses the removal of what is in use, and of what is not people's to remove.
func (at place) removable(s *state, o *record, id string, force bool) error {
	if at.kind.table == tableDimensions {
		return s.checkDimensionGone(id, o)
	}
	if at.builtIn(o) {
		return refuse(http.StatusNotAcceptable, at.event+"_is_built_in", "%s is built in", hrefOf(at.table, id, ""))
	}
	if at.kind.table == tableMachines && s.venOf(id) != "" {
		return refuse(http.StatusNotAcceptable, "workload_is_managed", "%s has an agent; unpair it", hrefOf(at.table, id, ""))
	}
	if err := at.editable(o, id); err != nil || (force && at.version == "") {
		return err
	}
	return s.checkUnused(at.kind, hrefOf(at.table, id, at.owner), at.version == "")
}

// removeNow removes an unversioned object with what belongs to it.
func (at place) removeNow(t *transaction, id string) {
	switch at.kind.table {
	case tableMachines:
		t.removeMachine(id)
		return
	case tableClusters:
		for _, machine := range ordered(t.state.owned(tableMachines, id)) {
			t.unpair(machine)
		}
		for _, service := range ordered(t.state.owned(activeTables+tableVirtual, id)) {
			t.removeClusterService(service)
		}
	}
	for _, table := range belongings[at.kind.table] {
		for _, owned := range ordered(t.state.owned(table, id)) {
			t.remove(table, owned)
		}
	}
	t.remove(at.table, id)
}

// belongings go with the object that owns them.
var belongings = map[string][]string{
	tableClusters: {tableProfiles, tableWorkloads, tableContainers},
	tableUsers:    {tableKeys},
}
