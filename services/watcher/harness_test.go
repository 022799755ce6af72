package watcher

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/rs/zerolog"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	dynamicfake "k8s.io/client-go/dynamic/fake"
	"k8s.io/client-go/kubernetes"
	"k8s.io/klog/v2"

	"github.com/ringfence/ringfence/libs/eventlog"
	"github.com/ringfence/ringfence/libs/eventlog/eventlogtest"
	"github.com/ringfence/ringfence/libs/service"
	"github.com/ringfence/ringfence/services/watcher/kubefact"
)

// running is a watcher that runs in this process.
type running struct {
	t    *testing.T
	svc  *service.Service
	stop context.CancelFunc
	done chan struct{}
	err  error
	text *text
}

func TestMain(m *testing.M) {
	klog.SetLogger(logr.Discard())
	os.Exit(m.Run())
}

// calmLease outlasts a machine that is busy with other things; shortLease is for tests that wait until it runs out.
const (
	calmLease  = 6 * time.Second
	shortLease = 800 * time.Millisecond
)

// start runs a watcher named identity against a cluster and the log at url. It stops with the test.
func start(t *testing.T, client kubernetes.Interface, url, identity string) *running {
	t.Helper()
	return startWithLease(t, client, url, identity, calmLease)
}

func startWithLease(t *testing.T, client kubernetes.Interface, url, identity string, lease time.Duration) *running {
	t.Helper()
	return startWithResources(t, client, customResources(), url, identity, lease)
}

// customResources is a cluster's part that others defined.
func customResources(objects ...runtime.Object) *dynamicfake.FakeDynamicClient {
	return dynamicfake.NewSimpleDynamicClientWithCustomListKinds(runtime.NewScheme(),
		map[schema.GroupVersionResource]string{kubefact.LabelMapResource: "LabelMapList"}, objects...)
}

func startWithResources(t *testing.T, client kubernetes.Interface, resources dynamic.Interface, url, identity string, lease time.Duration) *running {
	t.Helper()
	return startConfigured(t, client, resources, configOf(url, identity, lease))
}

func configOf(url, identity string, lease time.Duration) Config {
	return Config{
		Config:    service.Config{LogLevel: "info", LogURL: url, HTTPAddress: "127.0.0.1:0"},
		Namespace: "illumio-system", Identity: identity, LeaseDuration: lease, ProbeInterval: 20 * time.Millisecond,
	}
}

func startConfigured(t *testing.T, client kubernetes.Interface, resources dynamic.Interface, cfg Config) *running {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	svc, err := service.Start(ctx, "watcher", cfg.Config, componentAPI, componentCache)
	if err != nil {
		t.Fatal(err)
	}
	w := &running{t: t, svc: svc, stop: cancel, done: make(chan struct{}), text: &text{}}
	svc.Log = zerolog.New(w.text)
	go func() {
		defer close(w.done)
		defer svc.Close()
		w.err = run(ctx, cfg, svc, client, resources)
	}()
	t.Cleanup(func() {
		w.Stop()
		if t.Failed() {
			t.Logf("log of %s:\n%s", cfg.Identity, w.text)
		}
	})
	return w
}

// Stop stops the watcher and waits until it has ended.
func (w *running) Stop() {
	w.stop()
	select {
	case <-w.done:
	case <-time.After(20 * time.Second):
		w.t.Fatal("the watcher did not end")
	}
}

// get asks the watcher's own HTTP server.
func (w *running) get(path string) string {
	w.t.Helper()
	response, err := http.Get("http://" + w.svc.Address() + path)
	if err != nil {
		return err.Error()
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return strings.TrimSpace(string(body))
}

// AwaitReady waits for a readiness whose text contains says, "ok" being ready.
func (w *running) AwaitReady(says string) {
	w.t.Helper()
	eventlogtest.Eventually(w.t, func() error {
		if body := w.get("/readyz"); !strings.Contains(body, says) {
			return fmt.Errorf("readiness %q, want %q", body, says)
		}
		return nil
	})
}

// text is a log that tests read while it is written.
type text struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *text) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *text) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// book is the log as a test reads it.
type book struct {
	t   *testing.T
	log *eventlog.Log
}

