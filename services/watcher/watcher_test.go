package watcher

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	"github.com/ringfence/ringfence/libs/eventlog"
	"github.com/ringfence/ringfence/libs/eventlog/eventlogtest"
)

// shop is a cluster with a Deployment of one pod, and what is around it.
func shop() *fake.Clientset {
	return fake.NewClientset(
		namespaceOf("shop"),
		&corev1.Node{ObjectMeta: meta("", "node1")},
		deploymentOf("web"),
		replicaSetOf("web-1", "web"),
		podOf("web-1-a", "10.0.0.1", ownedBy("apps/v1", "ReplicaSet", "web-1")),
		&corev1.Service{ObjectMeta: meta("shop", "web"), Spec: corev1.ServiceSpec{ClusterIP: "10.96.0.1"}},
	)
}

var shopSubjects = []string{
	"facts.k8s.namespace._.shop", "facts.k8s.node._.node1", "facts.k8s.deployment.shop.web", "facts.k8s.service.shop.web",
	"facts.k8s.pod.shop.web-1-a", "facts.ctl.synced.watcher",
}

func subjects(entries []eventlog.Entry) []string {
	var all []string
	for _, e := range entries {
		all = append(all, e.Subject)
	}
	return all
}

func TestClusterBecomesFacts(t *testing.T) {
	server, log := eventlogtest.StartLog(t)
	b, client := book{t, log}, shop()
	w := start(t, client, server.URL(), "one")
	b.AwaitSynced()
	w.AwaitReady("ok")
	if diff := cmp.Diff(shopSubjects, subjects(b.Entries(0))); diff != "" {
		t.Errorf("facts of the start, in order (-want +got):\n%s", diff)
	}
	b.AwaitController("facts.k8s.pod.shop.web-1-a", "Deployment web")

	// A change that policy does not need is no fact. The one after it shows that it was looked at.
	last, pods := b.Last(), client.CoreV1().Pods("shop")
	pod, err := pods.Get(t.Context(), "web-1-a", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	pod.ResourceVersion, pod.Status.Message = "2", "nothing of interest"
	if pod, err = pods.UpdateStatus(t.Context(), pod, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := pods.Create(t.Context(), podOf("bare", "10.0.0.2"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	b.AwaitSeen("facts.k8s.pod.shop.bare")
	pod.Status.PodIPs = append(pod.Status.PodIPs, corev1.PodIP{IP: "fd00::1"})
	if _, err = pods.UpdateStatus(t.Context(), pod, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	b.Await("facts.k8s.pod.shop.web-1-a", func(e eventlog.Entry) error {
		if !slices.Equal(e.Fact.GetPod().GetAddresses(), []string{"10.0.0.1", "fd00::1"}) {
			return fmt.Errorf("addresses %v", e.Fact.GetPod().GetAddresses())
		}
		return nil
	})
	if err := pods.Delete(t.Context(), "bare", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	b.AwaitGone("facts.k8s.pod.shop.bare", "bare-uid")
	want := []string{"facts.k8s.pod.shop.bare", "facts.k8s.pod.shop.web-1-a", "facts.k8s.pod.shop.bare"}
	if diff := cmp.Diff(want, subjects(b.Entries(last+1))); diff != "" {
		t.Errorf("facts of the changes (-want +got):\n%s", diff)
	}
}

func TestPodWithoutAddressIsAFact(t *testing.T) {
	server, log := eventlogtest.StartLog(t)
	b := book{t, log}
	pending := &corev1.Pod{ObjectMeta: meta("shop", "new"), Status: corev1.PodStatus{Phase: corev1.PodPending}}
	start(t, fake.NewClientset(pending), server.URL(), "one")
	b.Await("facts.k8s.pod.shop.new", func(e eventlog.Entry) error {
		if pod := e.Fact.GetPod(); pod.GetUid() != "new-uid" || len(pod.GetAddresses()) != 0 {
			return fmt.Errorf("pod %v", pod)
		}
		return nil
	})
}

func TestRestartWritesTheDifferenceOnly(t *testing.T) {
	server, log := eventlogtest.StartLog(t)
	b, client := book{t, log}, shop()
	w := start(t, client, server.URL(), "one")
	b.AwaitSynced()
	w.Stop()
	if w.err != nil {
		t.Errorf("stopped: %v", w.err)
	}

	last := b.Last()
	if err := client.CoreV1().Pods("shop").Delete(t.Context(), "web-1-a", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := client.CoreV1().Namespaces().Create(t.Context(), namespaceOf("payments"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	start(t, client, server.URL(), "two")
	eventlogtest.Eventually(t, func() error {
		want := []string{"facts.k8s.namespace._.payments", "facts.k8s.pod.shop.web-1-a", "facts.ctl.synced.watcher"}
		if diff := cmp.Diff(want, subjects(b.Entries(last+1))); diff != "" {
			return fmt.Errorf("facts after the restart (-want +got):\n%s", diff)
		}
		return nil
	})
	b.AwaitGone("facts.k8s.pod.shop.web-1-a", "web-1-a-uid")
}

func TestLostLogIsWrittenAgain(t *testing.T) {
	server, log := eventlogtest.StartLog(t)
	w := start(t, shop(), server.URL(), "one")
	book{t, log}.AwaitSynced()
	server.Wipe()
	b := book{t, server.Create()}
	if b.log.Incarnation() == log.Incarnation() {
		t.Fatal("the log is still the same")
	}
	b.AwaitSynced()
	if diff := cmp.Diff(shopSubjects, subjects(b.Entries(0))); diff != "" {
		t.Errorf("facts of the new incarnation (-want +got):\n%s", diff)
	}
	w.AwaitReady("ok")
}

func TestChangesWhileTheLogIsAwayAreWritten(t *testing.T) {
	server, log := eventlogtest.StartLog(t)
	b, client := book{t, log}, shop()
	w := start(t, client, server.URL(), "one")
	b.AwaitSynced()
	server.Stop()
	pods := client.CoreV1().Pods("shop")
	if err := pods.Delete(t.Context(), "web-1-a", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := pods.Create(t.Context(), podOf("late", "10.0.0.9"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	w.AwaitReady("log: ")
	server.Restart()
	b.AwaitSeen("facts.k8s.pod.shop.late")
	b.AwaitGone("facts.k8s.pod.shop.web-1-a", "web-1-a-uid")
	w.AwaitReady("ok")
}

func TestManyObjects(t *testing.T) {
	const many = 3*stepSize/2 + 7
	var objects []runtime.Object
	for i := range many {
		objects = append(objects, podOf(fmt.Sprintf("p%04d", i), fmt.Sprintf("10.1.%d.%d", i/250, i%250+1)))
	}
	server, log := eventlogtest.StartLog(t)
	b, client := book{t, log}, fake.NewClientset(objects...)
	w := start(t, client, server.URL(), "one")
	b.AwaitSynced()
	if n := len(b.Entries(0)); n != many+1 {
		t.Errorf("%d facts of %d pods, and the mark", n, many)
	}
	w.Stop()
	for i := range many {
		if err := client.CoreV1().Pods("shop").Delete(t.Context(), fmt.Sprintf("p%04d", i), metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	start(t, client, server.URL(), "two")
	eventlogtest.Eventually(t, func() error {
		if n := len(b.Entries(0)); n != 2*(many+1) {
			return fmt.Errorf("%d facts after all of %d pods went", n, many)
		}
		return nil
	})
}

func TestOwnersThatComeLateAndGoEarly(t *testing.T) {
	server, log := eventlogtest.StartLog(t)
	b := book{t, log}
	client := fake.NewClientset(deploymentOf("web"), podOf("web-1-a", "10.0.0.1", ownedBy("apps/v1", "ReplicaSet", "web-1")))
	start(t, client, server.URL(), "one")
	const pod = "facts.k8s.pod.shop.web-1-a"
	b.AwaitController(pod, "ReplicaSet web-1")
	sets := client.AppsV1().ReplicaSets("shop")
	if _, err := sets.Create(t.Context(), replicaSetOf("web-1", "web"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	b.AwaitController(pod, "Deployment web")

	// Deleting a Deployment takes it away first, then its ReplicaSet, then the pods.
	if err := client.AppsV1().Deployments("shop").Delete(t.Context(), "web", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := sets.Delete(t.Context(), "web-1", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	pods := client.CoreV1().Pods("shop")
	dying := podOf("web-1-a", "10.0.0.1", ownedBy("apps/v1", "ReplicaSet", "web-1"))
	now := metav1.Now()
	dying.DeletionTimestamp = &now
	if _, err := pods.Update(t.Context(), dying, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	b.Await(pod, func(e eventlog.Entry) error {
		if !e.Fact.GetPod().GetTerminating() {
			return errors.New("not terminating")
		}
		return nil
	})
	b.AwaitController(pod, "Deployment web")
	b.AwaitSeen("facts.k8s.deployment.shop.web")
	if err := pods.Delete(t.Context(), "web-1-a", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	b.AwaitGone(pod, "web-1-a-uid")
	b.AwaitGone("facts.k8s.deployment.shop.web", "web-uid")
}

func TestRefusedObjectKeepsItsLastFact(t *testing.T) {
	server, log := eventlogtest.StartLog(t)
	b, client := book{t, log}, shop()
	w := start(t, client, server.URL(), "one")
	b.AwaitSynced()
	pods := client.CoreV1().Pods("shop")
	if _, err := pods.Update(t.Context(), podOf("web-1-a", "10.0.0.999"), metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	const line = `pod shop/web-1-a: status.podIPs[0]: \"10.0.0.999\" is not an IP address`
	eventlogtest.Eventually(t, func() error {
		if n := strings.Count(w.text.String(), line); n != 1 {
			return fmt.Errorf("%d lines say %s", n, line)
		}
		return nil
	})
	if _, err := pods.Create(t.Context(), podOf("good", "10.0.0.3"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	b.AwaitSeen("facts.k8s.pod.shop.good")
	b.Await("facts.k8s.pod.shop.web-1-a", func(e eventlog.Entry) error {
		if !slices.Equal(e.Fact.GetPod().GetAddresses(), []string{"10.0.0.1"}) {
			return fmt.Errorf("addresses %v", e.Fact.GetPod().GetAddresses())
		}
		return nil
	})
}

func TestOneWatcherWrites(t *testing.T) {
	server, log := eventlogtest.StartLog(t)
	b, client := book{t, log}, shop()
	one := start(t, client, server.URL(), "one")
	b.AwaitSynced()
	two := start(t, client, server.URL(), "two")
	two.AwaitReady("ok") // it stands by
	if _, err := client.CoreV1().Pods("shop").Create(t.Context(), podOf("bare", "10.0.0.2"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	b.AwaitSeen("facts.k8s.pod.shop.bare")
	want := append(slices.Clone(shopSubjects), "facts.k8s.pod.shop.bare")
	if diff := cmp.Diff(want, subjects(b.Entries(0))); diff != "" {
		t.Errorf("facts of two watchers (-want +got):\n%s", diff)
	}

	one.Stop()
	last := b.Last()
	eventlogtest.Eventually(t, func() error { // the second says that it is in sync
		if diff := cmp.Diff([]string{"facts.ctl.synced.watcher"}, subjects(b.Entries(last+1))); diff != "" {
			return fmt.Errorf("facts of the second watcher (-want +got):\n%s", diff)
		}
		return nil
	})
}

func TestDeposedWatcherEnds(t *testing.T) {
	server, log := eventlogtest.StartLog(t)
	b, client := book{t, log}, shop()
	w := startWithLease(t, client, server.URL(), "one", shortLease)
	b.AwaitSynced()
	leases := client.CoordinationV1().Leases("illumio-system")
	lease, err := leases.Get(t.Context(), leaseName, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	another, seconds, now := "another", int32(60), metav1.NowMicro()
	lease.Spec.HolderIdentity, lease.Spec.LeaseDurationSeconds, lease.Spec.RenewTime = &another, &seconds, &now
	if _, err := leases.Update(t.Context(), lease, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	eventlogtest.Eventually(t, func() error {
		select {
		case <-w.done:
			return nil
		default:
			return errors.New("still running")
		}
	})
	if !errors.Is(w.err, ErrDeposed) || !strings.Contains(w.err.Error(), "illumio-system/watcher is held by another") {
		t.Errorf("ended with %v", w.err)
	}
	if lease, err = leases.Get(t.Context(), leaseName, metav1.GetOptions{}); err != nil || *lease.Spec.HolderIdentity != another {
		t.Errorf("the deposed watcher touched the lease: %v, %v", lease, err)
	}
}

// TestAPIServerAway takes the API server away from a leader: it keeps running, writes nothing, says that it is not ready,
// and goes on when the server is back.
func TestAPIServerAway(t *testing.T) {
	server, log := eventlogtest.StartLog(t)
	b, client := book{t, log}, shop()
	var away atomic.Bool
	client.PrependReactor("*", "*", func(action clienttesting.Action) (bool, runtime.Object, error) {
		resource := action.GetResource().Resource
		if away.Load() && (resource == "leases" || resource == "version") {
			return true, nil, errors.New("connection refused")
		}
		return false, nil, nil
	})
	w := startWithLease(t, client, server.URL(), "one", shortLease)
	b.AwaitSynced()
	w.AwaitReady("ok")
	last := b.Last()

	away.Store(true)
	w.AwaitReady("api-server: the API server does not answer: connection refused")
	eventlogtest.Eventually(t, func() error {
		if !strings.Contains(w.text.String(), "nothing is written until it is") {
			return errors.New("the watcher still leads")
		}
		return nil
	})
	if _, err := client.CoreV1().Pods("shop").Create(context.WithoutCancel(t.Context()), podOf("late", "10.0.0.9"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if metrics := w.get("/metrics"); !strings.Contains(metrics, "ringfence_watcher_leader 0") || b.Last() != last {
		t.Errorf("it leads without lease, or wrote %d facts:\n%s", b.Last()-last, metrics)
	}
	away.Store(false)
	b.AwaitSeen("facts.k8s.pod.shop.late")
	w.AwaitReady("ok")
	if diff := cmp.Diff([]string{"facts.k8s.pod.shop.late"}, subjects(b.Entries(last+1))); diff != "" {
		t.Errorf("facts after the API server was back (-want +got):\n%s", diff)
	}
}

// slice is an EndpointSlice that somebody wrote for a Service.
func slice(name, service, ip string) *discoveryv1.EndpointSlice {
	s := &discoveryv1.EndpointSlice{ObjectMeta: meta("shop", name), AddressType: discoveryv1.AddressTypeIPv4, Endpoints: []discoveryv1.Endpoint{{Addresses: []string{ip}}}}
	s.Labels = map[string]string{discoveryv1.LabelServiceName: service}
	return s
}

// The slices of a Service are facts while it has no selector, whatever of the two comes first.
func TestSlicesFollowTheirService(t *testing.T) {
	server, log := eventlogtest.StartLog(t)
	b, client := book{t, log}, shop()
	derived := slice("web-derived", "web", "10.0.0.1")
	derived.Labels[discoveryv1.LabelManagedBy] = "endpointslice-controller.k8s.io"
	for _, s := range []*discoveryv1.EndpointSlice{slice("db-1", "db", "192.0.2.1"), slice("web-1", "web", "192.0.2.2"), derived} {
		if err := client.Tracker().Add(s); err != nil {
			t.Fatal(err)
		}
	}
	start(t, client, server.URL(), "one")
	b.AwaitSynced()
	const subject = "facts.k8s.endpointslice.shop."
	b.AwaitSeen(subject + "web-1")
	var got []string
	for _, e := range b.Entries(0) {
		if strings.HasPrefix(e.Subject, subject) {
			got = append(got, e.Subject)
		}
	}
	if diff := cmp.Diff([]string{subject + "web-1"}, got); diff != "" {
		t.Errorf("slices at the start (-want +got):\n%s", diff)
	}
	services := client.CoreV1().Services("shop")
	db := &corev1.Service{ObjectMeta: meta("shop", "db"), Spec: corev1.ServiceSpec{ClusterIP: "10.96.0.2"}}
	if _, err := services.Create(t.Context(), db, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	b.Await(subject+"db-1", func(e eventlog.Entry) error {
		if s := e.Fact.GetEndpointSlice(); s.GetService() != "db" || !slices.Equal(s.GetAddresses(), []string{"192.0.2.1"}) {
			return fmt.Errorf("slice %v", e.Fact)
		}
		return nil
	})
	for _, selector := range []map[string]string{{"app": "db"}, nil} {
		db = db.DeepCopy()
		db.Spec.Selector = selector
		if _, err := services.Update(t.Context(), db, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
		if selector != nil {
			b.AwaitGone(subject+"db-1", "db-1-uid")
		} else {
			b.AwaitSeen(subject + "db-1")
		}
	}
	if err := services.Delete(t.Context(), "db", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	b.AwaitGone(subject+"db-1", "db-1-uid")
}
