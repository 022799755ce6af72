// Command pce-bridge connects the policy console with the event log.
package main

import (
	"context"

	"github.com/ringfence/ringfence/libs/service"
	pcebridge "github.com/ringfence/ringfence/services/pce-bridge"
)

func main() {
	var config pcebridge.Config
	service.Main("pce-bridge", "Brings the console's policy into the event log and reports the cluster to the console.", &config,
		func(ctx context.Context) error { return pcebridge.Run(ctx, config) })
}
