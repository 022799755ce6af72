package console

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/ringfence/ringfence/libs/pce"
)

// seeded is a state with an object of every kind that others refer to.
func seeded() *state {
	s := newState()
	put := func(table, id, owner string, doc document) {
		s.put(table, id, &record{Doc: doc, Owner: owner, CreatedAt: time.Unix(0, 0), Revision: 1})
	}
	put(tableLabels, "1", "", document{}.set("key", "app").set("value", "web"))
	put(draftTables+tableIPLists, "2", "", document{}.set("name", "office"))
	put(draftTables+tableServices, "3", "", document{}.set("name", "https"))
	put(draftTables+tableRuleSets, "4", "", document{}.set("name", "shop"))
	put(tableClusters, "c", "", document{}.set("name", "lab"))
	put(draftTables+tableGroups, "g", "", document{}.set("name", "apps").set("key", "app").set("sub_groups", []pce.Ref{{Href: org + draftPart + "label_groups/g"}}))
	put(draftTables+tableVirtual, "v", "", document{}.set("name", "front"))
	put(activeTables+tableVirtual, "v", "", document{}.set("name", "front"))
	put(tableMachines, "m", "", document{}.set("name", "one"))
	return s
}

// FuzzDocuments gives one body to every collection: it is refused with a reason, or what would be stored decodes into the
// type that the bridge reads.
func FuzzDocuments(f *testing.F) {
	for _, seed := range []string{
		`{"key":"app","value":"api"}`, `{"name":"a","description":null}`, `{"name":"a","enabled":true,"labels":[{"href":"/orgs/1/labels/1"}]}`,
		`{"name":"a","ip_ranges":[{"from_ip":"10.0.0.0/8"},{"from_ip":"::1","to_ip":"::2","exclusion":true}],"fqdns":[{"fqdn":"*.example.com"}]}`,
		`{"name":"a","service_ports":[{"proto":6,"port":1,"to_port":2},{"proto":1,"icmp_type":8},{"proto":-1}]}`,
		`{"name":"a","scopes":[[{"label":{"href":"/orgs/1/labels/1"}}],[]],"rules":[{"consumers":[{"actors":"ams"}],"providers":[{"label":{"href":"/orgs/1/labels/1"}}],"ingress_services":[{"proto":6,"port":80}]}]}`,
		`{"consumers":[{"actors":"ams"}],"providers":[{"ip_list":{"href":"/orgs/1/sec_policy/active/ip_lists/2"}}],"ingress_services":[{"href":"/orgs/1/sec_policy/draft/services/3"}]}`,
		`{"namespace":"shop","managed":true,"enforcement_mode":"full","labels":[{"key":"app","assignment":{"href":"/orgs/1/labels/1"}},{"key":"env","restriction":[]}]}`,
		`{"name":"a","key":"app","labels":[{"href":"/orgs/1/labels/1"}],"sub_groups":[{"href":"/orgs/1/sec_policy/active/label_groups/g"}]}`,
		`{"name":"a","service_ports":[{"proto":6,"port":1}],"service_addresses":[{"ip":"10.0.0.1","port":1},{"fqdn":"x"}],"ip_overrides":["10.0.0.0/8"]}`,
		`{"name":"a","hostname":"b","interfaces":[{"name":"e","address":"10.0.0.1"}],"labels":[{"href":"/orgs/1/labels/1"}],"enforcement_mode":"full"}`,
		`{"virtual_service":{"href":"/orgs/1/sec_policy/active/virtual_services/v"},"workload":{"href":"/orgs/1/workloads/m"},"port_overrides":[{"port":1,"new_port":2}]}`,
		`{"static_policy_scopes":[[{"label":{"href":"/orgs/1/labels/1"}}]],"firewall_coexistence":[{"illumio_primary":true,"scope":[]}]}`,
		`{"key":"team","display_name":"Team"}`, `{"name":"a","key_lifespan":60,"allowed_uses_per_key":"unlimited"}`,
		`{"managed":null,"labels":null}`, `{"href":"x","_secret_sha256":"y"}`, `[]`, `null`, `{`, ``,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		s := seeded()
		for _, test := range []struct {
			at   place
			into any
		}{
			{place{kind: labels, table: tableLabels}, &pce.Label{}},
			{place{kind: pairing, table: tablePairing}, &pce.PairingProfile{}},
			{place{kind: profiles, table: tableProfiles, owner: "c"}, &pce.ContainerWorkloadProfile{}},
			{place{kind: ipLists, table: draftTables + tableIPLists, version: "draft"}, &pce.IPList{}},
			{place{kind: services, table: draftTables + tableServices, version: "draft"}, &pce.Service{}},
			{place{kind: ruleSets, table: draftTables + tableRuleSets, version: "draft"}, &pce.RuleSet{}},
			{place{kind: rules, table: draftTables + tableRules, owner: "4", version: "draft"}, &pce.Rule{}},
			{place{kind: denyRules, table: draftTables + tableDenyRules, owner: "4", version: "draft"}, &pce.Rule{}},
			{place{kind: groups, table: draftTables + tableGroups, version: "draft"}, &pce.LabelGroup{}},
			{place{kind: boundaries, table: draftTables + tableBoundaries, version: "draft"}, &pce.EnforcementBoundary{}},
			{place{kind: virtualServices, table: draftTables + tableVirtual, version: "draft"}, &pce.VirtualService{}},
			{place{kind: firewall, table: draftTables + tableFirewall, version: "draft"}, &struct{}{}},
			{place{kind: dimensions, table: tableDimensions}, &pce.LabelDimension{}},
			{place{kind: machines, table: tableMachines}, &pce.Workload{}},
			{place{kind: bindings, table: tableBindings}, &pce.ServiceBinding{}},
		} {
			tx := &transaction{state: s}
			doc, err := decodeDocument(body)
			if err == nil {
				_, err = test.at.add(tx, doc)
			}
			var refused *refusal
			if err != nil {
				if !errors.As(err, &refused) || len(refused.messages) == 0 {
					t.Fatalf("%s refused without a reason: %v", test.at.table, err)
				}
				continue
			}
			stored := tx.edit.Put[0].Record.Doc
			s := seeded()
			tx.edit.LastID = 99
			s.apply(2, &tx.edit)
			s.render(test.at.table, tx.edit.Put[0].ID, nil)
			if err := stored.into(test.into); err != nil {
				t.Fatalf("%s stored what does not decode: %v", test.at.table, err)
			}
			for field := range stored {
				if field == "href" || field[:min(1, len(field))] == privatePrefix {
					t.Fatalf("%s took field %s from a client", test.at.table, field)
				}
			}
		}
	})
}

