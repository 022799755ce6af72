package policystore

import (
	"context"
	"strings"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/rs/zerolog"

	"github.com/ringfence/ringfence/libs/eventlog"
)

// maxDeparted bounds how many pods are remembered as gone. Ringfence's own come and go with its upgrades and with nodes.
const maxDeparted = 1 << 16

// departed are Ringfence's own pods that the log says are gone: their tokens, though signed and in time, open nothing any
// more. A pod is among them only by the tombstone of its own uid, never because the log does not know it: a pod may be
// ahead of the watcher, and Kubernetes gives no uid twice. It is safe for concurrent use.
type departed struct {
	mu    sync.Mutex
	uids  map[string]bool
	order []string      // of uids, the oldest first
	news  chan struct{} // holds something when there is a uid that was not there before
}

func newDeparted() *departed { return &departed{uids: map[string]bool{}, news: make(chan struct{}, 1)} }

// has says whether a pod is gone. A token that is bound to none is of no pod.
func (d *departed) has(uid string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.uids[uid]
}

// take takes in a fact of a pod. The last one of a uid counts.
func (d *departed) take(e eventlog.Entry) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if uid := e.Fact.GetPod().GetUid(); uid != "" {
		delete(d.uids, uid)
	}
	uid := e.Fact.GetGone().GetUid()
	if uid == "" || d.uids[uid] {
		return
	}
	d.uids[uid] = true
	if d.order = append(d.order, uid); len(d.order) > maxDeparted {
		delete(d.uids, d.order[0])
		d.order = d.order[1:]
	}
	select {
	case d.news <- struct{}{}:
	default:
	}
}

// follow reads the pods of a namespace out of the log, again and again until ctx ends.
func (d *departed) follow(ctx context.Context, log *eventlog.Log, namespace string) {
	pods := strings.TrimSuffix(eventlog.KubernetesSubject("pod", namespace, "x"), "x") + "*"
	for wait := backoff.NewExponentialBackOff(); ctx.Err() == nil; pause(ctx, wait.NextBackOff()) {
		err := log.Tail(ctx, 0, []string{pods}, func(e eventlog.Entry) error {
			wait.Reset()
			d.take(e)
			return nil
		})
		if ctx.Err() == nil {
			zerolog.Ctx(ctx).Warn().Err(err).Str("subject", pods).Msg("which of Ringfence's pods are gone is read again")
		}
	}
}

// connection is one of a client that was let in.
type connection struct {
	server string // id of the server
	id     uint64 // of the connection at that server
	user   string
}

// connections are those of a server, or of all servers of a cluster.
type connections interface {
	// list gives the connections that stand.
	list(ctx context.Context) ([]connection, error)
	// cut ends one. A client that is let in all the same comes back by itself.
	cut(ctx context.Context, c connection) error
}

// withdrawAfter is about how long pods that are gone are gathered. It outlasts the letting in of a client whose pod was still
// there when it was asked about.
const withdrawAfter = 2 * time.Second

// withdraw ends the connections of pods that are gone, until ctx ends. Most have closed theirs when they stopped.
func (a *admission) withdraw(ctx context.Context, open connections) {
	wait := backoff.NewExponentialBackOff()
	wait.InitialInterval, wait.MaxInterval = withdrawAfter, time.Minute
	var failed <-chan time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case <-a.departed.news:
			if !pause(ctx, withdrawAfter) {
				return
			}
		case <-failed:
		}
		failed = nil
		err := a.cutDeparted(ctx, open)
		if err == nil {
			wait.Reset()
			continue
		}
		again := wait.NextBackOff()
		failed = time.After(again)
		a.log.Warn().Err(err).Dur("again_in", again).Msg("connections of pods that are gone could not be ended")
	}
}

func (a *admission) cutDeparted(ctx context.Context, open connections) error {
	all, err := open.list(ctx)
	if err != nil {
		return err
	}
	for _, c := range all {
		_, uid, bound := strings.Cut(c.user, uidMark)
		if !bound || !a.departed.has(uid) {
			continue
		}
		if err := open.cut(ctx, c); err != nil {
			return err
		}
		a.metrics.withdrawn.Inc()
		a.log.Warn().Str("client", c.user).Msg("its pod is gone, so its connection was ended and its token is taken no more")
	}
	return nil
}
