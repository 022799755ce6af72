package console

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/ringfence/ringfence/libs/pce"
)

// builtinUser made the objects that every organisation has and owns the keys that come from the command line.
const (
	builtinUser   = "0"
	builtinAuthor = "/users/" + builtinUser
)

// bootstrap makes the built-in user, IP list and service where there are none; the latter two active as version 1.
func (c *Console) bootstrap(ctx context.Context) error {
	isNew := c.store.state.last == 0
	if c.store.state.get(tableUsers, builtinUser) == nil {
		if err := c.store.write(ctx, builtinAuthor, "user.create", func(t *transaction) error {
			t.create(tableUsers, builtinUser, "", document{}.set("username", "owner").set("full_name", "Built-in owner").set("type", "local"))
			return nil
		}); err != nil {
			return err
		}
	}
	if !isNew {
		return nil
	}
	return c.store.write(ctx, builtinAuthor, "org.create", func(t *transaction) error {
		any, all := t.number(), t.number()
		t.create(draftTables+tableIPLists, any, "", document{}.set("name", pce.AnyIPList).set("fqdns", []string{}).
			set("ip_ranges", []pce.IPRange{{FromIP: "0.0.0.0/0"}, {FromIP: "::/0"}}))
		t.create(draftTables+tableServices, all, "", document{}.set("name", pce.AllServices).
			set("service_ports", []map[string]int{{"proto": -1}}))
		t.edit.Provision = &provision{
			Version: 1, Message: "built-in objects", Counts: map[string]int{tableIPLists: 1, tableServices: 1},
			Drafts: []key{{tableIPLists, any}, {tableServices, all}},
		}
		return nil
	})
}

// APIKey is a user's credentials.
type APIKey struct {
	ID string `json:"api_key"`
	// Secret is empty where the key existed before: only its hash is kept.
	Secret string `json:"api_secret,omitempty"`
}

// EnsureKey makes an API key. With an ID it makes that one, with the given secret, or sets its secret anew; without, it
// makes one with a random ID.
func (c *Console) EnsureKey(ctx context.Context, want APIKey) (APIKey, error) {
	if want.ID == "" {
		want.ID = "api_" + secretOf()[:18]
	}
	if want.Secret == "" {
		want.Secret = secretOf()
	}
	if len(want.Secret) < 16 {
		return APIKey{}, fmt.Errorf("the secret of API key %s has %d characters, want at least 16", want.ID, len(want.Secret))
	}
	err := c.store.write(ctx, builtinAuthor, "api_key.create", func(t *transaction) error {
		doc := document{}.set(hashField, hashOf(want.Secret))
		switch r := t.state.get(tableKeys, want.ID); {
		case r == nil:
			t.create(tableKeys, want.ID, builtinUser, doc.set("name", want.ID))
		case r.Doc.text(hashField) != hashOf(want.Secret):
			t.update(tableKeys, want.ID, r.Doc.merge(doc))
		}
		return nil
	})
	return want, err
}

// Keys counts the API keys.
func (c *Console) Keys() (n int) {
	c.store.view(func(s *state) { n = len(s.tables[tableKeys]) })
	return n
}

// Onboarding is what a chart needs to connect a cluster. Token and code are empty where the objects existed before.
type Onboarding struct {
	ClusterID    string `json:"cluster_id"`
	ClusterToken string `json:"cluster_token,omitempty"`
	ClusterCode  string `json:"cluster_code,omitempty"`
	Created      bool   `json:"created"`
}

// EnsureCluster makes the cluster of this name, with a pairing profile and a key for its nodes, unless it exists.
func (c *Console) EnsureCluster(ctx context.Context, name string) (Onboarding, error) {
	var made Onboarding
	err := c.store.write(ctx, builtinAuthor, "container_cluster.create", func(t *transaction) error {
		for _, id := range t.state.ids(tableClusters) {
			if t.state.get(tableClusters, id).Doc.text("name") == name {
				made = Onboarding{ClusterID: id}
				return nil
			}
		}
		cluster, err := t.onboard(document{"name": quoted(name)})
		if err != nil {
			return err
		}
		made = Onboarding{ClusterID: cluster.cluster, ClusterToken: cluster.token, ClusterCode: secretOf(), Created: true}
		return t.pairNodes(name+" nodes", made.ClusterCode)
	})
	return made, err
}

func (t *transaction) pairNodes(profile, code string) error {
	id := t.number()
	doc := document{}.set("name", profile).set("enabled", true).set("enforcement_mode", pce.ModeVisibilityOnly).set("labels", []pce.Ref{})
	doc, err := checkPairing(&validation{state: t.state, table: tablePairing}, id, doc, nil)
	if err != nil {
		return err
	}
	t.create(tablePairing, id, "", doc)
	t.create(tablePairKeys, newUUID(), id, document{}.set(hashField, hashOf(code)))
	return nil
}

func quoted(text string) json.RawMessage {
	return document{}.set("text", text)["text"]
}
