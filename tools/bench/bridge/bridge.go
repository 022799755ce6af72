package bridge

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"

	"github.com/ringfence/ringfence/libs/eventlog"
	"github.com/ringfence/ringfence/libs/pce"
	"github.com/ringfence/ringfence/libs/service"
	ringfencev1 "github.com/ringfence/ringfence/proto/ringfence/v1"
	pcebridge "github.com/ringfence/ringfence/services/pce-bridge"
	"github.com/ringfence/ringfence/tools/bench/process"
)

// Bench is a console with a policy, a cluster, and how long they are looked at.
type Bench struct {
	// Store and Console give the command lines of policy-store and of the console with an API key.
	Store   func(dir, address string) []string
	Console func(dir, address, key, secret string) []string
	// Labels, RuleSets of RulesEach rules, and Workloads are how many there are. Nodes report their status.
	Labels, RuleSets, RulesEach, Workloads, Nodes int
	// Rounds is how often the first sync is measured, Changes how often one is provisioned, During how long nothing changes.
	Rounds, Changes int
	During          time.Duration
	// Dir is where the processes have their folders.
	Dir string
	// Say, where set, is told what is being done.
	Say func(line string)
}

// Life is what was seen.
type Life struct {
	// Syncs are the times of the first full syncs, sorted; Requests and Received what the last of them took, in calls and bytes.
	Syncs              []time.Duration
	Requests, Received int64
	// Commits are the times from a provisioning until its version was in the log, sorted.
	Commits []time.Duration
	// Polls and Others are the requests of the steady state, which lasted Calm.
	Polls, Others int64
	Calm          time.Duration
}

const (
	key, secret = "api_bench", "of-the-bench-alone"
	// patience bounds every wait.
	patience = 2 * time.Minute
)

func (b *Bench) say(format string, args ...any) {
	if b.Say != nil {
		b.Say(fmt.Sprintf(format, args...))
	}
}

// Run goes through all of it.
func (b *Bench) Run(ctx context.Context) (out Life, err error) {
	dir, err := os.MkdirTemp(b.Dir, "ringfence-pce-")
	if err != nil {
		return out, fmt.Errorf("folder for the console: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	c, err := b.startConsole(ctx, dir)
	if err != nil {
		return out, err
	}
	defer c.stop()
	for n := range b.Rounds {
		if err := b.round(ctx, c, filepath.Join(dir, fmt.Sprint("round-", n)), n, &out); err != nil {
			return out, fmt.Errorf("round %d: %w", n+1, err)
		}
	}
	slices.Sort(out.Syncs)
	slices.Sort(out.Commits)
	return out, nil
}

// round has a new log and a new cluster; the last one goes on to the changes and the calm.
func (b *Bench) round(ctx context.Context, c *consoleProcess, dir string, n int, out *Life) (err error) {
	address, err := process.FreeAddress()
	if err != nil {
		return err
	}
	store, err := process.Serve(ctx, "policy-store", address, b.Store(dir, address))
	if err != nil {
		return err
	}
	defer store.Stop()
	nc, err := eventlog.Dialer{URL: "nats://" + address, Name: "bench", Log: zerolog.Nop()}.Dial(ctx)
	if err != nil {
		return err
	}
	defer nc.Close()
	log, err := b.fill(ctx, nc)
	if err != nil {
		return err
	}
	cluster, err := c.user.CreateContainerCluster(ctx, pce.ContainerCluster{Name: fmt.Sprint("bench-", n)})
	if err != nil {
		return err
	}
	for _, p := range []*process.Process{store, c.server} {
		if err := p.Rest(ctx); err != nil {
			return err
		}
	}
	b.say("round %d of %d: first full sync", n+1, b.Rounds)
	running, err := b.startBridge(ctx, c, address, cluster)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, running.stop()) }()
	last := n == b.Rounds-1
	return b.watch(ctx, running, c, log, nc, cluster, last, out)
}

func (b *Bench) watch(ctx context.Context, r *runningBridge, c *consoleProcess, log *eventlog.Log, nc *nats.Conn, cluster pce.ContainerCluster, last bool, out *Life) error {
	took, err := b.synced(ctx, r, log)
	if err != nil {
		return err
	}
	out.Syncs = append(out.Syncs, took)
	out.Requests, out.Received = c.proxy.requests.Load(), c.proxy.received.Load()
	b.say("in sync after %s, with %d requests", took.Round(time.Millisecond), out.Requests)
	if err := b.verify(ctx, c, log, cluster); err != nil || !last {
		return err
	}
	if out.Commits, err = b.changes(ctx, c, log); err != nil {
		return err
	}
	return b.calm(ctx, c, nc, out)
}

// runningBridge is pce-bridge in this process.
type runningBridge struct {
	began  time.Time
	ended  chan error
	cancel context.CancelFunc
}

func (r *runningBridge) stop() error {
	r.cancel()
	return <-r.ended
}

