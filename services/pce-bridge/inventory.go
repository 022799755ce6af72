package pcebridge

import (
	"context"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"

	"google.golang.org/protobuf/proto"

	"github.com/ringfence/ringfence/libs/eventlog"
	ringfencev1 "github.com/ringfence/ringfence/proto/ringfence/v1"
)

// watcherName is what the watcher is called in facts.
const watcherName = "watcher"

// inventory is what the log says of the cluster, as far as the console is told of it. It belongs to one incarnation and
// is safe for concurrent use.
type inventory struct {
	incarnation string
	reports     reporting
	// changed holds a token while something changed since it was last taken.
	changed chan struct{}

	mu     sync.Mutex
	synced bool
	// facts are of all that is reported; pods of what the other pods are: most of them are never spoken of to the console.
	facts map[string]*ringfencev1.Fact
	pods  map[string]*member
	nodes map[string]*ringfencev1.Node
	// observed are the workloads, by key, of whose pods the console learns the addresses.
	observed map[string]bool
}

// member is a pod as far as its workload, its addresses and its state matter.
type member struct {
	uid       string
	workload  string // key
	addresses []netip.Addr
	running   bool
	host      bool // it uses its node's network
}

func newInventory(incarnation string, reports reporting) *inventory {
	return &inventory{
		incarnation: incarnation, reports: reports, changed: make(chan struct{}, 1),
		facts: map[string]*ringfencev1.Fact{}, pods: map[string]*member{}, nodes: map[string]*ringfencev1.Node{}, observed: map[string]bool{},
	}
}

// controllers are the kinds whose objects are facts of their own. Pods of other controllers, and pods without one, are
// what the console is told of in their place.
var controllers = []string{"Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "ReplicationController", "Job", "CronJob"}

// observability is the annotation by which a workload asks that the console learns the addresses of its pods.
const observability = "meta.illumio.podIPObservability"

func observed(annotations map[string]string) bool {
	return strings.EqualFold(annotations[observability], "true")
}

func ended(p *ringfencev1.Pod) bool {
	return p.GetPhase() == ringfencev1.PodPhase_POD_PHASE_SUCCEEDED || p.GetPhase() == ringfencev1.PodPhase_POD_PHASE_FAILED
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
	if i.take(entry) {
		i.poke()
	}
}

// poke has the console told anew: what it is told depends on more than the cluster.
func (i *inventory) poke() {
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
		return i.remove(entry.Subject, body.Gone.GetUid())
	case *ringfencev1.Fact_Pod:
		return i.takePod(entry, body.Pod)
	case *ringfencev1.Fact_Node:
		i.nodes[entry.Subject] = body.Node
	case *ringfencev1.Fact_EndpointSlice:
		return false
	case *ringfencev1.Fact_KubernetesWorkload:
		w := body.KubernetesWorkload
		i.observe(workloadKey(w.GetNamespace(), w.GetKind(), w.GetName()), observed(w.GetAnnotations()))
		i.facts[entry.Subject] = entry.Fact
	default:
		i.facts[entry.Subject] = entry.Fact
	}
	return before == nil || !sameBody(before, entry.Fact)
}

func (i *inventory) observe(workload string, wanted bool) {
	if wanted {
		i.observed[workload] = true
	} else {
		delete(i.observed, workload)
	}
}

// remove takes out what a tombstone ends, unless it is of a predecessor of the same name.
func (i *inventory) remove(subject, uid string) bool {
	other := func(held string) bool { return held != "" && uid != "" && held != uid }
	if m := i.pods[subject]; m != nil {
		if other(m.uid) {
			return false
		}
		delete(i.pods, subject)
		if i.observed[m.workload] {
			delete(i.facts, subject)
			return true
		}
	}
	if n := i.nodes[subject]; n != nil && !other(n.GetUid()) {
		delete(i.nodes, subject)
		return true
	}
	before := i.facts[subject]
	if before == nil || other(uidOf(before)) {
		return false
	}
	if w := before.GetKubernetesWorkload(); w != nil {
		i.observe(workloadKey(w.GetNamespace(), w.GetKind(), w.GetName()), false)
	}
	delete(i.facts, subject)
	return true
}

