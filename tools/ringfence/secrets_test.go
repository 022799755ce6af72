package ringfence_test

import (
	"bytes"
	"maps"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/ringfence/ringfence/libs/eventlog"
	"github.com/ringfence/ringfence/libs/eventlog/eventlogtest"
	"github.com/ringfence/ringfence/services/watcher/kubefact"
	"github.com/ringfence/ringfence/tools/ringfence"
)

// nobody owns anything.
type nobody struct{}

func (nobody) Owner(kubefact.Key) (metav1.Object, bool) { return nil, false }

// TestAnExportHoldsNoSecretsOfPods takes a pod as the API server has it through the watcher's eyes into a log, and exports it.
func TestAnExportHoldsNoSecretsOfPods(t *testing.T) {
	const secret = "hunter2-of-the-pod"
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web", UID: "1", Annotations: map[string]string{
			"com.illumio.role": "web", "meta.illumio.podIPObservability": "true", "vault.example.com/token": secret,
			"kubectl.kubernetes.io/last-applied-configuration": `{"password":"` + secret + `"}`, "com.illumio": secret, "xcom.illumio.role": secret,
		}},
		Spec: corev1.PodSpec{NodeName: "node-1", Containers: []corev1.Container{{
			Name: "web", Env: []corev1.EnvVar{{Name: "PASSWORD", Value: secret}}, Args: []string{"--password=" + secret},
		}}},
		Status: corev1.PodStatus{Phase: corev1.PodRunning, PodIP: "10.0.0.1", PodIPs: []corev1.PodIP{{IP: "10.0.0.1"}}},
	}
	seen, err := (kubefact.Observer{}).Observe(pod, nobody{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	_, log := eventlogtest.StartLog(t)
	draft := eventlog.Draft{Subject: eventlog.KubernetesSubject("pod", "shop", "web"), Fact: seen.Fact}
	if _, err := log.Producer("watcher").Publish(t.Context(), draft); err != nil {
		t.Fatal(err)
	}
	for _, from := range []ringfence.Place{{}, {Sequence: 1}} { // as a fact, and in the state at the start
		file, data := export(t, log, from, ringfence.Place{})
		lines := bytes.SplitN(data, []byte("\n"), 2)
		unpacker, err := zstd.NewReader(bytes.NewReader(lines[1][:bytes.LastIndex(lines[1], []byte("\n{\"state\""))]))
		if err != nil {
			t.Fatal(err)
		}
		var plain bytes.Buffer
		if _, err := unpacker.WriteTo(&plain); err != nil {
			t.Fatal(err)
		}
		unpacker.Close()
		if !bytes.Contains(plain.Bytes(), []byte("com.illumio.role")) {
			t.Errorf("from %+v: the annotation that counts is not there", from)
		}
		if bytes.Contains(plain.Bytes(), []byte(secret)) {
			t.Errorf("from %+v: the export holds a secret", from)
		}
		for _, e := range collect(t, file.Read(t.Context(), 0, 0)) {
			kept := slices.Sorted(maps.Keys(e.Fact.GetPod().GetAnnotations()))
			if diff := cmp.Diff([]string{"com.illumio.role", "meta.illumio.podIPObservability"}, kept); diff != "" {
				t.Errorf("annotations: %s", diff)
			}
		}
	}
}
