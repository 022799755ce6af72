package console

import (
	"maps"
	"slices"

	"github.com/ringfence/ringfence/libs/pce"
)

// A managed workload and its VEN are made and removed together, by the cluster that the machine is a node of. The workload's
// record belongs to the cluster (Owner is its UUID, "" for a machine without an agent), the VEN's to the workload.

// pair makes a workload that a VEN manages, with the VEN, and gives the workload's id. The documents hold what the cluster
// and its pairing profile say: of the workload name, hostname, machine_id, interfaces, labels ([{href}]), enforcement_mode
// and visibility_level; of the VEN name, hostname, version and whatever else is known. The rest has defaults.
func (t *transaction) pair(cluster string, workload, ven document) (string, error) {
	id, agent := newUUID(), newUUID()
	workload = workload.set("managed", true).set("ven", pce.Ref{Href: hrefOf(tableVENs, agent, "")})
	doc, err := checkMachine(&validation{state: t.state, table: tableMachines, within: t}, id, workload, nil)
	if err != nil {
		return "", err
	}
	t.create(tableMachines, id, cluster, doc)
	t.create(tableVENs, agent, id, withVENDefaults(ven))
	return id, nil
}

// unpair removes a managed workload with its VEN; the service bindings of the workload go too.
func (t *transaction) unpair(id string) {
	t.removeMachine(id)
	for _, ven := range slices.Sorted(maps.Keys(t.state.owned(tableVENs, id))) {
		t.remove(tableVENs, ven)
	}
}

// removeMachine removes a workload with its service bindings.
func (t *transaction) removeMachine(id string) {
	t.remove(tableMachines, id)
	for _, user := range t.state.usersOf(hrefOf(tableMachines, id, "")) {
		if user.Table == tableBindings {
			t.remove(tableBindings, user.ID)
		}
	}
}

// venOf gives the id of the VEN that manages a workload, "" where none does.
func (s *state) venOf(workload string) string {
	for id := range s.owned(tableVENs, workload) {
		return id
	}
	return ""
}

func withVENDefaults(doc document) document {
	return doc.otherwise(map[string]any{"status": "active", "activation_type": "pairing_key"})
}

var venFilters = map[string]filter{
	"ip_address": byWorkload(byPart("interfaces", "address")), "labels": byWorkload(byLabels), "container_clusters": byWorkload(byCluster),
}

// byWorkload asks of a VEN's workload.
func byWorkload(f filter) filter {
	return func(value string) (chooses, error) {
		choose, err := f(value)
		return func(s view, r *record) bool {
			m := s.get(tableMachines, r.Owner)
			return m != nil && choose(s, m)
		}, err
	}
}

// venFields are what people may write on a VEN; the rest is its own to report.
var venFields = []string{"name", "description", "status"}

func checkVEN(_ *validation, _ string, doc, before document) (document, error) {
	doc = before.merge(doc.only(venFields))
	return doc, oneOf("status", doc.text("status"), []string{"active", "suspended"})
}

func (d document) only(fields []string) document {
	chosen := document{}
	for _, field := range fields {
		if d[field] != nil {
			chosen[field] = d[field]
		}
	}
	return chosen
}

// decorateVEN adds what the VEN's workload knows.
func (s *state) decorateVEN(out rendered, r *record, agents *agents) {
	out["last_heartbeat_at"] = stamp(agents.lastSeen(s.ownerOf(r)))
	out["workloads"] = []struct{}{}
	m := s.get(tableMachines, r.Owner)
	if m == nil {
		return
	}
	out["workloads"] = []any{map[string]any{
		"href": hrefOf(tableMachines, r.Owner, ""), "name": m.Doc.orNull("name"), "hostname": m.Doc.orNull("hostname"),
		"managed": true, "enforcement_mode": m.Doc.text("enforcement_mode"), "visibility_level": m.Doc.text("visibility_level"),
		"online": agents.online(m.Owner),
	}}
	out["labels"], out["interfaces"], out["container_cluster"] = s.namedLabels(m.Doc), interfacesOf(m.Doc), s.clusterRef(m.Owner)
	out["caps"] = []string{"write", "unpair", "upgrade"}
}

// unpairing is the body of both unpair calls; what becomes of the firewall is the agent's to know.
type unpairing struct {
	Workloads []pce.Ref `json:"workloads"`
	VENs      []pce.Ref `json:"vens"`
	Tables    string    `json:"ip_table_restore"`
	Firewall  string    `json:"firewall_restore"`
}

var restores = []string{"", "saved", "default", "disable"}

func (c *Console) unpair(field string, refs func(unpairing) []pce.Ref, workloadOf func(*state, string) string) handler {
	return func(r request) (response, error) {
		var body unpairing
		if err := r.decode(&body); err != nil {
			return response{}, err
		}
		asked := refs(body)
		if len(asked) == 0 || len(asked) > pce.MaxBulk {
			return response{}, invalid(field, "%d items, want 1 to %d", len(asked), pce.MaxBulk)
		}
		for name, value := range map[string]string{"ip_table_restore": body.Tables, "firewall_restore": body.Firewall} {
			if err := oneOf(name, value, restores); err != nil {
				return response{}, err
			}
		}
		err := c.store.write(r.Context(), r.who.href, "workloads.unpair", func(t *transaction) error {
			return t.unpairAll(field, asked, workloadOf)
		})
		return noContent, err
	}
}

// unpairAll unpairs the managed workloads that the hrefs stand for.
func (t *transaction) unpairAll(field string, asked []pce.Ref, workloadOf func(*state, string) string) error {
	gone := map[string]bool{}
	for _, ref := range asked {
		id := workloadOf(t.state, ref.Href)
		if t.state.venOf(id) == "" {
			return invalid(field, "%s is not managed or does not exist", ref.Href)
		}
		if gone[id] {
			continue
		}
		gone[id] = true
		if err := t.state.checkUnused(machines, hrefOf(tableMachines, id, ""), true); err != nil {
			return err
		}
		t.unpair(id)
	}
	return nil
}

func workloadByHref(_ *state, href string) string {
	if table, id, ok := tableOf(href); ok && table == tableMachines {
		return id
	}
	return ""
}

func workloadByVEN(s *state, href string) string {
	table, id, ok := tableOf(href)
	if r := s.get(tableVENs, id); ok && table == tableVENs && r != nil {
		return r.Owner
	}
	return ""
}

// upgradeVENs answers as a console does that has nothing to upgrade to: agents are upgraded with their cluster's chart.
func (c *Console) upgradeVENs(r request) (response, error) {
	var body struct {
		VENs    []pce.Ref `json:"vens"`
		Release string    `json:"release"`
		DryRun  bool      `json:"dry_run"`
	}
	if err := r.decode(&body); err != nil {
		return response{}, err
	}
	var unknown, known []string
	c.store.view(func(s *state) {
		for _, ref := range body.VENs {
			if workloadByVEN(s, ref.Href) == "" {
				unknown = append(unknown, ref.Href)
			} else {
				known = append(known, ref.Href)
			}
		}
	})
	errors := []map[string]any{}
	for _, refused := range []struct {
		token, message string
		hrefs          []string
	}{
		{"ven_not_found", "these VENs do not exist", unknown},
		{"ven_upgrade_not_supported", "VENs of a cluster are upgraded with its Helm chart", known},
	} {
		if len(refused.hrefs) > 0 {
			errors = append(errors, map[string]any{"token": refused.token, "message": refused.message, "hrefs": refused.hrefs})
		}
	}
	return ok(map[string]any{"errors": errors}), nil
}
