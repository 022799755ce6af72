package policystore

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	runtimemetrics "runtime/metrics"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/rs/zerolog"

	"github.com/ringfence/ringfence/libs/access"
	"github.com/ringfence/ringfence/libs/eventlog"
	"github.com/ringfence/ringfence/libs/identity"
	"github.com/ringfence/ringfence/libs/service"
)

// component is what readiness is about: that clients can use the log. A policy that is not in sync does not make the
// service unready, for the producers must get in to bring it there.
const component = "log"

// componentCallout is that clients can get into an external cluster.
const componentCallout = "callout"

var (
	errRestart  = errors.New("the log is started anew")
	errStarting = errors.New("the log is starting")
)

// Run hosts the log and folds facts into policy until ctx ends. It returns an error for a configuration that cannot work;
// whatever fails later is logged and tried again.
func Run(ctx context.Context, cfg Config) error {
	if err := cfg.check(); err != nil {
		return err
	}
	if _, err := serverOptions(cfg); err != nil {
		return err
	}
	svc, err := service.Start(ctx, "policy-store", cfg.Config, component)
	if err != nil {
		return err
	}
	defer svc.Close()
	h, err := newHost(cfg, svc, svc.Log)
	if err != nil {
		return err
	}
	h.saveMemory = saveMemory
	h.run(svc.Log.WithContext(ctx))
	return nil
}

// garbageRoom is how many bytes may be garbage before it is collected, once the log has been read. A flush a few times a second
// leaves little, and a process of the control plane is the cheaper, the less memory it holds that it does not use. Where little is
// in use it may be as much as that, and where much is, at least a share of it.
const (
	garbageRoom       = 40 << 20
	leastGarbageShare = 30 // percent of what is in use
)

// saveMemory has the collector keep to garbageRoom, unless GOGC says how much. It is called again as what is in use changes.
func saveMemory() {
	if os.Getenv("GOGC") != "" {
		return
	}
	live := []runtimemetrics.Sample{{Name: "/gc/heap/live:bytes"}}
	runtimemetrics.Read(live)
	debug.SetGCPercent(garbageShare(live[0].Value.Uint64()))
}

// garbageShare is how much garbage there may be beside so many bytes in use, in percent of them.
func garbageShare(live uint64) int {
	return int(min(100, max(leastGarbageShare, garbageRoom*100/max(live, 1))))
}

// newHost reads what cfg names.
func newHost(cfg Config, svc *service.Service, log zerolog.Logger) (h *host, err error) {
	h = &host{cfg: cfg, svc: svc, log: log, saveMemory: func() {}, replacements: backoff.NewExponentialBackOff()}
	if cfg.NATSMode != external {
		cfg.warn(h.log)
	}
	if h.verifier, err = cfg.verifier(cfg.StoreDir, log); err != nil {
		return nil, err
	}
	if h.certificate, err = newCertificate(cfg.Security, log); err != nil {
		return nil, err
	}
	if err := h.readKeys(); err != nil {
		return nil, err
	}
	if h.asked() {
		svc.Ready(componentCallout, errStarting)
	}
	h.metrics = newMetrics(svc.Metrics, h.usage, h.keysFetched)
	if cfg.Mirror.URL != "" || cfg.Mirror.Offer || cfg.NATSMode == mirror {
		h.mirror = newMirrorMetrics(svc.Metrics)
	}
	if h.verifier != nil {
		h.admission = newAdmission(h.verifier, newDeparted(), h.metrics, log)
	}
	return h, nil
}

// readKeys reads the keys for an external cluster, where there are any.
func (h *host) readKeys() (err error) {
	if h.cfg.KeysDir != "" {
		h.keys, err = readNATSKeys(h.cfg.KeysDir)
	}
	return err
}

// asked says whether the servers of an external cluster ask here about their clients.
func (h *host) asked() bool { return h.keys != nil && h.cfg.NATSMode == external }

// host runs one log server after the other: the next when the one before cannot write any more.
type host struct {
	cfg     Config
	svc     *service.Service
	log     zerolog.Logger
	metrics *metrics
	// saveMemory is called once all that was in the log at a start has been folded, and then now and again.
	saveMemory func()
	// verifier, with admission, and certificate are nil where clients are not asked who they are, and where there is no TLS.
	verifier    *identity.Verifier
	admission   *admission
	certificate *certificate
	mirror      *mirrorMetrics // nil where there is none
	keys        natsKeys       // of an external cluster, nil where it asks nobody here
	// replacements spaces out the replacements of a server that cannot write.
	replacements *backoff.ExponentialBackOff
	current      atomic.Pointer[logServer]
}

// run hosts the log, or uses another's, until ctx ends.
func (h *host) run(ctx context.Context) {
	var beside sync.WaitGroup
	defer beside.Wait()
	beside.Go(func() { keepKeys(ctx, h.verifier) })
	if h.asked() {
		beside.Go(func() { h.admitAll(ctx) })
	}
	h.keepServing(ctx)
}

