package eventlog

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strconv"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/synadia-io/orbit.go/jetstreamext"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	ringfencev1 "github.com/ringfence/ringfence/proto/ringfence/v1"
)

// Objects are what a window changes, whole, for those who join later.
type Objects struct {
	Sets       []*ringfencev1.AddressSet
	Policies   []*ringfencev1.WorkloadPolicy
	Namespaces *ringfencev1.Namespaces // nil when unchanged

	RemovedSets     []string // ids
	RemovedPolicies []string // ids
	RemovedNodes    []string // names
}

// Needed producers: without a complete start of both there is no policy to speak of.
var neededProducers = []string{"pce-bridge", "watcher"}

// NeededProducers names them, sorted.
func NeededProducers() []string { return slices.Clone(neededProducers) }

// InSync says whether producers (sorted or not) hold everyone whose start must be complete before policy is published.
func InSync(producers []string) bool {
	for _, p := range neededProducers {
		if !slices.Contains(producers, p) {
			return false
		}
	}
	return true
}

// PublishWindow publishes window w in the order that joining relies on: objects are stored, then plans, then head, then
// the window is sent, then what was removed is purged. So whoever reads a head finds everything of its window, and whoever
// gets a window finds everything of it. After an error publish the same window again; every step may be repeated.
// It fills in the window of head; plans are stored with the window's number and version, and left as they are.
func (l *Log) PublishWindow(ctx context.Context, w *ringfencev1.Window, objects Objects, head *ringfencev1.PolicyHead, plans []*ringfencev1.NodePlan) error {
	if err := l.storeObjects(ctx, w, objects, head, plans); err != nil {
		return fmt.Errorf("window %d: %w", w.GetNumber(), err)
	}
	if err := l.sendWindow(ctx, splitWindow(w)); err != nil {
		return fmt.Errorf("window %d: %w", w.GetNumber(), err)
	}
	return l.purgeRemoved(ctx, objects, plans)
}

// storeObjects is PublishWindow up to the head.
func (l *Log) storeObjects(ctx context.Context, w *ringfencev1.Window, objects Objects, head *ringfencev1.PolicyHead, plans []*ringfencev1.NodePlan) error {
	stored, err := objects.messages(w.GetNumber())
	if err != nil {
		return err
	}
	if err := l.storeAll(ctx, stored); err != nil {
		return err
	}
	planned, err := planMessages(w, plans)
	if err != nil {
		return err
	}
	if err := l.storeAll(ctx, planned); err != nil {
		return err
	}
	head.Window = w.GetNumber()
	return l.storeHead(ctx, head)
}

// Heartbeat stores head and repeats its window's number, so that a reader who lost the last window learns of it, and all
// learn up to which version the policy holds. Send one every HeartbeatInterval.
func (l *Log) Heartbeat(ctx context.Context, head *ringfencev1.PolicyHead) error {
	if err := l.storeHead(ctx, head); err != nil {
		return fmt.Errorf("heartbeat of window %d: %w", head.GetWindow(), err)
	}
	return l.sendWindow(ctx, []*ringfencev1.Window{{
		Number: head.GetWindow(), Version: head.GetVersion(), ProvisionedVersion: head.GetProvisionedVersion(), Settled: head.GetSettled(),
	}})
}

// Withdraw takes the head away, so that nobody joins before the next window. A publisher that was not stopped in order
// begins with it, for the streams of policy may have lost their ends.
func (l *Log) Withdraw(ctx context.Context) error {
	return l.purge(ctx, streamPolicy, jetstream.WithPurgeSubject(headSubject))
}

// Head is the state of publication; ErrNotFound before the first window of an incarnation.
func (l *Log) Head(ctx context.Context) (*ringfencev1.PolicyHead, error) {
	head := &ringfencev1.PolicyHead{}
	return head, l.get(ctx, streamPolicy, headSubject, head)
}

func (o Objects) messages(window uint64) ([]*nats.Msg, error) {
	var out []*nats.Msg
	for _, set := range o.Sets {
		messages, err := setMessages(window, set)
		if err != nil {
			return nil, err
		}
		out = append(out, messages...)
	}
	for _, p := range o.Policies {
		msg, err := encode(workloadSubject(p.GetId()), &ringfencev1.StoredWorkloadPolicy{Window: window, Policy: p})
		if err != nil {
			return nil, err
		}
		out = append(out, msg)
	}
	if o.Namespaces != nil {
		msg, err := encode(namespacesSubject, &ringfencev1.StoredNamespaces{Window: window, Namespaces: o.Namespaces})
		if err != nil {
			return nil, err
		}
		out = append(out, msg)
	}
	return out, nil
}

