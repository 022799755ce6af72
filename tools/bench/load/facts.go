package load

import (
	"fmt"

	"github.com/ringfence/ringfence/libs/eventlog"
	ringfencev1 "github.com/ringfence/ringfence/proto/ringfence/v1"
	"github.com/ringfence/ringfence/tools/bench/workload"
)

// History is the facts of a city (workload M): all of it once, and then every pod again and again, as pods change. It is the
// same in every run.
type History struct {
	messages []workload.Message
	// pods are the facts of the pods, which lie together in messages, the first at the place podsAt.
	pods   []*ringfencev1.Pod
	podsAt int
	// apart is how far in that order the pods of another role are: a city deals its pods to its namespaces in turn.
	apart int
}

// NewHistory makes the history of a city of so many pods, with as many label sets, rules and nodes as are usual for it.
func NewHistory(pods int) (*History, error) {
	share := func(n, least int) int { return max(least, n*pods/100_000) }
	log := workload.City(workload.Shape{Pods: pods, LabelSets: share(1000, 20), Rules: share(10_000, 20), Nodes: share(1000, 5)}).Log()
	entries, err := workload.Decode(log.Messages)
	if err != nil {
		return nil, err
	}
	h := &History{messages: log.Messages}
	for i, e := range entries {
		if p := e.Fact.GetPod(); p != nil {
			if len(h.pods) == 0 {
				h.podsAt = i
			}
			if h.apart == 0 && p.GetLabels()["role"] != entries[h.podsAt].Fact.GetPod().GetLabels()["role"] {
				h.apart = len(h.pods)
			}
			h.pods = append(h.pods, p)
		}
	}
	return h, nil
}

// Pods is how many pods the city has.
func (h *History) Pods() int { return len(h.pods) }

// Facts is how many facts the city is at first.
func (h *History) Facts() int { return len(h.messages) }

// Draft is the fact of a pod at a revision, the first being 0. It is about 500 bytes, encoded.
func (h *History) Draft(pod, revision int) eventlog.Draft {
	p := h.pods[pod]
	return eventlog.Draft{
		Subject: eventlog.KubernetesSubject("pod", p.GetNamespace(), p.GetName()),
		Fact:    &ringfencev1.Fact{Body: &ringfencev1.Fact_Pod{Pod: h.revised(pod, revision)}},
	}
}

// revised is a pod as its next revisions are: its readiness comes and goes, and every third time it is relabelled.
func (h *History) revised(pod, revision int) *ringfencev1.Pod {
	p := h.pods[pod]
	return &ringfencev1.Pod{
		Namespace: p.GetNamespace(), Name: p.GetName(), Uid: p.GetUid(), Node: p.GetNode(), Addresses: p.GetAddresses(),
		ResourceVersion: fmt.Sprint(1_000_000 + revision*len(h.pods) + pod), Phase: p.GetPhase(), Ready: revision%2 == 0,
		Labels: map[string]string{
			"role": h.pods[(pod+revision/3*h.apart)%len(h.pods)].GetLabels()["role"],
			// What deployments usually put on their pods; the LabelMap maps none of it.
			"pod-template-hash": p.GetUid()[:8], "app.kubernetes.io/name": p.GetNamespace(), "app.kubernetes.io/component": "backend",
			"app.kubernetes.io/instance": p.GetNamespace() + "-production", "app.kubernetes.io/managed-by": "Helm",
			"app.kubernetes.io/version": "2026.11.25", "helm.sh/chart": p.GetNamespace() + "-4.18.2",
			"service.istio.io/canonical-name": p.GetNamespace(), "service.istio.io/canonical-revision": "latest",
			"security.istio.io/tlsMode": "istio",
		},
	}
}

// first gives the city as it is at first, in the order of its log, from one fact to another.
func (h *History) first(from, to int) ([]eventlog.Draft, error) {
	entries, err := workload.Decode(h.messages[from:to])
	if err != nil {
		return nil, err
	}
	drafts := make([]eventlog.Draft, len(entries))
	for i, e := range entries {
		if e.Fact.GetPod() != nil {
			drafts[i] = h.Draft(from+i-h.podsAt, 0)
		} else {
			drafts[i] = eventlog.Draft{Subject: e.Subject, Fact: e.Fact}
		}
	}
	return drafts, nil
}
