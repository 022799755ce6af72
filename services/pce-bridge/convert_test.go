package pcebridge

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/ringfence/ringfence/libs/clas"
	"github.com/ringfence/ringfence/libs/eventlog"
	"github.com/ringfence/ringfence/libs/pce"
	ringfencev1 "github.com/ringfence/ringfence/proto/ringfence/v1"
)

func decoded[T any](t *testing.T, text string) T {
	t.Helper()
	var out T
	if err := json.Unmarshal([]byte(text), &out); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	return out
}

func labelActor(href string) *ringfencev1.Actor {
	return &ringfencev1.Actor{Actor: &ringfencev1.Actor_Label{Label: href}}
}

func TestRuleSetBecomesFact(t *testing.T) {
	c := &converter{}
	got, err := c.ruleSet(decoded[pce.RuleSet](t, `{"href":"/orgs/1/sec_policy/active/rule_sets/3","name":"shop","enabled":true,
		"scopes":[[{"label":{"href":"/orgs/1/labels/1"}}],[]],
		"rules":[
		 {"href":"/orgs/1/sec_policy/active/rule_sets/3/sec_rules/8","enabled":false,"unscoped_consumers":true,"consumers":[{"actors":"ams"},{"ip_list":{"href":"/orgs/1/sec_policy/draft/ip_lists/2"}}],
		  "providers":[{"label":{"href":"/orgs/1/labels/9"}}],"ingress_services":[{"href":"/orgs/1/sec_policy/draft/services/4"},{"proto":1,"icmp_type":8,"icmp_code":0}]},
		 {"href":"/orgs/1/sec_policy/active/rule_sets/3/sec_rules/7","consumers":[],"providers":[],"ingress_services":[{"proto":6,"port":80,"to_port":90}]}]}`))
	if err != nil || len(c.warnings) > 0 {
		t.Fatalf("%v %v", err, c.warnings)
	}
	tcp := &ringfencev1.IngressService{Service: &ringfencev1.IngressService_Port{Port: &ringfencev1.PortRange{Protocol: 6, Port: 80, ToPort: 90}}}
	ping := &ringfencev1.IngressService{Service: &ringfencev1.IngressService_Port{Port: &ringfencev1.PortRange{Protocol: 1, IcmpType: proto.Uint32(8), IcmpCode: proto.Uint32(0)}}}
	want := &ringfencev1.RuleSet{
		Href: "/orgs/1/sec_policy/active/rule_sets/3", Name: "shop", Enabled: true,
		Scopes: []*ringfencev1.Scope{{Entries: []*ringfencev1.Actor{labelActor("/orgs/1/labels/1")}}, {}},
		Rules: []*ringfencev1.Rule{
			{Href: "/orgs/1/sec_policy/active/rule_sets/3/sec_rules/7", Enabled: true, Services: []*ringfencev1.IngressService{tcp}},
			{Href: "/orgs/1/sec_policy/active/rule_sets/3/sec_rules/8", UnscopedConsumers: true,
				Consumers: []*ringfencev1.Actor{{Actor: &ringfencev1.Actor_AllWorkloads{AllWorkloads: true}}, {Actor: &ringfencev1.Actor_IpList{IpList: "/orgs/1/sec_policy/active/ip_lists/2"}}},
				Providers: []*ringfencev1.Actor{labelActor("/orgs/1/labels/9")},
				Services:  []*ringfencev1.IngressService{{Service: &ringfencev1.IngressService_Href{Href: "/orgs/1/sec_policy/active/services/4"}}, ping}},
		},
	}
	if diff := cmp.Diff(want, got.GetRuleSet(), protocmp.Transform()); diff != "" {
		t.Fatal(diff)
	}
}

