package traffic

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"go4.org/netipx"

	"github.com/ringfence/ringfence/libs/pce"
)

// stage is a world of a few workloads.
type stage struct {
	workloads map[string]*Workload
	machines  map[netip.Addr]*Workload
	groups    map[string][]string
	lists     []IPList
}

func (s *stage) Workload(href string) *Workload    { return s.workloads[href] }
func (s *stage) Machine(addr netip.Addr) *Workload { return s.machines[addr] }
func (s *stage) IPLists() []IPList                 { return s.lists }
func (s *stage) Network(cluster string) Network    { return Network{Name: "network of " + cluster} }
func (s *stage) Members(group string) ([]string, error) {
	if s.groups[group] == nil {
		return nil, errors.New("no such group")
	}
	return s.groups[group], nil
}

func prefixes(all ...string) *netipx.IPSet {
	var b netipx.IPSetBuilder
	for _, p := range all {
		b.AddPrefix(netip.MustParsePrefix(p))
	}
	set, _ := b.IPSet() // the prefixes are right
	return set
}

func workload(href, cluster string, managed bool, labels ...string) *Workload {
	name := strings.TrimPrefix(href, "/w/")
	w := &Workload{Href: href, Name: &name, Managed: managed, Cluster: cluster, Pod: cluster != ""}
	for _, l := range labels {
		w.Labels = append(w.Labels, pce.Label{Href: l})
	}
	return w
}

func newStage() *stage {
	return &stage{
		workloads: map[string]*Workload{
			"/w/web": workload("/w/web", "a", true, "/l/app-shop", "/l/role-web"), "/w/db": workload("/w/db", "a", true, "/l/app-shop", "/l/role-db"),
			"/w/job": workload("/w/job", "b", false, "/l/app-batch"),
		},
		machines: map[netip.Addr]*Workload{netip.MustParseAddr("192.168.0.9"): workload("/w/vm", "", false, "/l/role-vm")},
		groups:   map[string][]string{"/g/front": {"/l/role-web", "/l/role-vm"}},
		lists: []IPList{
			{Href: "/orgs/1/sec_policy/active/ip_lists/1", Name: pce.AnyIPList, Set: prefixes("0.0.0.0/0", "::/0")},
			{Href: "/orgs/1/sec_policy/active/ip_lists/2", Name: "office", Set: prefixes("192.168.0.0/24")},
			{Href: "/orgs/1/sec_policy/active/ip_lists/3", Name: "names", FQDNs: []string{"*.example.com"}},
		},
	}
}

// story is what happened: each flow by a name.
func story(t testing.TB) (*Store, map[string]Flow) {
	ref := func(href string) *pce.Ref { return &pce.Ref{Href: href} }
	port := func(n int) *int { return &n }
	flows := map[string]Flow{
		"web-db": flow(t, 0, func(s *pce.FlowSummary) {
			s.Src.Workload, s.Dst.Workload, s.Service.Port = ref("/w/web"), ref("/w/db"), port(5432)
		}),
		"vm-web": flow(t, 1, func(s *pce.FlowSummary) {
			s.Src.IP, s.Dst.Workload, s.Service.Port, s.Decision = "192.168.0.9", ref("/w/web"), port(443), "blocked"
		}),
		"office-web": flow(t, 2, func(s *pce.FlowSummary) {
			s.Src.IP, s.Dst.Workload, s.Decision = "192.168.0.7", ref("/w/web"), "potentially_blocked"
		}),
		"web-name": flow(t, 3, func(s *pce.FlowSummary) {
			s.Src.Workload, s.Dst.IP, s.Dst.FQDN, s.Direction, s.Service.Port = ref("/w/web"), "203.0.113.1", "www.Example.com", "outbound", port(443)
		}),
		"stolen": flow(t, 4, func(s *pce.FlowSummary) { s.Src.Workload, s.Src.IP = ref("/w/job"), "10.9.9.9" }), // of another cluster
		"mdns": flow(t, 5, func(s *pce.FlowSummary) {
			s.Src.IP, s.Dst.IP, s.Service = "10.8.0.1", "224.0.0.251", pce.FlowService{Port: port(5353), Proto: 17}
		}),
		"ping": flow(t, 6, func(s *pce.FlowSummary) {
			s.Src.IP, s.Service, s.ICMPType = "fd00::1", pce.FlowService{Proto: 1}, port(8)
		}),
	}
	s := opened(t, newShelf(100))
	for name, f := range flows {
		if _, err := s.Add(t.Context(), "a", name, []Flow{f}); err != nil {
			t.Fatal(err)
		}
	}
	return s, flows
}

// nameOf finds which flow of the story a row is, by when it was seen.
func nameOf(flows map[string]Flow, r Row) string {
	for name, f := range flows {
		if f.Summary.Range == r.Range {
			return name
		}
	}
	return "?"
}

