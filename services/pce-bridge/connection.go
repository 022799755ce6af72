package pcebridge

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/ringfence/ringfence/libs/pce"
)

// probeAgain is how long a console without the agent API is taken for one before it is asked again.
const probeAgain = time.Hour

// connection is what the bridge found out of the console: whether it serves the agent API, and by whom it lets itself be
// asked. It is safe for concurrent use.
type connection struct {
	config  *Config
	cluster *pce.Client // asks with the cluster's token
	agent   *pce.Agent

	mu     sync.Mutex
	serves serves
	why    string // what the console said in place of serving the agent API
	probed time.Time
}

// serves is what the console offers to the bridge.
type serves int

const (
	// unknown: it was not asked, or something failed since.
	unknown serves = iota
	// everything: the agent API, with the cluster's token.
	everything
	// policyOnly: the public API, with an API key.
	policyOnly
)

func newConnection(config *Config) (*connection, error) {
	client, err := config.client()
	if err != nil {
		return nil, err
	}
	return &connection{config: config, cluster: client, agent: client.Agent(config.ClusterID)}, nil
}

// probe asks the console what it serves, unless that is known. Its error says what to do where the console serves nothing.
func (c *connection) probe(ctx context.Context) (serves, error) {
	if known := c.state(); known != unknown {
		return known, nil
	}
	_, err := c.agent.WaitForChanges(ctx, "", 0)
	switch kind := pce.KindOf(err); {
	case err == nil:
		return c.found(everything, ""), nil
	case kind != pce.Missing && kind != pce.Unauthorized:
		return unknown, err
	case c.config.PceAPIKey == "":
		return unknown, fmt.Errorf("%w; for a console that does not serve clusters by their tokens set an API key"+
			" (pceApiKey in the chart, --pce-api-key and --pce-api-secret): policy is read with it, and workloads are not reported", err)
	}
	// The key must work before anything is said to.
	if _, err := c.reader(policyOnly).ActiveVersion(ctx); err != nil {
		return unknown, err
	}
	return c.found(policyOnly, c.refusal(err)), nil
}

// refusal says in a few words why the agent API cannot be used.
func (c *connection) refusal(err error) string {
	if pce.KindOf(err) == pce.Missing {
		return "the PCE has no agent API for clusters"
	}
	return fmt.Sprintf("the PCE refuses the token of cluster %s", c.config.ClusterID)
}

func (c *connection) found(s serves, why string) serves {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.serves, c.why, c.probed = s, why, time.Now()
	return s
}

// forget makes the next probe ask: after a failure the console may be another one.
func (c *connection) forget() { c.found(unknown, "") }

func (c *connection) state() serves {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.serves == policyOnly && time.Since(c.probed) > probeAgain {
		return unknown
	}
	return c.serves
}

// reader gives the client that reads policy.
func (c *connection) reader(s serves) *pce.Client {
	if s == policyOnly {
		return c.cluster.With(c.config.PceAPIKey, c.config.PceAPISecret, "")
	}
	return c.cluster
}

// describe says in one line how the console is used.
func (c *connection) describe() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.serves == policyOnly {
		return c.why + ": policy is read with API key " + c.config.PceAPIKey + ", and Kubernetes workloads are not reported"
	}
	return "the PCE answers"
}

// unserved tells whether a call failed because the console does not know it.
func unserved(err error) bool {
	return pce.KindOf(err) == pce.Missing || pce.StatusOf(err) == http.StatusMethodNotAllowed
}
