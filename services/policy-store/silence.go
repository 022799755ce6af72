package policystore

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/ringfence/ringfence/libs/access"
	"github.com/ringfence/ringfence/libs/eventlog"
	ringfencev1 "github.com/ringfence/ringfence/proto/ringfence/v1"
)

// bridgeSilence notices that pce-bridge is not heard of any more. A bridge that is gone cannot say so, and a console that nobody asks
// is as good as away: policy-store writes that in the bridge's place, and the bridge the opposite once it is back.
type bridgeSilence struct {
	after time.Duration
	heard atomic.Int64 // when pce-bridge was heard of last, in Unix nanoseconds
}

func newBridgeSilence(after time.Duration) *bridgeSilence {
	s := &bridgeSilence{after: after}
	s.heard.Store(time.Now().UnixNano())
	return s
}

// listen hears pce-bridge until stop is called.
func (s *bridgeSilence) listen(nc *nats.Conn) (stop func(), err error) {
	sub, err := nc.Subscribe(eventlog.AliveSubject(access.PceBridge), func(*nats.Msg) { s.heard.Store(time.Now().UnixNano()) })
	if err != nil {
		return nil, fmt.Errorf("listen to pce-bridge: %w", err)
	}
	return func() { _ = sub.Unsubscribe() }, nil // it fails only with the connection, which closes next
}

// over gives how long nothing was heard, if that is too long while the log says that the console answers. A bridge of a release
// that does not make itself heard says nothing of the link's state.
func (s *bridgeSilence) over(link *ringfencev1.PceLink, now time.Time) (time.Duration, bool) {
	quiet := now.Sub(time.Unix(0, s.heard.Load()))
	return quiet, s.after > 0 && quiet >= s.after && link.GetUp() && link.GetState() != ringfencev1.LinkState_LINK_STATE_UNSPECIFIED
}

// noticeSilence writes that the console counts as away where pce-bridge has not been heard of for too long.
func (f *folder) noticeSilence(ctx context.Context) {
	if !f.live {
		return
	}
	f.mu.Lock()
	link := f.engine.Link()
	f.mu.Unlock()
	quiet, over := f.silence.over(link, time.Now())
	if !over {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	err := f.writeLinkDown(ctx, fmt.Sprintf("pce-bridge has not been heard of for %s", quiet.Round(time.Second)))
	if err != nil && !errors.Is(err, context.Canceled) {
		f.zlog.Error().Err(err).Msg("pce-bridge is silent, and that could not be written; it is tried again")
		return
	}
	f.metrics.silences.Inc()
	f.zlog.Warn().Dur("silent", quiet).Msg("pce-bridge has not been heard of: the console counts as away")
}

func (f *folder) writeLinkDown(ctx context.Context, reason string) error {
	holder, err := os.Hostname()
	if err != nil {
		return fmt.Errorf("the host's name: %w", err)
	}
	producer, err := f.log.Lead(ctx, access.PolicyStore, holder)
	if err != nil {
		return err
	}
	link := &ringfencev1.PceLink{State: ringfencev1.LinkState_LINK_STATE_DEGRADED, Reason: reason}
	_, err = producer.Publish(ctx, eventlog.Draft{Subject: eventlog.LinkSubject, Fact: &ringfencev1.Fact{Body: &ringfencev1.Fact_PceLink{PceLink: link}}})
	return err
}
