// Command policy-store hosts Ringfence's event log and folds its facts into policy.
package main

import (
	"context"

	"github.com/ringfence/ringfence/libs/service"
	policystore "github.com/ringfence/ringfence/services/policy-store"
)

func main() {
	var cfg policystore.Config
	service.Main("policy-store", "Hosts Ringfence's event log and folds its facts into policy.", &cfg, func(ctx context.Context) error {
		return policystore.Run(ctx, cfg)
	})
}
