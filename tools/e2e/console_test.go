//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"strconv"
	"sync"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/ringfence/ringfence/libs/eventlog"
	"github.com/ringfence/ringfence/tools/demo"
	"github.com/ringfence/ringfence/tools/shop"
)

// degraded stops the console and goes through every row of what may become of a workload meanwhile. What a workload's own
// firewall does shows with a peer that has none: a pod in a namespace that is not managed.
func degraded(t *testing.T, d *demo.Demo) {
	ctx := t.Context()
	upgrade(t, d, "pceBridge.linkDownAfter=10s")
	outsider := deploy(t, d, "default", "outsider", "")
	waitLink(t, d, true)
	if err := d.StopConsole(ctx); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := d.StartConsole(ctx); err != nil {
			t.Fatal(err)
		}
		waitLink(t, d, true)
		probe(t, d, "after the console came back")
	}()
	waitLink(t, d, false)
	probe(t, d, "known workloads while the console is away")

	t.Run("a new workload like a known one gets its policy", func(t *testing.T) {
		twin := deploy(t, d, "shop", "twin", "api")
		database := podOf(t, d, "shop", "database")
		expect(t, d, twin, database, 5432, demo.Connects)
		expect(t, d, twin, outsider, 8080, demo.Blocked)
		expect(t, d, podOf(t, d, "shop", "web"), twin, 8080, demo.Connects)
		expect(t, d, outsider, twin, 8080, demo.Blocked)
	})
	for _, row := range []struct {
		values   []string
		name     string
		expected demo.Outcome
	}{
		{[]string{"degradedModePolicyFail=open"}, "a new workload like none is open", demo.Connects},
		{[]string{"degradedModePolicyFail=closed"}, "a new workload like none is closed, in full mode", demo.Blocked},
		{[]string{"degradedModePolicyFail=open", "disableDegradedMode=true"}, "with degraded mode off a new workload gets no policy", demo.Connects},
	} {
		t.Run(row.name, func(t *testing.T) {
			upgrade(t, d, append([]string{"disableDegradedMode=false"}, row.values...)...)
			stray := deploy(t, d, "shop", "stray", "stray")
			expect(t, d, stray, outsider, 8080, row.expected)
			expect(t, d, outsider, stray, 8080, row.expected)
			probe(t, d, row.name)
		})
	}
	upgrade(t, d, "disableDegradedMode=false", "degradedModePolicyFail=open")
}

// clusterModes takes the cluster through all modes and out of the console while every pair is tried again and again: until the end
// no verdict changes.
func clusterModes(t *testing.T, d *demo.Demo) {
	client, cluster := d.Console()
	count := func(ctx context.Context) (string, error) {
		workloads, err := client.KubernetesWorkloads(ctx)
		if err != nil {
			return "", err
		}
		containers, err := client.ContainerWorkloads(ctx)
		if err != nil {
			return "", err
		}
		machines, err := client.Workloads(ctx)
		now, failed := client.ContainerCluster(ctx, cluster.Href)
		if err == nil {
			err = failed
		}
		return fmt.Sprintf("mode %s: workloads %v, containers %v, %d nodes", now.ClusterMode, len(workloads) > 0, len(containers) > 0, len(machines)), err
	}
	reaches := func(t *testing.T, want string) {
		t.Helper()
		ask(t, func(ctx context.Context) (string, error) {
			got, err := count(ctx)
			if err == nil && got != want {
				err = fmt.Errorf("the console has %s, want %s", got, want)
			}
			return got, err
		})
	}
	for _, step := range []struct {
		mode                  string
		workloads, containers bool
	}{
		{"migrateClasToLegacy", true, true}, {"legacy", false, true}, {"migrateLegacyToClas", true, true}, {"clas", true, false},
	} {
		t.Run(step.mode, func(t *testing.T) {
			stop := keepProbing(t, d, step.mode)
			defer stop()
			upgrade(t, d, "clusterMode="+step.mode)
			reaches(t, fmt.Sprintf("mode %s: workloads %v, containers %v, %d nodes", step.mode, step.workloads, step.containers, d.NodeCount()))
		})
	}
	t.Run("unpair", func(t *testing.T) {
		upgrade(t, d, "clusterMode=unpair")
		reaches(t, "mode unpair: workloads false, containers false, 0 nodes")
		observations, err := d.Probe(t.Context(), "after the cluster left the console", demo.Everything)
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range observations {
			if !o.OK() {
				t.Errorf("a table stayed: %+v", o)
			}
		}
	})
}