// Every kind of actor has its own field, so that a reader that does not know one matches nothing by it.
func TestActorsOfEveryKind(t *testing.T) {
	c := &converter{}
	got, err := c.ruleSet(decoded[pce.RuleSet](t, `{"href":"/rs","scopes":[[{"label_group":{"href":"/orgs/1/sec_policy/draft/label_groups/g"}},{"label":{"href":"/l"},"exclusion":true}]],
		"rules":[{"href":"/r","resolve_labels_as":{"consumers":["workloads"],"providers":["workloads","virtual_services"]},
		 "consumers":[{"label":{"href":"/l"}},{"label":{"href":"/m"},"exclusion":true},{"label_group":{"href":"/orgs/1/sec_policy/draft/label_groups/g"}},{"label_group":{"href":"/h"},"exclusion":true}],
		 "providers":[{"workload":{"href":"/orgs/1/kubernetes_workloads/w"}},{"virtual_service":{"href":"/orgs/1/sec_policy/draft/virtual_services/v"}}]}]}`))
	if err != nil || len(c.warnings) > 0 {
		t.Fatalf("%v %v", err, c.warnings)
	}
	group := &ringfencev1.Actor{Actor: &ringfencev1.Actor_LabelGroup{LabelGroup: "/orgs/1/sec_policy/active/label_groups/g"}}
	want := &ringfencev1.RuleSet{
		Href: "/rs", Enabled: true,
		Scopes: []*ringfencev1.Scope{{Entries: []*ringfencev1.Actor{group, {Actor: &ringfencev1.Actor_ExcludedLabel{ExcludedLabel: "/l"}}}}},
		Rules: []*ringfencev1.Rule{{
			Href: "/r", Enabled: true,
			Consumers: []*ringfencev1.Actor{
				labelActor("/l"), {Actor: &ringfencev1.Actor_ExcludedLabel{ExcludedLabel: "/m"}},
				group, {Actor: &ringfencev1.Actor_ExcludedLabelGroup{ExcludedLabelGroup: "/h"}},
			},
			Providers: []*ringfencev1.Actor{
				{Actor: &ringfencev1.Actor_Workload{Workload: "/orgs/1/kubernetes_workloads/w"}},
				{Actor: &ringfencev1.Actor_VirtualService{VirtualService: "/orgs/1/sec_policy/active/virtual_services/v"}},
			},
			ResolveConsumersAs: []ringfencev1.LabelResolution{ringfencev1.LabelResolution_LABEL_RESOLUTION_WORKLOADS},
			ResolveProvidersAs: []ringfencev1.LabelResolution{
				ringfencev1.LabelResolution_LABEL_RESOLUTION_WORKLOADS, ringfencev1.LabelResolution_LABEL_RESOLUTION_VIRTUAL_SERVICES,
			},
		}},
	}
	if diff := cmp.Diff(want, got.GetRuleSet(), protocmp.Transform()); diff != "" {
		t.Fatal(diff)
	}
}

// Deny rules are apart from rules: whoever does not know them must not take them for rules that allow.
func TestDenyRulesAndBoundaries(t *testing.T) {
	c := &converter{}
	set, err := c.ruleSet(decoded[pce.RuleSet](t, `{"href":"/rs","scopes":[[]],"rules":[{"href":"/r"}],"deny_rules":[
		{"href":"/e","enabled":false,"override":true,"unscoped_consumers":true,"consumers":[{"actors":"ams"}],"providers":[{"label":{"href":"/l"}}],"ingress_services":[{"proto":6,"port":22}]},
		{"href":"/d","consumers":[{"actors":"ams"}],"providers":[{"actors":"ams"}]}]}`))
	if err != nil {
		t.Fatal(err)
	}
	boundary, err := c.boundary(decoded[pce.EnforcementBoundary](t, `{"href":"/orgs/1/sec_policy/draft/enforcement_boundaries/2","name":"no ssh","consumers":[{"ip_list":{"href":"/i"}}],"providers":[{"actors":"ams"}],"ingress_services":[{"proto":6,"port":22}]}`))
	if err != nil || len(c.warnings) > 0 {
		t.Fatalf("%v %v", err, c.warnings)
	}
	all := []*ringfencev1.Actor{{Actor: &ringfencev1.Actor_AllWorkloads{AllWorkloads: true}}}
	ssh := []*ringfencev1.IngressService{{Service: &ringfencev1.IngressService_Port{Port: &ringfencev1.PortRange{Protocol: 6, Port: 22}}}}
	wantSet := &ringfencev1.RuleSet{
		Href: "/rs", Enabled: true, Scopes: []*ringfencev1.Scope{{}}, Rules: []*ringfencev1.Rule{{Href: "/r", Enabled: true}},
		DenyRules: []*ringfencev1.DenyRule{
			{Rule: &ringfencev1.Rule{Href: "/d", Enabled: true, Consumers: all, Providers: all}},
			{Rule: &ringfencev1.Rule{Href: "/e", UnscopedConsumers: true, Consumers: all, Providers: []*ringfencev1.Actor{labelActor("/l")}, Services: ssh}, Override: true},
		},
	}
	if diff := cmp.Diff(wantSet, set.GetRuleSet(), protocmp.Transform()); diff != "" {
		t.Error(diff)
	}
	wantBoundary := &ringfencev1.EnforcementBoundary{
		Href: "/orgs/1/sec_policy/active/enforcement_boundaries/2", Name: "no ssh", Enabled: true,
		Consumers: []*ringfencev1.Actor{{Actor: &ringfencev1.Actor_IpList{IpList: "/i"}}}, Providers: all, Services: ssh,
	}
	if diff := cmp.Diff(wantBoundary, boundary.GetEnforcementBoundary(), protocmp.Transform()); diff != "" {
		t.Error(diff)
	}
}

