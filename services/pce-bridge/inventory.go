package pcebridge

import (
	"context"
	"maps"
	"slices"
	"sync"

	"github.com/ringfence/ringfence/libs/eventlog"
	"github.com/ringfence/ringfence/libs/pce"
	ringfencev1 "github.com/ringfence/ringfence/proto/ringfence/v1"
)

// watcherName is what the watcher is called in facts.
const watcherName = "watcher"

// inventory is what the log says of the cluster, as far as the console is told of it. It belongs to one incarnation and
// is safe for concurrent use.
type inventory struct {
	incarnation string
	// changed holds a token while something changed since it was last taken.
	changed chan struct{}

	mu     sync.Mutex
	synced bool
	facts  map[string]*ringfencev1.Fact
}

func newInventory(incarnation string) *inventory {
	return &inventory{incarnation: incarnation, changed: make(chan struct{}, 1), facts: map[string]*ringfencev1.Fact{}}
}

// controllers are the kinds whose objects are facts of their own. Pods of other controllers, and pods without one, are
// what the console is told of in their place.
var controllers = []string{"Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "ReplicationController", "Job", "CronJob"}

// stands tells whether a pod is, or stands for, a Kubernetes workload. The policy of hostNetwork pods is their node's.
func stands(p *ringfencev1.Pod) bool {
	ended := p.GetPhase() == ringfencev1.PodPhase_POD_PHASE_SUCCEEDED || p.GetPhase() == ringfencev1.PodPhase_POD_PHASE_FAILED
	return !p.GetHostNetwork() && !ended && !slices.Contains(controllers, p.GetController().GetKind())
}

// follow keeps the inventory until ctx ends or the log fails.
func (i *inventory) follow(ctx context.Context, log *eventlog.Log) error {
	filters := []string{"facts.k8s.>", eventlog.SyncedSubject(watcherName)}
	var last uint64
	for entry, err := range log.Latest(ctx, filters...) {
		if err != nil {
			return err
		}
		last = max(last, entry.Sequence)
		i.apply(entry)
	}
	return log.Tail(ctx, last+1, filters, func(entry eventlog.Entry) error {
		i.apply(entry)
		return nil
	})
}

func (i *inventory) apply(entry eventlog.Entry) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if !i.take(entry) {
		return
	}
	select {
	case i.changed <- struct{}{}:
	default:
	}
}

// take takes a fact in, and says whether it is about what the console is told of.
func (i *inventory) take(entry eventlog.Entry) bool {
	before := i.facts[entry.Subject]
	switch body := entry.Fact.GetBody().(type) {
	case *ringfencev1.Fact_Synced:
		i.synced = i.synced || body.Synced.GetIncarnation() == i.incarnation
	case *ringfencev1.Fact_Gone:
		if held := uidOf(before); held != "" && body.Gone.GetUid() != "" && held != body.Gone.GetUid() {
			return false // of a predecessor of the same name
		}
		delete(i.facts, entry.Subject)
		return before != nil
	case *ringfencev1.Fact_Pod:
		if !stands(body.Pod) { // most pods do not
			delete(i.facts, entry.Subject)
			return before != nil
		}
		i.facts[entry.Subject] = entry.Fact
	default:
		i.facts[entry.Subject] = entry.Fact
	}
	return true
}

func uidOf(f *ringfencev1.Fact) string {
	switch body := f.GetBody().(type) {
	case *ringfencev1.Fact_Namespace:
		return body.Namespace.GetUid()
	case *ringfencev1.Fact_Node:
		return body.Node.GetUid()
	case *ringfencev1.Fact_Pod:
		return body.Pod.GetUid()
	case *ringfencev1.Fact_Service:
		return body.Service.GetUid()
	case *ringfencev1.Fact_KubernetesWorkload:
		return body.KubernetesWorkload.GetUid()
	default:
		return ""
	}
}

// cluster is what the console is told: complete, sorted.
type cluster struct {
	nodes      []*ringfencev1.Node
	namespaces []string
	// workloads by namespace/kind/name.
	workloads map[string]pce.KubernetesWorkload
}

// cluster gives the state of now; ok is false until the watcher is in sync.
func (i *inventory) cluster() (c cluster, ok bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	c.workloads = map[string]pce.KubernetesWorkload{}
	for _, subject := range slices.Sorted(maps.Keys(i.facts)) {
		switch body := i.facts[subject].GetBody().(type) {
		case *ringfencev1.Fact_Node:
			c.nodes = append(c.nodes, body.Node)
		case *ringfencev1.Fact_Namespace:
			c.namespaces = append(c.namespaces, body.Namespace.GetName())
		case *ringfencev1.Fact_KubernetesWorkload:
			c.controller(body.KubernetesWorkload)
		case *ringfencev1.Fact_Service:
			c.service(body.Service)
		case *ringfencev1.Fact_Pod:
			c.pod(body.Pod)
		}
	}
	slices.Sort(c.namespaces)
	return c, i.synced
}

// nodes gives the names of the cluster's nodes, sorted; ok is false until the watcher is in sync.
func (i *inventory) nodes() (names []string, ok bool) {
	c, ok := i.cluster()
	for _, n := range c.nodes {
		names = append(names, n.GetName())
	}
	return names, ok
}

// controller takes a controller in. The policy of hostNetwork pods is their node's, so they are no workloads.
func (c *cluster) controller(w *ringfencev1.KubernetesWorkload) {
	if w.GetHostNetwork() {
		return
	}
	c.add(w.GetNamespace(), w.GetKind(), w.GetName(), w.GetUid(), w.GetLabels(), w.GetAnnotations())
}

// pod takes a pod in as the workload that it is, or that its controller is: of several pods of one controller, which may
// differ while they are replaced, the last by name speaks for it.
func (c *cluster) pod(p *ringfencev1.Pod) {
	kind, name, uid := "Pod", p.GetName(), p.GetUid()
	if controller := p.GetController(); controller != nil {
		kind, name, uid = controller.GetKind(), controller.GetName(), controller.GetUid()
	}
	c.add(p.GetNamespace(), kind, name, uid, p.GetLabels(), p.GetAnnotations())
}

// service takes a Service in, if it has an address in the cluster.
func (c *cluster) service(s *ringfencev1.Service) {
	if len(s.GetClusterIps()) == 0 {
		return
	}
	c.add(s.GetNamespace(), "Service", s.GetName(), s.GetUid(), s.GetLabels(), s.GetAnnotations())
}

func (c *cluster) add(namespace, kind, name, uid string, labels, annotations map[string]string) {
	c.workloads[workloadKey(namespace, kind, name)] = pce.KubernetesWorkload{
		Namespace: namespace, Kind: kind, Name: name,
		Metadata: pce.KubernetesMetadata{UID: uid, Labels: labels, Annotations: annotations},
	}
}

func workloadKey(namespace, kind, name string) string { return namespace + "/" + kind + "/" + name }
