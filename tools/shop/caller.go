package shop

import (
	"context"
	"sync"
	"time"

	"github.com/rs/zerolog"
)

// Caller makes the traffic of the shop: it calls each of its targets once an interval, for ever.
type Caller struct {
	Targets  []string
	Interval time.Duration
	Timeout  time.Duration
	// Log gets a line when a target starts or ceases to answer, not one a call.
	Log zerolog.Logger
}

// Run calls until the context ends. Targets do not wait for each other.
func (c Caller) Run(ctx context.Context) {
	var targets sync.WaitGroup
	for _, target := range c.Targets {
		targets.Go(func() { c.call(ctx, target) })
	}
	targets.Wait()
}

func (c Caller) call(ctx context.Context, target string) {
	ticks := time.NewTicker(c.Interval)
	defer ticks.Stop()
	var last Result
	for first := true; ; first = false {
		result := probeOne(ctx, target, c.Timeout)
		if ctx.Err() != nil {
			return
		}
		if first || result.Connected != last.Connected {
			c.Log.Info().Str("target", target).Bool("connected", result.Connected).Str("error", result.Error).Msg("call")
		}
		last = result
		select {
		case <-ctx.Done():
			return
		case <-ticks.C:
		}
	}
}