// Entries gives every fact from a sequence on, but for the epochs of those who write.
func (b book) Entries(from uint64) []eventlog.Entry {
	b.t.Helper()
	var entries []eventlog.Entry
	for entry, err := range b.log.Read(b.t.Context(), from, 0) {
		if err != nil {
			b.t.Fatalf("read the log: %v", err)
		}
		if entry.Fact.GetEpoch() == nil {
			entries = append(entries, entry)
		}
	}
	return entries
}

// Last gives the sequence of the newest fact.
func (b book) Last() uint64 {
	b.t.Helper()
	last, err := b.log.LastSequence(b.t.Context())
	if err != nil {
		b.t.Fatalf("read the log: %v", err)
	}
	return last
}

// Await waits until the newest fact of a subject satisfies check.
func (b book) Await(subject string, check func(eventlog.Entry) error) {
	b.t.Helper()
	eventlogtest.Eventually(b.t, func() error {
		verdict := fmt.Errorf("%s: no fact", subject)
		for entry, err := range b.log.Latest(b.t.Context(), subject) {
			if err != nil {
				return err
			}
			verdict = check(entry)
		}
		return verdict
	})
}

// AwaitSeen waits until the newest fact of a subject is no tombstone.
func (b book) AwaitSeen(subject string) {
	b.t.Helper()
	b.Await(subject, func(e eventlog.Entry) error {
		if e.Fact.GetGone() != nil {
			return fmt.Errorf("%s is gone", subject)
		}
		return nil
	})
}

// AwaitGone waits for the tombstone of an object.
func (b book) AwaitGone(subject, uid string) {
	b.t.Helper()
	b.Await(subject, func(e eventlog.Entry) error {
		if gone := e.Fact.GetGone(); gone == nil || gone.GetUid() != uid {
			return fmt.Errorf("%s: %v, want the tombstone of %s", subject, e.Fact, uid)
		}
		return nil
	})
}

// AwaitController waits until the newest fact of a pod names a controller.
func (b book) AwaitController(pod, want string) {
	b.t.Helper()
	b.Await(pod, func(e eventlog.Entry) error {
		ref := e.Fact.GetPod().GetController()
		if got := ref.GetKind() + " " + ref.GetName(); got != want {
			return fmt.Errorf("%s belongs to %q, want %q", pod, got, want)
		}
		return nil
	})
}

// AwaitSynced waits until the watcher said that it is in sync in this incarnation.
func (b book) AwaitSynced() {
	b.t.Helper()
	b.Await(eventlog.SyncedSubject(Producer), func(e eventlog.Entry) error {
		if s := e.Fact.GetSynced(); s.GetProducer() != Producer || s.GetIncarnation() != b.log.Incarnation() {
			return fmt.Errorf("synced: %v", s)
		}
		return nil
	})
}

// AwaitSyncedAfter waits until a watcher said that it is in sync after a sequence.
func (b book) AwaitSyncedAfter(last uint64) {
	b.t.Helper()
	b.Await(eventlog.SyncedSubject(Producer), func(e eventlog.Entry) error {
		if e.Sequence <= last {
			return fmt.Errorf("in sync at %d, and not since %d", e.Sequence, last)
		}
		return nil
	})
}

func meta(namespace, name string, owner ...metav1.OwnerReference) metav1.ObjectMeta {
	return metav1.ObjectMeta{
		Namespace: namespace, Name: name, UID: types.UID(name + "-uid"), ResourceVersion: "1", OwnerReferences: owner,
	}
}

func ownedBy(version, kind, name string) metav1.OwnerReference {
	controls := true
	return metav1.OwnerReference{APIVersion: version, Kind: kind, Name: name, UID: types.UID(name + "-uid"), Controller: &controls}
}

func namespaceOf(name string) *corev1.Namespace {
	return &corev1.Namespace{ObjectMeta: meta("", name)}
}

func podOf(name, ip string, owner ...metav1.OwnerReference) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: meta("shop", name, owner...),
		Spec:       corev1.PodSpec{NodeName: "node1"},
		Status:     corev1.PodStatus{Phase: corev1.PodRunning, PodIPs: []corev1.PodIP{{IP: ip}}},
	}
}

func deploymentOf(name string) *appsv1.Deployment {
	return &appsv1.Deployment{ObjectMeta: meta("shop", name)}
}

func replicaSetOf(name, deployment string) *appsv1.ReplicaSet {
	return &appsv1.ReplicaSet{ObjectMeta: meta("shop", name, ownedBy("apps/v1", "Deployment", deployment))}
}
