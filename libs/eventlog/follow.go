package eventlog

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"
	"google.golang.org/protobuf/proto"

	ringfencev1 "github.com/ringfence/ringfence/proto/ringfence/v1"
)

const (
	// HeartbeatInterval is how often the newest window's number is repeated.
	HeartbeatInterval = 5 * time.Second
	// atOnce is how many objects one request gets: a few megabytes at most, of the usual ones.
	atOnce = 64
	// linkCheck is how often a follower looks whether its connection broke in between or messages were dropped.
	linkCheck = 250 * time.Millisecond
	// joinCheck is how long a follower waits for news of policy where there is none that can be joined, before it looks.
	joinCheck = 10 * time.Second
	// queue is how many messages wait for a follower; one that falls behind by more joins anew.
	queue = 8192
)

// errNotInSync says that there is no policy that may be taken: none yet, or not in this incarnation.
var errNotInSync = errors.New("no policy in sync")

// Follow keeps up with the policy of a node for as long as ctx lasts, and gives deliver each complete and consistent state:
// one after joining, then one after every change, be it only of version, window or provisioned version. deliver is never
// called concurrently; while it runs, states are coalesced into the newest. Its errors are logged, and change nothing.
//
// Follow asks for nothing but the last messages of single subjects, and believes nothing that policy-store did not send:
// see genuine.
//
// Follow survives disconnections, restarts of the server, and loss of messages: it joins anew, and until that is complete
// nothing is delivered. A policy is taken only when its head says that watcher and pce-bridge are in sync, so that a log
// that lost its disk changes nothing before it is complete again.
//
// The error is that of ctx.
func Follow(ctx context.Context, nc *nats.Conn, node string, deliver func(context.Context, NodePolicy) error) error {
	outbox, done := make(chan NodePolicy, 1), make(chan struct{})
	go func() {
		defer close(done)
		deliverAll(ctx, outbox, deliver)
	}()
	f := &follower{nc: nc, node: node, outbox: outbox}
	for patience := patience(); ctx.Err() == nil; pause(ctx, patience.NextBackOff()) {
		f.joined = false
		err := call(ctx, nc, f.session)
		if f.joined {
			patience.Reset()
		}
		f.report(ctx, err)
	}
	<-done
	return ctx.Err()
}

func deliverAll(ctx context.Context, outbox <-chan NodePolicy, deliver func(context.Context, NodePolicy) error) {
	for {
		select {
		case <-ctx.Done():
			return
		case p := <-outbox:
			if err := deliver(ctx, p); err != nil && ctx.Err() == nil {
				zerolog.Ctx(ctx).Error().Err(err).Uint64("window", p.Window).Msg("the policy was not taken over")
			}
		}
	}
}

// follower runs one session after the other; each is a join and what follows until something is missing.
type follower struct {
	nc     *nats.Conn
	node   string
	outbox chan NodePolicy // holds the newest state that deliver has not taken

	state     *nodeState
	parts     assembly
	early     *ringfencev1.EncodedWindow // that came when nothing could be joined yet
	joined    bool
	unsettled bool   // something changed since the last delivery
	recheck   bool   // no window has come since joining
	reported  string // the last reason not to join, so that it is logged once
}

// session joins and follows until it must join anew or ctx ends.
func (f *follower) session(ctx context.Context) error {
	reconnects := f.nc.Stats().Reconnects
	if ctx.Err() != nil {
		return ctx.Err()
	}
	messages := make(chan *nats.Msg, queue)
	var subs []*nats.Subscription
	defer func() {
		for _, sub := range subs {
			_ = sub.Unsubscribe() // fails only when the connection is gone, and the subscription with it
		}
	}()
	// Both subjects come through one channel, so that plans and windows keep the order in which they were sent.
	for _, subject := range []string{windowSubject, planSubject(f.node)} {
		sub, err := f.nc.ChanSubscribe(subject, messages)
		if err != nil {
			return fmt.Errorf("subscribe %s: %w", subject, err)
		}
		subs = append(subs, sub)
	}
	if err := flush(ctx, f.nc); err != nil {
		return fmt.Errorf("subscribe: %w", err)
	}
	intact := func() error { return f.intact(reconnects, subs) }
	for {
		err := f.join(ctx, messages)
		if err == nil {
			return f.follow(ctx, messages, intact)
		}
		if !errors.Is(err, errNotInSync) {
			return err
		}
		f.report(ctx, err)
		if err := f.await(ctx, messages, intact); err != nil {
			return err
		}
	}
}

// await waits where nothing can be joined yet until there is news of policy. The first window of a log brings everything
// whole: who waits for it need not fetch anything, and of a thousand nodes that wait nobody asks for it again and again.
func (f *follower) await(ctx context.Context, messages <-chan *nats.Msg, intact func() error) error {
	ticker, again := time.NewTicker(linkCheck), time.Now().Add(joinCheck)
	defer ticker.Stop()
	f.parts, f.early = assembly{}, nil
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case now := <-ticker.C:
			if err := intact(); err != nil || now.After(again) {
				return err
			}
		case msg := <-messages:
			if msg.Subject != windowSubject || !genuine(msg) {
				continue // plans are fetched
			}
			again = time.Now().Add(joinCheck)
			w, err := decodeWindow(msg.Data)
			if err != nil {
				continue // whoever has joined reports it
			}
			if w.GetParts() == 0 {
				return nil
			}
			if f.early, err = f.parts.add(w); err == nil && f.early != nil {
				return nil
			}
		}
	}
}