// takePod keeps of a pod what matters: all of it where the console is told of it.
func (i *inventory) takePod(entry eventlog.Entry, p *ringfencev1.Pod) bool {
	kind, name, _ := controllerOf(p)
	next := &member{uid: p.GetUid(), workload: workloadKey(p.GetNamespace(), kind, name), host: p.GetHostNetwork(), running: p.GetPhase() == ringfencev1.PodPhase_POD_PHASE_RUNNING}
	if !ended(p) && !next.host {
		next.addresses = addressesOf(p.GetAddresses())
	}
	last, before := i.pods[entry.Subject], i.facts[entry.Subject]
	i.pods[entry.Subject] = next
	moved := i.observed[next.workload] && (last == nil || !slices.Equal(last.addresses, next.addresses))
	itself := !slices.Contains(controllers, kind) // it is, or stands for, a workload
	if ended(p) || p.GetHostNetwork() && !i.reports.hostNetwork || !itself && !i.reports.containers {
		delete(i.facts, entry.Subject)
		return before != nil || moved
	}
	i.facts[entry.Subject] = entry.Fact
	return before == nil || moved || !sameBody(before, entry.Fact)
}

func addressesOf(texts []string) (out []netip.Addr) {
	for _, text := range texts {
		if a, err := netip.ParseAddr(text); err == nil {
			out = append(out, a.Unmap())
		}
	}
	return out
}

// controllerOf names the workload that a pod belongs to; without a controller it is the pod itself.
func controllerOf(p *ringfencev1.Pod) (kind, name, uid string) {
	if c := p.GetController(); c != nil {
		return c.GetKind(), c.GetName(), c.GetUid()
	}
	return "Pod", p.GetName(), p.GetUid()
}

func uidOf(f *ringfencev1.Fact) string {
	switch body := f.GetBody().(type) {
	case *ringfencev1.Fact_Namespace:
		return body.Namespace.GetUid()
	case *ringfencev1.Fact_Pod:
		return body.Pod.GetUid()
	case *ringfencev1.Fact_Service:
		return body.Service.GetUid()
	case *ringfencev1.Fact_KubernetesWorkload:
		return body.KubernetesWorkload.GetUid()
	case *ringfencev1.Fact_LabelMap:
		return body.LabelMap.GetUid()
	default:
		return ""
	}
}

// nodeNames gives the names of the cluster's nodes, sorted; ok is false until the watcher is in sync.
func (i *inventory) nodeNames() (names []string, ok bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	for _, n := range i.nodes {
		names = append(names, n.GetName())
	}
	slices.Sort(names)
	return names, i.synced
}

// members gives the running pods of every workload, by uid, that have policy of their own.
func (i *inventory) members() map[string][]string {
	i.mu.Lock()
	defer i.mu.Unlock()
	out := map[string][]string{}
	for _, m := range i.pods {
		if m.running && !m.host {
			out[m.workload] = append(out[m.workload], m.uid)
		}
	}
	return out
}

// owners gives the workload behind every address: pods, Services and, by name, nodes.
func (i *inventory) owners() (workloads, nodes map[netip.Addr]string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	workloads, nodes = map[netip.Addr]string{}, map[netip.Addr]string{}
	for _, subject := range slices.Sorted(maps.Keys(i.pods)) {
		for _, a := range i.pods[subject].addresses {
			workloads[a] = i.pods[subject].workload
		}
	}
	for _, f := range i.facts {
		s := f.GetService()
		for _, a := range addressesOf(s.GetClusterIps()) {
			workloads[a] = workloadKey(s.GetNamespace(), "Service", s.GetName())
		}
	}
	for _, n := range i.nodes {
		for _, a := range addressesOf(n.GetAddresses()) {
			nodes[a] = n.GetName()
		}
	}
	return workloads, nodes
}

func sameBody(a, b *ringfencev1.Fact) bool { return proto.Equal(body(a), body(b)) }

func workloadKey(namespace, kind, name string) string { return namespace + "/" + kind + "/" + name }
