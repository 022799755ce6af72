package console

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"
	"time"

	"github.com/ringfence/ringfence/libs/pce"
)

// large is an organisation of 20,000 labels, 100 rule sets of 50 rules and 2,000 workloads, provisioned once.
func large(b *testing.B) *state {
	b.Helper()
	s := newState()
	tx := &transaction{state: s, edit: edit{At: time.Unix(0, 0)}}
	label := func(n int) pce.Ref { return pce.Ref{Href: hrefOf(tableLabels, fmt.Sprint(n+1), "")} }
	for n := range 20000 {
		tx.create(tableLabels, tx.number(), "", labelOf([]string{"app", "env"}[n%2], fmt.Sprint("value ", n)))
	}
	for range 100 {
		set := tx.number()
		tx.create(draftTables+tableRuleSets, set, "", document{}.set("name", "set "+set).set("scopes", [][]pce.Actor{{}}).set("enabled", true))
		tx.edit.Provision = &provision{Version: 1, Drafts: append(draftsOf(tx), key{tableRuleSets, set})}
		for n := range 50 {
			a := label(n)
			doc := document{}.set("enabled", true).set("consumers", []pce.Actor{{Label: &a}}).set("providers", []pce.Actor{{Actors: "ams"}}).
				set("ingress_services", []map[string]int{{"proto": 6, "port": n + 1}}).set("network_type", "brn")
			tx.create(draftTables+tableRules, tx.number(), set, doc)
		}
	}
	for n := range 2000 {
		tx.create(tableMachines, newUUID(), "", document{}.set("name", fmt.Sprint("w", n)).set("hostname", fmt.Sprint("w", n, ".example.com")).
			set("labels", []pce.Ref{label(n)}).set("interfaces", []pce.Interface{{Name: "eth0", Address: "10.0.0.1"}}).set("enforcement_mode", "full"))
	}
	s.apply(1, &tx.edit)
	return s
}

func draftsOf(tx *transaction) []key {
	if tx.edit.Provision == nil {
		return nil
	}
	return tx.edit.Provision.Drafts
}

// BenchmarkLarge measures what people and clients do to a large organisation, without the disk.
func BenchmarkLarge(b *testing.B) {
	s := large(b)
	c := &Console{agents: newAgents()}
	set := s.ids(draftTables + tableRuleSets)[0]
	list := func(k kind, path string, limit int) func(*testing.B) {
		return func(b *testing.B) {
			r := request{Request: httptest.NewRequest(http.MethodGet, path, nil)}
			r.SetPathValue("version", versionOf(k.table))
			k.table = kindOf(k.table)
			choose, err := k.selection(r.URL.Query())
			if err != nil {
				b.Fatal(err)
			}
			for b.Loop() {
				if _, _, err := c.items(s, k, r, choose, limit); err != nil {
					b.Fatal(err)
				}
			}
		}
	}
	draftSets := ruleSets
	draftSets.table = draftTables + tableRuleSets
	number := uint64(2)
	edit := func(change func(*transaction) error) func(*testing.B) {
		return func(b *testing.B) {
			for b.Loop() {
				tx := &transaction{state: s, edit: edit{At: time.Unix(1, 0), LastID: s.lastID}}
				if err := change(tx); err != nil {
					b.Fatal(err)
				}
				s.apply(number, &tx.edit)
				number++
			}
		}
	}
	for _, test := range []struct {
		name string
		run  func(*testing.B)
	}{
		{"list/labels/500", list(labels, "/", syncCap)},
		{"list/labels/all", list(labels, "/", 1<<30)},
		{"list/labels/one", list(labels, "/?key=app&value="+url.QueryEscape("value 18"), syncCap)},
		{"list/workloads/all", list(machines, "/", 1<<30)},
		{"list/rule_sets/all", list(draftSets, "/", 1<<30)},
		{"search", func(b *testing.B) {
			for b.Loop() {
				s.searchRules(draftTables, ruleQuery{Services: []pce.IngressService{}}, syncCap)
			}
		}},
		{"create/label", edit(func(tx *transaction) error {
			_, err := place{kind: labels, table: tableLabels}.add(tx, labelOf("app", fmt.Sprint("new ", number)))
			return err
		})},
		{"delete/label", edit(func(tx *transaction) error {
			return place{kind: labels, table: tableLabels}.delete(tx, fmt.Sprint(19000-number%5000), true)
		})},
		{"create/rule+provision", edit(func(tx *transaction) error {
			at := place{kind: rules, table: draftTables + tableRules, owner: set, version: "draft"}
			doc := document{}.set("consumers", []pce.Actor{{Actors: "ams"}}).set("providers", []pce.Actor{{Actors: "ams"}}).
				set("ingress_services", []map[string]int{{"proto": 6, "port": 1}})
			if _, err := at.add(tx, doc); err != nil {
				return err
			}
			tx.edit.Provision = &provision{Version: s.activeVersion() + 1, Drafts: []key{{tableRuleSets, set}}}
			return s.checkActive(tx.edit.Provision.Drafts)
		})},
		{"past", func(b *testing.B) {
			for b.Loop() {
				if _, err := s.asOf("1"); err != nil {
					b.Fatal(err)
				}
			}
		}},
	} {
		b.Run(test.name, test.run)
	}
}
