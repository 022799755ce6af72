package policystore

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync/atomic"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/rs/zerolog"
	"google.golang.org/protobuf/proto"

	"github.com/ringfence/ringfence/libs/clas"
	"github.com/ringfence/ringfence/libs/eventlog"
	ringfencev1 "github.com/ringfence/ringfence/proto/ringfence/v1"
)

// publisher numbers the windows and keeps what whoever joins must find.
type publisher struct {
	log     *eventlog.Log
	zlog    zerolog.Logger
	metrics *metrics

	published *eventlog.Published // of an earlier run, until the first publication of this one
	window    uint64
	current   atomic.Uint64 // the last window of this run, for queries
	head      *ringfencev1.PolicyHead
	sets      map[string]*ringfencev1.AddressSet // whole, for their storing
	// settlement says which window all nodes enforce.
	settlement *settlement
	said       string // the last failure, which is logged once
}

func newPublisher(log *eventlog.Log, zlog zerolog.Logger, m *metrics, published *eventlog.Published) *publisher {
	return &publisher{
		log: log, zlog: zlog, metrics: m, published: published, settlement: newSettlement(),
		window: published.Window, sets: map[string]*ringfencev1.AddressSet{},
	}
}

// first says whether this run has not published yet.
func (p *publisher) first() bool { return p.head == nil }

// publication is one window with everything that goes with it.
type publication struct {
	window  *ringfencev1.Window
	objects eventlog.Objects
	head    *ringfencev1.PolicyHead
	plans   []*ringfencev1.NodePlan
}

// publish publishes a state as the next window, trying until it succeeds or ctx ends. A state in which nothing changed
// only moves the version, which the next heartbeat tells.
func (p *publisher) publish(ctx context.Context, s state) error {
	if !s.changed {
		p.head = proto.CloneOf(p.head)
		p.head.Version = s.version
		return nil
	}
	settled := p.settled(s.version.GetIncarnation())
	next := publication{
		window: &ringfencev1.Window{Number: p.window + 1, Version: s.version, ProvisionedVersion: s.delta.ProvisionedVersion, Settled: settled},
		head: &ringfencev1.PolicyHead{
			Version: s.version, ProvisionedVersion: s.delta.ProvisionedVersion, Digest: s.digest, Engine: clas.Version, Synced: s.synced, Settled: settled,
		},
	}
	if s.whole != nil {
		p.difference(&next, s)
	} else {
		p.delta(&next, s)
	}
	if err := p.insist(ctx, func() error {
		return p.log.PublishWindow(ctx, next.window, next.objects, next.head, next.plans)
	}); err != nil {
		return err
	}
	p.window, p.head, p.published = next.window.GetNumber(), next.head, nil
	p.notePlans(next.plans, s.whole)
	p.metrics.windows.Inc()
	p.current.Store(p.window)
	p.metrics.window.Set(float64(p.window))
	return nil
}

// delta fills in a window from what the engine says changed.
func (p *publisher) delta(next *publication, s state) {
	d, namespaces := s.delta, p.bounded(s.namespaces)
	next.window.Sets, next.window.Policies = d.Sets, d.Policies
	next.window.RemovedPolicies, next.window.Namespaces = d.RemovedPolicies, namespaces
	next.objects = eventlog.Objects{Policies: d.Policies, Namespaces: namespaces, RemovedPolicies: d.RemovedPolicies}
	next.plans = s.plans
	for _, change := range d.Sets {
		if change.GetDeleted() {
			delete(p.sets, change.GetId())
			next.objects.RemovedSets = append(next.objects.RemovedSets, change.GetId())
			continue
		}
		set := eventlog.ChangeSet(p.sets[change.GetId()], change)
		p.sets[change.GetId()] = set
		next.objects.Sets = append(next.objects.Sets, set)
	}
}

// difference fills in a window with what differs from what an earlier run left.
func (p *publisher) difference(next *publication, s state) {
	old, whole := p.published, s.whole
	for _, set := range whole.Sets {
		p.sets[set.GetId()] = set
		if !proto.Equal(old.Sets[set.GetId()], set) {
			next.objects.Sets = append(next.objects.Sets, set)
			next.window.Sets = append(next.window.Sets, &ringfencev1.AddressSetDelta{Id: set.GetId(), Replace: set})
		}
	}
	policies := map[string]bool{}
	for _, policy := range whole.Policies {
		policies[policy.GetId()] = true
		if !proto.Equal(old.Policies[policy.GetId()], policy) {
			next.objects.Policies = append(next.objects.Policies, policy)
		}
	}
	next.window.Policies = next.objects.Policies
	for _, id := range slices.Sorted(maps.Keys(old.Sets)) {
		if _, stays := p.sets[id]; !stays {
			next.objects.RemovedSets = append(next.objects.RemovedSets, id)
			next.window.Sets = append(next.window.Sets, &ringfencev1.AddressSetDelta{Id: id, Deleted: true})
		}
	}
	for _, id := range slices.Sorted(maps.Keys(old.Policies)) {
		if !policies[id] {
			next.objects.RemovedPolicies = append(next.objects.RemovedPolicies, id)
		}
	}
	next.window.RemovedPolicies = next.objects.RemovedPolicies
	if namespaces := p.bounded(whole.Namespaces); !proto.Equal(old.Namespaces, namespaces) {
		next.objects.Namespaces, next.window.Namespaces = namespaces, namespaces
	}
	next.plans = changedPlans(old.Plans, whole.Plans, s.version.GetIncarnation())
}

