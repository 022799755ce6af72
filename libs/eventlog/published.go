package eventlog

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"

	"github.com/nats-io/nats.go/jetstream"
	"google.golang.org/protobuf/proto"

	ringfencev1 "github.com/ringfence/ringfence/proto/ringfence/v1"
)

// Published is the policy as the log holds it for those who join.
type Published struct {
	Head *ringfencev1.PolicyHead // nil when there is none
	// Window is the highest number on any object; the next window's number is above it.
	Window     uint64
	Sets       map[string]*ringfencev1.AddressSet
	Policies   map[string]*ringfencev1.WorkloadPolicy
	Namespaces *ringfencev1.Namespaces
	Plans      map[string]*ringfencev1.NodePlan
	// Damaged counts what could not be decoded or put together; it is as if it were not there.
	Damaged int
}

// Published reads the policy that is stored. A publisher compares it with what it computed, and publishes the difference.
func (l *Log) Published(ctx context.Context) (*Published, error) {
	p := &Published{
		Sets: map[string]*ringfencev1.AddressSet{}, Policies: map[string]*ringfencev1.WorkloadPolicy{},
		Plans: map[string]*ringfencev1.NodePlan{},
	}
	parts := map[string]*ringfencev1.StoredAddressSet{}
	for _, stream := range []string{streamPolicy, streamPlan} {
		for m, err := range l.everything(ctx, stream) {
			if err != nil {
				return nil, err
			}
			if err := p.add(m, parts); err != nil {
				p.Damaged++
				l.skip(ctx, m.subject, m.sequence, err)
			}
		}
	}
	p.joinSets(parts)
	return p, nil
}

func (p *Published) add(m message, parts map[string]*ringfencev1.StoredAddressSet) error {
	switch {
	case m.subject == headSubject:
		p.Head = &ringfencev1.PolicyHead{}
		return p.decode(m, p.Head, p.Head.GetWindow)
	case m.subject == namespacesSubject:
		stored := &ringfencev1.StoredNamespaces{}
		err := p.decode(m, stored, stored.GetWindow)
		p.Namespaces = stored.GetNamespaces()
		return err
	case strings.HasPrefix(m.subject, setPrefix):
		stored := &ringfencev1.StoredAddressSet{}
		parts[m.subject] = stored
		return p.decode(m, stored, stored.GetWindow)
	case strings.HasPrefix(m.subject, workloadPrefix):
		stored := &ringfencev1.StoredWorkloadPolicy{}
		if err := p.decode(m, stored, stored.GetWindow); err != nil {
			return err
		}
		p.Policies[stored.GetPolicy().GetId()] = stored.GetPolicy()
	case strings.HasPrefix(m.subject, planPrefix):
		plan := &ringfencev1.NodePlan{}
		if err := p.decode(m, plan, plan.GetWindow); err != nil {
			return err
		}
		p.Plans[plan.GetNode()] = plan
	}
	return nil
}

func (p *Published) decode(m message, into proto.Message, window func() uint64) error {
	if err := proto.Unmarshal(m.data, into); err != nil {
		return fmt.Errorf("cannot be decoded: %w", err)
	}
	p.Window = max(p.Window, window())
	return nil
}

func (p *Published) joinSets(parts map[string]*ringfencev1.StoredAddressSet) {
	for subject, first := range parts {
		id := first.GetSet().GetId()
		if subject != setSubject(id, 0) {
			continue
		}
		set, err := joinStored(first, func(chunk int) (*ringfencev1.StoredAddressSet, error) {
			if part, ok := parts[setSubject(id, chunk)]; ok {
				return part, nil
			}
			return nil, ErrNotFound
		})
		if err != nil {
			p.Damaged++
			continue
		}
		p.Sets[id] = set
	}
}

var errTorn = errors.New("parts of different windows")

// joinStored puts a stored set together, asking chunk for the messages after the first.
func joinStored(first *ringfencev1.StoredAddressSet, chunk func(int) (*ringfencev1.StoredAddressSet, error)) (*ringfencev1.AddressSet, error) {
	set := first.GetSet()
	for i := 1; i < int(min(first.GetChunks(), maxParts)); i++ {
		next, err := chunk(i)
		if err != nil {
			return nil, err
		}
		if next.GetWindow() != first.GetWindow() || next.GetSet().GetId() != set.GetId() {
			return nil, fmt.Errorf("address set %s: %w", set.GetId(), errTorn)
		}
		set = joinSet(set, next.GetSet())
	}
	return set, nil
}

// everything reads a derived stream to its end.
func (l *Log) everything(ctx context.Context, stream string) iter.Seq2[message, error] {
	return l.drain(ctx, l.streamReader(stream, jetstream.DeliverAllPolicy))
}

// drain reads r to the end that its stream has now.
func (l *Log) drain(ctx context.Context, r *reader) iter.Seq2[message, error] {
	return func(yield func(message, error) bool) {
		defer r.close()
		end, err := l.lastStored(ctx, r.stream, r.filters)
		for stalls := 0; err == nil && r.next <= end && end > 0; {
			var m message
			m, err = r.read(ctx)
			if errors.Is(err, errIdle) {
				// What was at the end may have been removed meanwhile: what was read is what there is.
				if stalls++; stalls >= maxStalls {
					return
				}
				r.close()
				err = nil
				continue
			}
			if err == nil && !yield(m, nil) {
				return
			}
		}
		if err != nil {
			yield(message{}, err)
		}
	}
}

// lastStored is the sequence of the newest message of a stream that any of the filters matches, 0 when there is none.
func (l *Log) lastStored(ctx context.Context, stream string, filters []string) (uint64, error) {
	s, err := l.stream(ctx, stream)
	if err != nil {
		return 0, err
	}
	if len(filters) == 0 {
		filters = []string{">"}
	}
	var last uint64
	for _, filter := range filters {
		var msg *jetstream.RawStreamMsg
		err := call(ctx, l.nc, func(ctx context.Context) (err error) {
			msg, err = s.GetLastMsgForSubject(ctx, filter)
			return err
		})
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			continue
		}
		if err != nil {
			return 0, fmt.Errorf("stream %s: last message of %s: %w", stream, filter, err)
		}
		last = max(last, msg.Sequence)
	}
	return last, nil
}