const everything = "mdns,office-web,ping,stolen,vm-web,web-db,web-name"

func TestQueryLanguage(t *testing.T) {
	store, flows := story(t)
	for text, want := range map[string]string{
		`{}`: everything, `{"sources":{"include":[]},"destinations":{"include":[[]]}}`: everything,
		`{"sources":{"include":[[{"label":{"href":"/l/app-shop"}}]]}}`:                                                                                                      "web-db,web-name",
		`{"sources":{"include":[[{"label":{"href":"/l/app-shop"}},{"label":{"href":"/l/role-db"}}]]}}`:                                                                      "",
		`{"destinations":{"include":[[{"label":{"href":"/l/app-shop"}},{"label":{"href":"/l/role-db"}}]]}}`:                                                                 "web-db",
		`{"destinations":{"include":[[{"label":{"href":"/l/role-db"}}],[{"ip_address":{"value":"224.0.0.0/4"}}]]}}`:                                                         "mdns,web-db",
		`{"sources":{"exclude":[{"label":{"href":"/l/role-web"}},{"ip_address":{"value":"10.8.0.1"}}]}}`:                                                                    "office-web,ping,stolen,vm-web",
		`{"sources":{"include":[[{"workload":{"href":"/w/web"}}]]}}`:                                                                                                        "web-db,web-name",
		`{"sources":{"include":[[{"workload":{"href":"/w/job"}}]]}}`:                                                                                                        "",
		`{"sources":{"include":[[{"label_group":{"href":"/g/front"}}]]}}`:                                                                                                   "vm-web,web-db,web-name",
		`{"sources":{"include":[[{"ip_list":{"href":"/orgs/1/sec_policy/active/ip_lists/2"}}]]}}`:                                                                           "office-web",
		`{"sources":{"include":[[{"ip_list":{"href":"/orgs/1/sec_policy/draft/ip_lists/2"}}]]},"exclude_workloads_from_ip_list_query":false}`:                               "office-web,vm-web",
		`{"destinations":{"include":[[{"ip_list":{"href":"/orgs/1/sec_policy/active/ip_lists/3"}}]]}}`:                                                                      "web-name",
		`{"sources":{"include":[[{"actors":"ams"}]]}}`:                                                                                                                      "web-db,web-name",
		`{"destinations":{"include":[[{"transmission":"multicast"}]]}}`:                                                                                                     "mdns",
		`{"destinations":{"exclude":[{"transmission":"multicast"},{"transmission":"broadcast"}]}}`:                                                                          "office-web,ping,stolen,vm-web,web-db,web-name",
		`{"services":{"include":[{"port":443,"proto":6}]}}`:                                                                                                                 "vm-web,web-name",
		`{"services":{"include":[{"port":400,"to_port":6000}]}}`:                                                                                                            "mdns,vm-web,web-db,web-name",
		`{"services":{"include":[{"proto":17},{"proto":1}]}}`:                                                                                                               "mdns,ping",
		`{"services":{"exclude":[{"proto":6}]}}`:                                                                                                                            "mdns,ping",
		`{"services":{"include":[{"process_name":"nginx"}]}}`:                                                                                                               "",
		`{"policy_decisions":["blocked","potentially_blocked"]}`:                                                                                                            "office-web,vm-web",
		`{"sources":{"include":[[{"label":{"href":"/l/role-web"}}]]},"destinations":{"include":[[{"label":{"href":"/l/role-web"}}]]},"sources_destinations_query_op":"or"}`: "office-web,vm-web,web-db,web-name",
		`{"sources":{"include":[[{"label":{"href":"/l/role-web"}}]]},"destinations":{"include":[[{"label":{"href":"/l/role-web"}}]]}}`:                                      "",
	} {
		var q Query
		if err := json.Unmarshal([]byte(text), &q); err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		answer, err := store.Ask(t.Context(), q, newStage())
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		names := []string{}
		for r := range answer.Rows() {
			names = append(names, nameOf(flows, r))
		}
		slices.Sort(names)
		if got := strings.Join(names, ","); got != want || answer.Matches != len(names) {
			t.Errorf("%s: %s (%d matches), want %s", text, got, answer.Matches, want)
		}
	}
}