// What cannot be expressed matches nothing, and says so with the names of rule set and rule. Whatever narrows a whole
// rule must take everything out of it: an IP list beside an unsupported actor would still match.
func TestUnsupportedMatchesNothing(t *testing.T) {
	const before = "rule set /rs (shop): "
	for name, test := range map[string]struct{ rule, consumers, warning string }{
		"new kind":             {`"consumers":[{"user_group":{"href":"/u"}}]`, "unsupported", before + "rule /r: consumers: user_group is not supported; it matches nothing"},
		"other actors":         {`"consumers":[{"actors":"container_host"},{"label":{"href":"/l"}}]`, "unsupported,label", before + `rule /r: consumers: actors "container_host" is not supported; it matches nothing`},
		"exclusion of a list":  {`"consumers":[{"ip_list":{"href":"/i"},"exclusion":true}]`, "unsupported", before + "rule /r: consumers: exclusion of IP list /i is not supported; it matches nothing"},
		"exclusion of all":     {`"consumers":[{"actors":"ams","exclusion":true}]`, "unsupported", before + `rule /r: consumers: exclusion of actors "ams" is not supported; it matches nothing`},
		"exclusion of nothing": {`"consumers":[{"exclusion":true}]`, "unsupported", before + "rule /r: consumers: exclusion of an actor that names nothing is not supported; it matches nothing"},
		"new resolution": {`"consumers":[{"label":{"href":"/l"}},{"label_group":{"href":"/g"}},{"actors":"ams"},{"ip_list":{"href":"/i"}},{"workload":{"href":"/w"}}],"resolve_labels_as":{"consumers":["pods"],"providers":["workloads"]}`,
			"ip_list,workload,unsupported", before + `rule /r: consumers: resolve_labels_as "pods" is not supported; labels stand for nothing by it`},
		"sec_connect":    {`"sec_connect":true,"consumers":[{"ip_list":{"href":"/i"}}]`, "unsupported", before + "rule /r: sec_connect is not supported; the rule matches nothing"},
		"machine_auth":   {`"machine_auth":true,"consumers":[{"actors":"ams"}]`, "unsupported", before + "rule /r: machine_auth is not supported; the rule matches nothing"},
		"principals":     {`"consuming_security_principals":[{"href":"/p"}],"consumers":[{"actors":"ams"}]`, "unsupported", before + "rule /r: consuming_security_principals is not supported; the rule matches nothing"},
		"other networks": {`"network_type":"non_brn","consumers":[{"actors":"ams"}]`, "unsupported", before + `rule /r: network_type "non_brn" is not supported; the rule matches nothing`},
	} {
		t.Run(name, func(t *testing.T) {
			for _, list := range []string{"rules", "deny_rules"} {
				c := &converter{}
				got, err := c.ruleSet(decoded[pce.RuleSet](t, `{"href":"/rs","name":"shop","scopes":[[]],"`+list+`":[{"href":"/r","providers":[{"actors":"ams"}],"ingress_services":[{"proto":6}],`+test.rule+`}]}`))
				if err != nil {
					t.Fatal(err)
				}
				rules := got.GetRuleSet().GetRules()
				for _, deny := range got.GetRuleSet().GetDenyRules() {
					rules = append(rules, deny.GetRule())
				}
				if kinds := kindsOf(rules[0].GetConsumers()); kinds != test.consumers {
					t.Errorf("consumers %v, want %s", kinds, test.consumers)
				}
				if diff := cmp.Diff([]string{test.warning}, c.warnings); diff != "" {
					t.Error(diff)
				}
			}
		})
	}
}

// kindsOf names the fields that actors are in.
func kindsOf(actors []*ringfencev1.Actor) string {
	var kinds []string
	for _, a := range actors {
		field := a.ProtoReflect().WhichOneof(a.ProtoReflect().Descriptor().Oneofs().Get(0))
		kinds = append(kinds, string(field.Name()))
	}
	return strings.Join(kinds, ",")
}

// A scope is of labels. Whatever else the console may put there narrows it in a way that is not known.
func TestScopesHoldLabelsAlone(t *testing.T) {
	c := &converter{}
	got, err := c.ruleSet(decoded[pce.RuleSet](t, `{"href":"/rs","scopes":[[{"label":{"href":"/l"}},{"ip_list":{"href":"/i"}},{"actors":"ams"},{"workload":{"href":"/w"}}]]}`))
	if err != nil {
		t.Fatal(err)
	}
	if kinds := kindsOf(got.GetRuleSet().GetScopes()[0].GetEntries()); kinds != "label,unsupported,unsupported,unsupported" || len(c.warnings) != 3 {
		t.Errorf("entries %s, warnings %q", kinds, c.warnings)
	}
}

func TestInertObjects(t *testing.T) {
	c := &converter{}
	service, err := c.service(decoded[pce.Service](t, `{"href":"/s","name":"java","process_name":"java","service_ports":[{"proto":6,"port":80}]}`))
	if err != nil {
		t.Fatal(err)
	}
	boundary, err := c.boundary(decoded[pce.EnforcementBoundary](t, `{"href":"/b","network_type":"non_brn","consumers":[{"actors":"ams"}],"providers":[{"ip_list":{"href":"/i"}}],"ingress_services":[{"proto":6}]}`))
	if err != nil {
		t.Fatal(err)
	}
	b := boundary.GetEnforcementBoundary()
	if kindsOf(b.GetConsumers()) != "unsupported" || kindsOf(b.GetProviders()) != "unsupported" || len(service.GetService().GetPorts()) != 0 {
		t.Fatalf("%v %v", boundary, service)
	}
	want := []string{`service /s (java): is limited to process "java", which is not supported; it covers no port`,
		`enforcement boundary /b: network_type "non_brn" is not supported; the boundary matches nothing`}
	if diff := cmp.Diff(want, c.warnings); diff != "" {
		t.Fatal(diff)
	}
}

