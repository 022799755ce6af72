package kubefact_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/ringfence/ringfence/services/watcher/kubefact"
)

// FuzzObserve decodes anything as an object of each kind: observing it never panics, errors name the object, trimming
// changes neither fact nor error, and no annotation is in the fact that was not allowed.
func FuzzObserve(f *testing.F) {
	for _, seed := range []string{
		`{}`,
		`{"metadata":{"name":"web","namespace":"shop","uid":"u","ownerReferences":[{"kind":"ReplicaSet","apiVersion":"apps/v1","name":"r","controller":true}]},"status":{"podIPs":[{"ip":"10.0.0.1"}]}}`,
		`{"metadata":{"name":"web"},"status":{"podIP":"10.0.0.256"},"spec":{"containers":[{},{"ports":[{"name":"a","containerPort":-1}]}]}}`,
		`{"metadata":{"name":"api"},"spec":{"clusterIPs":["None","x"],"ports":[{"port":80,"targetPort":"http"}]}}`,
		`{"metadata":{"name":"n"},"spec":{"podCIDR":"10.0.0.0/8"},"status":{"addresses":[{"type":"InternalIP","address":"::1"}]}}`,
		`{"metadata":{"name":"s","namespace":"shop","annotations":{"kubernetes.io/config.hash":"0123456789abcdef0123456789abcdef","kubernetes.io/config.mirror":"x"},"ownerReferences":[{"kind":"Node","apiVersion":"v1","name":"n","controller":true}]},"status":{"podIP":"10.0.0.1","conditions":[{"type":"PodReadyToStartContainers","status":"False"}]}}`,
		`{"metadata":{"name":"db-1","namespace":"shop","labels":{"kubernetes.io/service-name":"db"}},"addressType":"IPv4","endpoints":[{},{"addresses":["192.0.2.1","x"]}],"ports":[{"name":"a","port":5432},{"port":-1}]}`,
		`{"metadata":{"name":"lb"},"spec":{"type":"ExternalName","externalName":"db.example.com","externalIPs":["192.0.2.9"]},"status":{"loadBalancer":{"ingress":[{"ip":"192.0.2.1"},{"hostname":"h"}]}}}`,
		`{"apiVersion":"ic4k.illumio.com/v1alpha1","kind":"LabelMap","metadata":{"name":"default","namespace":"x"},"nodeLabelMap":[{"fromKey":"a","toKey":"b","allowCreate":true,"valuesMap":[{"from":"x","to":"y"}]}],"workloadLabelMap":[{"fromKey":1}]}`,
		`{"metadata":{"name":"a","annotations":{"example.com/team":"a","password":"x","kubernetes.io/config.mirror":"m"}},"spec":{"jobTemplate":{"metadata":{"annotations":{"example.com/team":"b","token":"x"}}}}}`,
		`{"metadata":{"name":"d","annotations":{"com.illumio.role":"a"}},"spec":{"template":{"metadata":{"annotations":{"com.illumio.role":"b"}}}}}`,
	} {
		for kind := range objects() {
			f.Add(kind, []byte(seed))
		}
	}
	allowing := observerOf(f, allowed...)
	f.Fuzz(func(t *testing.T, kind int, data []byte) {
		all := objects()
		object := all[(kind%len(all)+len(all))%len(all)]
		if json.Unmarshal(data, object) != nil {
			return
		}
		fuzzObserver(t, kubefact.Observer{}, object, nil)
		fuzzObserver(t, allowing, object, allowed)
	})
}

// allowed are the annotations that one of the fuzzed observers keeps: one of somebody's, and those that make static pods.
var allowed = []string{"example.com/team", "kubernetes.io/config.hash", "kubernetes.io/config.mirror"}

func fuzzObserver(t *testing.T, observer kubefact.Observer, object metav1.Object, allowed []string) {
	known := owners{{Kind: kubefact.KindService, Namespace: "shop", Name: "db"}: &corev1.Service{}}
	seen, err := observer.Observe(object, known, nil)
	if err != nil && !strings.HasPrefix(err.Error(), kubefact.KeyOf(object).String()+": ") {
		t.Errorf("%v does not begin with %s", err, kubefact.KeyOf(object))
	}
	trimmed, trimErr := observer.Trim(object)
	if trimErr != nil {
		t.Fatal(trimErr)
	}
	again, againErr := observer.Observe(trimmed.(metav1.Object), known, nil)
	if diff := cmp.Diff(text(err), text(againErr)); diff != "" {
		t.Errorf("the trimmed object gives another error:\n%s", diff)
	}
	if seen != nil && again != nil && seen.Digest != again.Digest {
		t.Errorf("the trimmed object gives another fact:\n%v\n%v", seen.Fact, again.Fact)
	}
	for name := range annotationsOf(seen) {
		if !strings.HasPrefix(name, "com.illumio.") && !strings.HasPrefix(name, "meta.illumio.") && !slices.Contains(allowed, name) {
			t.Errorf("annotation %q is in the fact of %s, though only %q are allowed", name, kubefact.KeyOf(object), allowed)
		}
	}
}

func objects() []metav1.Object {
	return []metav1.Object{
		&corev1.Pod{}, &corev1.Service{}, &corev1.Node{}, &corev1.Namespace{}, &appsv1.Deployment{}, &appsv1.StatefulSet{},
		&appsv1.DaemonSet{}, &appsv1.ReplicaSet{}, &corev1.ReplicationController{}, &batchv1.Job{}, &batchv1.CronJob{},
		&discoveryv1.EndpointSlice{}, &unstructured.Unstructured{},
	}
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