func setMessages(window uint64, set *ringfencev1.AddressSet) ([]*nats.Msg, error) {
	pieces := splitSet(set)
	out := make([]*nats.Msg, 0, len(pieces))
	for i, piece := range pieces {
		stored := &ringfencev1.StoredAddressSet{Window: window, Set: piece, Chunks: uint32(len(pieces))}
		msg, err := encode(setSubject(set.GetId(), i), stored)
		if err != nil {
			return nil, err
		}
		out = append(out, msg)
	}
	return out, nil
}

func planMessages(w *ringfencev1.Window, plans []*ringfencev1.NodePlan) ([]*nats.Msg, error) {
	out := make([]*nats.Msg, 0, len(plans))
	for _, plan := range plans {
		msg, err := encode(planSubject(plan.GetNode()), ofWindow(plan, w))
		if err != nil {
			return nil, err
		}
		out = append(out, msg)
	}
	return out, nil
}

// ofWindow gives a plan the number and version of its window. The plan itself stays as it is; what is in it is shared.
func ofWindow(plan *ringfencev1.NodePlan, w *ringfencev1.Window) *ringfencev1.NodePlan {
	stored := &ringfencev1.NodePlan{}
	plan.ProtoReflect().Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		stored.ProtoReflect().Set(f, v)
		return true
	})
	stored.Window, stored.Version = w.GetNumber(), w.GetVersion()
	return stored
}

func encode(subject string, m proto.Message) (*nats.Msg, error) {
	data, err := proto.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("%s: encode: %w", subject, err)
	}
	msg := nats.NewMsg(subject)
	msg.Data = data
	return msg, nil
}

// inFlight bounds how many messages wait for their acknowledgement at once.
const inFlight = 256

// storeAll stores messages and waits until all of them are acknowledged.
func (l *Log) storeAll(ctx context.Context, messages []*nats.Msg) error {
	return call(ctx, l.nc, func(ctx context.Context) error {
		for chunk := range slices.Chunk(messages, inFlight) {
			if err := l.storeChunk(ctx, chunk); err != nil {
				return err
			}
		}
		return nil
	})
}

func (l *Log) storeChunk(ctx context.Context, messages []*nats.Msg) error {
	acks := make([]jetstream.PubAckFuture, 0, len(messages))
	for _, msg := range messages {
		ack, err := l.js.PublishMsgAsync(msg)
		if err != nil {
			return refusal(msg.Subject, err)
		}
		acks = append(acks, ack)
	}
	for _, ack := range acks {
		if err := await(ctx, ack); err != nil {
			return refusal(ack.Msg().Subject, err)
		}
	}
	return nil
}

