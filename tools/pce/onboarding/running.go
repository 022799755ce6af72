package onboarding

import (
	"context"
	"fmt"

	api "github.com/ringfence/ringfence/libs/pce"
	"github.com/ringfence/ringfence/tools/pce/console"
)

// Running prepares a console that serves, as the holder of an API key. It works with any console of the REST API v2, which has no call
// that makes an API key or another cluster token.
func Running(ctx context.Context, c *api.Client, r Request) (Result, error) {
	out := Result{OrgID: c.OrgID(), APIKey: r.Key, Cluster: r.Cluster}
	for _, secret := range []string{APISecret, ClusterToken} {
		if r.renews(secret) {
			return out, fmt.Errorf("a running console has no call for a new %s: stop it and run this on its data folder", secret)
		}
	}
	if r.Cluster == "" {
		return out, nil
	}
	var err error
	out.Onboarding, err = cluster(ctx, c, r)
	return out, err
}

func cluster(ctx context.Context, c *api.Client, r Request) (*console.Onboarding, error) {
	all, err := c.ContainerClusters(ctx)
	if err != nil {
		return nil, err
	}
	for _, known := range all {
		if known.Name != r.Cluster {
			continue
		}
		made := &console.Onboarding{ClusterID: api.ID(known.Href)}
		if r.renews(ClusterCode) {
			made.ClusterCode, err = code(ctx, c, r.Cluster)
		}
		return made, err
	}
	// The pairing key first: the token is given once, and must not be lost by a failure after it.
	made := &console.Onboarding{Created: true}
	if made.ClusterCode, err = code(ctx, c, r.Cluster); err != nil {
		return nil, err
	}
	created, err := c.CreateContainerCluster(ctx, api.ContainerCluster{Name: r.Cluster})
	made.ClusterID, made.ClusterToken = api.ID(created.Href), created.Token
	return made, err
}

// code makes a pairing key of the profile for the cluster's nodes, and the profile where there is none.
func code(ctx context.Context, c *api.Client, cluster string) (string, error) {
	all, err := c.PairingProfiles(ctx)
	if err != nil {
		return "", err
	}
	for _, known := range all {
		if known.Name == console.NodesOf(cluster) {
			return c.CreatePairingKey(ctx, known.Href)
		}
	}
	made, err := c.CreatePairingProfile(ctx, api.PairingProfile{
		Name: console.NodesOf(cluster), Enabled: true, EnforcementMode: api.ModeVisibilityOnly, Labels: []api.Ref{}})
	if err != nil {
		return "", err
	}
	return c.CreatePairingKey(ctx, made.Href)
}
