package console

import (
	"strings"

	"github.com/ringfence/ringfence/libs/pce"
)

// createReportedLabels makes labels of dimensions that exist: those that a cluster's LabelMap may create.
func (c *Console) createReportedLabels(r request) (response, error) {
	var items []pce.Label
	if err := r.decodeBulk(&items); err != nil {
		return response{}, err
	}
	results := make([]pce.BulkResult, len(items))
	err := c.store.write(r.Context(), r.who.href, "container_cluster.labels_bulk_create", func(t *transaction) error {
		for i, item := range items {
			results[i] = t.ensureLabel(item)
		}
		return nil
	})
	return ok(results), err
}

// labelID finds a label, one that the same edit makes included; "" where there is none.
func (t *transaction) labelID(key, value string) string {
	at := lookupOf(tableLabels, &record{Doc: labelOf(key, value)}, []string{"key", "value"})
	if id := t.taken[at]; id != "" {
		return id
	}
	for id := range t.state.index.found[at] {
		return id
	}
	return ""
}

func (t *transaction) ensureLabel(l pce.Label) pce.BulkResult {
	if id := t.labelID(l.Key, l.Value); id != "" {
		return pce.BulkResult{Href: hrefOf(tableLabels, id, ""), Status: "unchanged"}
	}
	switch {
	case !t.state.isDimension(l.Key):
		return refusedItem("", invalid("key", "%q is not the key of a label dimension", l.Key))
	case strings.TrimSpace(l.Value) == "":
		return refusedItem("", invalid("value", "must not be empty"))
	}
	id := t.number()
	t.create(tableLabels, id, "", labelOf(l.Key, l.Value))
	return pce.BulkResult{Href: hrefOf(tableLabels, id, ""), Status: "created"}
}

// labelMapField shows people what the cluster makes of the labels of Kubernetes.
const labelMapField = "label_map"

func (c *Console) reportLabelMap(r request) (response, error) {
	var m pce.LabelMap
	if err := r.decode(&m); err != nil {
		return response{}, err
	}
	for field, list := range map[string][]pce.LabelMapping{"node_label_map": m.Nodes, "workload_label_map": m.Workloads} {
		if err := withinBulk(field, len(list)); err != nil {
			return response{}, err
		}
	}
	m.Nodes, m.Workloads = orEmpty(m.Nodes), orEmpty(m.Workloads)
	err := c.store.write(r.Context(), r.who.href, "container_cluster.update_label_map", func(t *transaction) error {
		t.updateReported(r.who.cluster, document{}.set(labelMapField, m))
		return nil
	})
	return noContent, err
}
