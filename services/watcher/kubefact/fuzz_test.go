package kubefact_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/ringfence/ringfence/services/watcher/kubefact"
)

// FuzzObserve decodes anything as an object of each kind: observing it never panics, errors name the object, and
// trimming changes neither fact nor error.
func FuzzObserve(f *testing.F) {
	for _, seed := range []string{
		`{}`,
		`{"metadata":{"name":"web","namespace":"shop","uid":"u","ownerReferences":[{"kind":"ReplicaSet","apiVersion":"apps/v1","name":"r","controller":true}]},"status":{"podIPs":[{"ip":"10.0.0.1"}]}}`,
		`{"metadata":{"name":"web"},"status":{"podIP":"10.0.0.256"},"spec":{"containers":[{},{"ports":[{"name":"a","containerPort":-1}]}]}}`,
		`{"metadata":{"name":"api"},"spec":{"clusterIPs":["None","x"],"ports":[{"port":80,"targetPort":"http"}]}}`,
		`{"metadata":{"name":"n"},"spec":{"podCIDR":"10.0.0.0/8"},"status":{"addresses":[{"type":"InternalIP","address":"::1"}]}}`,
		`{"metadata":{"name":"d","annotations":{"com.illumio.role":"a"}},"spec":{"template":{"metadata":{"annotations":{"com.illumio.role":"b"}}}}}`,
	} {
		for kind := range objects() {
			f.Add(kind, []byte(seed))
		}
	}
	f.Fuzz(func(t *testing.T, kind int, data []byte) {
		all := objects()
		object := all[(kind%len(all)+len(all))%len(all)]
		if json.Unmarshal(data, object) != nil {
			t.Skip()
		}
		seen, err := kubefact.Observe(object, owners{}, nil)
		if err != nil && !strings.HasPrefix(err.Error(), kubefact.KeyOf(object).String()+": ") {
			t.Errorf("%v does not begin with %s", err, kubefact.KeyOf(object))
		}
		trimmed, trimErr := kubefact.Trim(object)
		if trimErr != nil {
			t.Fatal(trimErr)
		}
		again, againErr := kubefact.Observe(trimmed.(metav1.Object), owners{}, nil)
		if diff := cmp.Diff(text(err), text(againErr)); diff != "" {
			t.Errorf("the trimmed object gives another error:\n%s", diff)
		}
		if seen != nil && again != nil && seen.Digest != again.Digest {
			t.Errorf("the trimmed object gives another fact:\n%v\n%v", seen.Fact, again.Fact)
		}
	})
}

func objects() []metav1.Object {
	return []metav1.Object{
		&corev1.Pod{}, &corev1.Service{}, &corev1.Node{}, &corev1.Namespace{}, &appsv1.Deployment{}, &appsv1.StatefulSet{},
		&appsv1.DaemonSet{}, &appsv1.ReplicaSet{}, &corev1.ReplicationController{}, &batchv1.Job{}, &batchv1.CronJob{},
	}
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
