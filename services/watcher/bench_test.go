package watcher

import (
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/ringfence/ringfence/libs/eventlog/eventlogtest"
	"github.com/ringfence/ringfence/services/watcher/kubefact"
)

// benchPod is a pod as clusters have them: two containers, a dozen labels and annotations, managed fields.
func benchPod(i int) *corev1.Pod {
	pod := podOf(fmt.Sprintf("web-5d4f-%05d", i), fmt.Sprintf("10.%d.%d.%d", i>>16, i>>8&255, i&255), ownedBy("apps/v1", "StatefulSet", "web"))
	pod.Labels, pod.Annotations = map[string]string{}, map[string]string{"com.illumio.role": "web"}
	for n := range 6 {
		pod.Labels[fmt.Sprintf("app.kubernetes.io/label-%d-%d", n, i)] = "some value"
		pod.Annotations[fmt.Sprintf("example.com/annotation-%d-%d", n, i)] = fmt.Sprintf("a longer value %d %d", n, i)
	}
	pod.ManagedFields = []metav1.ManagedFieldsEntry{{Manager: "kubelet", FieldsV1: metav1.NewFieldsV1(strings.Repeat("x", 2048))}}
	pod.Spec.Containers = make([]corev1.Container, 2)
	return pod
}

// BenchmarkRelist writes 5,000 pods into an empty log, on disk.
func BenchmarkRelist(b *testing.B) {
	const pods = 5000
	dirty := newDirtySet()
	for b.Loop() {
		b.StopTimer()
		_, log := eventlogtest.StartLog(b)
		w := writing{producer: log.Producer(Producer), ledger: newLedger()}
		var intents []intent
		for i := range pods {
			key := kubefact.KeyOf(benchPod(i))
			dirty.Mark(key)
			seen, err := kubefact.Observer{}.Observe(benchPod(i), nil, nil)
			if err != nil {
				b.Fatal(err)
			}
			i := intent{mark: mark{key: key}}
			i.draft.Subject, i.draft.Fact = key.Subject(), seen.Fact
			i.record = &record{uid: seen.UID, digest: seen.Digest}
			intents = append(intents, i)
		}
		w.scribe = &scribe{dirty: dirty, metrics: newMetrics(prometheus.NewRegistry())}
		b.StartTimer()
		for start := 0; start < pods; start += stepSize {
			if err := w.write(b.Context(), intents[start:min(start+stepSize, pods)]); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.ReportMetric(float64(pods*b.N)/b.Elapsed().Seconds(), "facts/s")
}

// BenchmarkMemory keeps 10,000 trimmed pods.
func BenchmarkMemory(b *testing.B) {
	const pods = 10000
	for b.Loop() {
		var before, after runtime.MemStats
		kept := make([]any, pods)
		runtime.GC()
		runtime.ReadMemStats(&before)
		for i := range kept {
			trimmed, err := kubefact.Observer{}.Trim(benchPod(i))
			if err != nil {
				b.Fatal(err)
			}
			kept[i] = trimmed
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/pods, "bytes/pod")
		runtime.KeepAlive(kept)
	}
}

// BenchmarkObserve compares one pod with the log.
func BenchmarkObserve(b *testing.B) {
	pod, observer := benchPod(1), kubefact.Observer{}
	for b.Loop() {
		if _, err := observer.Observe(pod, nil, nil); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "pods/s")
}
