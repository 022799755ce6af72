package enforcer

import (
	"context"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/rs/zerolog"

	"github.com/ringfence/ringfence/services/enforcer/flowlog"
	"github.com/ringfence/ringfence/services/enforcer/nft"
	"github.com/ringfence/ringfence/services/enforcer/podnetns"
)

// flowReader reads the flows of one pod. It opens its socket with back-off, because an enforcer that is being replaced
// may still hold the group. That flows cannot be read never keeps a pod from being enforced.
type flowReader struct {
	cancel context.CancelFunc
	done   chan struct{}
}

// startFlowReader takes over the handle.
func startFlowReader(ctx context.Context, ns *podnetns.Handle, pod flowlog.Pod, sh *shared, log zerolog.Logger) *flowReader {
	ctx, cancel := context.WithCancel(ctx)
	f := &flowReader{cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(f.done)
		defer func() { _ = ns.Close() }() // a file that was only read
		readFlows(ctx, ns, pod, sh, log)
	}()
	return f
}

func (f *flowReader) stop() {
	f.cancel()
	<-f.done
}

// readFlows opens and reads until ctx ends.
func readFlows(ctx context.Context, ns *podnetns.Handle, pod flowlog.Pod, sh *shared, log zerolog.Logger) {
	retry := backoff.NewExponentialBackOff()
	retry.InitialInterval, retry.MaxInterval = firstRetry, lastRetry
	for ctx.Err() == nil {
		started := time.Now()
		if err := readFlowsOnce(ctx, ns, pod, sh); err != nil && ctx.Err() == nil {
			log.Warn().Err(err).Msg("flows of the pod cannot be read now")
		}
		if time.Since(started) > lastRetry {
			retry.Reset()
		}
		sleep(ctx, retry.NextBackOff())
	}
}

func readFlowsOnce(ctx context.Context, ns *podnetns.Handle, pod flowlog.Pod, sh *shared) error {
	reader, err := flowlog.Open(ns, nft.Group)
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = reader.Close() }) // ends Run, which then says what went wrong
	defer func() {
		if stop() {
			_ = reader.Close()
		}
	}()
	return reader.Run(
		func(e flowlog.Event) {
			sh.metrics.flows.Inc()
			sh.collector.Add(pod, e)
		},
		func(n uint64) {
			sh.metrics.flowsLost.Add(float64(n))
			sh.collector.Lose(n)
		})
}
