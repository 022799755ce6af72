package clas_test

import (
	"slices"
	"testing"

	pb "github.com/ringfence/ringfence/proto/ringfence/v1"

	"github.com/ringfence/ringfence/libs/clas"
)

func TestLabelsOfAPod(t *testing.T) {
	role := func(value string) map[string]string { return map[string]string{"com.illumio.role": value} }
	restricted := func(hrefs ...string) *pb.ProfileLabel {
		l := &pb.ProfileLabel{Key: "role", Restricted: true}
		for _, h := range hrefs {
			l.Restriction = append(l.Restriction, labelHref(h))
		}
		return l
	}
	cases := []struct {
		name    string
		role    *pb.ProfileLabel
		pod     map[string]string
		owner   map[string]string // annotations of the controller; nil for none
		want    []clas.EndpointLabel
		ignored []string
	}{
		{name: "nothing asked, nothing given"},
		{name: "an annotation", pod: role("web"), want: []clas.EndpointLabel{{Key: "role", Value: "web", Source: clas.SourceAnnotation}}},
		{name: "the profile's assignment", role: &pb.ProfileLabel{Key: "role", Assignment: labelHref("db")},
			want: []clas.EndpointLabel{{Key: "role", Value: "db", Source: clas.SourceProfile}}},
		{name: "the profile's assignment over an annotation", role: &pb.ProfileLabel{Key: "role", Assignment: labelHref("db")}, pod: role("web"),
			want:    []clas.EndpointLabel{{Key: "role", Value: "db", Source: clas.SourceProfile}},
			ignored: []string{`annotation com.illumio.role: "web": the profile fixes this key`}},
		{name: "an assignment that is gone gives nothing and fixes the key", role: &pb.ProfileLabel{Key: "role", Assignment: labelHref("never")}, pod: role("web"),
			ignored: []string{`annotation com.illumio.role: "web": the profile fixes this key`}},
		{name: "an assignment of another key's label gives nothing", role: &pb.ProfileLabel{Key: "role", Assignment: labelHref("prod")}},
		{name: "an annotation that the restriction lists", role: restricted("db", "web"), pod: role("web"),
			want: []clas.EndpointLabel{{Key: "role", Value: "web", Source: clas.SourceAnnotation}}},
		{name: "an annotation that the restriction does not list", role: restricted("db"), pod: role("web"),
			ignored: []string{`annotation com.illumio.role: "web": the profile's restriction does not list it`}},
		{name: "an empty restriction allows none", role: restricted(), pod: role("web"),
			ignored: []string{`annotation com.illumio.role: "web": the profile's restriction does not list it`}},
		{name: "a label that the console does not have", pod: role("unheard-of"),
			ignored: []string{`annotation com.illumio.role: "unheard-of": the console has no such label`}},
		{name: "the controller's annotations over the pod's", pod: role("web"), owner: role("db"),
			want: []clas.EndpointLabel{{Key: "role", Value: "db", Source: clas.SourceAnnotation}}},
		{name: "a controller without annotations leaves none", pod: role("web"), owner: map[string]string{}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			e := clas.New()
			apply(t, e, town()...)
			profile := managed("x", full)
			if c.role != nil {
				profile.Labels = append(profile.Labels, c.role)
			}
			p := runningPod("x", "p", "", "n1", "10.0.9.9")
			p.Annotations = c.pod
			if c.owner != nil {
				p.Controller = &pb.ObjectRef{Kind: "StatefulSet", Name: "sts"}
				apply(t, e, workloadFact(&pb.KubernetesWorkload{Namespace: "x", Kind: "StatefulSet", Name: "sts", Annotations: c.owner}))
			}
			apply(t, e, profileFact("x", profile), podFact(p))
			x, err := e.Explain(clas.Query{Source: "x/p", Destination: "192.0.2.1", Port: 1, Protocol: 6})
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(x.Source.Labels, c.want) || !slices.Equal(x.Source.Ignored, c.ignored) {
				t.Errorf("labels %v, want %v; ignored %q, want %q", x.Source.Labels, c.want, x.Source.Ignored, c.ignored)
			}
		})
	}
}

func TestProfiles(t *testing.T) {
	e := clas.New()
	mode := func() string {
		x, err := e.Explain(clas.Query{Source: "shop/web", Destination: "192.0.2.1", Port: 1, Protocol: 6})
		if err != nil {
			t.Fatal(err)
		}
		return x.Source.Mode
	}
	step := func(what, want string, entries ...entry) {
		t.Helper()
		apply(t, e, entries...)
		if got := mode(); got != want {
			t.Errorf("%s: mode %q, want %q", what, got, want)
		}
	}
	visibility, selective := pb.EnforcementMode_ENFORCEMENT_MODE_VISIBILITY_ONLY, pb.EnforcementMode_ENFORCEMENT_MODE_SELECTIVE
	step("no profile", "", namespaceFact("shop"), podFact(runningPod("shop", "web", "", "n1", "10.0.0.1")))
	step("the default profile", "visibility_only", profileFact("default", managed("", visibility)))
	step("its own profile", "full", profileFact("own", managed("shop", full)))
	step("a later one for the same namespace", "selective", profileFact("other", managed("shop", selective)))
	step("the earlier one, changed", "full", profileFact("own", managed("shop", full)))
	step("without it", "selective", gone(profileFact("own", managed("shop", full)), ""))
	step("without both", "visibility_only", gone(profileFact("other", managed("shop", full)), ""))
	step("a profile of another namespace", "visibility_only", profileFact("far", managed("far", full)))
	step("that moves here", "full", profileFact("far", managed("shop", full)))
	step("unmanaged", "", profileFact("far", &pb.ContainerWorkloadProfile{Namespace: "shop"}))
}

