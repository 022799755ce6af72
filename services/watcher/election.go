package watcher

import (
	"context"
	"errors"
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"

	"github.com/rs/zerolog"
)

// leaseName is the Lease that the writing watcher holds.
const leaseName = "watcher"

// releaseTime bounds the attempt to give the lease back at the end.
const releaseTime = 2 * time.Second

// ErrDeposed says that another watcher took the lease while this one still wrote.
var ErrDeposed = errors.New("another watcher took the lease; this one stops writing and ends")

// election decides which watcher writes.
type election struct {
	client    kubernetes.Interface
	namespace string
	identity  string
	// duration is how long a leader that fell silent keeps the lease.
	duration time.Duration
	log      zerolog.Logger
}

// Run calls lead whenever this watcher holds the lease, with a context that ends when it no longer does, until ctx ends
// (nil) or another watcher took the lease (ErrDeposed). lead returns when its context ends. While the API server is away
// the lease cannot be renewed: that context ends before the lease does, so that there are never two writers, and lead is
// called again once the lease is renewed.
func (e election) Run(ctx context.Context, lead func(context.Context)) error {
	for {
		holder, err := e.term(ctx, lead)
		switch {
		case err != nil:
			return fmt.Errorf("lease %s/%s: %w", e.namespace, leaseName, err)
		case ctx.Err() != nil:
			return nil
		case holder != e.identity && holder != "":
			return fmt.Errorf("lease %s/%s is held by %s: %w", e.namespace, leaseName, holder, ErrDeposed)
		}
		e.log.Warn().Str("lease", e.namespace+"/"+leaseName).
			Msg("the lease could not be renewed in time: nothing is written until it is")
	}
}

// term waits for the lease and leads until it is lost or ctx ends. It gives the lease's holder as last seen.
func (e election) term(ctx context.Context, lead func(context.Context)) (holder string, err error) {
	leading := make(chan context.Context, 1)
	elector, err := e.elector(leading)
	if err != nil {
		return "", err
	}
	ended := make(chan struct{})
	go func() { defer close(ended); elector.Run(ctx) }()
	select {
	case term := <-leading:
		e.log.Info().Str("identity", e.identity).Msg("this watcher holds the lease and writes")
		lead(term)
	case <-ended:
	}
	<-ended
	if ctx.Err() != nil {
		e.release(context.WithoutCancel(ctx))
	}
	return elector.GetLeader(), nil
}

// elector sends the context of the leadership when that begins. It does not give the lease back by itself
// (ReleaseOnCancel), because client-go does that before the leadership's context ends: there could be two writers.
func (e election) elector(leading chan<- context.Context) (*leaderelection.LeaderElector, error) {
	return leaderelection.NewLeaderElector(leaderelection.LeaderElectionConfig{
		Lock:          e.lock(),
		LeaseDuration: e.duration,
		RenewDeadline: e.duration * 2 / 3,
		RetryPeriod:   e.duration / 8,
		Name:          leaseName,
		Callbacks: leaderelection.LeaderCallbacks{
			OnStartedLeading: func(term context.Context) { leading <- term },
			OnStoppedLeading: func() {},
			OnNewLeader: func(identity string) {
				if identity != e.identity && identity != "" {
					e.log.Info().Str("leader", identity).Msg("another watcher holds the lease and writes")
				}
			},
		},
	})
}

func (e election) lock() resourcelock.Interface {
	return &resourcelock.LeaseLock{
		LeaseMeta:  metav1.ObjectMeta{Namespace: e.namespace, Name: leaseName},
		Client:     e.client.CoordinationV1(),
		LockConfig: resourcelock.ResourceLockConfig{Identity: e.identity},
	}
}

// release gives the lease back, if this watcher holds it, so that the next one need not wait until it runs out.
func (e election) release(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, releaseTime)
	defer cancel()
	lock := e.lock()
	record, _, err := lock.Get(ctx)
	if err == nil && record.HolderIdentity == e.identity {
		record.HolderIdentity, record.LeaseDurationSeconds = "", 1
		err = lock.Update(ctx, *record)
	}
	if err != nil {
		e.log.Warn().Err(err).Msg("the lease was not given back; it runs out by itself")
	}
}
