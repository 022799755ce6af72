package console

import (
	"net/http"

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
	doc, err := checkMachine(&validation{state: t.state, table: tableMachines}, id, workload, nil)
	if err != nil {
		return "", err
	}
	t.create(tableMachines, id, cluster, doc)
	t.create(tableVENs, agent, id, withVENDefaults(ven))
	return id, nil
}

// unpair removes a managed workload with its VEN; the service bindings of the workload go too.
func (t *transaction) unpair(id string) {
	t.remove(tableMachines, id)
	for ven := range t.state.owned(tableVENs, id) {
		t.remove(tableVENs, ven)
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
	return doc.otherwise(map[string]any{"name": "", "hostname": "", "description": "", "status": "active", "ven_type": "containerized-ven"})
}

// redeem counts the use of a pairing key by as many machines and gives the id of its profile. It is called once in a
// transaction.
func (t *transaction) redeem(code string, machines int) (profile string, err error) {
	hash := hashOf(code)
	for id, key := range t.state.tables[tablePairKeys] {
		if key.Doc.text(hashField) != hash {
			continue
		}
		if t.state.get(tablePairing, key.Owner) == nil {
			break
		}
		return key.Owner, t.countUse(id, machines)
	}
	return "", refuse(http.StatusNotAcceptable, "activation_code_unknown", "the activation code is not a key of a pairing profile")
}

// countUse will hold a key to its profile's limits.
func (t *transaction) countUse(string, int) error { return nil }

// checkMachine validates a workload.
func checkMachine(_ *validation, _ string, doc, _ document) (document, error) {
	return doc.otherwise(map[string]any{
		"name": nil, "hostname": nil, "description": nil, "interfaces": []string{}, "labels": []string{}, "managed": false,
		"enforcement_mode": pce.ModeVisibilityOnly, "visibility_level": "flow_summary",
	}), nil
}