func await(ctx context.Context, ack jetstream.PubAckFuture) error {
	ctx, cancel := context.WithTimeout(ctx, apiTimeout)
	defer cancel()
	select {
	case <-ack.Ok():
		return nil
	case err := <-ack.Err():
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (l *Log) storeHead(ctx context.Context, head *ringfencev1.PolicyHead) error {
	msg, err := encode(headSubject, head)
	if err != nil {
		return err
	}
	return l.store(ctx, msg)
}

// store stores one message.
func (l *Log) store(ctx context.Context, msg *nats.Msg) error {
	err := call(ctx, l.nc, func(ctx context.Context) error {
		_, err := l.js.PublishMsg(ctx, msg)
		return err
	})
	return refusal(msg.Subject, err)
}

func (l *Log) sendWindow(ctx context.Context, parts []*ringfencev1.Window) error {
	for _, part := range parts {
		msg, err := encode(windowSubject, part)
		if err != nil {
			return err
		}
		if err := l.nc.PublishMsg(msg); err != nil {
			return refusal(windowSubject, err)
		}
	}
	err := call(ctx, l.nc, func(ctx context.Context) error { return flush(ctx, l.nc) })
	if err != nil {
		return fmt.Errorf("%s: not sent: %w", windowSubject, err)
	}
	return nil
}

// flush waits until the server has taken in all that was sent.
func flush(ctx context.Context, nc *nats.Conn) error {
	ctx, cancel := context.WithTimeout(ctx, apiTimeout)
	defer cancel()
	return nc.FlushWithContext(ctx)
}

// purgeRemoved removes what no plan refers to any more. It comes last, so that those who join meanwhile miss nothing.
func (l *Log) purgeRemoved(ctx context.Context, o Objects, plans []*ringfencev1.NodePlan) error {
	var errs []error
	for _, id := range o.RemovedSets {
		errs = append(errs,
			l.purge(ctx, streamPolicy, jetstream.WithPurgeSubject(setSubject(id, 0))),
			l.purge(ctx, streamPolicy, jetstream.WithPurgeSubject(setSubject(id, 0)+".>")))
	}
	for _, id := range o.RemovedPolicies {
		errs = append(errs, l.purge(ctx, streamPolicy, jetstream.WithPurgeSubject(workloadSubject(id))))
	}
	gone := slices.Clone(o.RemovedNodes)
	for _, plan := range plans {
		if plan.GetRemoved() {
			gone = append(gone, plan.GetNode())
		}
	}
	for _, node := range gone {
		errs = append(errs, l.purge(ctx, streamPlan, jetstream.WithPurgeSubject(planSubject(node))))
	}
	return errors.Join(errs...)
}

// get reads the last message of a subject into m.
func (l *Log) get(ctx context.Context, stream, subject string, m proto.Message) error {
	return call(ctx, l.nc, func(ctx context.Context) error { return getLast(ctx, l.nc, stream, subject, m) })
}

// lastFact gives the last fact of a subject, as it is stored, and its sequence.
func (l *Log) lastFact(ctx context.Context, subject string) (data []byte, sequence uint64, err error) {
	var msg *nats.Msg
	err = call(ctx, l.nc, func(ctx context.Context) (err error) {
		msg, err = lastMessage(ctx, l.nc, streamFacts, subject)
		return err
	})
	if err != nil {
		return nil, 0, err
	}
	if sequence, err = strconv.ParseUint(msg.Header.Get(jetstream.SequenceHeader), 10, 64); err != nil {
		return nil, 0, fmt.Errorf("%s: %w: %w", subject, errUndecodable, err)
	}
	return msg.Data, sequence, nil
}

func getLast(ctx context.Context, nc *nats.Conn, stream, subject string, m proto.Message) error {
	msg, err := lastMessage(ctx, nc, stream, subject)
	if err != nil {
		return err
	}
	if err := proto.Unmarshal(msg.Data, m); err != nil {
		return fmt.Errorf("%s: cannot be decoded: %w", subject, err)
	}
	return nil
}

// lastMessages gets the last message of each of some subjects, in one request, from the stream that holds them; what is not
// there is not given. It takes the right to all of the stream.
func lastMessages(ctx context.Context, nc *nats.Conn, stream string, subjects []string) iter.Seq2[message, error] {
	return func(yield func(message, error) bool) {
		ctx, cancel := context.WithTimeout(ctx, apiTimeout)
		defer cancel()
		js, err := jetstream.New(nc)
		if err != nil {
			yield(message{}, err)
			return
		}
		messages, err := jetstreamext.GetLastMsgsFor(ctx, js, stream, subjects)
		if err != nil {
			yield(message{}, err)
			return
		}
		for m, err := range messages {
			switch {
			case errors.Is(err, jetstreamext.ErrNoMessages):
				return
			case err != nil:
				yield(message{}, err)
				return
			case !yield(message{subject: m.Subject, sequence: m.Sequence, storedAt: m.Time, data: m.Data}, nil):
				return
			}
		}
	}
}

// lastMessage gets the last message of a subject from the stream that holds it. Unlike the library's way it asks nothing of
// the stream itself, so that the right to this one subject is enough.
func lastMessage(ctx context.Context, nc *nats.Conn, stream, subject string) (*nats.Msg, error) {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	msg, err := nc.RequestWithContext(ctx, "$JS.API.DIRECT.GET."+stream+"."+subject, nil)
	switch {
	case err != nil:
		return nil, fmt.Errorf("%s: %w", subject, err)
	case msg.Header.Get("Status") == "404":
		return nil, fmt.Errorf("%s: %w", subject, ErrNotFound)
	case msg.Header.Get(jetstream.StreamHeader) != stream:
		return nil, fmt.Errorf("%s: %w: stream %s answers %s %s", subject, errUndecodable, stream, msg.Header.Get("Status"), msg.Header.Get("Description"))
	}
	return msg, nil
}
