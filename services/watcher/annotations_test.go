package watcher

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"

	"github.com/ringfence/ringfence/libs/eventlog"
	"github.com/ringfence/ringfence/libs/eventlog/eventlogtest"
	"github.com/ringfence/ringfence/libs/service"
)

func startAllowing(t *testing.T, client *fake.Clientset, url, identity string, annotations ...string) *running {
	t.Helper()
	cfg := configOf(url, identity, calmLease)
	cfg.UserAllowedAnnotations = annotations
	return startConfigured(t, client, customResources(), cfg)
}

// awaitAnnotations waits until the newest fact of a pod has these annotations and no others.
func awaitAnnotations(b book, pod string, want map[string]string) {
	b.t.Helper()
	b.Await(pod, func(e eventlog.Entry) error {
		if diff := cmp.Diff(want, e.Fact.GetPod().GetAnnotations()); diff != "" {
			return fmt.Errorf("annotations of %s (-want +got):\n%s", pod, diff)
		}
		return nil
	})
}

// The log follows the list: where it grew or shrank while no watcher ran, the facts that differ by it are written at the
// start, and they alone.
func TestARestartWithOtherAllowedAnnotations(t *testing.T) {
	const subject = "facts.k8s.pod.shop.noted"
	server, log := eventlogtest.StartLog(t)
	b, client := book{t, log}, shop()
	noted := podOf("noted", "10.0.0.2")
	noted.Annotations = map[string]string{"com.illumio.role": "web", "example.com/team": "blue", "example.com/token": "secret"}
	pods := client.CoreV1().Pods("shop")
	if _, err := pods.Create(t.Context(), noted, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	w := startAllowing(t, client, server.URL(), "plain")
	b.AwaitSynced()
	awaitAnnotations(b, subject, map[string]string{"com.illumio.role": "web"})
	w.Stop()

	restart := func(identity string, allowed ...string) []string {
		last := b.Last()
		w = startAllowing(t, client, server.URL(), identity, allowed...)
		b.AwaitSyncedAfter(last)
		return subjects(b.Entries(last + 1))
	}
	changed, same := []string{subject, "facts.ctl.synced.watcher"}, []string{"facts.ctl.synced.watcher"}
	if diff := cmp.Diff(changed, restart("grown", "example.com/team", "example.com/absent")); diff != "" {
		t.Errorf("facts of a start with a longer list (-want +got):\n%s", diff)
	}
	awaitAnnotations(b, subject, map[string]string{"com.illumio.role": "web", "example.com/team": "blue"})

	// While it runs a change of what is allowed is a fact, and one of what is not is none.
	last := b.Last()
	for _, change := range []map[string]string{{"example.com/token": "another"}, {"example.com/team": "green"}} {
		noted = noted.DeepCopy()
		for name, value := range change {
			noted.Annotations[name] = value
		}
		if _, err := pods.Update(t.Context(), noted, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	awaitAnnotations(b, subject, map[string]string{"com.illumio.role": "web", "example.com/team": "green"})
	if diff := cmp.Diff([]string{subject}, subjects(b.Entries(last+1))); diff != "" {
		t.Errorf("facts of the changes (-want +got):\n%s", diff)
	}
	w.Stop()

	if diff := cmp.Diff(same, restart("same", "example.com/absent", "example.com/team")); diff != "" {
		t.Errorf("facts of a start with the same list (-want +got):\n%s", diff)
	}
	w.Stop()
	if diff := cmp.Diff(changed, restart("shrunk")); diff != "" {
		t.Errorf("facts of a start without a list (-want +got):\n%s", diff)
	}
	awaitAnnotations(b, subject, map[string]string{"com.illumio.role": "web"})
}

func TestAllowedAnnotationsOfTheConfiguration(t *testing.T) {
	const variable = "RINGFENCE_USER_ALLOWED_ANNOTATIONS"
	for _, c := range []struct {
		env  string
		args []string
		code int
		want []string
	}{
		{"", nil, 0, nil},
		{"example.com/team,contact", nil, 0, []string{"example.com/team", "contact"}},
		{"", []string{"--user-allowed-annotations=example.com/team,contact"}, 0, []string{"example.com/team", "contact"}},
		{"example.com/team,no such name", nil, service.ExitUsage, nil},
	} {
		t.Setenv(variable, c.env)
		var cfg Config
		code := service.Execute(t.Context(), "watcher", "", &cfg, func(context.Context) error { return nil }, c.args)
		if code != c.code || code == 0 && strings.Join(cfg.UserAllowedAnnotations, " ") != strings.Join(c.want, " ") {
			t.Errorf("%s=%q %v: exit code %d, %q", variable, c.env, c.args, code, cfg.UserAllowedAnnotations)
		}
	}
	cfg := Config{UserAllowedAnnotations: []string{"example.com/team", "no such name"}}
	const says = `--user-allowed-annotations: "no such name" cannot be the name of an annotation: `
	if err := cfg.Validate(); err == nil || !strings.HasPrefix(err.Error(), says) {
		t.Errorf("%v, want an error that begins with %s", err, says)
	}
	if err := run(t.Context(), cfg, nil, nil, nil); err == nil || !strings.HasPrefix(err.Error(), says) {
		t.Errorf("run: %v, want an error that begins with %s", err, says)
	}
}