func TestQueriesThatAreRefused(t *testing.T) {
	for text, want := range map[string]string{
		`{"start_date":"yesterday"}`:                                        `start_date: "yesterday"`,
		`{"start_date":"2026-02-01","end_date":"2026-01-01"}`:               "end_date: 2026-01-01 is before",
		`{"max_results":200001}`:                                            "max_results: 200001",
		`{"policy_decisions":["maybe"]}`:                                    "policy_decisions",
		`{"sources_destinations_query_op":"xor"}`:                           "sources_destinations_query_op",
		`{"services":{"include":[{"to_port":1}]}}`:                          "services.to_port: 1",
		`{"services":{"exclude":[{"proto":-1}]}}`:                           "services.proto",
		`{"sources":{"include":[[{"planet":{"href":"x"}}]]}}`:               "is not a condition of this console",
		`{"sources":{"include":[[{"label":{"href":"x"},"actors":"ams"}]]}}`: "exactly one condition",
		`{"sources":{"include":[[{"label":null}]]}}`:                        "a condition is null",
		`{"sources":{"include":[[{}]]}}`:                                    "exactly one condition",
		`{"sources":{"include":[[{"actors":"all"}]]}}`:                      `actors: "all"`,
		`{"sources":{"include":[[{"ip_address":{"value":"ten"}}]]}}`:        "ip_address",
		`{"sources":{"include":[[{"transmission":"telepathy"}]]}}`:          "transmission",
		`{"sources":{"include":[[{"ip_list":{"href":"/ip_lists/9"}}]]}}`:    "sources.include.ip_list",
		`{"destinations":{"exclude":[{"label_group":{"href":"/g/none"}}]}}`: "destinations.exclude.label_group: no such group",
	} {
		var q Query
		err := json.Unmarshal([]byte(text), &q)
		if err == nil {
			err = q.Check(newStage())
		}
		var i *Invalid
		if !errors.As(err, &i) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
	}
}

// Flows between the same ends become one row; a limit keeps the newest rows and still counts the rest.
func TestRows(t *testing.T) {
	s := opened(t, newShelf(100))
	for minute := range 5 {
		flows := []Flow{flow(t, minute, func(f *pce.FlowSummary) { f.Connections = 10 })}
		flows = append(flows, flow(t, minute, func(f *pce.FlowSummary) { f.Dst.IP = fmt.Sprintf("10.1.0.%d", minute) }))
		if _, err := s.Add(t.Context(), "a", fmt.Sprint(minute), flows); err != nil {
			t.Fatal(err)
		}
	}
	ask := func(max int) Answer {
		t.Helper()
		a, err := s.Ask(t.Context(), Query{Max: &max}, newStage())
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	all := ask(100)
	rows := slices.Collect(all.Rows())
	if len(rows) != 6 || all.Len() != 6 || all.Matches != 10 {
		t.Fatalf("%d rows of %d", len(rows), all.Matches)
	}
	if r := rows[0]; r.Connections != 50 || r.Range.First != "2026-03-01T12:00:00Z" || r.Range.Last != "2026-03-01T12:05:00Z" || r.Dst.IP != "10.0.0.2" {
		t.Fatalf("the sum of five: %+v", r)
	}
	few := ask(3)
	rows = slices.Collect(few.Rows())
	if len(rows) != 3 || few.Matches != 10 || rows[1].Dst.IP != "10.1.0.4" || rows[0].Connections != 50 {
		t.Fatalf("three rows: %+v", rows)
	}
	if none := ask(0); none.Len() != 0 || none.Matches != 10 {
		t.Fatalf("no rows: %+v", none)
	}
}

func TestRowsSayWhatStandsBehindAnEnd(t *testing.T) {
	store, flows := story(t)
	answer, err := store.Ask(t.Context(), Query{}, newStage())
	if err != nil {
		t.Fatal(err)
	}
	rows := map[string]Row{}
	for r := range answer.Rows() {
		rows[nameOf(flows, r)] = r
	}
	if r := rows["web-db"]; r.Src.Workload.Href != "/w/web" || *r.Dst.Workload.Name != "db" || r.Network.Name != "network of a" || len(r.Src.IPLists) != 0 {
		t.Errorf("pods: %+v", r)
	}
	if r := rows["vm-web"]; r.Src.Workload.Href != "/w/vm" || len(r.Src.IPLists) != 1 || r.Src.IPLists[0].Name != "office" {
		t.Errorf("a machine by its address: %+v", r.Src)
	}
	if r := rows["stolen"]; r.Src.Workload != nil || r.Network.Name != "network of " {
		t.Errorf("another cluster's workload: %+v", r)
	}
	if r := rows["mdns"]; r.Transmission != "multicast" {
		t.Errorf("multicast: %+v", r)
	}
	if r := rows["ping"]; r.Service.Port != nil || *r.ICMPType != 8 || r.ICMPCode != nil {
		t.Errorf("a flow without ports: %+v", r)
	}
	if r := rows["web-name"]; r.Dst.FQDN != "www.Example.com" || r.Dst.IPLists[0].Name != "names" {
		t.Errorf("a name: %+v", r.Dst)
	}
}
