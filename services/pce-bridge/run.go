package pcebridge

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"
	"golang.org/x/sync/errgroup"

	"github.com/ringfence/ringfence/libs/eventlog"
	"github.com/ringfence/ringfence/libs/pce"
	"github.com/ringfence/ringfence/libs/service"
	ringfencev1 "github.com/ringfence/ringfence/proto/ringfence/v1"
)

// Components that readiness waits for.
const (
	componentLog = "log"
	componentPCE = "pce"
)

// Run connects to log and console and bridges them until ctx ends. It returns an error only for a configuration that
// cannot work.
func Run(ctx context.Context, config Config) error {
	svc, err := service.Start(ctx, producerName, config.Config, componentLog, componentPCE)
	if err != nil {
		return err
	}
	defer svc.Close()
	holder, err := os.Hostname()
	if err != nil {
		return fmt.Errorf("the host's name: %w", err)
	}
	to, err := newConnection(&config)
	if err != nil {
		return err
	}
	ctx = svc.Log.WithContext(ctx) // where libs/eventlog reports what it cannot decode
	nc, err := eventlog.Dialer{URL: config.LogURL, Name: producerName, Credentials: config.Credentials, Log: svc.Log}.Dial(ctx)
	if err != nil {
		return err
	}
	defer nc.Close()
	m := newMetrics(svc.Metrics)
	b := &bridge{
		config: config, log: svc.Log, to: to, metrics: m,
		holder: holder, link: newLink(config.linkDownAfter(), m), ready: svc.Ready, complaints: map[string]string{},
	}
	b.serve(ctx, nc)
	return nil
}

// bridge is what lasts over the incarnations of the log.
type bridge struct {
	config  Config
	log     zerolog.Logger
	to      *connection
	metrics *metrics
	// holder names this process in the log's epochs.
	holder string
	link   *link
	ready  func(component string, err error)
	// enforcers is the version of the oldest enforcer, nil while none is known.
	enforcers atomic.Pointer[string]
	// committed is the version that the log has in force.
	committed atomic.Int64

	mu         sync.Mutex
	complaints map[string]string // by topic, what was complained of last
	warned     map[string]bool
}

// serve runs one session after the other until ctx ends.
func (b *bridge) serve(ctx context.Context, nc *nats.Conn) {
	wait := b.logBackoff()
	for ctx.Err() == nil {
		started := time.Now()
		err := b.session(ctx, nc)
		if ctx.Err() != nil {
			return
		}
		b.ready(componentLog, err)
		if errors.Is(err, eventlog.ErrIncarnation) {
			b.log.Warn().Msg("the log is a new incarnation: writing everything anew")
		} else {
			b.complain("log", "log", err)
		}
		if time.Since(started) > time.Minute {
			wait.Reset()
		}
		pause := wait.NextBackOff()
		if errors.Is(err, eventlog.ErrDeposed) {
			pause = max(pause, deposedPause)
		}
		sleep(ctx, pause)
	}
}

// deposedPause is how long a bridge keeps still after another took its place: one of the two is about to end.
const deposedPause = 30 * time.Second

func (b *bridge) logBackoff() *backoff.ExponentialBackOff {
	wait := backoff.NewExponentialBackOff()
	wait.InitialInterval, wait.MaxInterval = 200*time.Millisecond, 10*time.Second
	return wait
}

// session bridges one incarnation of the log. It returns with the first failure of the log.
func (b *bridge) session(ctx context.Context, nc *nats.Conn) error {
	log, err := eventlog.Open(ctx, nc)
	if err != nil {
		return err
	}
	from, err := log.LastSequence(ctx)
	if err != nil {
		return err
	}
	held, err := openLedger(ctx, log, b.holder, b.metrics)
	if err != nil {
		return err
	}
	fact := &ringfencev1.Fact{Body: &ringfencev1.Fact_Settings{Settings: b.config.settings()}}
	if err := held.write(ctx, "settings", held.differs(eventlog.SettingsSubject, fact)...); err != nil {
		return err
	}
	b.link.resume(held.get(eventlog.LinkSubject))
	b.ready(componentLog, nil)
	b.settle("log", "the log is written again")
	seen := newInventory(log.Incarnation(), b.config.reporting())
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return log.Watch(ctx) })
	group.Go(func() error { return b.link.keep(ctx, held) })
	group.Go(func() error { return b.beat(ctx, nc, log, from) })
	group.Go(func() error { return b.pull(ctx, held, seen) })
	group.Go(func() error { return seen.follow(ctx, log) })
	group.Go(func() error { return b.report(ctx, log, held, seen) })
	return group.Wait()
}

// beat says every now and then that the bridge is there, and ends the session where policy-store took it for gone meanwhile:
// what the console did since then is read again.
func (b *bridge) beat(ctx context.Context, nc *nats.Conn, log *eventlog.Log, from uint64) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		for ctx.Err() == nil {
			if err := nc.Publish(eventlog.AliveSubject(producerName), nil); err != nil {
				b.complain("alive", "log", fmt.Errorf("tell policy-store that the bridge is there: %w", err))
			} else {
				b.settle("alive", "policy-store is told again that the bridge is there")
			}
			sleep(ctx, eventlog.HeartbeatInterval)
		}
		return ctx.Err()
	})
	group.Go(func() error {
		return log.Tail(ctx, from+1, []string{eventlog.LinkSubject}, func(e eventlog.Entry) error {
			if e.Fact.GetProducer() != producerName && !e.Fact.GetPceLink().GetUp() {
				return errTakenForGone
			}
			return nil
		})
	})
	return group.Wait()
}

// errTakenForGone says that policy-store wrote the link down in the bridge's place.
var errTakenForGone = errors.New("policy-store has not heard of this bridge and counts the PCE as away: reading the PCE anew")

// complain logs a failure once, and again only when it changes; it counts every one.
func (b *bridge) complain(topic, kind string, err error) {
	b.metrics.failures.WithLabelValues(kind).Inc()
	b.mu.Lock()
	defer b.mu.Unlock()
	level := zerolog.ErrorLevel
	if b.complaints[topic] == err.Error() {
		level = zerolog.DebugLevel
	}
	b.complaints[topic] = err.Error()
	b.log.WithLevel(level).Str("kind", kind).Msg(err.Error())
}

// settle ends what was complained of.
func (b *bridge) settle(topic, message string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.complaints[topic] != "" {
		b.complaints[topic] = ""
		b.log.Info().Msg(message)
	}
}

// warnOf logs what the console holds that cannot be expressed, each thing once while it lasts.
func (b *bridge) warnOf(p *picture) {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := map[string]bool{}
	for _, w := range slices.Concat(p.warnings, p.notes) {
		if now[w] = true; !b.warned[w] {
			b.log.Warn().Int64("version", p.version).Msg(w)
		}
	}
	b.warned = now
}

// kindOf classifies a failure for metrics.
func kindOf(err error) string {
	var malformed *objectError
	switch {
	case errors.As(err, &malformed):
		return string(pce.Malformed)
	case errors.Is(err, errMoving):
		return "moving"
	case pce.KindOf(err) != "":
		return string(pce.KindOf(err))
	case errors.Is(err, context.DeadlineExceeded):
		return string(pce.Unreachable)
	default:
		return "other"
	}
}

func sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}