func (b *Bench) startBridge(ctx context.Context, c *consoleProcess, log string, cluster pce.ContainerCluster) (*runningBridge, error) {
	empty, err := os.MkdirTemp(b.Dir, "ringfence-pce-ca-")
	if err != nil {
		return nil, fmt.Errorf("folder for authorities: %w", err)
	}
	c.proxy.forget()
	ctx, cancel := context.WithCancel(ctx)
	r := &runningBridge{ended: make(chan error, 1), cancel: cancel, began: time.Now()}
	config := pcebridge.Config{
		Config: service.Config{LogLevel: "error", LogURL: "nats://" + log},
		PceURL: c.proxy.url, ClusterID: pce.ID(cluster.Href), ClusterToken: cluster.Token, RootCADir: empty,
		ClusterMode: "clas", ContainerRuntime: "containerd", ContainerManager: "kubernetes", DegradedModePolicyFail: "open",
		PolicyLabelSetEnable: true, NetworkType: "overlay", EnforceNodePortTraffic: "always",
		PceAPIPolicyInterval: 30 * time.Second, PceAPITimeout: 20 * time.Minute, PceAPIMinBackoff: time.Minute, PceAPIMaxBackoff: 4 * time.Minute,
		LastAppliedPolicyUpdateInterval: 2 * time.Minute, FlowWindow: 10 * time.Minute,
	}
	go func() {
		err := pcebridge.Run(ctx, config)
		r.ended <- errors.Join(err, os.RemoveAll(empty))
	}()
	return r, nil
}

// synced waits for the bridge's word and for all acknowledgements.
func (b *Bench) synced(ctx context.Context, r *runningBridge, log *eventlog.Log) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	inSync, known := false, map[string]bool{}
	err := log.Tail(ctx, 1, []string{eventlog.SyncedSubject("pce-bridge"), "facts.pce.kubernetes_workload.>"}, func(e eventlog.Entry) error {
		inSync = inSync || e.Fact.GetSynced() != nil
		if w := e.Fact.GetAcknowledgedWorkload(); w != nil {
			known[e.Subject] = true
		}
		if inSync && len(known) >= b.Workloads {
			return errDone
		}
		return nil
	})
	if !errors.Is(err, errDone) {
		return 0, fmt.Errorf("the bridge is not in sync (said so: %v, %d workloads acknowledged): %w", inSync, len(known), err)
	}
	return time.Since(r.began), nil
}

var errDone = errors.New("seen")

// verify holds what came out against what went in.
func (b *Bench) verify(ctx context.Context, c *consoleProcess, log *eventlog.Log, cluster pce.ContainerCluster) error {
	agent, err := pce.New(pce.Config{URL: c.url, OrgID: 1, User: pce.ID(cluster.Href), Secret: cluster.Token})
	if err != nil {
		return err
	}
	listed, err := agent.KubernetesWorkloads(ctx)
	if err != nil {
		return err
	}
	if len(listed) != b.Workloads {
		return fmt.Errorf("the console lists %d workloads, %d were reported", len(listed), b.Workloads)
	}
	labels, rules := 0, 0
	for e, err := range log.Latest(ctx, "facts.pce.>") {
		if err != nil {
			return err
		}
		if e.Fact.GetLabel() != nil {
			labels++
		}
		rules += len(e.Fact.GetPceObject().GetRuleSet().GetRules())
	}
	if labels != b.Labels || rules < b.RuleSets*b.RulesEach {
		return fmt.Errorf("the log has %d labels and %d rules, the console %d and %d", labels, rules, b.Labels, b.RuleSets*b.RulesEach)
	}
	return nil
}

// changes provisions a rule set again and again.
func (b *Bench) changes(ctx context.Context, c *consoleProcess, log *eventlog.Log) ([]time.Duration, error) {
	var took []time.Duration
	for n := range b.Changes {
		if err := c.user.Update(ctx, c.sets[n%len(c.sets)], map[string]string{"description": fmt.Sprint("change ", n)}); err != nil {
			return nil, err
		}
		from, err := log.LastSequence(ctx)
		if err != nil {
			return nil, err
		}
		version, err := c.user.Provision(ctx, pce.Provisioning{})
		if err != nil {
			return nil, err
		}
		provisioned := time.Now()
		bounded, cancel := context.WithTimeout(ctx, patience)
		err = log.Tail(bounded, from+1, []string{"facts.pce.provisioned.>"}, func(e eventlog.Entry) error {
			if e.Fact.GetProvisioned().GetVersion() == version.Version {
				return errDone
			}
			return nil
		})
		cancel()
		if !errors.Is(err, errDone) {
			return nil, fmt.Errorf("version %d is not committed: %w", version.Version, err)
		}
		took = append(took, time.Since(provisioned))
	}
	return took, nil
}

// statusEvery is how often an enforcer reports.
const statusEvery = 10 * time.Second

// calm counts while nothing changes but the clock.
func (b *Bench) calm(ctx context.Context, c *consoleProcess, nc *nats.Conn, out *Life) error {
	active, err := c.user.ActiveVersion(ctx)
	if err != nil {
		return err
	}
	b.say("steady state: %s without a change", b.During)
	if err := b.statuses(nc, active.Version); err != nil {
		return err
	}
	// The answers to the last change are not of the steady state.
	if err := sleep(ctx, min(5*time.Second, b.During)); err != nil {
		return err
	}
	c.proxy.forget()
	began := time.Now()
	for time.Since(began) < b.During {
		if err := b.statuses(nc, active.Version); err != nil {
			return err
		}
		if err := sleep(ctx, min(statusEvery, b.During)); err != nil {
			return err
		}
	}
	out.Calm = time.Since(began)
	out.Polls, out.Others = c.proxy.polls.Load(), c.proxy.requests.Load()-c.proxy.polls.Load()
	return nil
}

func (b *Bench) statuses(nc *nats.Conn, version int64) error {
	for n := range b.Nodes {
		if err := eventlog.PublishStatus(nc, &ringfencev1.NodeStatus{Node: node(n), ProvisionedVersion: version}); err != nil {
			return err
		}
	}
	return nil
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