// intact says whether every message since the subscriptions has come.
func (f *follower) intact(reconnects uint64, subs []*nats.Subscription) error {
	if f.nc.Stats().Reconnects != reconnects || !f.nc.IsConnected() {
		return fmt.Errorf("%w: the connection broke", errJoinAnew)
	}
	for _, sub := range subs {
		if dropped, err := sub.Dropped(); err != nil || dropped > 0 {
			return fmt.Errorf("%w: %d messages on %s were dropped", errJoinAnew, dropped, sub.Subject)
		}
	}
	return nil
}

// join reads head and plan. What was sent before the head was read is in it: only plans of later windows are kept.
func (f *follower) join(ctx context.Context, messages <-chan *nats.Msg) error {
	head := &ringfencev1.PolicyHead{}
	switch err := getLast(ctx, f.nc, streamPolicy, headSubject, head); {
	case errors.Is(err, ErrNotFound):
		return fmt.Errorf("%w: nothing is published", errNotInSync)
	case err != nil:
		return fmt.Errorf("join: %w", err)
	case !InSync(head.GetSynced()):
		return fmt.Errorf("%w: only %v are complete in incarnation %s", errNotInSync, head.GetSynced(), head.GetVersion().GetIncarnation())
	}
	f.state, f.parts, f.unsettled, f.recheck = newNodeState(f.node, head), assembly{}, true, true
	f.state.recall(f.early)
	f.early = nil
	if err := f.dropEarlier(ctx, messages); err != nil {
		return err
	}
	if err := f.fetchPlan(ctx); err != nil {
		return err
	}
	if err := f.fetchNamespaces(ctx); err != nil {
		return err
	}
	return f.settle(ctx)
}

// dropEarlier takes from the channel what came before the head was read: windows up to it are in the stored objects.
func (f *follower) dropEarlier(ctx context.Context, messages <-chan *nats.Msg) error {
	for range len(messages) {
		msg := <-messages
		if msg.Subject == windowSubject && genuine(msg) {
			w, err := decodeWindow(msg.Data)
			if err != nil || w.GetNumber() <= f.state.window {
				continue
			}
		}
		if err := f.take(ctx, msg); err != nil {
			return err
		}
	}
	return nil
}

func (f *follower) fetchPlan(ctx context.Context) error {
	plan, err := f.storedPlan(ctx)
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("join: %w", err)
	}
	return f.state.fetchedPlan(plan)
}

// recheckPlan looks once more after joining: a plan that was sent just before the subscription may have been stored just after
// it was asked for. It is of the first window that comes, and stored before that is sent.
func (f *follower) recheckPlan(ctx context.Context) error {
	plan, err := f.storedPlan(ctx)
	switch {
	case errors.Is(err, ErrNotFound) || errors.Is(err, errUndecodable):
		return nil
	case err != nil:
		return fmt.Errorf("%w: %w", errJoinAnew, err)
	case plan.GetWindow() <= f.state.plan.GetWindow():
		return nil
	}
	return f.state.fetchedPlan(plan)
}

// errUndecodable says that what is stored is not what it should be.
var errUndecodable = errors.New("cannot be decoded")

func (f *follower) storedPlan(ctx context.Context) (*ringfencev1.NodePlan, error) {
	msg, err := lastMessage(ctx, f.nc, streamPlan, planSubject(f.node))
	if err != nil {
		return nil, err
	}
	plan, err := decodePlan(f.node, msg.Data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w: %w", planSubject(f.node), errUndecodable, err)
	}
	return plan, nil
}

func (f *follower) fetchNamespaces(ctx context.Context) error {
	stored := &ringfencev1.StoredNamespaces{}
	err := getLast(ctx, f.nc, streamPolicy, namespacesSubject, stored)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return fmt.Errorf("join: %w", err)
	}
	if stored.GetWindow() >= f.state.listed {
		f.state.namespaces, f.state.listed = stored.GetNamespaces(), stored.GetWindow()
	}
	return nil
}

// follow takes messages in as they come.
func (f *follower) follow(ctx context.Context, messages <-chan *nats.Msg, intact func() error) error {
	ticker := time.NewTicker(linkCheck)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ticker.C:
			if err := intact(); err != nil {
				return err
			}
		case msg := <-messages:
			if err := intact(); err != nil {
				return err
			}
			if err := f.take(ctx, msg); err != nil {
				return err
			}
			if err := f.settle(ctx); err != nil {
				return err
			}
		}
	}
}

