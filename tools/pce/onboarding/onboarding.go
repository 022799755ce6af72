package onboarding

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/ringfence/ringfence/tools/pce/console"
)

// What Request.Renew can name.
const (
	APISecret    = "api-secret"
	ClusterToken = "cluster-token"
	ClusterCode  = "cluster-code"
)

// Request says what is to be there.
type Request struct {
	// Key is the API key that is to exist. Without an id one is made where there is none; without a secret one is made for it.
	Key console.APIKey
	// Cluster is the name of the container cluster; without one there is none.
	Cluster string
	// Renew names the secrets that are made anew where they exist already.
	Renew []string
}

func (r Request) renews(secret string) bool { return slices.Contains(r.Renew, secret) }

// Result is what is there now. A secret that existed before is empty.
type Result struct {
	OrgID int `json:"org_id"`
	// URL is host:port of the console, as clusters reach it.
	URL string `json:"pce_url"`
	// Data is the console's folder, and CAFile the certificate of its authority, where the console is at hand.
	Data   string `json:"data,omitempty"`
	CAFile string `json:"ca_file,omitempty"`
	console.APIKey
	Cluster string `json:"cluster,omitempty"`
	*console.Onboarding
	// RootCA is the PEM text that makes clients trust the console, empty where the system trusts it.
	RootCA string `json:"pceRootCA,omitempty"`
	// Hosts are the names to serve under, and ValuesFile has the values for the chart, where there is one; for what people read.
	Hosts      string `json:"-"`
	ValuesFile string `json:"-"`
}

// local is the console of a folder, as far as it is needed here.
type local interface {
	APIKeys() []string
	EnsureKey(ctx context.Context, want console.APIKey) (console.APIKey, error)
	EnsureCluster(ctx context.Context, name string) (console.Onboarding, error)
	RenewClusterToken(ctx context.Context, id string) (string, error)
	AddPairingKey(ctx context.Context, cluster string) (string, error)
}

// Folder prepares an open console that serves nobody.
func Folder(ctx context.Context, c local, r Request) (Result, error) {
	out := Result{OrgID: 1, Cluster: r.Cluster}
	var err error
	if out.APIKey, err = key(ctx, c, r); err != nil || r.Cluster == "" {
		return out, err
	}
	made, err := c.EnsureCluster(ctx, r.Cluster)
	if err != nil {
		return out, err
	}
	out.Onboarding = &made
	if !made.Created && r.renews(ClusterToken) {
		if made.ClusterToken, err = c.RenewClusterToken(ctx, made.ClusterID); err != nil {
			return out, err
		}
	}
	if !made.Created && r.renews(ClusterCode) {
		made.ClusterCode, err = c.AddPairingKey(ctx, r.Cluster)
	}
	return out, err
}

// key finds or makes the API key. A key that exists keeps its secret, unless a secret is given or is to be new.
func key(ctx context.Context, c local, r Request) (console.APIKey, error) {
	have := c.APIKeys()
	switch {
	case r.Key.ID != "" && (r.Key.Secret != "" || !slices.Contains(have, r.Key.ID) || r.renews(APISecret)), len(have) == 0:
		return c.EnsureKey(ctx, r.Key)
	case r.Key.ID != "":
		return r.Key, nil
	case !r.renews(APISecret):
		return console.APIKey{ID: strings.Join(have, ", ")}, nil
	case len(have) > 1:
		return console.APIKey{}, fmt.Errorf("there are several API keys (%s): say with --api-key whose secret is to be new", strings.Join(have, ", "))
	}
	return c.EnsureKey(ctx, console.APIKey{ID: have[0]})
}