// FuzzFold gives the fold what a damaged journal may hold: an error, or a state that can be listed and rendered; never a
// panic.
func FuzzFold(f *testing.F) {
	for _, seed := range []string{
		`{"event":"label.create","author":"/users/0","at":"2026-01-02T03:04:05Z","last_id":9,"put":[{"table":"labels","id":"9","record":{"doc":{"key":"app","value":"x"}}}]}`,
		`{"put":[{"table":"labels","id":"9"}]}`, `{"remove":[{"table":"labels","id":"1"}]}`, `{"put":[{"table":"draft/rule_sets","id":"4","record":{"deleted":true}}]}`,
		`{"provision":{"version":2,"drafts":[{"table":"rule_sets","id":"4"},{"table":"ip_lists","id":"99"}]}}`, `{`, ``,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, encoded []byte) {
		s := seeded()
		if s.fold(2, encoded) != nil {
			return
		}
		for table := range s.tables {
			for _, id := range s.ids(table) {
				s.render(table, id, nil)
			}
		}
		s.pending()
		if s.last != 2 {
			t.Fatal("an edit was taken without its number")
		}
	})
}

// FuzzRequests gives one text to everything that reads queries and bodies of no single object: each is refused with a
// reason, or taken.
func FuzzRequests(f *testing.F) {
	for _, seed := range []string{
		`[["/orgs/1/labels/1"]]`, `[{"href":"/orgs/1/workloads/m","name":"x"}]`, `{"providers":[{"actors":"ams"}],"ingress_services":[{"port":1}],"enabled":true}`,
		`true`, `7`, `{"change_subset":{"rule_sets":[{"href":"/orgs/1/sec_policy/draft/rule_sets/4"}]}}`, `[]`, `{`, ``,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		s := seeded()
		reasoned := func(what string, err error) {
			var refused *refusal
			if err != nil && (!errors.As(err, &refused) || len(refused.messages) == 0) {
				t.Fatalf("%s refused without a reason: %v", what, err)
			}
		}
		for _, k := range []kind{labels, machines, vens, bindings, profiles, pairing, ipLists, services, virtualServices, ruleSets} {
			for name := range k.filters {
				choose, err := k.selection(url.Values{name: {text}})
				if reasoned(name, err); err != nil {
					continue
				}
				for _, r := range s.tables[k.table] {
					choose(view{state: s}, r)
				}
			}
			r := request{Request: httptest.NewRequest(http.MethodPut, "/", strings.NewReader(text))}
			_, err := r.documents(k)
			reasoned("a bulk of "+k.table, err)
		}
		query, err := decodeRuleQuery([]byte(text))
		if reasoned("rule search", err); err == nil {
			s.searchRules(draftTables, query, 1)
		}
		var body pce.Provisioning
		if err := decodeInto([]byte(text), &body); err == nil {
			chosen, err := s.subset(body.ChangeSubset)
			reasoned("change subset", err)
			s.needed(chosen)
			reasoned("provisioning", s.checkActive(chosen))
			reasoned("reverting", s.checkReverted(chosen))
		}
	})
}
