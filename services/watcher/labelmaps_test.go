package watcher

import (
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ringfence/ringfence/libs/eventlog"
	"github.com/ringfence/ringfence/libs/eventlog/eventlogtest"
	"github.com/ringfence/ringfence/services/watcher/kubefact"
)

const labelMapSubject = "facts.k8s.labelmap._.default"

func labelMapOf(toKey any) *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "ic4k.illumio.com/v1alpha1", "kind": "LabelMap",
		"metadata":         map[string]any{"name": "default", "uid": "map-uid", "resourceVersion": "1"},
		"workloadLabelMap": []any{map[string]any{"fromKey": "tier", "toKey": toKey}},
	}}
}

// definition is what the API server says of LabelMaps: that it serves them, that it does not, or nothing.
type definition struct{ state atomic.Value }

func (d *definition) set(state string) { d.state.Store(state) }

// defined gives a cluster whose API server may serve LabelMaps.
func defined(client *fake.Clientset, d *definition) *fake.Clientset {
	client.Resources = append(client.Resources, &metav1.APIResourceList{
		GroupVersion: kubefact.LabelMapResource.GroupVersion().String(), APIResources: []metav1.APIResource{{Name: "labelmaps"}},
	})
	client.PrependReactor("get", "resource", func(clienttesting.Action) (bool, runtime.Object, error) {
		switch d.state.Load() {
		case "served":
			return false, nil, nil
		case "absent":
			return true, nil, apierrors.NewNotFound(kubefact.LabelMapResource.GroupResource(), "")
		default:
			return true, nil, errors.New("the API server is busy")
		}
	})
	return client
}

// awaitKey waits until the LabelMap in the log maps to a key.
func awaitKey(b book, want string) {
	b.t.Helper()
	b.Await(labelMapSubject, func(e eventlog.Entry) error {
		if list := e.Fact.GetLabelMap().GetWorkloadLabelMap(); len(list) != 1 || list[0].GetToKey() != want {
			return fmt.Errorf("mappings %v, want one to %s", list, want)
		}
		return nil
	})
}

func TestLabelMapBecomesAFact(t *testing.T) {
	server, log := eventlogtest.StartLog(t)
	b, d := book{t, log}, &definition{}
	d.set("served")
	resources := customResources(labelMapOf("role"))
	w := startWithResources(t, defined(shop(), d), resources, server.URL(), "one", calmLease)
	b.AwaitSynced()
	if diff := cmp.Diff(append([]string{labelMapSubject}, shopSubjects...), subjects(b.Entries(0))); diff != "" {
		t.Errorf("facts of the start, in order (-want +got):\n%s", diff)
	}
	awaitKey(b, "role")
	maps := resources.Resource(kubefact.LabelMapResource)
	if _, err := maps.Update(t.Context(), labelMapOf("app"), metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	awaitKey(b, "app")

	// One that makes no sense is named, and changes nothing.
	if _, err := maps.Update(t.Context(), labelMapOf(int64(7)), metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	eventlogtest.Eventually(t, func() error {
		if !strings.Contains(w.text.String(), "labelmap default: workloadLabelMap[0].toKey: 7 is not a string") {
			return errors.New("no line about it")
		}
		return nil
	})
	awaitKey(b, "app")
	if err := maps.Delete(t.Context(), "default", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	b.AwaitGone(labelMapSubject, "map-uid")
}

// The kind may be defined after the watcher started, and go again: then there is no LabelMap. While the API server does not
// say, the last one stays.
func TestLabelMapsMayAppearAndGo(t *testing.T) {
	server, log := eventlogtest.StartLog(t)
	b, d := book{t, log}, &definition{}
	d.set("absent")
	resources := customResources(labelMapOf("role"))
	resources.PrependReactor("list", "labelmaps", func(clienttesting.Action) (bool, runtime.Object, error) {
		if d.state.Load() == "absent" {
			return true, nil, apierrors.NewNotFound(kubefact.LabelMapResource.GroupResource(), "")
		}
		return false, nil, nil
	})
	w := startWithResources(t, defined(shop(), d), resources, server.URL(), "one", calmLease)
	b.AwaitSynced()
	w.AwaitReady("ok")
	if diff := cmp.Diff(shopSubjects, subjects(b.Entries(0))); diff != "" {
		t.Errorf("facts without the kind (-want +got):\n%s", diff)
	}
	d.set("served")
	awaitKey(b, "role")
	if n := strings.Count(w.text.String(), "does not serve LabelMaps"); n != 1 {
		t.Errorf("%d lines say that the kind is not served, want 1", n)
	}
	w.Stop()

	// Another watcher starts while the API server does not say: it waits, for what is not known is not gone.
	d.set("busy")
	last := b.Last()
	again := startWithResources(t, defined(shop(), d), resources, server.URL(), "two", calmLease)
	eventlogtest.Eventually(t, func() error {
		if !strings.Contains(again.text.String(), "whether the API server serves LabelMaps is not known: the API server is busy") {
			return errors.New("no line about it")
		}
		return nil
	})
	if now := b.Last(); now != last {
		t.Errorf("%d facts were written before it was known", now-last)
	}
	d.set("absent")
	b.AwaitGone(labelMapSubject, "map-uid")
}
