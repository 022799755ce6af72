package pcebridge

import (
	"context"
	"errors"
	"net"
	"syscall"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/ringfence/ringfence/libs/pce"
)

const (
	// longPoll is how long the console may hold an open question.
	longPoll = 25 * time.Second
	// pollSlack is what a long poll may take beyond that before the console counts as silent.
	pollSlack = 15 * time.Second
	// startupBackoff is the first wait where nobody listens at the console's address yet.
	startupBackoff = time.Second
)

// puller brings the console's state to the log, change by change.
type puller struct {
	*bridge
	held    *ledger
	cluster *inventory
	fetcher *fetcher
	// cursor of the last state that was recorded; empty where everything is to be fetched.
	cursor string
	// told is the version that was logged last.
	told int64
	// serves is what the console offers; started: it was asked for changes since the last failure.
	serves  serves
	started bool
}

// pull runs until ctx ends or the log fails. Failures of the console are complained of and waited out.
func (b *bridge) pull(ctx context.Context, held *ledger, seen *inventory) error {
	p := &puller{bridge: b, held: held, cluster: seen, fetcher: &fetcher{
		cluster: b.to.agent.Cluster(), pairing: b.config.PairingProfile, holds: held.holds,
	}}
	usual, early := b.patience(), b.earlyPatience()
	for {
		err := p.turn(ctx)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, errLog):
			return err
		case err == nil:
			usual.Reset()
			early.Reset()
			continue
		}
		p.failed(err)
		wait := usual
		if nobodyListens(err) {
			wait = early
		}
		sleep(ctx, max(wait.NextBackOff(), pce.RetryAfter(err)))
	}
}

// patience is the back-off after a failed call.
func (b *bridge) patience() *backoff.ExponentialBackOff {
	return doubling(b.config.PceAPIMinBackoff, b.config.PceAPIMaxBackoff)
}

// earlyPatience is the back-off while nobody listens: a console that comes back is found within one poll's time.
func (b *bridge) earlyPatience() *backoff.ExponentialBackOff {
	return doubling(min(startupBackoff, b.config.PceAPIMinBackoff), b.config.PceAPIPolicyInterval)
}

func doubling(first, longest time.Duration) *backoff.ExponentialBackOff {
	wait := backoff.NewExponentialBackOff()
	wait.InitialInterval, wait.MaxInterval = first, max(first, longest)
	wait.Multiplier, wait.RandomizationFactor = 2, 0.2
	return wait
}

// turn waits for a change and records it.
func (p *puller) turn(ctx context.Context) error {
	next, err := p.wait(ctx)
	if err != nil {
		return err
	}
	if next != "" && next == p.cursor {
		return nil
	}
	seen, err := p.fetcher.fetch(ctx)
	if polling := p.serves == policyOnly; err == nil && (polling || !p.held.synced) {
		// Who reports workloads learns what became of them, and nobody does where the console has no agent API. In a log
		// that is new, what the console knows must be there before the log counts as complete.
		seen.allAcknowledged = polling
		err = p.fetcher.readAcknowledged(ctx, seen)
	}
	if err != nil {
		return err
	}
	p.link.answer()
	p.warnOf(seen)
	if err := p.held.record(ctx, seen); err != nil {
		return err
	}
	p.link.synchronised(p.to.describe())
	p.cluster.poke() // what a LabelMap gives depends on the console's labels
	if p.told != seen.version {
		p.told = seen.version
		p.log.Info().Int64("version", seen.version).Int("objects", len(seen.objects)).Int("labels", len(seen.labels)).
			Int("profiles", len(seen.profiles)).Msg("the provisioned policy is in the log")
	}
	p.cursor = next
	p.committed.Store(seen.version)
	p.ready(componentPCE, nil)
	p.settle("pce", "the PCE answers again")
	return nil
}

// wait returns when there may be something to fetch, with the cursor of that state where the console has cursors.
func (p *puller) wait(ctx context.Context) (string, error) {
	p.metrics.polls.Inc()
	if err := p.connect(ctx); err != nil {
		return "", err
	}
	if p.serves == policyOnly {
		if p.started {
			sleep(ctx, p.config.PceAPIPolicyInterval)
		}
		p.started = true
		return "", ctx.Err()
	}
	hold := longPoll
	if p.cursor == "" {
		hold = 0
	}
	bounded, cancel := context.WithTimeout(ctx, hold+pollSlack)
	defer cancel()
	changes, err := p.to.agent.WaitForChanges(bounded, p.cursor, hold)
	if kind := pce.KindOf(err); kind == pce.Missing || kind == pce.Unauthorized {
		p.to.forget() // it is another console now, or thinks otherwise of the token
		return "", p.connect(ctx)
	}
	if err == nil {
		p.link.answer()
	}
	return changes.Cursor, err
}

// connect finds out what the console serves, where that is not known.
func (p *puller) connect(ctx context.Context) error {
	bounded, cancel := context.WithTimeout(ctx, pollSlack)
	defer cancel()
	serves, err := p.to.probe(bounded)
	if err != nil || serves == p.serves {
		return err
	}
	if serves == policyOnly {
		p.log.Warn().Dur("interval", p.config.PceAPIPolicyInterval).Msg(p.to.describe())
	}
	p.serves, p.cursor, p.fetcher.client = serves, "", p.to.reader(serves)
	p.fetcher.forget()
	return nil
}

// failed notes a failure of the console. After one, everything is fetched: it may have been restored meanwhile.
func (p *puller) failed(err error) {
	p.cursor, p.started = "", false
	p.fetcher.forget()
	p.to.forget()
	kind := kindOf(err)
	p.complain("pce", kind, err)
	p.ready(componentPCE, p.notReady(err))
	if kind == string(pce.Malformed) {
		p.link.answer() // it answers, if only nonsense
		return
	}
	p.link.fail(err.Error())
}

// notReady keeps the service ready once a version is committed: what the log holds stays in force without the console.
func (p *puller) notReady(err error) error {
	if p.held.synced {
		return nil
	}
	return err
}

// nobodyListens tells a console that is not there (yet) from one that fails.
func nobodyListens(err error) bool {
	var dns *net.DNSError
	return errors.Is(err, syscall.ECONNREFUSED) || errors.As(err, &dns)
}
