package console

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/ringfence/ringfence/libs/pce"
)

// FuzzReports gives every call of the agent API one body: each item is refused with a reason or taken, and what is taken folds to
// a state that can be shown.
func FuzzReports(f *testing.F) {
	for _, seed := range []string{
		`[{"uid":"u1","name":"web-1","namespace":"shop","interfaces":[{"name":"eth0","address":"10.0.0.1"}]},{"uid":"u1","name":"b","namespace":"c"},{}]`,
		`[{"name":"n1","machine_id":"m1","interfaces":[{"name":"eth0","address":"10.0.0.1"}],"labels":[{"key":"app","value":"web"}]},{"name":"n2","machine_id":"m1"},{"name":"n1"}]`,
		`[{"uid":"u1","name":"front","namespace":"shop","service_type":"NodePort","service_addresses":[{"ip":"10.0.0.1","port":80}],"service_ports":[{"port":80,"proto":6}],"node_ports":[30080]}]`,
		`[{"key":"loc","value":"a"},{"key":"loc","value":"a"},{"key":"colour","value":"red"},{"key":"app","value":" "}]`,
		`[{"name":"web","kind":"Deployment","namespace":"shop","labels":[{"key":"app","value":"web"}],"metadata":{"annotations":{"com.illumio.env":"dev"}}}]`,
		`[{"href":"/orgs/1/kubernetes_workloads/k","security_policy_sync_state":"applied","version":3}]`,
		`[{"id":"e","event_type":"agent.tampering","severity":"warning","status":"success","timestamp":"2026-01-02T03:04:05Z","message":"m"}]`, `[null]`, `{}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		s := seeded()
		s.put(tableWorkloads, "k", &record{Owner: "c", Doc: document{}.set("name", "k")})
		s.put(tablePairing, "5", &record{Doc: document{}.set("name", "nodes").set("enabled", true).set("allowed_uses_per_key", "unlimited").set("key_lifespan", "unlimited")})
		s.put(tablePairKeys, "6", &record{Owner: "5", Doc: document{}.set(hashField, hashOf("code"))})
		tx := &transaction{state: s, edit: edit{Event: "x", Author: hrefOf(tableClusters, "c", "")}}
		results := reportEverything(tx, body)
		for i, r := range results {
			if (r.Token == "") == (r.Href == "") && r.Status != "validation_failure" {
				t.Fatalf("item %d: %+v", i, r)
			}
		}
		encoded, err := json.Marshal(tx.edit)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.fold(2, encoded); err != nil {
			t.Fatal(err)
		}
		for _, table := range []string{tableContainers, tableMachines, tableVENs, draftTables + tableVirtual, activeTables + tableVirtual, tableLabels, tableWorkloads, tableClusters} {
			for _, id := range s.ids(table) {
				s.render(table, id, newAgents())
			}
		}
		for _, e := range s.events {
			s.renderEvent(e, "host")
		}
	})
}

func reportEverything(tx *transaction, body []byte) (results []pce.BulkResult) {
	each(body, func(w pce.ContainerWorkload) {
		results = append(results, tx.reportContainer("c", tx.state.idsByField(tableContainers, "c", uidField), w))
	})
	each(body, func(s pce.ClusterService) { results = append(results, tx.reportService("c", map[string]string{}, s)) })
	each(body, func(l pce.Label) { results = append(results, tx.ensureLabel(l)) })
	b := newBulkEdit(tx, "c")
	each(body, func(w pce.KubernetesWorkload) { results = append(results, bulkCreate(b, w)) })
	each(body, func(a pce.PolicyAck) { results = append(results, b.acknowledge(a)) })
	each(body, func(a pce.AgentEvent) { _, _ = eventOf("c", time.Unix(0, 0), a) })
	var hosts []pce.Host
	if json.Unmarshal(body, &hosts) == nil {
		found, err := tx.reportNodes("c", pce.Hosts{ActivationCode: "code", Hosts: hosts})
		if err != nil {
			panic(err)
		}
		results = append(results, found...)
	}
	return results
}

func each[T any](body []byte, take func(T)) {
	var items []T
	if json.Unmarshal(body, &items) != nil {
		return
	}
	for _, item := range items {
		take(item)
	}
}