func TestNamespacesListWhatIsKnownByFactOrProfile(t *testing.T) {
	e := clas.New()
	apply(t, e, namespaceFact("a"), profileFact("b", managed("b", full)), profileFact("default", managed("", pb.EnforcementMode_ENFORCEMENT_MODE_IDLE)))
	want := &pb.Namespaces{StartPolicy: pb.EnforcementMode_ENFORCEMENT_MODE_VISIBILITY_ONLY, Namespaces: []*pb.NamespacePolicy{
		{Namespace: "a", Managed: true, Mode: pb.EnforcementMode_ENFORCEMENT_MODE_IDLE},
		{Namespace: "b", Managed: true, Mode: full}}}
	if got := e.Policy().Namespaces; got.String() != want.String() {
		t.Errorf("namespaces %v, want %v", got, want)
	}
	e.Flush()
	apply(t, e, gone(namespaceFact("a"), ""), gone(profileFact("b", managed("b", full)), ""))
	if d := e.Flush(); len(d.Namespaces) > 0 || !slices.Equal(d.RemovedNamespaces, []string{"a", "b"}) {
		t.Errorf("namespaces %v, without %v, want none", d.Namespaces, d.RemovedNamespaces)
	}
}

func TestProfilesWarnOfLabelsThatAreGone(t *testing.T) {
	e := clas.New()
	p := managed("x", full, "env=never", "role=prod")
	p.Labels = append(p.Labels, &pb.ProfileLabel{Key: "app", Restricted: true, Restriction: []string{labelHref("never")}})
	apply(t, e, labelFact("prod", "env", "prod"), profileFact("x", p))
	name := "profile of namespace x (" + profHref("x") + "): "
	want := []string{
		name + "assignment of env: label /orgs/1/labels/never is gone; its workloads carry no label of this key from the profile",
		name + "assignment of role: label /orgs/1/labels/prod has key env; its workloads carry no label of key role from the profile",
		name + "restriction of app: label /orgs/1/labels/never is gone; no annotation can request it",
	}
	if got := e.Policy().Warnings; !slices.Equal(got, want) {
		t.Errorf("warnings %q, want %q", got, want)
	}
	apply(t, e, gone(profileFact("x", p), ""), profileFact("d", managed("", full, "env=never")))
	if got := e.Policy().Warnings; len(got) != 1 || got[0] != "default profile ("+profHref("d")+"): assignment of env: label /orgs/1/labels/never is gone; its workloads carry no label of this key from the profile" {
		t.Errorf("warnings %q", got)
	}
}

func TestALabelThatChangesItsValueRelabels(t *testing.T) {
	e := clas.New()
	apply(t, e, shop()...)
	apply(t, e, provisioned(1, 1, webToAPI(tcp(80)))...)
	if got := ask(t, e, "shop/web", "shop/api", 80); got != clas.Allowed {
		t.Fatalf("before: %s", got)
	}
	apply(t, e, labelFact("api", "role", "backend"))
	if got := ask(t, e, "shop/web", "shop/api", 80); got != clas.Blocked {
		t.Errorf("the annotation names the former value: %s", got)
	}
	apply(t, e, podFact(runningPod("shop", "api", "backend", "n2", "10.0.0.2")))
	if got := ask(t, e, "shop/web", "shop/api", 80); got != clas.Allowed {
		t.Errorf("the annotation names the new value: %s", got)
	}
}

func TestALabelExistsWhileAnyHrefGivesIt(t *testing.T) {
	e := clas.New()
	apply(t, e, shop()...)
	before := e.Digest()
	apply(t, e, labelFact("web-again", "role", "web"), gone(labelFact("web-again", "role", "web"), ""))
	if e.Digest() != before {
		t.Errorf("one of two labels with the same value went, and the value with it: %+v", e.Policy())
	}
}

func TestASnapshotRemembersTheKeysOfLabelsThatAreGone(t *testing.T) {
	e := clas.New()
	l := labelFact("web", "role", "web")
	count := func() int {
		n := 0
		for x := range e.Snapshot() {
			if x.GetSubject() == l.subject {
				n++
			}
		}
		return n
	}
	for i, step := range []struct {
		fact entry
		want int
	}{{l, 1}, {gone(l, ""), 2}, {l, 1}, {l, 1}} {
		apply(t, e, step.fact)
		if got := count(); got != step.want {
			t.Errorf("step %d: %d facts of the label, want %d", i, got, step.want)
		}
	}
}
