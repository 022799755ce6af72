package enforcer

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/rs/zerolog"

	"github.com/ringfence/ringfence/services/enforcer/cri"
	"github.com/ringfence/ringfence/services/enforcer/datapath"
	"github.com/ringfence/ringfence/services/enforcer/flowlog"
	"github.com/ringfence/ringfence/services/enforcer/podnetns"
)

// keeper carries out the orders for one sandbox, one after the other; an order that was overtaken is skipped. It holds
// the connections into the sandbox' network namespace from its first enforcement until it ends, or until the pod is
// opened.
type keeper struct {
	sandbox cri.Sandbox
	shared  *shared
	log     zerolog.Logger
	wake    chan struct{}
	cancel  context.CancelFunc
	done    chan struct{}

	mu    sync.Mutex
	state standing

	// What follows belongs to the keeper's goroutine.
	guard datapath.Guard
	flows *flowReader
	inode uint64
}

// shared is what all keepers of a node use.
type shared struct {
	backend   datapath.Backend
	hosts     podnetns.Hosts
	collector *flowlog.Collector
	metrics   *metrics
	// slots bounds how many keepers work at the same time.
	slots chan struct{}
	// changed is called after every change of a keeper's standing.
	changed func()
	claims  claims
}

// claims binds each network namespace to one sandbox, by inode.
type claims struct {
	mu    sync.Mutex
	owner map[uint64]string
}

// take binds the namespace, unless another sandbox has it.
func (c *claims) take(inode uint64, sandbox string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if owner, taken := c.owner[inode]; taken && owner != sandbox {
		return fmt.Errorf("network namespace %d already belongs to sandbox %s", inode, owner)
	}
	if c.owner == nil {
		c.owner = map[uint64]string{}
	}
	c.owner[inode] = sandbox
	return nil
}

func (c *claims) release(inode uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.owner, inode)
}

// Bounds of the time between two attempts to carry out an order.
const (
	firstRetry = 250 * time.Millisecond
	lastRetry  = 30 * time.Second
)

func startKeeper(ctx context.Context, s cri.Sandbox, sh *shared, log zerolog.Logger) *keeper {
	ctx, cancel := context.WithCancel(ctx)
	k := &keeper{
		sandbox: s, shared: sh, wake: make(chan struct{}, 1), cancel: cancel, done: make(chan struct{}),
		log: log.With().Str("namespace", s.Namespace).Str("pod", s.Name).Str("sandbox", s.ID).Logger(),
	}
	go k.run(ctx)
	return k
}

// stop ends the keeper and closes its connections. The pod stays as it is.
func (k *keeper) stop() {
	k.cancel()
	<-k.done
}

// give replaces the keeper's order.
func (k *keeper) give(o order) {
	k.mu.Lock()
	k.state.ordered = o
	k.mu.Unlock()
	select {
	case k.wake <- struct{}{}:
	default:
	}
}

func (k *keeper) standing() standing {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.state
}

func (k *keeper) run(ctx context.Context) {
	defer close(k.done)
	defer k.detach()
	retry := backoff.NewExponentialBackOff()
	retry.InitialInterval, retry.MaxInterval = firstRetry, lastRetry
	timer := time.NewTimer(lastRetry)
	timer.Stop() // nothing to try again yet
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-k.wake:
		case <-timer.C:
		}
		timer.Stop()
		if err := k.attempt(ctx); err != nil {
			timer.Reset(retry.NextBackOff())
			continue
		}
		retry.Reset()
	}
}

// attempt carries out the newest order.
func (k *keeper) attempt(ctx context.Context) error {
	now := k.standing()
	o := now.ordered
	if o.same(now.done) && now.err == nil {
		k.record(o, nil)
		return nil
	}
	select {
	case <-ctx.Done():
		return nil
	case k.shared.slots <- struct{}{}:
	}
	o = k.standing().ordered // the newest one: others may have come while this waited
	started := time.Now()
	err := k.carryOut(ctx, o)
	<-k.shared.slots
	if o.kind == enforce {
		k.shared.metrics.programmed(time.Since(started), err)
	}
	k.record(o, err)
	return err
}

func (k *keeper) record(o order, err error) {
	k.mu.Lock()
	if err != nil && (k.state.err == nil || k.state.err.Error() != err.Error()) {
		k.log.Error().Err(err).Msg("the pod could not be programmed; what it had stays in force")
	}
	k.state.err = err
	if err == nil {
		k.state.done = o
		if o.settles {
			k.state.reached = max(k.state.reached, o.generation)
		}
		if o.kind == enforce && k.state.enforcedAt.IsZero() {
			k.state.enforcedAt = time.Now()
		}
	}
	k.mu.Unlock()
	k.shared.changed()
}

func (k *keeper) carryOut(ctx context.Context, o order) error {
	switch o.kind {
	case openUp:
		return k.open(ctx)
	case enforce:
		return k.enforce(ctx, *o.policy)
	}
	return nil
}

func (k *keeper) enforce(ctx context.Context, p datapath.Policy) error {
	if err := k.attach(ctx, true); err != nil {
		return err
	}
	change, err := k.guard.Apply(p)
	if err != nil {
		return err
	}
	k.shared.metrics.elements.Add(float64(change.Elements))
	k.log.Debug().Stringer("mode", p.Mode).Bool("full", change.Full).Int("elements", change.Elements).Msg("programmed")
	return nil
}

// open opens the pod and gives its connections up: nothing of ours remains active in it.
func (k *keeper) open(ctx context.Context) error {
	if err := k.attach(ctx, false); err != nil {
		return err
	}
	err := k.guard.Open()
	k.detach()
	return err
}

// attach opens what is not open: the guard, and the reader of flows where they are wanted.
func (k *keeper) attach(ctx context.Context, flows bool) error {
	if k.guard != nil {
		return nil
	}
	ns, err := podnetns.Open(k.shared.hosts, k.sandbox.NetnsPaths...)
	if err != nil {
		return err
	}
	if err := k.shared.claims.take(ns.Inode, k.sandbox.ID); err != nil {
		return errors.Join(err, ns.Close())
	}
	guard, err := k.shared.backend.Attach(ns)
	if err != nil {
		k.shared.claims.release(ns.Inode)
		return errors.Join(err, ns.Close())
	}
	k.guard, k.inode = guard, ns.Inode
	if flows {
		k.flows = startFlowReader(ctx, ns, k.pod(), k.shared, k.log)
		return nil
	}
	return ns.Close()
}

func (k *keeper) pod() flowlog.Pod {
	return flowlog.Pod{UID: k.sandbox.UID, Namespace: k.sandbox.Namespace, Name: k.sandbox.Name}
}

func (k *keeper) detach() {
	if k.guard == nil {
		return
	}
	if k.flows != nil {
		k.flows.stop()
	}
	if err := k.guard.Close(); err != nil {
		k.log.Warn().Err(err).Msg("a connection into the pod's network namespace did not close")
	}
	k.shared.claims.release(k.inode)
	k.guard, k.flows = nil, nil
}
