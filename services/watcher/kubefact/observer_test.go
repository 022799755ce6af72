package kubefact_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/ringfence/ringfence/services/watcher/kubefact"
)

func observerOf(t testing.TB, annotations ...string) kubefact.Observer {
	t.Helper()
	observer, err := kubefact.NewObserver(annotations)
	if err != nil {
		t.Fatal(err)
	}
	return observer
}

func observe(t *testing.T, observer kubefact.Observer, object metav1.Object) *kubefact.Observation {
	t.Helper()
	seen, err := observer.Observe(object, owners{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return seen
}

// annotationsOf gives the annotations of a fact of any kind that has some.
func annotationsOf(seen *kubefact.Observation) map[string]string {
	if seen == nil {
		return nil
	}
	for _, annotations := range []map[string]string{
		seen.Fact.GetPod().GetAnnotations(), seen.Fact.GetService().GetAnnotations(), seen.Fact.GetKubernetesWorkload().GetAnnotations(),
	} {
		if annotations != nil {
			return annotations
		}
	}
	return nil
}

// annotated are objects of the kinds whose facts have annotations, each with one map wherever it may have some.
func annotated(annotations map[string]string) []metav1.Object {
	meta := metav1.ObjectMeta{Namespace: "shop", Name: "x", UID: "x-uid", Annotations: annotations}
	bare := metav1.ObjectMeta{Namespace: "shop", Name: "x", UID: "x-uid"}
	template := corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Annotations: annotations}}
	job := batchv1.JobTemplateSpec{Spec: batchv1.JobSpec{Template: template}}
	return []metav1.Object{
		&corev1.Pod{ObjectMeta: meta},
		&corev1.Service{ObjectMeta: meta},
		&appsv1.Deployment{ObjectMeta: meta},
		&appsv1.Deployment{ObjectMeta: bare, Spec: appsv1.DeploymentSpec{Template: template}},
		&appsv1.StatefulSet{ObjectMeta: bare, Spec: appsv1.StatefulSetSpec{Template: template}},
		&appsv1.DaemonSet{ObjectMeta: bare, Spec: appsv1.DaemonSetSpec{Template: template}},
		&appsv1.ReplicaSet{ObjectMeta: bare, Spec: appsv1.ReplicaSetSpec{Template: template}},
		&corev1.ReplicationController{ObjectMeta: bare, Spec: corev1.ReplicationControllerSpec{Template: &template}},
		&batchv1.Job{ObjectMeta: bare, Spec: batchv1.JobSpec{Template: template}},
		&batchv1.CronJob{ObjectMeta: bare, Spec: batchv1.CronJobSpec{JobTemplate: job}},
		&batchv1.CronJob{ObjectMeta: bare, Spec: batchv1.CronJobSpec{JobTemplate: batchv1.JobTemplateSpec{ObjectMeta: metav1.ObjectMeta{Annotations: annotations}}}},
	}
}

// Names are compared whole: what begins or ends like an allowed one, or differs from it in case, stays out, as does everything else.
func TestOnlyAllowedAnnotationsEnterFacts(t *testing.T) {
	all := map[string]string{
		"com.illumio.role": "web", "example.com/team": "blue", "contact": "ops",
		"example.com/team-token": "secret", "sub.example.com/team": "secret", "example.com/Team": "secret", "team": "secret",
		"com.illumio": "secret", "kubectl.kubernetes.io/last-applied-configuration": "secret",
	}
	for _, c := range []struct {
		observer kubefact.Observer
		want     map[string]string
	}{
		{kubefact.Observer{}, map[string]string{"com.illumio.role": "web"}},
		{observerOf(t), map[string]string{"com.illumio.role": "web"}},
		{observerOf(t, "example.com/team", "contact", "absent"), map[string]string{"com.illumio.role": "web", "example.com/team": "blue", "contact": "ops"}},
	} {
		for _, object := range annotated(all) {
			seen := observe(t, c.observer, object)
			if diff := cmp.Diff(c.want, annotationsOf(seen)); diff != "" {
				t.Errorf("%T (-want +got):\n%s", object, diff)
			}
			checkTrimmed(t, c.observer, object, owners{}, seen)
		}
	}
}

