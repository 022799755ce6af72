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

// What cannot be expressed matches nothing, and says so with the names of rule set and rule. Whatever narrows a whole
// rule must take everything out of it: an IP list beside an unsupported actor would still match.
func TestUnsupportedMatchesNothing(t *testing.T) {
	const before = "rule set /rs (shop): "
	for name, test := range map[string]struct{ rule, consumers, warning string }{
		"label group":      {`"consumers":[{"label_group":{"href":"/lg"}}]`, "unsupported", before + "rule /r: consumers: label group /lg is not supported; it matches nothing"},
		"workload":         {`"consumers":[{"workload":{"href":"/w"}},{"label":{"href":"/l"}}]`, "unsupported,label", before + "rule /r: consumers: workload /w is not supported; it matches nothing"},
		"virtual service":  {`"consumers":[{"virtual_service":{"href":"/v"}}]`, "unsupported", before + "rule /r: consumers: virtual service /v is not supported; it matches nothing"},
		"exclusion":        {`"consumers":[{"label":{"href":"/l"},"exclusion":true}]`, "unsupported", before + "rule /r: consumers: exclusion of label /l is not supported; it matches nothing"},
		"new kind":         {`"consumers":[{"user_group":{"href":"/u"}}]`, "unsupported", before + "rule /r: consumers: user_group is not supported; it matches nothing"},
		"other actors":     {`"consumers":[{"actors":"container_host"}]`, "unsupported", before + `rule /r: consumers: actors "container_host" is not supported; it matches nothing`},
		"virtual services": {`"consumers":[{"label":{"href":"/l"}},{"actors":"ams"},{"ip_list":{"href":"/i"}}],"resolve_labels_as":{"consumers":["virtual_services"],"providers":["workloads"]}`, "ip_list,unsupported", before + "rule /r: consumers: resolve_labels_as virtual_services is not supported; its labels match nothing"},
		"sec_connect":      {`"sec_connect":true,"consumers":[{"ip_list":{"href":"/i"}}]`, "unsupported", before + "rule /r: sec_connect is not supported; the rule matches nothing"},
		"machine_auth":     {`"machine_auth":true,"consumers":[{"actors":"ams"}]`, "unsupported", before + "rule /r: machine_auth is not supported; the rule matches nothing"},
		"principals":       {`"consuming_security_principals":[{"href":"/p"}],"consumers":[{"actors":"ams"}]`, "unsupported", before + "rule /r: consuming_security_principals is not supported; the rule matches nothing"},
		"other networks":   {`"network_type":"non_brn","consumers":[{"actors":"ams"}]`, "unsupported", before + `rule /r: network_type "non_brn" is not supported; the rule matches nothing`},
	} {
		t.Run(name, func(t *testing.T) {
			c := &converter{}
			got, err := c.ruleSet(decoded[pce.RuleSet](t, `{"href":"/rs","name":"shop","scopes":[[]],"rules":[{"href":"/r","providers":[{"actors":"ams"}],"ingress_services":[{"proto":6}],`+test.rule+`}]}`))
			if err != nil {
				t.Fatal(err)
			}
			var kinds []string
			for _, a := range got.GetRuleSet().GetRules()[0].GetConsumers() {
				field := a.ProtoReflect().WhichOneof(a.ProtoReflect().Descriptor().Oneofs().Get(0))
				kinds = append(kinds, string(field.Name()))
			}
			if strings.Join(kinds, ",") != test.consumers {
				t.Errorf("consumers %v, want %s", kinds, test.consumers)
			}
			if diff := cmp.Diff([]string{test.warning}, c.warnings); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestDenyRulesAndProcessServicesAreInert(t *testing.T) {
	c := &converter{}
	set, err := c.ruleSet(decoded[pce.RuleSet](t, `{"href":"/rs","scopes":[[]],"deny_rules":[{"href":"/d","override":true,"consumers":[{"actors":"ams"}],"providers":[{"actors":"ams"}],"ingress_services":[{"proto":6}]}]}`))
	if err != nil {
		t.Fatal(err)
	}
	service, err := c.service(decoded[pce.Service](t, `{"href":"/s","name":"java","process_name":"java","service_ports":[{"proto":6,"port":80}]}`))
	if err != nil {
		t.Fatal(err)
	}
	rule := set.GetRuleSet().GetRules()[0]
	if rule.GetConsumers()[0].GetUnsupported() == "" || rule.GetProviders()[0].GetUnsupported() == "" || len(rule.GetServices()) != 0 || len(service.GetService().GetPorts()) != 0 {
		t.Fatalf("%v %v", set, service)
	}
	want := []string{"rule set /rs: rule /d: deny rules are not supported; it denies nothing", `service /s (java): is limited to process "java", which is not supported; it covers no port`}
	if diff := cmp.Diff(want, c.warnings); diff != "" {
		t.Fatal(diff)
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
		`{"href":"/l/1","key":"app","value":"web"}`, `{"href":"/::ffff:1.2.3.4/96"}`, `{}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		c, engine := &converter{}, clas.New()
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
	})
}
