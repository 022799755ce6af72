package clas_test

import (
	"testing"

	pb "github.com/ringfence/ringfence/proto/ringfence/v1"

	"github.com/ringfence/ringfence/libs/clas"
)

// TestScopesThatReadTheSameCountOnce: a policy is given out for what it says, not for how many scopes say it. A label, and a group of
// just that label, were two; when the group went, the flush named a policy that had not changed.
func TestScopesThatReadTheSameCountOnce(t *testing.T) {
	set := &pb.RuleSet{Href: setHref("s"), Name: "S", Enabled: true, Scopes: []*pb.Scope{scope("prod"), {}},
		Rules: []*pb.Rule{{Href: ruleHref("s", "1"), Enabled: true, Consumers: actors("web"), Providers: actors("api"), Services: on(tcp(80))}}}
	set.Scopes[1].Entries = []*pb.Actor{{Actor: &pb.Actor_LabelGroup{LabelGroup: groupHref("g")}}}
	e := clas.New()
	apply(t, e, shop()...)
	apply(t, e, provisioned(1, 1, ruleSet(set), labelGroup("g", "env", "prod"))...)
	e.Flush()
	apply(t, e, provisioned(2, 1, ruleSet(set))...)
	if d := e.Flush(); len(d.Policies)+len(d.Sets) > 0 || d.ProvisionedVersion != 2 {
		t.Errorf("delta %+v, of which nothing changed but the version", d)
	}
	if got := ask(t, e, "shop/web", "shop/api", 80); got != clas.Allowed {
		t.Errorf("web to api: %s", got)
	}
}
