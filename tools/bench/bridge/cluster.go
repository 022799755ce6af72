package bridge

import (
	"context"
	"fmt"

	"github.com/nats-io/nats.go"

	"github.com/ringfence/ringfence/libs/eventlog"
	ringfencev1 "github.com/ringfence/ringfence/proto/ringfence/v1"
)

func node(n int) string { return fmt.Sprintf("node-%03d", n) }

// workloadsEach is how many workloads a namespace has; every fifth is a Service.
const workloadsEach = 50

// fill writes what a watcher sees of the cluster into a new log.
func (b *Bench) fill(ctx context.Context, nc *nats.Conn) (*eventlog.Log, error) {
	log, err := eventlog.Open(ctx, nc)
	if err != nil {
		return nil, err
	}
	watcher, err := log.Lead(ctx, "watcher", "bench")
	if err != nil {
		return nil, err
	}
	var drafts []eventlog.Draft
	add := func(kind, namespace, name string, fact *ringfencev1.Fact) {
		drafts = append(drafts, eventlog.Draft{Subject: eventlog.KubernetesSubject(kind, namespace, name), Fact: fact})
	}
	for n := range b.Nodes {
		add("node", "", node(n), &ringfencev1.Fact{Body: &ringfencev1.Fact_Node{Node: &ringfencev1.Node{Name: node(n), KubeletVersion: "v1.37.2"}}})
	}
	for n := range b.Workloads {
		namespace, name := fmt.Sprintf("space-%03d", n/workloadsEach), fmt.Sprintf("app-%04d", n)
		if n%workloadsEach == 0 {
			add("namespace", "", namespace, &ringfencev1.Fact{Body: &ringfencev1.Fact_Namespace{Namespace: &ringfencev1.Namespace{Name: namespace}}})
		}
		if n%5 == 4 {
			add("service", namespace, name, &ringfencev1.Fact{Body: &ringfencev1.Fact_Service{Service: &ringfencev1.Service{
				Namespace: namespace, Name: name, Uid: "uid-" + name, ClusterIps: []string{fmt.Sprintf("10.96.%d.%d", n/250, n%250)}}}})
			continue
		}
		add("deployment", namespace, name, &ringfencev1.Fact{Body: &ringfencev1.Fact_KubernetesWorkload{KubernetesWorkload: &ringfencev1.KubernetesWorkload{
			Namespace: namespace, Kind: "Deployment", Name: name, Uid: "uid-" + name,
			Annotations: map[string]string{"com.illumio.app": fmt.Sprint("app-", n%b.Labels)}}}})
	}
	if err := watcher.PublishAll(ctx, drafts); err != nil {
		return nil, err
	}
	return log, watcher.Synced(ctx)
}
