// Command watcher turns the objects of a Kubernetes cluster into facts in the event log.
package main

import (
	"context"
	"os"

	"github.com/go-logr/zerologr"
	"github.com/rs/zerolog"
	"k8s.io/klog/v2"

	"github.com/ringfence/ringfence/libs/service"
	"github.com/ringfence/ringfence/services/watcher"
)

func main() {
	// client-go logs through klog, whose own format would not be ours.
	log := zerolog.New(os.Stderr).Level(zerolog.InfoLevel).With().Timestamp().Str("service", "watcher").Logger()
	klog.SetLogger(zerologr.New(&log))
	var cfg watcher.Config
	service.Main("watcher", "Turns the objects of a Kubernetes cluster into facts in the event log.", &cfg,
		func(ctx context.Context) error { return watcher.Run(ctx, cfg) })
}