// keepProbing tries all pairs until stop is called, which waits for the last round.
func keepProbing(t *testing.T, d *demo.Demo, phase string) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	var rounds int
	var group sync.WaitGroup
	group.Go(func() {
		for ; ctx.Err() == nil; rounds++ {
			probe(t, d, phase)
		}
	})
	return func() {
		cancel()
		group.Wait()
		t.Logf("%d rounds of probes", rounds)
	}
}

func upgrade(t *testing.T, d *demo.Demo, values ...string) {
	t.Helper()
	if err := d.Upgrade(t.Context(), values...); err != nil {
		t.Fatal(err)
	}
}

// waitLink waits until the log says that the console is there, or that it is away.
func waitLink(t *testing.T, d *demo.Demo, up bool) {
	t.Helper()
	ask(t, func(ctx context.Context) (bool, error) {
		for e, err := range d.Log.Latest(ctx, eventlog.LinkSubject) {
			if err != nil {
				return false, err
			}
			if e.Fact.GetPceLink().GetUp() == up {
				return up, d.WaitEnforced(ctx, e.Sequence)
			}
		}
		return false, fmt.Errorf("the log does not say that the link is up: %v", up)
	})
}

// deploy makes a Deployment of one pod after the sample's web, with a role of its own where one is given, and gives the pod once its
// node has what there is of policy for it. It ends with the test.
func deploy(t *testing.T, d *demo.Demo, namespace, name, role string) corev1.Pod {
	t.Helper()
	ctx, api := t.Context(), d.Cluster.Client.AppsV1()
	web, err := api.Deployments("shop").Get(ctx, "web", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	labels, one := map[string]string{"app": name}, int32(1)
	spec := *web.Spec.Template.DeepCopy()
	spec.Labels, spec.Annotations, spec.Spec.TopologySpreadConstraints = labels, nil, nil
	spec.Spec.Containers[0].Args = []string{"serve", "--name=" + name, "--listen=:8080"}
	made := &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: labels},
		Spec:       appsv1.DeploymentSpec{Replicas: &one, Selector: &metav1.LabelSelector{MatchLabels: labels}, Template: spec},
	}
	if role != "" {
		made.Annotations = map[string]string{"com.illumio.role": role}
	}
	if _, err := api.Deployments(namespace).Create(ctx, made, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
		defer cancel()
		err := api.Deployments(namespace).Delete(ctx, name, metav1.DeleteOptions{})
		if err == nil {
			err = d.Cluster.WaitGone(ctx, namespace, "app="+name)
		}
		if err != nil && !apierrors.IsNotFound(err) {
			t.Error(err)
		}
	})
	bounded, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	pods, err := d.Cluster.WaitPods(bounded, namespace, "app="+name, 1)
	if err != nil {
		t.Fatal(err)
	}
	last := lastSequence(t, d)
	if err := d.WaitEnforced(ctx, last); err != nil {
		t.Fatal(err)
	}
	return pods[0]
}

func podOf(t *testing.T, d *demo.Demo, namespace, name string) corev1.Pod {
	t.Helper()
	pods, err := d.Cluster.Pods(t.Context(), namespace, "app="+name)
	if err != nil || len(pods) == 0 {
		t.Fatalf("pods of %s/%s: %d found, %v", namespace, name, len(pods), err)
	}
	return pods[0]
}

// expect tries one pair until the outcome is the expected one, for at most half a minute: a pod that is ready is known to other
// nodes a moment later.
func expect(t *testing.T, d *demo.Demo, from, to corev1.Pod, port int, want demo.Outcome) {
	t.Helper()
	address := net.JoinHostPort(to.Status.PodIP, strconv.Itoa(port))
	var got demo.Outcome
	var results []shop.Result
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end) && got != want; {
		output, err := d.Cluster.Exec(t.Context(), from.Namespace, from.Name, "/shop", "probe", "--timeout", "1500ms", "-o", "json", address)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(output, &results); err != nil || len(results) != 1 {
			t.Fatalf("probe from %s: %v: %s", from.Name, err, output)
		}
		if got = demo.Blocked; results[0].Connected {
			got = demo.Connects
		}
	}
	if got != want {
		t.Errorf("%s to %s port %d %s, want %s", from.Name, to.Name, port, got, want)
	}
}