func (h *host) keepServing(ctx context.Context) {
	wait := backoff.NewExponentialBackOff()
	wait.InitialInterval, wait.MaxInterval = 200*time.Millisecond, 15*time.Second
	said := ""
	for ctx.Err() == nil {
		served, err := h.serve(ctx)
		if served {
			wait.Reset()
			said = ""
		}
		if err == nil || ctx.Err() != nil || errors.Is(err, errRestart) {
			continue
		}
		h.svc.Ready(component, err)
		if err.Error() != said { // a disk can be full for days
			said = err.Error()
			h.log.Error().Err(err).Msg("the log stopped; it is started again with back-off")
		}
		pause(ctx, wait.NextBackOff())
	}
}

// pause waits for d or until ctx ends, and says whether ctx still goes on.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// serve runs one server with everything on it until ctx ends or the server must be replaced. It says whether it got as far
// as letting clients in.
func (h *host) serve(ctx context.Context) (served bool, err error) {
	h.svc.Ready(component, errStarting)
	switch h.cfg.NATSMode {
	case external:
		return h.join(ctx)
	case mirror:
		return h.holdMirror(ctx)
	}
	var g *gate
	var own eventlog.Credentials
	if h.admission != nil {
		g = newGate(h.admission)
		own.Token = g.secret
	}
	s, err := startServer(ctx, h.cfg, g, h.certificate, h.log)
	if err != nil {
		return false, err
	}
	h.metrics.starts.Inc()
	h.current.Store(s)
	defer func() {
		h.svc.Ready(component, errors.New("the log is stopping"))
		h.current.Store(nil)
		s.stop()
	}()

	nc, err := eventlog.Dialer{
		URL: "in-process", Name: access.PolicyStore, InProcess: s.nats, Credentials: own, Log: h.log.Level(zerolog.ErrorLevel),
	}.Dial(ctx)
	if err != nil {
		return false, err
	}
	defer nc.Close()
	if err := h.fetch(ctx, nc); err != nil {
		return false, err
	}
	log, err := h.createLog(ctx, nc)
	if err != nil {
		return false, err
	}
	s.stageIn(h.cfg.StagingDir)
	published, err := takeOver(ctx, log)
	if err != nil {
		return false, err
	}
	if err := s.listen(); err != nil {
		return false, err
	}
	h.log.Info().Str("address", s.nats.ClientURL()).Str("incarnation", log.Incarnation()).Str("dir", h.cfg.StoreDir).Msg("the log is served")
	h.svc.Ready(component, nil)

	guarded, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go h.guard(guarded, s, cancel)
	if h.cfg.ScrubInterval > 0 {
		go h.scrub(guarded, cancel)
	}
	if h.admission != nil {
		go h.admission.withdraw(guarded, inProcess{nats: s.nats})
	}
	if h.cfg.Mirror.URL != "" {
		go h.followMirror(guarded, log, func(name string) error { return openToMirror(s.nats, name) })
	}
	err = h.fold(guarded, nc, log, published)
	if errors.Is(context.Cause(guarded), errRestart) {
		err = errRestart
	}
	return true, err
}

// takeOver reads what an earlier run published, and takes its head away: the streams of policy may have lost their ends
// with the process, so nobody is to join before this run has published the difference.
func takeOver(ctx context.Context, log *eventlog.Log) (*eventlog.Published, error) {
	published, err := log.Published(ctx)
	if err != nil {
		return nil, fmt.Errorf("read the published policy: %w", err)
	}
	if err := log.Withdraw(ctx); err != nil {
		return nil, fmt.Errorf("withdraw the head: %w", err)
	}
	return published, nil
}

// guard watches whether the server can write. Where it cannot, it says so once, leaves the server to serve what it has,
// and has it replaced once the disk takes writes again: soon the first time, later and later when that does not last.
func (h *host) guard(ctx context.Context, s *logServer, replace context.CancelCauseFunc) {
	var trouble error
	for started := time.Now(); trouble == nil; trouble = s.trouble() {
		if !pause(ctx, guardInterval) {
			return
		}
		if time.Since(started) > time.Minute {
			h.replacements.Reset()
		}
	}
	h.svc.Ready(component, trouble)
	said := false
	for pause(ctx, h.replacements.NextBackOff()) {
		err := probe(h.cfg.StoreDir)
		if err == nil {
			h.log.Warn().Err(trouble).Msg("the log could not write and its disk does now: the log is started anew")
			replace(errRestart)
			return
		}
		h.svc.Ready(component, err)
		if !said {
			said = true
			h.log.Error().Err(err).Str("dir", h.cfg.StoreDir).Msg("the log cannot write: new facts are refused and the last policy stays until the disk takes writes")
		}
	}
}

// guardInterval is how often the guard looks.
const guardInterval = 500 * time.Millisecond

// keysFetched says when the keys of the tokens were last fetched.
func (h *host) keysFetched() time.Time {
	if h.verifier == nil {
		return time.Time{}
	}
	fetched, _ := h.verifier.Keys.Fetched() // why not is in the log
	return fetched
}

// usage reads what the current server says of itself.
func (h *host) usage() (bytes, connections float64) {
	s := h.current.Load()
	if s == nil {
		return 0, 0
	}
	if js, err := s.nats.Jsz(&server.JSzOptions{}); err == nil {
		bytes = float64(js.Store)
	}
	return bytes, float64(s.nats.NumClients())
}
