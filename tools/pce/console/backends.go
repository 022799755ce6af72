package console

import (
	"slices"

	"github.com/ringfence/ringfence/libs/pce"
)

// serviceBackends lists the Services of a cluster that the console keeps as virtual services.
func (c *Console) serviceBackends(r request) (response, error) {
	items := []rendered{}
	var err error
	c.store.view(func(s *state) {
		cluster := r.PathValue("cluster")
		if s.get(tableClusters, cluster) == nil {
			err = notFound(hrefOf(tableClusters, cluster, ""))
			return
		}
		for _, id := range s.ids(activeTables + tableVirtual) {
			if v := s.get(activeTables+tableVirtual, id); v.namespaceIn(cluster) != "" {
				items = append(items, rendered{
					"name": v.Doc.text("name"), "kind": "Service", "namespace": v.namespaceIn(cluster),
					"virtual_service": map[string]string{"href": hrefOf(activeTables+tableVirtual, id, ""), "name": v.Doc.text("name")},
					"created_at":      v.CreatedAt, "updated_at": v.UpdatedAt,
				})
			}
		}
	})
	if err != nil {
		return response{}, err
	}
	return c.answerList(r, items)
}

// namespaceIn is the namespace of a virtual service that a cluster made, "" of any other.
func (r *record) namespaceIn(cluster string) string {
	prefix := cluster + "|"
	if set := r.Doc.text(external[0]); len(set) > len(prefix) && set[:len(prefix)] == prefix {
		return set[len(prefix):]
	}
	return ""
}

// updateProfiles changes several profiles of a cluster alike: the body's other fields are written to each of those listed.
func (c *Console) updateProfiles(r request) (response, error) {
	change, err := r.document()
	if err != nil {
		return response{}, err
	}
	var refs []pce.Ref
	if err := decodeInto(normal(change[tableProfiles]), &refs); err != nil {
		return response{}, invalid(tableProfiles, "want a list of references")
	}
	if len(refs) == 0 || len(refs) > pce.MaxBulk {
		return response{}, invalid(tableProfiles, "%d items, want 1 to %d", len(refs), pce.MaxBulk)
	}
	change = change.without([]string{tableProfiles})
	err = c.store.write(r.Context(), r.who.href, "container_workload_profile.bulk_update", func(t *transaction) error {
		at, err := profiles.locate(t.state, r)
		if err != nil {
			return err
		}
		for _, ref := range slices.Compact(refs) {
			if err := at.change(t, pce.ID(ref.Href), change); err != nil {
				return err
			}
		}
		return nil
	})
	return noContent, err
}
