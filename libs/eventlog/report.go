package eventlog

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"google.golang.org/protobuf/proto"

	ringfencev1 "github.com/ringfence/ringfence/proto/ringfence/v1"
)

// PublishStatus sends the status of a node, without waiting for it to be stored. The log keeps the last of each node.
// Send it at most once a second.
func PublishStatus(nc *nats.Conn, s *ringfencev1.NodeStatus) error {
	return send(nc, statusPrefix, s.GetNode(), s)
}

// PublishFlows sends the flows of a node, without waiting for them to be stored. The log drops the oldest first.
func PublishFlows(nc *nats.Conn, b *ringfencev1.FlowBatch) error {
	return send(nc, flowsPrefix, b.GetNode(), b)
}

// StatusSubjects are the subjects of all nodes' status.
const StatusSubjects = statusPrefix + "*"

// IsStatusOf tells whether a subject is the one on which a node may send its status.
func IsStatusOf(subject, node string) bool { return subject == statusPrefix+Token(node) }

func send(nc *nats.Conn, prefix, node string, m proto.Message) error {
	if node == "" {
		return fmt.Errorf("%s: the node has no name", strings.TrimSuffix(prefix, "."))
	}
	msg, err := encode(prefix+Token(node), m)
	if err != nil {
		return err
	}
	if err := nc.PublishMsg(msg); err != nil {
		if errors.Is(err, nats.ErrMaxPayload) {
			return fmt.Errorf("%s: %w: %d bytes", msg.Subject, ErrTooLarge, len(msg.Data))
		}
		return fmt.Errorf("%s: not sent: %w", msg.Subject, err)
	}
	return nil
}

// NodeStatuses gives the last status of every node, sorted by node.
func (l *Log) NodeStatuses(ctx context.Context) ([]*ringfencev1.NodeStatus, error) {
	last := map[string]*ringfencev1.NodeStatus{}
	for m, err := range l.everything(ctx, streamStatus) {
		if err != nil {
			return nil, err
		}
		s := &ringfencev1.NodeStatus{}
		if err := proto.Unmarshal(m.data, s); err != nil {
			l.skip(ctx, m.subject, m.sequence, err)
			continue
		}
		last[s.GetNode()] = s
	}
	out := make([]*ringfencev1.NodeStatus, 0, len(last))
	for _, s := range last {
		out = append(out, s)
	}
	slices.SortFunc(out, func(a, b *ringfencev1.NodeStatus) int { return strings.Compare(a.GetNode(), b.GetNode()) })
	return out, nil
}

// Flows gives the flow batches that were stored since a time, in the order of the log. An error ends the iteration.
func (l *Log) Flows(ctx context.Context, since time.Time) iter.Seq2[*ringfencev1.FlowBatch, error] {
	return l.FlowsBetween(ctx, since, time.Time{})
}

// FlowsBetween gives those that were stored from one time until just before another; the zero time has no end. Times are the
// log's: what was stored by then stays the same from then on, whatever the clocks of nodes say.
func (l *Log) FlowsBetween(ctx context.Context, since, until time.Time) iter.Seq2[*ringfencev1.FlowBatch, error] {
	return func(yield func(*ringfencev1.FlowBatch, error) bool) {
		r := l.streamReader(streamFlows, jetstream.DeliverByStartTimePolicy)
		r.since = since
		state, err := r.verify(ctx)
		if err != nil {
			yield(nil, err)
			return
		}
		if state.LastTime.Before(since) {
			return
		}
		for m, err := range l.drain(ctx, r) {
			if err != nil {
				yield(nil, err)
				return
			}
			if !until.IsZero() && !m.storedAt.Before(until) {
				return
			}
			b := &ringfencev1.FlowBatch{}
			if err := proto.Unmarshal(m.data, b); err != nil {
				l.skip(ctx, m.subject, m.sequence, err)
			} else if !yield(b, nil) {
				return
			}
		}
	}
}