// take applies a message to the state. What cannot be decoded is reported and skipped.
func (f *follower) take(ctx context.Context, msg *nats.Msg) error {
	var changed bool
	var err error
	switch {
	case !genuine(msg):
		err = errForeign
	case msg.Subject == windowSubject:
		before := f.state.window
		if changed, err = f.takeWindow(msg.Data); err == nil && f.recheck && f.state.window > before {
			f.recheck = false
			err = f.recheckPlan(ctx)
		}
	default:
		changed, err = f.takePlan(msg.Data)
	}
	f.unsettled = f.unsettled || changed
	if err == nil || errors.Is(err, errJoinAnew) {
		return err
	}
	zerolog.Ctx(ctx).Error().Err(err).Str("subject", msg.Subject).Msg("skipped what cannot be decoded")
	return nil
}

var errForeign = errors.New("not sent by policy-store")

// genuine refuses what somebody made the server send in their stead. Only policy-store may publish policy, but a server
// sends answers and deliveries of consumers wherever the request for them says: those carry headers, or the subject of an
// acknowledgement, which policy-store's own messages do not have.
func genuine(msg *nats.Msg) bool {
	return len(msg.Header) == 0 && !strings.HasPrefix(msg.Reply, "$JS.")
}

func (f *follower) takeWindow(data []byte) (bool, error) {
	w, err := decodeWindow(data)
	if err != nil {
		return false, err
	}
	if w.GetParts() == 0 {
		return f.state.heartbeat(w)
	}
	whole, err := f.parts.add(w)
	if err != nil {
		return false, fmt.Errorf("%w: %w", errJoinAnew, err)
	}
	if whole == nil {
		return false, nil
	}
	return f.state.applyWindow(whole)
}

func (f *follower) takePlan(data []byte) (bool, error) {
	plan, err := decodePlan(f.node, data)
	if err != nil {
		return false, err
	}
	return f.state.applyPlan(plan)
}

// settle fetches what the plan needs and is not held, and delivers once everything is of one window.
func (f *follower) settle(ctx context.Context) error {
	if !f.unsettled {
		return nil
	}
	for {
		policies, sets, err := f.state.missing()
		if err != nil {
			return err
		}
		if len(policies) == 0 && len(sets) == 0 {
			break
		}
		if err := f.fetchPolicies(ctx, policies); err != nil {
			return fmt.Errorf("%w: %w", errJoinAnew, err)
		}
		if err := f.fetchSets(ctx, sets); err != nil {
			return fmt.Errorf("%w: %w", errJoinAnew, err)
		}
	}
	if f.state.settled() {
		f.offer(f.state.snapshot())
		f.unsettled, f.joined, f.reported = false, true, ""
	}
	return nil
}

func (f *follower) fetchPolicies(ctx context.Context, ids []string) error {
	return f.fetchAll(ctx, ids, workloadSubject, func(id string, data []byte) error {
		stored := &ringfencev1.StoredWorkloadPolicy{}
		if err := proto.Unmarshal(data, stored); err != nil {
			return err
		}
		return f.state.addPolicy(id, stored)
	})
}

func (f *follower) fetchSets(ctx context.Context, ids []string) error {
	return f.fetchAll(ctx, ids, func(id string) string { return setSubject(id, 0) }, func(id string, data []byte) error {
		first := &ringfencev1.StoredAddressSet{}
		if err := proto.Unmarshal(data, first); err != nil {
			return err
		}
		set, err := joinStored(first, func(chunk int) (*ringfencev1.StoredAddressSet, error) {
			next := &ringfencev1.StoredAddressSet{}
			return next, getLast(ctx, f.nc, streamPolicy, setSubject(id, chunk), next)
		})
		if err != nil {
			return err
		}
		return f.state.addSet(id, first.GetWindow(), set)
	})
}

// fetchAll gets the objects of some ids, all of which must be there.
func (f *follower) fetchAll(ctx context.Context, ids []string, subject func(string) string, take func(id string, data []byte) error) error {
	for some := range slices.Chunk(ids, atOnce) {
		bySubject := make(map[string]string, len(some))
		for _, id := range some {
			bySubject[subject(id)] = id
		}
		for got, err := range lastMessages(ctx, f.nc, streamPolicy, slices.Sorted(maps.Keys(bySubject))) {
			id, asked := bySubject[got.subject]
			if err == nil && asked {
				err = take(id, got.data)
			}
			if err != nil {
				return fmt.Errorf("%s and others: %w", subject(some[0]), err)
			}
			delete(bySubject, got.subject)
		}
		for missing := range bySubject {
			return fmt.Errorf("%s: %w", missing, ErrNotFound)
		}
	}
	return nil
}

// offer puts a state where deliver takes it, in place of one that deliver has not taken yet.
func (f *follower) offer(p NodePolicy) {
	for {
		select {
		case f.outbox <- p:
			return
		default:
		}
		select {
		case <-f.outbox:
		default:
		}
	}
}

// report logs why a session ended, the same reason once.
func (f *follower) report(ctx context.Context, err error) {
	if err == nil || ctx.Err() != nil || err.Error() == f.reported {
		return
	}
	f.reported = err.Error()
	line := zerolog.Ctx(ctx).Warn()
	if errors.Is(err, errJoinAnew) {
		line = zerolog.Ctx(ctx).Info()
	}
	line.Err(err).Str("node", f.node).Msg("the policy is joined anew; the last state stays meanwhile")
}