func TestLabelGroup(t *testing.T) {
	got, err := (&converter{}).labelGroup(decoded[pce.LabelGroup](t, `{"href":"/orgs/1/sec_policy/draft/label_groups/g","name":"prod","key":"env","labels":[{"href":"/2","key":"env","value":"b"},{"href":"/1"},{"href":"/2"}],
		"sub_groups":[{"href":"/orgs/1/sec_policy/draft/label_groups/h","name":"h"}]}`))
	if err != nil {
		t.Fatal(err)
	}
	want := &ringfencev1.LabelGroup{Href: "/orgs/1/sec_policy/active/label_groups/g", Name: "prod", Key: "env", Labels: []string{"/1", "/2"},
		SubGroups: []string{"/orgs/1/sec_policy/active/label_groups/h"}}
	if diff := cmp.Diff(want, got.GetLabelGroup(), protocmp.Transform()); diff != "" {
		t.Fatal(diff)
	}
}

// A virtual service is a Service of this cluster, of another cluster, or somebody's own with addresses and bindings.
func TestVirtualService(t *testing.T) {
	bindings := decoded[[]pce.ServiceBinding](t, `[{"href":"/b/1","virtual_service":{"href":"/orgs/1/sec_policy/active/virtual_services/v"},"workload":{"href":"/w/2"}},
		{"href":"/b/2","virtual_service":{"href":"/orgs/1/sec_policy/active/virtual_services/v"},"workload":{"href":"/w/1"}},
		{"href":"/b/3","virtual_service":{"href":"/orgs/1/sec_policy/active/virtual_services/v"},"workload":{"href":"/w/3"},"port_overrides":[{"port":80,"new_port":8080}]},
		{"href":"/b/4","virtual_service":{"href":"/orgs/1/sec_policy/active/virtual_services/other"},"workload":{"href":"/w/4"}},{"href":"/b/5"}]`)
	for name, test := range map[string]struct {
		text     string
		want     *ringfencev1.VirtualService
		warnings []string
	}{
		"own": {
			`"labels":[{"href":"/l/2"},{"href":"/l/1"}],"service":{"href":"/orgs/1/sec_policy/draft/services/4"},"service_addresses":[{"ip":"192.0.2.1","port":443},{"ip":"::ffff:192.0.2.2","network":{"href":"/n"}},{"fqdn":"*.example.com"}],"ip_overrides":["192.0.2.3","192.0.2.0/24"]`,
			&ringfencev1.VirtualService{
				Labels: []string{"/l/1", "/l/2"}, Services: []*ringfencev1.IngressService{serviceAt("/orgs/1/sec_policy/active/services/4")},
				Addresses: []*ringfencev1.VirtualServiceAddress{{Address: "192.0.2.1", Port: 443}, {Address: "192.0.2.2"}, {Address: "192.0.2.3"}},
			},
			[]string{`service_addresses[2]: the name "*.example.com" is not supported; it is no address of the virtual service`,
				`ip_overrides[1]: "192.0.2.0/24" is not supported, for it is not one address; it is no address of the virtual service`},
		},
		"of this cluster": {
			`"external_data_set":"this|shop","external_data_reference":"uid-1","service_ports":[{"proto":6,"port":80}],"service_addresses":[{"ip":"10.96.0.1","port":80}]`,
			&ringfencev1.VirtualService{
				Services: []*ringfencev1.IngressService{{Service: &ringfencev1.IngressService_Port{Port: &ringfencev1.PortRange{Protocol: 6, Port: 80}}}}, ServiceUid: "uid-1",
			}, nil,
		},
		"of another cluster": {`"external_data_set":"another|shop","external_data_reference":"uid-1","service_addresses":[{"ip":"10.96.0.1","port":80}]`, &ringfencev1.VirtualService{}, nil},
		"tagged by somebody": {`"external_data_set":"cmdb","external_data_reference":"uid-1"`, &ringfencev1.VirtualService{}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			c := &converter{cluster: "this"}
			got, err := c.virtualService(decoded[pce.VirtualService](t, `{"href":"/orgs/1/sec_policy/draft/virtual_services/v","name":"v",`+test.text+`}`), bindings)
			if err != nil {
				t.Fatal(err)
			}
			test.want.Href, test.want.Name, test.want.Workloads = "/orgs/1/sec_policy/active/virtual_services/v", "v", []string{"/w/1", "/w/2"}
			if diff := cmp.Diff(test.want, got.GetVirtualService(), protocmp.Transform()); diff != "" {
				t.Error(diff)
			}
			var want []string
			for _, w := range append(test.warnings, "service binding /b/3: port_overrides are not supported; workload /w/3 does not provide the virtual service") {
				want = append(want, "virtual service /orgs/1/sec_policy/draft/virtual_services/v (v): "+w)
			}
			if diff := cmp.Diff(want, c.warnings); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestWorkloadsAndWhatNodesAre(t *testing.T) {
	c := &converter{}
	for text, want := range map[string]*ringfencev1.PceWorkload{
		`{"href":"/orgs/1/workloads/a","name":"db","hostname":"db.example","managed":true,"enforcement_mode":"full","machine_id":"m","labels":[{"href":"/2"},{"href":"/1"}],
		  "interfaces":[{"name":"eth0","address":"192.0.2.9"},{"name":"lo","address":"127.0.0.1"},{"name":"eth0","address":"fe80::1%eth0"},{"name":"eth1","address":"::ffff:192.0.2.1"},{"name":"eth2"},{"name":"eth0.1","address":"192.0.2.9"}]}`: {
			Href: "/orgs/1/workloads/a", Name: "db", Hostname: "db.example", Managed: true, MachineId: "m", Labels: []string{"/1", "/2"},
			EnforcementMode: ringfencev1.EnforcementMode_ENFORCEMENT_MODE_FULL, Addresses: []string{"192.0.2.1", "192.0.2.9"},
		},
		`{"href":"/w","ven":{"href":"/orgs/1/vens/1"}}`:                 {Href: "/w", Managed: true, EnforcementMode: ringfencev1.EnforcementMode_ENFORCEMENT_MODE_VISIBILITY_ONLY},
		`{"href":"/w","ven":{"href":"/orgs/1/vens/1"},"managed":false}`: {Href: "/w"},
		`{"href":"/w","hostname":"printer","interfaces":[]}`:            {Href: "/w", Hostname: "printer"},
	} {
		got, err := c.workload(decoded[pce.Workload](t, text))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" {
			t.Error(diff)
		}
	}
	pairing, err := c.pairingProfile(decoded[pce.PairingProfile](t, `{"href":"/p","name":"nodes","enabled":true,"labels":[{"href":"/1"}]}`))
	if err != nil {
		t.Fatal(err)
	}
	want := &ringfencev1.PairingProfile{Href: "/p", Name: "nodes", Enabled: true, EnforcementMode: ringfencev1.EnforcementMode_ENFORCEMENT_MODE_VISIBILITY_ONLY, Labels: []string{"/1"}}
	if diff := cmp.Diff(want, pairing, protocmp.Transform()); diff != "" {
		t.Error(diff)
	}
}

// Every impossible value is refused with the object and the field.
func TestMalformedNamesObjectAndField(t *testing.T) {
	c := &converter{}
	ipList := func(text string) error { _, err := c.ipList(decoded[pce.IPList](t, text)); return err }
	service := func(text string) error { _, err := c.service(decoded[pce.Service](t, text)); return err }
	ruleSet := func(text string) error { _, err := c.ruleSet(decoded[pce.RuleSet](t, text)); return err }
	profile := func(text string) error {
		_, err := c.profile(decoded[pce.ContainerWorkloadProfile](t, text))
		return err
	}
	label := func(text string) error { _, err := c.label(decoded[pce.Label](t, text)); return err }
	group := func(text string) error { _, err := c.labelGroup(decoded[pce.LabelGroup](t, text)); return err }
	boundary := func(text string) error {
		_, err := c.boundary(decoded[pce.EnforcementBoundary](t, text))
		return err
	}
	virtual := func(text string) error {
		_, err := c.virtualService(decoded[pce.VirtualService](t, text), nil)
		return err
	}
	workload := func(text string) error { _, err := c.workload(decoded[pce.Workload](t, text)); return err }
	pairing := func(text string) error {
		_, err := c.pairingProfile(decoded[pce.PairingProfile](t, text))
		return err
	}
	dimension := func(text string) error { _, err := c.dimension(decoded[pce.LabelDimension](t, text)); return err }
	known := func(text string) error {
		_, err := c.acknowledged(decoded[pce.KubernetesWorkload](t, text))
		return err
	}
	for _, test := range []struct {
		err  error
		want string
	}{
		{ipList(`{"href":"/i","name":"x","ip_ranges":[{"from_ip":"10.0.0.1"},{"from_ip":"10.0.0.300"}]}`), `IP list /i (x): ip_ranges[1].from_ip: "10.0.0.300" is not an IP address`},
		{ipList(`{"href":"/i","ip_ranges":[{"from_ip":"10.0.0.0/33"}]}`), `IP list /i: ip_ranges[0].from_ip: "10.0.0.0/33" is not a CIDR`},
		{ipList(`{"href":"/i","ip_ranges":[{"from_ip":"10.0.0.0/8","to_ip":"10.0.0.1"}]}`), `ip_ranges[0].to_ip: "10.0.0.1" follows the CIDR`},
		{ipList(`{"href":"/i","ip_ranges":[{"from_ip":"10.0.0.9","to_ip":"10.0.0.1"}]}`), `ip_ranges[0].to_ip: 10.0.0.1 does not come after 10.0.0.9`},
		{ipList(`{"href":"/i","ip_ranges":[{"from_ip":"10.0.0.9","to_ip":"::1"}]}`), `ip_ranges[0].to_ip: ::1 does not come after`},
		{ipList(`{"href":"","name":"x"}`), `IP list (x): href: "" does not end in an id`},
		{ipList(`{"href":"/i","fqdns":[{"fqdn":"a.example.com."},{"fqdn":"."}]}`), `IP list /i: fqdns[1].fqdn: "." is no name`},
		{service(`{"href":"/s","service_ports":[{"port":80}]}`), `service /s: service_ports[0].proto: is missing`},
		{service(`{"href":"/s","service_ports":[{"proto":0}]}`), `service_ports[0].proto: 0 is neither -1 nor 1 to 255`},
		{service(`{"href":"/s","service_ports":[{"proto":6,"port":-1}]}`), `service_ports[0].port: -1 is not a port`},
		{service(`{"href":"/s","service_ports":[{"proto":6,"port":80,"to_port":79}]}`), `service_ports[0].to_port: 79 does not end a range that begins at 80`},
		{service(`{"href":"/s","service_ports":[{"proto":6,"icmp_type":1}]}`), `service_ports[0].icmp_type: protocol 6 has none`},
		{service(`{"href":"/s","service_ports":[{"proto":1,"icmp_code":1}]}`), `service_ports[0].icmp_code: 1 comes without an icmp_type`},
		{service(`{"href":"/s","service_ports":[{"proto":1,"icmp_type":256}]}`), `service_ports[0].icmp_type: 256 is not a type`},
		{ruleSet(`{"href":"/rs","name":"n","scopes":[[{"label":{"href":""}}]]}`), `rule set /rs (n): scopes[0][0].label.href: is empty`},
		{ruleSet(`{"href":"/rs","rules":[{}]}`), `rule set /rs: rules.href: is empty`},
		{ruleSet(`{"href":"/rs","rules":[{"href":"/r","providers":[{"label":{"href":"/l"},"ip_list":{"href":"/i"}}]}]}`), `rule set /rs: rule /r: providers[0]: names 2 actors at once`},
		{ruleSet(`{"href":"/rs","rules":[{"href":"/r","ingress_services":[{"proto":6,"port":70000}]}]}`), `rule set /rs: rule /r: ingress_services[0].port: 70000 is not a port`},
		{profile(`{"href":"/p","namespace":"shop","managed":true,"enforcement_mode":"maximal"}`), `container workload profile /p (shop): enforcement_mode: "maximal" is unknown`},
		{profile(`{"href":"/p","managed":true}`), `container workload profile /p: enforcement_mode: "" is unknown`},
		{profile(`{"href":"/p","labels":[{"key":"app","assignment":{"href":"/l"}},{"key":"app","restriction":[]}]}`), `labels[1].key: "app" is empty or there twice`},
		{label(`{"href":"/l","value":"x"}`), `label /l: key: is empty`},
		{label(`{"href":"/l","key":"x"}`), `label /l: value: is empty`},
		{ruleSet(`{"href":"/rs","deny_rules":[{}]}`), `rule set /rs: deny_rules.href: is empty`},
		{ruleSet(`{"href":"/rs","deny_rules":[{"href":"/d","consumers":[{"label_group":{"href":""}}]}]}`), `rule set /rs: rule /d: consumers[0].label_group.href: is empty`},
		{ruleSet(`{"href":"/rs","scopes":[[{"label":{"href":"/l"},"label_group":{"href":"/g"}}]]}`), `rule set /rs: scopes[0][0]: names 2 actors at once`},
		{group(`{"href":"/g","name":"x"}`), `label group /g (x): key: is empty`},
		{group(`{"href":"/g","key":"env","labels":[{"href":"/1"},{}]}`), `label group /g: labels[1].href: is empty`},
		{group(`{"href":"/g","key":"env","sub_groups":[{}]}`), `label group /g: sub_groups[0].href: is empty`},
		{boundary(`{"href":"/b","name":"x","providers":[{"workload":{"href":""}}]}`), `enforcement boundary /b (x): providers[0].workload.href: is empty`},
		{boundary(`{"href":"/b","ingress_services":[{"port":1}]}`), `enforcement boundary /b: ingress_services[0].proto: is missing`},
		{virtual(`{"href":"/v","name":"x","service_addresses":[{"ip":"10.0.0.300"}]}`), `virtual service /v (x): service_addresses[0].ip: "10.0.0.300" is not an IP address`},
		{virtual(`{"href":"/v","service_addresses":[{"ip":"10.0.0.3","port":70000}]}`), `service_addresses[0].port: 70000 is not a port`},
		{virtual(`{"href":"/v","service_ports":[{"proto":300}]}`), `service_ports[0].proto: 300 is neither`},
		{virtual(`{"href":"/v","labels":[{}]}`), `virtual service /v: labels[0].href: is empty`},
		{workload(`{"href":"/w","hostname":"db","interfaces":[{},{"address":"x"}]}`), `workload /w (db): interfaces[1].address: "x" is not an IP address`},
		{workload(`{"href":"/w","enforcement_mode":"maximal"}`), `workload /w: enforcement_mode: "maximal" is unknown`},
		{workload(`{"href":"/w","labels":[{}]}`), `workload /w: labels[0].href: is empty`},
		{pairing(`{"href":"/p","name":"n","enforcement_mode":"maximal"}`), `pairing profile /p (n): enforcement_mode: "maximal" is unknown`},
		{dimension(`{"href":"/d"}`), `label dimension /d: key: is empty`},
		{known(`{"href":"/k","namespace":"shop","kind":"Deployment"}`), `Kubernetes workload /k (shop/): name: is empty`},
		{known(`{"namespace":"shop","kind":"Deployment","name":"web"}`), `Kubernetes workload (shop/web): href: "" does not end in an id`},
	} {
		if test.err == nil || !strings.Contains(test.err.Error(), test.want) || kindOf(test.err) != "malformed" {
			t.Errorf("got %v\nwant %s", test.err, test.want)
		}
	}
}

func TestTooLargeObjectIsRefusedByName(t *testing.T) {
	ranges := make([]pce.IPRange, 60_000)
	for i := range ranges {
		ranges[i].FromIP = "2001:db8:1234:5678::1"
	}
	_, err := (&converter{}).ipList(pce.IPList{Href: "/i", Name: "huge", IPRanges: ranges})
	if err == nil || !strings.Contains(err.Error(), "IP list /i (huge): (whole): it takes 1") {
		t.Fatal(err)
	}
}

func TestProfile(t *testing.T) {
	got, err := (&converter{}).profile(decoded[pce.ContainerWorkloadProfile](t, `{"href":"/p","name":null,"namespace":"shop","managed":true,"enforcement_mode":"full",
		"labels":[{"key":"role","restriction":[{"href":"/3"}]},{"key":"app","assignment":{"href":"/1","value":"x"}},{"key":"env","restriction":[]},{"key":"loc"}]}`))
	if err != nil {
		t.Fatal(err)
	}
	want := &ringfencev1.ContainerWorkloadProfile{
		Href: "/p", Namespace: "shop", Managed: true, EnforcementMode: ringfencev1.EnforcementMode_ENFORCEMENT_MODE_FULL,
		Labels: []*ringfencev1.ProfileLabel{{Key: "app", Assignment: "/1"}, {Key: "env", Restricted: true}, {Key: "role", Restricted: true, Restriction: []string{"/3"}}},
	}
	if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" {
		t.Fatal(diff)
	}
}

// FuzzConvert feeds console objects through the converter: it refuses them with object and field, or gives facts that the
// engine takes. What the engine would refuse must never reach the log: it would hold up every later version.
func FuzzConvert(f *testing.F) {
	for _, seed := range []string{
		`{"href":"/i/1","name":"x","ip_ranges":[{"from_ip":"10.0.0.0/8"},{"from_ip":"10.0.0.1","to_ip":"10.0.0.9","exclusion":true}],"fqdns":[{"fqdn":"*.x"}]}`,
		`{"href":"/s/1","service_ports":[{"proto":6,"port":443},{"proto":-1},{"proto":58,"icmp_type":128,"icmp_code":0},{"proto":17,"port":1,"to_port":2}]}`,
		`{"href":"/r/1","enabled":true,"scopes":[[{"label":{"href":"/l/1"}}]],"rules":[{"href":"/r/1/2","consumers":[{"actors":"ams"}],"providers":[{"ip_list":{"href":"/i/1"}}],"ingress_services":[{"href":"/s/1"},{"proto":6,"port":80}]}],"deny_rules":[{"href":"/d"}]}`,
		`{"href":"/p/1","namespace":"shop","managed":true,"enforcement_mode":"full","labels":[{"key":"app","assignment":{"href":"/l/1"}}]}`,
		`{"href":"/i/2","fqdns":[{"fqdn":"a."},{"fqdn":"."}]}`, `{"href":"/i/3","fqdns":[{"fqdn":""}]}`,
		`{"href":"/l/1","key":"app","value":"web"}`, `{"href":"/::ffff:1.2.3.4/96"}`, `{}`,
		`{"href":"/g/1","key":"env","labels":[{"href":"/l/1"}],"sub_groups":[{"href":"/g/2"}]}`,
		`{"href":"/b/1","consumers":[{"label_group":{"href":"/g/1"},"exclusion":true}],"providers":[{"workload":{"href":"/w/1"}}],"ingress_services":[{"proto":17}]}`,
		`{"href":"/v/1","external_data_set":"this|shop","external_data_reference":"u","service_ports":[{"proto":6,"port":80}]}`,
		`{"href":"/v/1","service":{"href":"/s/1"},"service_addresses":[{"ip":"10.0.0.1","port":80}],"ip_overrides":["10.0.0.2"],"labels":[{"href":"/l/1"}]}`,
		`{"href":"/w/1","hostname":"db","managed":true,"enforcement_mode":"full","machine_id":"m","interfaces":[{"address":"10.0.0.1"},{"address":"fe80::1%e"}],"labels":[{"href":"/l/1"}]}`,
		`{"href":"/pp/1","name":"nodes","enabled":true,"enforcement_mode":"idle"}`, `{"href":"/k/1","namespace":"shop","kind":"Deployment","name":"web"}`,
		`{"href":"/r/1","scopes":[[]],"deny_rules":[{"href":"/d","override":true,"consumers":[{"virtual_service":{"href":"/v/1"}}],"providers":[{"actors":"ams"}],"resolve_labels_as":{"providers":["virtual_services"],"consumers":["pods"]}}]}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		c, engine := &converter{cluster: "this"}, clas.New()
		take := func(subject string, fact *ringfencev1.Fact, err error) {
			switch {
			case err != nil && kindOf(err) != "malformed":
				t.Fatalf("refused without naming: %v", err)
			case err != nil:
			default:
				if err := engine.Apply(subject, engine.Sequence()+1, fact); err != nil {
					t.Fatalf("the engine refuses what was converted from %s: %v", body, err)
				}
			}
		}
		var l pce.Label
		if json.Unmarshal(body, &l) == nil {
			out, err := c.label(l)
			take(eventlog.LabelSubject(pce.ID(l.Href)), &ringfencev1.Fact{Body: &ringfencev1.Fact_Label{Label: out}}, err)
		}
		var p pce.ContainerWorkloadProfile
		if json.Unmarshal(body, &p) == nil {
			out, err := c.profile(p)
			take(eventlog.ProfileSubject(pce.ID(p.Href)), &ringfencev1.Fact{Body: &ringfencev1.Fact_ContainerWorkloadProfile{ContainerWorkloadProfile: out}}, err)
		}
		converting(body, c.dimension, func(d *ringfencev1.LabelDimension, err error) {
			take(eventlog.LabelDimensionSubject(pce.ID(d.GetHref())), &ringfencev1.Fact{Body: &ringfencev1.Fact_LabelDimension{LabelDimension: d}}, err)
		})
		converting(body, c.workload, func(w *ringfencev1.PceWorkload, err error) {
			take(eventlog.PceWorkloadSubject(pce.ID(w.GetHref())), &ringfencev1.Fact{Body: &ringfencev1.Fact_PceWorkload{PceWorkload: w}}, err)
		})
		converting(body, c.pairingProfile, func(p *ringfencev1.PairingProfile, err error) {
			take(eventlog.PairingProfileSubject(pce.ID(p.GetHref())), &ringfencev1.Fact{Body: &ringfencev1.Fact_PairingProfile{PairingProfile: p}}, err)
		})
		converting(body, c.acknowledged, func(w *ringfencev1.AcknowledgedWorkload, err error) {
			take(eventlog.AcknowledgedSubject(pce.ID(w.GetHref())), &ringfencev1.Fact{Body: &ringfencev1.Fact_AcknowledgedWorkload{AcknowledgedWorkload: w}}, err)
		})
		version := &policy{objects: map[string]object{}}
		add := func(o *ringfencev1.PceObject, err error) {
			if err == nil {
				err = version.add(o)
			}
			if err != nil {
				if kindOf(err) != "malformed" {
					t.Fatalf("refused without naming: %v", err)
				}
				return
			}
			held := version.objects[hrefOf(o)]
			take(eventlog.ObjectSubject(held.sha256), &ringfencev1.Fact{Body: &ringfencev1.Fact_PceObject{PceObject: o}}, nil)
		}
		var i pce.IPList
		if json.Unmarshal(body, &i) == nil {
			add(c.ipList(i))
		}
		var s pce.Service
		if json.Unmarshal(body, &s) == nil {
			add(c.service(s))
		}
		var r pce.RuleSet
		if json.Unmarshal(body, &r) == nil {
			add(c.ruleSet(r))
		}
		converting(body, c.labelGroup, add)
		converting(body, c.boundary, add)
		converting(body, func(v pce.VirtualService) (*ringfencev1.PceObject, error) { return c.virtualService(v, nil) }, add)
	})
}

// converting converts what decodes.
func converting[T, P any](body []byte, convert func(T) (P, error), take func(P, error)) {
	var in T
	if json.Unmarshal(body, &in) == nil {
		take(convert(in))
	}
}