// namespacesBytes bounds the namespaces, which are one message. The server takes 1 MiB.
const namespacesBytes = 768 << 10

// bounded gives namespaces that fit a message. Signatures are what makes them large, and what can be done without: a pod
// whose signature is left out waits for the plan that names it. The largest namespaces lose theirs first.
func (p *publisher) bounded(whole *ringfencev1.Namespaces) *ringfencev1.Namespaces {
	excess := proto.Size(whole) - namespacesBytes
	if excess <= 0 {
		return whole
	}
	fits := proto.CloneOf(whole)
	bySize := slices.SortedStableFunc(slices.Values(fits.GetNamespaces()), func(a, b *ringfencev1.NamespacePolicy) int {
		return len(b.GetSignatures()) - len(a.GetSignatures())
	})
	for _, n := range bySize {
		if excess <= 0 {
			break
		}
		p.zlog.Warn().Str("namespace", n.GetNamespace()).Int("signatures", len(n.GetSignatures())).
			Msg("the namespaces' signatures do not fit a message; without them new pods of this namespace wait for their plan")
		excess -= proto.Size(n)
		n.Signatures = nil
		excess += proto.Size(n)
	}
	return fits
}

// changedPlans gives the plans that are new or different, and a removal for each that is no more.
func changedPlans(old map[string]*ringfencev1.NodePlan, now []*ringfencev1.NodePlan, incarnation string) []*ringfencev1.NodePlan {
	var out []*ringfencev1.NodePlan
	stays := map[string]bool{}
	for _, plan := range now {
		stays[plan.GetNode()] = true
		if !samePlan(old[plan.GetNode()], plan, incarnation) {
			out = append(out, plan)
		}
	}
	for _, node := range slices.Sorted(maps.Keys(old)) {
		if !stays[node] {
			out = append(out, &ringfencev1.NodePlan{Node: node, Removed: true})
		}
	}
	return out
}

// samePlan compares what the engine says of a plan; version and window are of its publication.
func samePlan(stored, plan *ringfencev1.NodePlan, incarnation string) bool {
	if stored == nil || stored.GetVersion().GetIncarnation() != incarnation {
		return false
	}
	bare := proto.CloneOf(stored)
	bare.Version, bare.Window = nil, 0
	return proto.Equal(bare, plan)
}

// heartbeat repeats the head. Its failure is no reason to stop: the next one follows.
func (p *publisher) heartbeat(ctx context.Context) {
	if p.first() {
		return
	}
	p.head = proto.CloneOf(p.head)
	p.head.Settled = p.settled(p.head.GetVersion().GetIncarnation())
	p.report(p.log.Heartbeat(ctx, p.head))
}

// tellSettled says which window is settled, if that is news.
func (p *publisher) tellSettled(ctx context.Context) {
	if !p.first() && p.settled(p.head.GetVersion().GetIncarnation()) > p.head.GetSettled() {
		p.heartbeat(ctx)
	}
}

// settled is the newest window of an incarnation that all nodes enforce.
func (p *publisher) settled(incarnation string) uint64 {
	return p.settlement.window(incarnation, p.window, time.Now())
}

// notePlans takes in which nodes have plans: all of them at the first publication, then those that changed.
func (p *publisher) notePlans(changed []*ringfencev1.NodePlan, whole *clas.Policy) {
	if whole != nil {
		changed = whole.Plans
	}
	for _, plan := range changed {
		p.settlement.planned(plan, time.Now())
	}
}

// insist tries until it succeeds or ctx ends.
func (p *publisher) insist(ctx context.Context, try func() error) error {
	wait := backoff.NewExponentialBackOff()
	wait.InitialInterval, wait.MaxInterval = 50*time.Millisecond, 5*time.Second
	for {
		err := try()
		p.report(err)
		if err == nil {
			return nil
		}
		p.metrics.retries.Inc()
		if !pause(ctx, wait.NextBackOff()) {
			return ctx.Err()
		}
	}
}

// report logs a failure once, and that it is over.
func (p *publisher) report(err error) {
	switch {
	case errors.Is(err, context.Canceled):
	case err == nil && p.said != "":
		p.said = ""
		p.zlog.Info().Msg("policy is published again")
	case err != nil && p.said != err.Error():
		p.said = err.Error()
		p.zlog.Error().Err(err).Msg("policy cannot be published; the last one stays, and this is tried again")
	}
}
