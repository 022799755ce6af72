package console

import (
	"slices"

	"github.com/ringfence/ringfence/libs/pce"
)

var syncStates = []string{pce.SyncApplied, pce.SyncSyncing, pce.SyncError}

// policyAcks notes how Kubernetes workloads stand. An acknowledgement that says what is known already writes no edit.
func (c *Console) policyAcks(r request) (response, error) {
	var items []pce.PolicyAck
	if err := r.decodeBulk(&items); err != nil {
		return response{}, err
	}
	results := make([]pce.BulkResult, len(items))
	err := c.store.write(r.Context(), r.who.href, "container_cluster.security_policy_acks", func(t *transaction) error {
		b := &bulkEdit{transaction: t, cluster: r.who.cluster}
		for i, item := range items {
			results[i] = b.acknowledge(item)
		}
		return nil
	})
	return ok(results), err
}

func (b *bulkEdit) acknowledge(a pce.PolicyAck) pce.BulkResult {
	id, r := b.find(a.Href)
	switch {
	case r == nil:
		return missing(a.Href)
	case !slices.Contains(syncStates, a.State):
		return refusedItem(a.Href, invalid("security_policy_sync_state", "%q is not one of %v", a.State, syncStates))
	case len(a.Detail) > valueShown:
		return refusedItem(a.Href, invalid("detail", "is longer than %d bytes", valueShown))
	}
	b.updateWhereNew(tableWorkloads, id, document{}.set("security_policy_sync_state", a.State).
		set("security_policy_applied_version", a.Version).set("security_policy_sync_detail", a.Detail))
	return pce.BulkResult{Href: a.Href, Status: "updated"}
}
