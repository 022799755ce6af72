package watcher

import (
	"context"
	"fmt"
	"strings"

	"github.com/ringfence/ringfence/libs/eventlog"
	ringfencev1 "github.com/ringfence/ringfence/proto/ringfence/v1"

	"github.com/ringfence/ringfence/services/watcher/kubefact"
)

// record is what the log holds of an object.
type record struct {
	uid    string
	digest kubefact.Digest
	// controller of a pod, nil for a bare pod and for every other object.
	controller *ringfencev1.ObjectRef
}

// ledger is what the log holds of the cluster, object by object. Not safe for concurrent use.
type ledger struct {
	records map[kubefact.Key]record
	// pods counts the pods that name a controller.
	pods map[kubefact.Key]int
}

func newLedger() *ledger {
	return &ledger{records: map[kubefact.Key]record{}, pods: map[kubefact.Key]int{}}
}

// readLedger reads the last fact of every object.
func readLedger(ctx context.Context, log *eventlog.Log) (*ledger, error) {
	l := newLedger()
	for entry, err := range log.Latest(ctx, "facts.k8s.>") {
		if err != nil {
			return nil, fmt.Errorf("read what the log holds of the cluster: %w", err)
		}
		key, err := kubefact.ParseSubject(entry.Subject)
		if err != nil || !watches(key.Kind) {
			continue // of another version: it is not ours to change
		}
		if err := l.enter(key, entry.Fact); err != nil {
			return nil, fmt.Errorf("read what the log holds of the cluster: sequence %d: %s: %w", entry.Sequence, key, err)
		}
	}
	return l, nil
}

// enter takes a fact in as the newest of its object. One without body could not be read: it differs from every object, and of
// one that is gone the log lacks the tombstone.
func (l *ledger) enter(key kubefact.Key, fact *ringfencev1.Fact) error {
	if fact.GetGone() != nil {
		l.Remove(key)
		return nil
	}
	digest, err := kubefact.DigestOf(fact)
	if err != nil {
		return err
	}
	l.Set(key, record{uid: uidOf(fact), digest: digest, controller: fact.GetPod().GetController()})
	return nil
}

func uidOf(fact *ringfencev1.Fact) string {
	switch body := fact.GetBody().(type) {
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
	case *ringfencev1.Fact_EndpointSlice:
		return body.EndpointSlice.GetUid()
	case *ringfencev1.Fact_LabelMap:
		return body.LabelMap.GetUid()
	}
	return ""
}

// Get gives what the log holds of an object.
func (l *ledger) Get(key kubefact.Key) (record, bool) {
	r, ok := l.records[key]
	return r, ok
}

// Set takes in that the log holds r now. It gives the controller that lost its last pod by that, if one did.
func (l *ledger) Set(key kubefact.Key, r record) (kubefact.Key, bool) {
	before, after := l.controller(key), controllerKey(key, r.controller)
	l.records[key] = r
	if before == after {
		return kubefact.Key{}, false
	}
	if after.Name != "" {
		l.pods[after]++
	}
	return before, l.release(before)
}

// Remove takes in that the log holds a tombstone now; see Set.
func (l *ledger) Remove(key kubefact.Key) (kubefact.Key, bool) {
	before := l.controller(key)
	delete(l.records, key)
	return before, l.release(before)
}

// HasPods says whether any pod in the log names the controller.
func (l *ledger) HasPods(controller kubefact.Key) bool { return l.pods[controller] > 0 }

// Keys names every object that the log holds, in no order.
func (l *ledger) Keys() []kubefact.Key {
	keys := make([]kubefact.Key, 0, len(l.records))
	for key := range l.records {
		keys = append(keys, key)
	}
	return keys
}

func (l *ledger) controller(pod kubefact.Key) kubefact.Key {
	return controllerKey(pod, l.records[pod].controller)
}

func (l *ledger) release(controller kubefact.Key) bool {
	if controller.Name == "" {
		return false
	}
	l.pods[controller]--
	if l.pods[controller] > 0 {
		return false
	}
	delete(l.pods, controller)
	return true
}

// controllerKey names a pod's controller; the empty key stands for none.
func controllerKey(pod kubefact.Key, ref *ringfencev1.ObjectRef) kubefact.Key {
	if ref == nil {
		return kubefact.Key{}
	}
	return kubefact.Key{Kind: strings.ToLower(ref.GetKind()), Namespace: pod.Namespace, Name: ref.GetName()}
}
