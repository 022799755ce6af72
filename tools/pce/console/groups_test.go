package console_test

import (
	"strings"
	"testing"

	api "github.com/ringfence/ringfence/libs/pce"
)

func refs(hrefs ...string) []api.Ref {
	list := make([]api.Ref, len(hrefs))
	for i, href := range hrefs {
		list[i].Href = href
	}
	return list
}

func active(href string) string { return strings.Replace(href, "/draft/", "/active/", 1) }

// The members of a label group are of its key, and none contains itself.
func TestLabelGroups(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	web, dev := w.label("app", "web"), w.label("env", "dev")
	inner := must(w.user.CreateLabelGroup(ctx, api.LabelGroup{Name: "inner", Key: "app", Labels: refs(web.Href)}))(t)
	outer := must(w.user.CreateLabelGroup(ctx, api.LabelGroup{Name: "outer", Key: "app", SubGroups: refs(inner.Href)}))(t)
	if len(api.ID(inner.Href)) != 36 || inner.UpdateType != "create" || len(outer.SubGroups) != 1 {
		t.Fatalf("made %+v and %+v", inner, outer)
	}
	for text, g := range map[string]api.LabelGroup{
		`key: "colour" is not the key`:                           {Name: "x", Key: "colour"},
		dev.Href + ` is a label of key "env", not "app"`:         {Name: "x", Key: "app", Labels: refs(dev.Href)},
		inner.Href + ` is a label group of key "app", not "en`:   {Name: "x", Key: "env", SubGroups: refs(inner.Href)},
		`name "outer": ` + outer.Href + " has it already (name_": {Name: "outer", Key: "app"},
		"labels: /orgs/1/labels/99 does not exist":               {Name: "x", Key: "app", Labels: refs("/orgs/1/labels/99")},
	} {
		_, err := w.user.CreateLabelGroup(ctx, g)
		w.refused(err, api.Refused, text)
	}
	w.refused(w.user.Update(ctx, inner.Href, map[string]any{"sub_groups": refs(outer.Href)}), api.Refused, "a label group cannot be a part of itself")
	w.refused(w.user.Update(ctx, inner.Href, map[string]any{"sub_groups": refs(inner.Href)}), api.Refused, "a label group cannot be a part of itself")
	w.refused(w.user.Delete(ctx, inner.Href), api.Refused, inner.Href+" is used by "+outer.Href+" (label_group_in_use)")
	w.refused(w.user.Delete(ctx, web.Href), api.Refused, web.Href+" is used by "+inner.Href+" (label_in_use)")

	_, err := w.user.Provision(ctx, api.Provisioning{ChangeSubset: api.ChangeSubset{LabelGroups: refs(outer.Href)}})
	w.refused(err, api.Refused, outer.Href+" needs "+inner.Href+": provision both (missing_dependency)")
	must(w.user.Provision(ctx, api.Provisioning{ChangeSubset: api.ChangeSubset{LabelGroups: refs(outer.Href, inner.Href)}}))(t)
	got := must(w.user.LabelGroups(ctx, api.Active))(t)
	if len(got) != 2 || got[1].SubGroups[0].Href != active(inner.Href) || got[0].Labels[0].Href != web.Href {
		t.Fatalf("active: %+v", got)
	}
}

// Rules name label groups, and scopes may have one entry of a key beside exclusions.
func TestLabelGroupsInRules(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	web, db := w.label("app", "web"), w.label("app", "db")
	g := must(w.user.CreateLabelGroup(ctx, api.LabelGroup{Name: "apps", Key: "app", Labels: refs(web.Href)}))(t)
	group := api.Actor{LabelGroup: &api.Ref{Href: g.Href}}
	for text, scope := range map[string][]api.Actor{
		`two entries of one scope are of key "app"`: {group, {Label: &api.Ref{Href: db.Href}}},
		"want labels and label groups only":         {{Actors: "ams"}},
	} {
		_, err := w.user.CreateRuleSet(ctx, api.RuleSet{Name: "x", Scopes: [][]api.Actor{scope}})
		w.refused(err, api.Refused, text)
	}
	set := must(w.user.CreateRuleSet(ctx, api.RuleSet{Name: "s", Scopes: [][]api.Actor{{group, {Label: &api.Ref{Href: db.Href}, Exclusion: true}}}}))(t)
	rule := must(w.user.CreateRule(ctx, set.Href, api.Rule{Consumers: []api.Actor{group}, Providers: []api.Actor{{Label: &api.Ref{Href: db.Href}, Exclusion: true}}, IngressServices: onPort(1)}))(t)
	if !rule.Providers[0].Exclusion || rule.Consumers[0].LabelGroup.Href != g.Href {
		t.Fatalf("rule: %+v", rule)
	}
	_, err := w.user.Provision(ctx, api.Provisioning{ChangeSubset: api.ChangeSubset{RuleSets: refs(set.Href)}})
	w.refused(err, api.Refused, set.Href+" needs "+g.Href)
	must(w.user.Provision(ctx, api.Provisioning{}))(t)
	sets := must(w.user.RuleSets(ctx, api.Active))(t)
	if sets[0].Scopes[0][0].LabelGroup.Href != active(g.Href) || sets[0].Rules[0].Consumers[0].LabelGroup.Href != active(g.Href) {
		t.Fatalf("active: %+v", sets)
	}
}

func TestEnforcementBoundaries(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	web := labelled(w.label("app", "web"))
	b := must(w.user.CreateEnforcementBoundary(ctx, api.EnforcementBoundary{Name: "no ssh", Consumers: []api.Actor{{Actors: "ams"}}, Providers: web, IngressServices: onPort(22)}))(t)
	if !*b.Enabled || b.NetworkType != "brn" || len(api.ID(b.Href)) > 6 {
		t.Fatalf("boundary: %+v", b)
	}
	for text, bad := range map[string]api.EnforcementBoundary{
		"ingress_services: must not be empty": {Name: "x", Consumers: web, Providers: web},
		"consumers: must not be empty":        {Name: "x", Providers: web, IngressServices: onPort(1)},
		`network_type: "moon" is not one of`:  {Name: "x", Consumers: web, Providers: web, IngressServices: onPort(1), NetworkType: "moon"},
		"name_must_be_unique":                 {Name: "no ssh", Consumers: web, Providers: web, IngressServices: onPort(1)},
	} {
		_, err := w.user.CreateEnforcementBoundary(ctx, bad)
		w.refused(err, api.Refused, text)
	}
	must(w.user.Provision(ctx, api.Provisioning{ChangeSubset: api.ChangeSubset{EnforcementBoundaries: refs(b.Href)}}))(t)
	w.ok(w.user.Update(ctx, b.Href, map[string]any{"enabled": false}))
	if p := must(w.user.Pending(ctx))(t); len(p.EnforcementBoundaries) != 1 {
		t.Fatalf("pending: %+v", p)
	}
	if got := must(w.user.EnforcementBoundaries(ctx, api.Active))(t); !*got[0].Enabled || got[0].Href != active(b.Href) {
		t.Fatalf("active: %+v", got)
	}
}
