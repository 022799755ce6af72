package clas_test

import (
	"testing"

	pb "github.com/ringfence/ringfence/proto/ringfence/v1"

	"github.com/ringfence/ringfence/libs/clas"
)

func TestALabelRuleOpensBothEnds(t *testing.T) {
	e := clas.New()
	apply(t, e, shop()...)
	if got := ask(t, e, "shop/web", "shop/db", 5432); got != clas.Blocked {
		t.Fatalf("without rules: %s, want blocked", got)
	}
	apply(t, e, provisioned(1, 1, ruleSet(&pb.RuleSet{Href: setHref("1"), Name: "shop", Enabled: true,
		Scopes: []*pb.Scope{scope("prod")},
		Rules: []*pb.Rule{{Href: ruleHref("1", "1"), Enabled: true, Consumers: actors("web"), Providers: actors("db"),
			Services: on(tcp(5432))}}}))...)
	if got := ask(t, e, "shop/web", "shop/db", 5432); got != clas.Allowed {
		t.Errorf("with the rule: %s, want allowed", got)
	}
	if got := ask(t, e, "shop/api", "shop/db", 5432); got != clas.Blocked {
		t.Errorf("another consumer: %s, want blocked", got)
	}
	if d := e.Flush(); len(d.Plans) != 2 || len(d.Policies) != 3 || d.ProvisionedVersion != 1 {
		t.Errorf("first flush: %d plans, %d policies, version %d", len(d.Plans), len(d.Policies), d.ProvisionedVersion)
	}
	if d := e.Flush(); !d.Empty() {
		t.Errorf("second flush is not empty: %+v", d)
	}
}
