package console

import (
	"context"
	"maps"
	"slices"
)

// APIKeys lists the ids of the API keys, in order.
func (c *Console) APIKeys() (ids []string) {
	c.store.view(func(s *state) { ids = slices.Sorted(maps.Keys(s.tables[tableKeys])) })
	return ids
}

// RenewClusterToken gives the cluster with this id a new token. The one before is refused from then on.
func (c *Console) RenewClusterToken(ctx context.Context, id string) (string, error) {
	token := "1_" + secretOf()
	return token, c.store.write(ctx, builtinAuthor, "container_cluster.renew_token", func(t *transaction) error {
		r := t.state.get(tableClusters, id)
		if r == nil {
			return notFound(hrefOf(tableClusters, id, ""))
		}
		t.update(tableClusters, id, r.Doc.set(hashField, hashOf(token)))
		return nil
	})
}

// AddPairingKey makes one more key of the pairing profile for the nodes of a cluster, and the profile where it is gone. Keys that were
// made before stay good.
func (c *Console) AddPairingKey(ctx context.Context, cluster string) (string, error) {
	code := secretOf()
	return code, c.store.write(ctx, builtinAuthor, "pairing_profile.create_pairing_key", func(t *transaction) error {
		for id, r := range t.state.tables[tablePairing] {
			if r.Doc.text("name") == NodesOf(cluster) {
				t.create(tablePairKeys, newUUID(), id, document{}.set(hashField, hashOf(code)))
				return nil
			}
		}
		return t.pairNodes(NodesOf(cluster), code)
	})
}

// NodesOf is the name of the pairing profile that is made with a cluster, for its nodes.
func NodesOf(cluster string) string { return cluster + " nodes" }
