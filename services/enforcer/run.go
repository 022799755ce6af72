package enforcer

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/ringfence/ringfence/libs/eventlog"
	"github.com/ringfence/ringfence/libs/service"
	"github.com/ringfence/ringfence/services/enforcer/cri"
	"github.com/ringfence/ringfence/services/enforcer/datapath"
	"github.com/ringfence/ringfence/services/enforcer/flowlog"
	"github.com/ringfence/ringfence/services/enforcer/nft"
	"github.com/ringfence/ringfence/services/enforcer/podnetns"
)

// Run is the enforcer until ctx ends. What it programmed stays in force.
func Run(ctx context.Context, cfg Config) error {
	if err := cfg.check(); err != nil {
		return err
	}
	svc, err := service.Start(ctx, "enforcer", cfg.Config, "runtime", "policy")
	if err != nil {
		return err
	}
	defer svc.Close()
	a, err := newAgent(ctx, cfg, svc, nft.Backend{})
	if err != nil {
		return err
	}
	svc.Log.Info().Str("node", cfg.NodeName).Str("log", cfg.LogURL).Bool("programming", cfg.Programming).Msg("enforcer starts")
	err = a.run(ctx)
	svc.Log.Info().Msg("enforcer ends; what is programmed stays in force")
	return err
}

// agent runs the loops around a node.
type agent struct {
	cfg       Config
	svc       *service.Service
	node      *node
	runtime   *cri.Client
	collector *flowlog.Collector
	metrics   *metrics
	// relist and changed wake the loops; each holds at most one call.
	relist, changed chan struct{}
	// log is the connection, once there is one.
	log atomic.Pointer[nats.Conn]
}

func newAgent(ctx context.Context, cfg Config, svc *service.Service, backend datapath.Backend) (*agent, error) {
	hosts, err := podnetns.FindHosts()
	if err != nil {
		return nil, err
	}
	socket, err := cfg.socket()
	if err != nil {
		return nil, err
	}
	client, err := cri.Connect(socket)
	if err != nil {
		return nil, err
	}
	a := &agent{
		cfg: cfg, svc: svc, runtime: client, collector: flowlog.NewCollector(cfg.NodeName, time.Now()),
		metrics: newMetrics(svc.Metrics), relist: make(chan struct{}, 1), changed: make(chan struct{}, 1),
	}
	sh := &shared{backend: backend, hosts: hosts, collector: a.collector, metrics: a.metrics,
		slots: make(chan struct{}, cfg.Workers), changed: func() { wake(a.changed) }}
	a.node = newNode(ctx, cfg, sh, svc.Log)
	return a, nil
}

// wake leaves a call that is not taken yet alone.
func wake(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

func (a *agent) run(ctx context.Context) error {
	defer func() { _ = a.runtime.Close() }() // it has no state that could be lost
	defer a.node.stop()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	a.look()
	var loops sync.WaitGroup
	for _, loop := range []func(context.Context){a.lookAround, a.list, a.watch, a.report, a.reportFlows} {
		loops.Go(func() { loop(ctx) })
	}
	err := a.follow(ctx)
	if ctx.Err() != nil {
		err = nil // this is how it ends
	}
	cancel()
	loops.Wait()
	if nc := a.log.Load(); nc != nil {
		nc.Close()
	}
	return err
}

// follow connects to the log and takes policy from it.
func (a *agent) follow(ctx context.Context) error {
	ctx = a.svc.Log.WithContext(ctx)
	nc, err := eventlog.Dialer{
		URL: a.cfg.LogURL, Name: eventlog.EnforcerName(a.cfg.NodeName), Credentials: a.cfg.Credentials, Log: a.svc.Log,
	}.Dial(ctx)
	if err != nil {
		return err
	}
	a.log.Store(nc)
	wake(a.changed)
	return eventlog.Follow(ctx, nc, a.cfg.NodeName, func(_ context.Context, p eventlog.NodePolicy) error {
		a.node.takePolicy(p)
		wake(a.relist)
		a.svc.Ready("policy", nil)
		return nil
	})
}

// lookInterval is how often the break-glass file and the node's addresses are looked at.
const lookInterval = time.Second

func (a *agent) lookAround(ctx context.Context) {
	every(ctx, lookInterval, a.look)
}

// every calls f at an interval until ctx ends.
func every(ctx context.Context, interval time.Duration, f func()) {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			f()
		}
	}
}

