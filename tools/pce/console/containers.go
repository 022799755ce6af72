package console

import (
	"bytes"

	"github.com/ringfence/ringfence/libs/pce"
)

// containers are the pods of clusters in a legacy mode.
var containers = kind{table: tableContainers, exact: []string{"namespace"}, substring: []string{"name"}}

// reportContainers makes or updates container workloads by the UIDs of their pods.
func (c *Console) reportContainers(r request) (response, error) {
	var items []pce.ContainerWorkload
	if err := r.decodeBulk(&items); err != nil {
		return response{}, err
	}
	results := make([]pce.BulkResult, len(items))
	err := c.store.write(r.Context(), r.who.href, "container_cluster.container_workloads_bulk_update", func(t *transaction) error {
		ids := t.state.idsByField(tableContainers, r.who.cluster, uidField)
		for i, item := range items {
			results[i] = t.reportContainer(r.who.cluster, ids, item)
		}
		return nil
	})
	return ok(results), err
}

// uidField is the UID that Kubernetes gave an object.
const uidField = "uid"

// idsByField finds a cluster's objects by the text of one of their fields.
func (s *state) idsByField(table, cluster, field string) map[string]string {
	ids := map[string]string{}
	for id, r := range s.owned(table, cluster) {
		ids[r.Doc.text(field)] = id
	}
	return ids
}

func (t *transaction) reportContainer(cluster string, ids map[string]string, w pce.ContainerWorkload) pce.BulkResult {
	if w.UID == "" || w.Name == "" || w.Namespace == "" {
		return refusedItem("", invalid("uid", "uid, name and namespace must not be empty"))
	}
	doc := document{}.set(uidField, w.UID).set("name", w.Name).set("namespace", w.Namespace).set("node", w.Node).
		set("interfaces", orEmpty(w.Interfaces)).set("metadata", w.Metadata)
	return t.putReported(tableContainers, cluster, ids, w.UID, doc)
}

// orEmpty keeps lists from being served as null.
func orEmpty[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}

// putReported makes or updates the object that ids knows under name. Saying the same again changes nothing.
func (t *transaction) putReported(table, cluster string, ids map[string]string, name string, doc document) pce.BulkResult {
	id, known := ids[name]
	if !known {
		id = newUUID()
		ids[name] = id
		t.create(table, id, cluster, doc)
		return pce.BulkResult{Href: hrefOf(table, id, ""), Status: "created"}
	}
	t.updateWhereNew(table, id, doc)
	return pce.BulkResult{Href: hrefOf(table, id, ""), Status: "updated"}
}

// updateWhereNew merges fields into an object, unless all of them are there already.
func (t *transaction) updateWhereNew(table, id string, fields document) {
	r := t.get(table, id)
	for field, value := range fields {
		if !bytes.Equal(r.Doc[field], value) {
			t.update(table, id, r.Doc.merge(fields))
			return
		}
	}
}

// uidRef names an object by its UID.
type uidRef struct {
	UID string `json:"uid"`
}

func (c *Console) deleteContainers(r request) (response, error) {
	return c.deleteReported(r, "container_cluster.container_workloads_bulk_delete", tableContainers, uidField)
}

// deleteReported removes what the cluster reported before, by UID.
func (c *Console) deleteReported(r request, event, table, field string) (response, error) {
	var items []uidRef
	if err := r.decodeBulk(&items); err != nil {
		return response{}, err
	}
	results := make([]pce.BulkResult, len(items))
	err := c.store.write(r.Context(), r.who.href, event, func(t *transaction) error {
		ids := t.state.idsByField(table, r.who.cluster, field)
		for i, item := range items {
			id, known := ids[item.UID]
			if !known {
				results[i] = refusedItem("", notFound("an object of UID "+item.UID))
				continue
			}
			delete(ids, item.UID)
			t.remove(table, id)
			results[i] = pce.BulkResult{Href: hrefOf(table, id, ""), Status: "deleted"}
		}
		return nil
	})
	return ok(results), err
}