func TestTheDigestIsOfAllowedAnnotations(t *testing.T) {
	allowing := observerOf(t, "example.com/team")
	before := annotated(map[string]string{"example.com/team": "blue", "example.com/token": "a"})
	team := annotated(map[string]string{"example.com/team": "green", "example.com/token": "a"})
	token := annotated(map[string]string{"example.com/team": "blue", "example.com/token": "b"})
	none := annotated(nil)
	for i, object := range before {
		digest := observe(t, allowing, object).Digest
		if observe(t, allowing, team[i]).Digest == digest {
			t.Errorf("%T: an allowed annotation changed, and the digest did not", object)
		}
		if observe(t, allowing, token[i]).Digest != digest {
			t.Errorf("%T: an annotation that is not allowed changed the digest", object)
		}
		plain := observe(t, kubefact.Observer{}, object).Digest
		if plain == digest {
			t.Errorf("%T: the digest is that of a fact without the allowed annotation", object)
		}
		if observe(t, kubefact.Observer{}, none[i]).Digest != plain || observe(t, allowing, none[i]).Digest != plain {
			t.Errorf("%T: annotations that are not kept, or allowed ones that are not there, changed the digest", object)
		}
	}
}

// What tells a static pod is in annotations that may be allowed, too.
func TestTheAnnotationsOfStaticPodsMayBeAllowed(t *testing.T) {
	const hash = "0123456789abcdef0123456789abcdef"
	static := map[string]string{"kubernetes.io/config.hash": hash, "kubernetes.io/config.mirror": "a mirror"}
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "p", Annotations: static, OwnerReferences: ref("v1", "Node", "node1")}}
	for _, names := range [][]string{nil, {"kubernetes.io/config.hash"}, {"kubernetes.io/config.mirror"}, {"kubernetes.io/config.hash", "kubernetes.io/config.mirror"}} {
		observer, want := observerOf(t, names...), map[string]string(nil)
		for _, name := range names {
			if want == nil {
				want = map[string]string{}
			}
			want[name] = static[name]
		}
		seen := observe(t, observer, pod)
		if diff := cmp.Diff(want, annotationsOf(seen)); diff != "" || seen.Fact.GetPod().GetRuntimeUid() != hash {
			t.Errorf("%v: runtime uid %s, annotations (-want +got):\n%s", names, seen.Fact.GetPod().GetRuntimeUid(), diff)
		}
		checkTrimmed(t, observer, pod, owners{}, seen)
	}
}

func TestNamesThatNoAnnotationHas(t *testing.T) {
	for _, good := range []string{"a", "Owner", "example.com/team", "Example.COM/Team_1.x", strings.Repeat("a", 63)} {
		if _, err := kubefact.NewObserver([]string{good}); err != nil {
			t.Errorf("%q: %v", good, err)
		}
	}
	for _, c := range []struct{ name, says string }{
		{"", `"" cannot be the name of an annotation: name part must be non-empty`},
		{" example.com/team", `" example.com/team" cannot be the name of an annotation: prefix part`},
		{"example.com/*", `"example.com/*" cannot be the name of an annotation: name part must consist of`},
		{"example.com/", `"example.com/" cannot be the name of an annotation: name part must be non-empty`},
		{"a/b/c", `"a/b/c" cannot be the name of an annotation: a valid label key must consist of`},
		{"team=blue", `"team=blue" cannot be the name of an annotation: name part must consist of`},
		{strings.Repeat("a", 64), `name part must be no more than 63`},
	} {
		_, err := kubefact.NewObserver([]string{"example.com/team", c.name})
		if err == nil || !strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%q: %v, want one line that says %s", c.name, err, c.says)
		}
	}
}