func (a *agent) look() {
	_, err := os.Stat(a.cfg.breakGlass())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		a.svc.Log.Error().Err(err).Msg("the break-glass file cannot be looked for")
	}
	a.node.takeBreakGlass(err == nil)
	a.node.takeAddresses(ownAddresses())
}

// ownAddresses are those of every interface of this network namespace, the node's, sorted. Addresses that mean something
// else on every host (loopback, IPv6 link-local) are left out.
func ownAddresses() ([]netip.Addr, error) {
	interfaces, err := net.InterfaceAddrs()
	if err != nil {
		return nil, fmt.Errorf("list the node's addresses: %w", err)
	}
	var all []netip.Addr
	for _, i := range interfaces {
		p, err := netip.ParsePrefix(i.String())
		if err != nil {
			continue // not an IP network
		}
		if a := p.Addr(); !a.IsLoopback() && (a.Is4() || !a.IsLinkLocalUnicast()) {
			all = append(all, a.WithZone(""))
		}
	}
	slices.SortFunc(all, netip.Addr.Compare)
	return slices.Compact(all), nil
}

// listPause bounds how often events make the runtime list its pods.
const listPause = 50 * time.Millisecond

// list asks the runtime for its pods: after events, after a new policy, and at an interval.
func (a *agent) list(ctx context.Context) {
	ticker := time.NewTicker(a.cfg.ReconcileInterval)
	defer ticker.Stop()
	for {
		asked := a.node.at()
		sandboxes, err := a.runtime.List(ctx)
		if ctx.Err() != nil {
			return
		}
		a.node.takeListing(sandboxes, asked, err)
		if err == nil {
			a.svc.Ready("runtime", nil)
		}
		sleep(ctx, listPause)
		select {
		case <-ctx.Done():
			return
		case <-a.relist:
		case <-ticker.C:
		}
	}
}

// watch takes the runtime's events. A runtime without events leaves it to the interval.
func (a *agent) watch(ctx context.Context) {
	for ctx.Err() == nil {
		err := a.runtime.Watch(ctx, func() { wake(a.relist) })
		if errors.Is(err, cri.ErrNoEvents) {
			a.svc.Log.Info().Err(err).Msg("pods are listed at an interval and after new policy alone")
			return
		}
		sleep(ctx, a.cfg.ReconcileInterval)
	}
}

// Times of the status reports. What changes together, as when a policy comes and the pods get it, is given a moment to
// settle, so that the first report says how it ended and not that it began.
const (
	statusSettle   = 100 * time.Millisecond
	statusPause    = time.Second - statusSettle
	statusInterval = 10 * time.Second
)

// report sends the status after changes, at most once a second, and from time to time without any.
func (a *agent) report(ctx context.Context) {
	for {
		heartbeat := time.NewTimer(statusInterval)
		select {
		case <-ctx.Done():
			heartbeat.Stop()
			return
		case <-a.changed:
		case <-heartbeat.C:
		}
		heartbeat.Stop()
		if !sleep(ctx, statusSettle) {
			return
		}
		a.reportOnce()
		if !sleep(ctx, statusPause) {
			return
		}
	}
}

// sleep waits, and says whether ctx still goes on.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

func (a *agent) reportOnce() {
	status := a.node.status(time.Now())
	a.metrics.count(status)
	nc := a.log.Load()
	if nc == nil {
		return
	}
	if err := eventlog.PublishStatus(nc, status); err != nil {
		a.svc.Log.Debug().Err(err).Msg("status not sent; the next one says it all again")
		wake(a.changed)
	}
}

func (a *agent) reportFlows(ctx context.Context) {
	every(ctx, a.cfg.FlowInterval, a.reportFlowsOnce)
}

// reportFlowsOnce sends what was counted. Flows that cannot be sent are lost and counted as such.
func (a *agent) reportFlowsOnce() {
	nc := a.log.Load()
	for _, batch := range a.collector.Drain(time.Now()) {
		err := errors.New("there was no connection to the log yet")
		if nc != nil {
			err = eventlog.PublishFlows(nc, batch)
		}
		if err == nil {
			continue
		}
		lost := batch.GetLost()
		for _, f := range batch.GetFlows() {
			lost += f.GetConnections()
		}
		a.svc.Log.Debug().Err(err).Uint64("lost", lost).Msg("flows not sent")
		a.collector.Return(lost, batch.GetLost())
	}
}

// version is the build.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" {
		return "devel"
	}
	return info.Main.Version
}
