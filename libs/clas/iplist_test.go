package clas_test

import (
	"slices"
	"testing"

	pb "github.com/ringfence/ringfence/proto/ringfence/v1"

	"github.com/ringfence/ringfence/libs/clas"
)

func TestIPListsAreMergedAndExclusionsSubtracted(t *testing.T) {
	cases := []struct {
		name   string
		ranges []*pb.IpRange
		want   []string
	}{
		{"an address", []*pb.IpRange{span("192.0.2.1", "")}, []string{"192.0.2.1/32"}},
		{"a CIDR with host bits", []*pb.IpRange{span("10.1.2.3/8", "")}, []string{"10.0.0.0/8"}},
		{"a range", []*pb.IpRange{span("10.0.0.1", "10.0.0.4")}, []string{"10.0.0.1/32", "10.0.0.2/31", "10.0.0.4/32"}},
		{"both families, sorted", []*pb.IpRange{span("fd00::/64", ""), span("10.0.0.0/24", "")}, []string{"10.0.0.0/24", "fd00::/64"}},
		{"neighbours and repeats merge", []*pb.IpRange{span("10.0.0.0/25", ""), span("10.0.0.128/25", ""), span("10.0.0.7", "")}, []string{"10.0.0.0/24"}},
		{"an exclusion, before what it excludes", []*pb.IpRange{except("10.0.0.0/31", ""), span("10.0.0.0/30", "")}, []string{"10.0.0.2/31"}},
		{"an exclusion of what another range names again", []*pb.IpRange{span("10.0.0.0/30", ""), except("10.0.0.0/31", ""), span("10.0.0.1", "")}, []string{"10.0.0.2/31"}},
		{"everything excluded", []*pb.IpRange{span("10.0.0.1", ""), except("0.0.0.0/0", "")}, nil},
		{"only an exclusion", []*pb.IpRange{except("10.0.0.1", "")}, nil},
		{"IPv4 in IPv6 form", []*pb.IpRange{span("::ffff:10.0.0.1", "")}, []string{"10.0.0.1/32"}},
		{"any", []*pb.IpRange{span("0.0.0.0/0", ""), span("::/0", "")}, []string{"0.0.0.0/0", "::/0"}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			e := clas.New()
			apply(t, e, town()...)
			apply(t, e, provisioned(1, 1, ipList("x", c.ranges...), outTo("list:x"))...)
			for _, s := range e.Policy().Sets {
				if s.GetDescription() == "IP list x ("+listHref("x")+")" {
					if !slices.Equal(s.GetPrefixes(), c.want) || s.GetAddresses() != nil {
						t.Errorf("%v, want %v", s, c.want)
					}
					return
				}
			}
			t.Errorf("no set of the list in %v", e.Policy().Sets)
		})
	}
}

// outTo lets web in prod reach the actors, and the actors reach db in prod.
func outTo(names ...string) *pb.PceObject {
	return ruleSet(&pb.RuleSet{Href: setHref("s"), Enabled: true, Scopes: []*pb.Scope{scope("prod")}, Rules: []*pb.Rule{
		{Href: ruleHref("s", "out"), Enabled: true, Consumers: actors("web"), Providers: actors(names...), Services: on(tcp(443))},
		{Href: ruleHref("s", "in"), Enabled: true, Consumers: actors(names...), Providers: actors("db"), Services: on(tcp(443))},
	}})
}

func TestIPListsOpenTheSideThatIsAWorkload(t *testing.T) {
	e := clas.New()
	apply(t, e, town()...)
	apply(t, e, provisioned(1, 1, ipList("x", span("192.0.2.0/24", ""), except("192.0.2.9", "")), outTo("list:x"))...)
	for _, c := range []struct {
		from, to string
		want     clas.Verdict
	}{
		{"prod/pweb", "192.0.2.1", clas.Allowed},
		{"prod/pweb", "192.0.2.9", clas.Blocked},
		{"dev/dweb", "192.0.2.1", clas.Blocked}, // the scope holds for the consumer
		{"prod/pdb", "192.0.2.1", clas.Blocked},
		{"192.0.2.1", "prod/pdb", clas.Allowed},
		{"192.0.2.9", "prod/pdb", clas.Blocked},
		{"192.0.2.1", "dev/ddb", clas.Blocked},
		{"192.0.2.1", "192.0.2.2", clas.Allowed}, // nobody's policy
	} {
		if got := ask(t, e, c.from, c.to, 443); got != c.want {
			t.Errorf("%s -> %s: %s, want %s", c.from, c.to, got, c.want)
		}
	}
}

func TestAnyCoversManagedWorkloadsOnTheListedSideOnly(t *testing.T) {
	e := clas.New()
	apply(t, e, town()...)
	apply(t, e, provisioned(1, 1, ipList("any", span("0.0.0.0/0", ""), span("::/0", "")), outTo("list:any"))...)
	x, err := e.Explain(clas.Query{Source: "prod/pweb", Destination: "dev/ddb", Port: 443, Protocol: 6})
	if err != nil || x.Outbound.Decision != clas.DecisionAllowed || x.Inbound.Decision != clas.DecisionBlocked {
		t.Errorf("%+v, %v", x, err)
	}
	if got := ask(t, e, "prod/pweb", "prod/pdb", 443); got != clas.Allowed {
		t.Errorf("out by one rule and in by the other: %s", got)
	}
}

func TestAnIPListThatChangesReplacesItsSetAndNothingElse(t *testing.T) {
	e := clas.New()
	apply(t, e, town()...)
	apply(t, e, provisioned(1, 1, ipList("x", span("192.0.2.1", "")), outTo("list:x"))...)
	e.Flush()
	apply(t, e, provisioned(2, 1, ipList("x", span("192.0.2.2", "")), outTo("list:x"))...)
	d := e.Flush()
	if len(d.Sets) != 1 || d.Sets[0].GetReplace() == nil || len(d.Policies) > 0 || len(d.RemovedPolicies) > 0 {
		t.Errorf("sets %v, policies %v", d.Sets, d.Policies)
	}
	if got := d.Sets[0].GetReplace().GetPrefixes(); !slices.Equal(got, []string{"192.0.2.2/32"}) {
		t.Errorf("prefixes %v", got)
	}
}

func TestDomainNamesReachTheEnforcerAsNames(t *testing.T) {
	e := clas.New()
	list := ipList("x", span("192.0.2.1", ""))
	list.GetIpList().Fqdns = []string{"*.Example.com.", "*.example.com"}
	apply(t, e, shop()...)
	apply(t, e, provisioned(1, 1, list, outTo("list:x", "ams"))...)
	for _, s := range e.Policy().Sets {
		if len(s.GetPrefixes()) > 0 && !slices.Equal(s.GetFqdns(), []string{"*.example.com"}) {
			t.Errorf("names %q", s.GetFqdns())
		}
	}
	for _, p := range e.Policy().Policies {
		if slices.Contains(p.GetLabels(), "role=web") && !slices.Contains(p.GetFeatures(), clas.FeatureFQDN) {
			t.Errorf("features %q of a policy that reaches names", p.GetFeatures())
		}
	}
}
