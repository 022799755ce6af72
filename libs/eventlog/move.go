package eventlog

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

var (
	// ErrMoved says that the log goes on elsewhere, and what is here is what it was before.
	ErrMoved = errors.New("the log has moved")
	// ErrUnfinished says that this is the copy of a log that is still being moved, or whose move was cut off.
	ErrUnfinished = errors.New("the log's move here has not ended")
)

const (
	// movedKey is in the metadata of the facts of a log that has moved, and says where to. Nobody writes there any more.
	movedKey = "ringfence.moved"
	// copyKey is in the metadata of the streams of a copy until it is the log. It holds the log's incarnation.
	copyKey = "ringfence.copy"
	// fencedSubject is the only one that facts have that nobody may write.
	fencedSubject = "fenced.facts"
)

// Move moves a log from one server to another, in either direction between an embedded server and an external cluster: all
// streams, each message at its sequence with its time, and the incarnation, so that snapshots, versions and the fences of
// producers go on to hold. It needs NATS 2.12 or later on both sides. It may be run again after whatever cut it off.
//
// From the first step on, no fact can be stored where the log was. Until the last, the log is where it was, and
// Create on its server goes on with it as if nothing had been. What the move leaves there is a copy that nobody can write.
type Move struct {
	From, To *nats.Conn
	// Sizes are those of the log at its new place.
	Sizes Sizes
	// Destination says for people where the log goes.
	Destination string
	// Check looks whether the move can be made, and changes nothing.
	Check bool
	// Step, where set, is told what is being done.
	Step func(MoveStep)
}

// MoveStep is what a move is doing: one of checking, reserving, fencing, copying, comparing, replicating, switching.
type MoveStep struct {
	Doing  string
	Stream string // empty where it is about all of them
	// Done of Total messages, or bytes while copying; 0 of 0 where nothing is counted.
	Done, Total uint64
}

// Moved says what was moved.
type Moved struct {
	Incarnation string        `json:"incarnation"`
	First       uint64        `json:"first"` // sequence of the oldest fact
	Last        uint64        `json:"last"`  // and of the newest
	Streams     []MovedStream `json:"streams"`
	// Already says that the log had moved before.
	Already bool `json:"already"`
}

// MovedStream is one stream of it.
type MovedStream struct {
	Stream   string `json:"stream"`
	Messages uint64 `json:"messages"`
	Bytes    uint64 `json:"bytes"`
}

// Run moves the log. Errors: ErrNotFound where there is none, ErrExists where the other server holds another log, ErrMoved
// where the log went to a third place, ErrGap where a message cannot be read.
func (m Move) Run(ctx context.Context) (Moved, error) {
	done, err := m.run(ctx)
	if err != nil {
		return Moved{}, fmt.Errorf("move the log to %s: %w", m.Destination, err)
	}
	return done, nil
}

func (m Move) run(ctx context.Context) (Moved, error) {
	from, err := newLog(m.From)
	if err != nil {
		return Moved{}, err
	}
	to, err := newLog(m.To)
	if err != nil {
		return Moved{}, err
	}
	r := mover{Move: m, from: from, to: to}
	if r.Step == nil {
		r.Step = func(MoveStep) {}
	}
	r.Step(MoveStep{Doing: "checking"})
	if err := r.look(ctx); err != nil || r.done.Already || m.Check {
		return r.done, err
	}
	for _, step := range []func(context.Context) error{r.reserve, r.fence, r.copyAll, r.compareAll, r.replicated, r.turn} {
		if err := step(ctx); err != nil {
			return Moved{}, err
		}
	}
	return r.done, nil
}

// mover is a move under way.
type mover struct {
	Move
	from, to    *Log
	incarnation string
	replace     bool // what is at the new place is what an earlier move left there
	done        Moved
}

// look finds out how far things are, and what stands in the way.
func (m *mover) look(ctx context.Context) error {
	facts, err := m.from.known(ctx, streamFacts)
	switch {
	case err != nil:
		return err
	case facts == nil:
		return fmt.Errorf("%w: there is no log to move", ErrNotFound)
	case facts.Config.Metadata[copyKey] != "":
		return fmt.Errorf("%w: finish that first", ErrUnfinished)
	}
	m.incarnation = facts.Config.Metadata[incarnationKey]
	m.done = Moved{Incarnation: m.incarnation, First: facts.State.FirstSeq, Last: facts.State.LastSeq}
	there, err := m.to.known(ctx, streamFacts)
	if err != nil {
		return err
	}
	if err := m.lookThere(facts, there); err != nil || m.done.Already {
		return err
	}
	var held uint64 // by what a move left there, or has brought so far
	for _, cfg := range m.Sizes.streams() {
		bytes, err := m.lookAt(ctx, cfg)
		if err != nil {
			return err
		}
		held += bytes
	}
	return m.room(ctx, held)
}

// lookAt looks at one stream, and says how many bytes the new place holds of it.
func (m *mover) lookAt(ctx context.Context, cfg jetstream.StreamConfig) (held uint64, err error) {
	there, err := m.to.known(ctx, cfg.Name)
	if err != nil {
		return 0, err
	}
	if there != nil {
		if there.Config.Metadata[copyKey] == "" && !m.replace {
			return 0, fmt.Errorf("%w: stream %s, which is none of this move; remove it", ErrExists, cfg.Name)
		}
		held = there.State.Bytes
	}
	info, err := m.from.known(ctx, cfg.Name)
	if err != nil || info == nil {
		return held, err
	}
	m.done.Streams = append(m.done.Streams, MovedStream{cfg.Name, info.State.Msgs, info.State.Bytes})
	if info.State.Bytes > uint64(cfg.MaxBytes) && cfg.Discard == jetstream.DiscardNew {
		return held, fmt.Errorf("%w: %s has %d bytes and would have room for %d there: raise storage-gi", ErrFull, cfg.Name, info.State.Bytes, cfg.MaxBytes)
	}
	return held, nil
}

// lookThere judges what the new place holds.
func (m *mover) lookThere(facts, there *jetstream.StreamInfo) error {
	moved := facts.Config.Metadata[movedKey]
	same := there != nil && there.Config.Metadata[incarnationKey] == m.incarnation
	switch {
	case there == nil && moved != "":
		return fmt.Errorf("%w: it goes on at %s", ErrMoved, moved)
	case there == nil:
		return nil
	case same && there.Config.Metadata[copyKey] != "":
		return nil
	case same && moved != "" && there.Config.Metadata[movedKey] == "":
		m.done.Already = true
		return nil
	case same && there.Config.Metadata[movedKey] != "" && moved == "":
		m.replace = true
		return nil
	case moved != "":
		return fmt.Errorf("%w: it goes on at %s", ErrMoved, moved)
	}
	return fmt.Errorf("%w: incarnation %s, %d facts; remove its streams, or go on with it and do not move",
		ErrExists, there.Config.Metadata[incarnationKey], there.State.Msgs)
}

// room says whether the account takes the log's streams, some bytes of which it holds.
func (m *mover) room(ctx context.Context, held uint64) error {
	account, err := m.to.js.AccountInfo(ctx)
	if err != nil {
		return fmt.Errorf("JetStream at %s: %w", m.Destination, err)
	}
	limit := account.Limits.MaxStore
	if limit >= 0 && account.Store-min(held, account.Store)+uint64(m.Sizes.Bytes) > uint64(limit) {
		return fmt.Errorf("%w: the log is promised %d bytes, and of %d allowed there %d are in use", ErrFull, m.Sizes.Bytes, limit, account.Store)
	}
	return nil
}

// reserve makes the streams that are not there yet, empty: where servers or room are lacking it shows before anything is fenced.
func (m *mover) reserve(ctx context.Context) error {
	m.Step(MoveStep{Doing: "reserving"})
	var made []string
	for _, cfg := range m.Sizes.streams() {
		there, err := m.to.known(ctx, cfg.Name)
		if err == nil && there == nil {
			if err = refusal(cfg.Name, m.to.createMarked(ctx, m.marked(cfg, nil))); err == nil {
				made = append(made, cfg.Name)
			}
		}
		if err != nil {
			for _, name := range made {
				err = errors.Join(err, m.to.js.DeleteStream(ctx, name))
			}
			return fmt.Errorf("reserve: %w", err)
		}
	}
	return nil
}

// createMarked makes a stream. A name that is in use by no stream is that of a restore that was cut off, which servers give up
// after some seconds.
func (l *Log) createMarked(ctx context.Context, cfg jetstream.StreamConfig) error {
	try := func() (struct{}, error) {
		return struct{}{}, call(ctx, l.nc, func(ctx context.Context) error {
			_, err := l.js.CreateStream(ctx, cfg)
			if err != nil && !errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) {
				return backoff.Permanent(err)
			}
			return err
		})
	}
	_, err := backoff.Retry(ctx, try, backoff.WithBackOff(patience()), backoff.WithMaxElapsedTime(apiTimeout))
	return err
}

// marked gives the settings of a copy, with the metadata of the original.
func (m *mover) marked(cfg jetstream.StreamConfig, metadata map[string]string) jetstream.StreamConfig {
	cfg = m.Sizes.replicated(cfg)
	cfg.Storage, cfg.Metadata = jetstream.FileStorage, maps.Clone(metadata)
	if cfg.Metadata == nil {
		cfg.Metadata = map[string]string{}
	}
	cfg.Metadata[copyKey] = m.incarnation
	if cfg.Name == streamFacts {
		cfg.Subjects = []string{fencedSubject}
		cfg.Metadata[incarnationKey] = m.incarnation
	}
	return cfg
}

// fence ends all writing of facts where the log is.
func (m *mover) fence(ctx context.Context) error {
	m.Step(MoveStep{Doing: "fencing", Stream: streamFacts})
	err := m.from.reconfigure(ctx, streamFacts, func(cfg *jetstream.StreamConfig) { cfg.Subjects = []string{fencedSubject} })
	if err != nil {
		return fmt.Errorf("fence: %w", err)
	}
	facts, err := m.from.info(ctx, streamFacts) // the last fact is known from here on
	if err != nil {
		return fmt.Errorf("fence: %w", err)
	}
	m.done.First, m.done.Last = facts.State.FirstSeq, facts.State.LastSeq
	return nil
}

// copyAll copies the streams that have not been copied yet, the facts last.
func (m *mover) copyAll(ctx context.Context) error {
	m.done.Streams = nil
	for _, cfg := range factsLast(m.Sizes.streams()) {
		source, err := m.from.known(ctx, cfg.Name)
		if err == nil && source != nil {
			err = m.copy(ctx, cfg, source)
		}
		if err != nil {
			return fmt.Errorf("copy %s: %w", cfg.Name, err)
		}
	}
	return nil
}

func (m *mover) copy(ctx context.Context, cfg jetstream.StreamConfig, source *jetstream.StreamInfo) error {
	m.done.Streams = append(m.done.Streams, MovedStream{cfg.Name, source.State.Msgs, source.State.Bytes})
	there, err := m.to.known(ctx, cfg.Name)
	if err != nil {
		return err
	}
	if there != nil {
		if there.Config.Metadata[copyKey] == m.incarnation && sameRange(source, there) {
			return nil // by an earlier attempt
		}
		if err := m.to.js.DeleteStream(ctx, cfg.Name); err != nil {
			return err
		}
	}
	b := backup{from: m.From, to: m.To, stream: cfg.Name, step: func(done uint64) {
		m.Step(MoveStep{Doing: "copying", Stream: cfg.Name, Done: done, Total: source.State.Bytes})
	}}
	return b.run(ctx, m.marked(cfg, source.Config.Metadata))
}

// compareAll makes sure that nothing is missing and nothing differs: of facts and snapshots, every message.
func (m *mover) compareAll(ctx context.Context) error {
	for _, s := range m.done.Streams {
		source, err := m.from.info(ctx, s.Stream)
		if err != nil {
			return err
		}
		copied, err := m.to.info(ctx, s.Stream)
		if err != nil {
			return err
		}
		if !sameRange(source, copied) {
			return fmt.Errorf("compare %s: the copy has %d messages, %d to %d, and the log %d, %d to %d", s.Stream,
				copied.State.Msgs, copied.State.FirstSeq, copied.State.LastSeq, source.State.Msgs, source.State.FirstSeq, source.State.LastSeq)
		}
		if s.Stream != streamFacts && s.Stream != streamSnap {
			continue
		}
		if err := m.compare(ctx, s); err != nil {
			return fmt.Errorf("compare %s: %w", s.Stream, err)
		}
	}
	return nil
}

func sameRange(a, b *jetstream.StreamInfo) bool { // an empty stream begins at 0 or 1
	return a.State.Msgs == b.State.Msgs && max(a.State.FirstSeq, 1) == max(b.State.FirstSeq, 1) && a.State.LastSeq == b.State.LastSeq
}

// compareEvery is after how many messages a comparison tells how far it is.
const compareEvery = 10_000

func (m *mover) compare(ctx context.Context, s MovedStream) error {
	next, stop := iter.Pull2(m.to.everything(ctx, s.Stream))
	defer stop()
	var compared uint64
	for want, err := range m.from.everything(ctx, s.Stream) {
		if err != nil {
			return err
		}
		got, err, ok := next()
		switch {
		case err != nil:
			return err
		case !ok:
			return fmt.Errorf("%w: the copy ends before sequence %d", ErrGap, want.sequence)
		case got.subject != want.subject || got.sequence != want.sequence || !got.storedAt.Equal(want.storedAt) || !bytes.Equal(got.data, want.data):
			return fmt.Errorf("%w: sequence %d (%s) is another in the copy: sequence %d (%s)", ErrGap, want.sequence, want.subject, got.sequence, got.subject)
		}
		if compared++; compared%compareEvery == 0 {
			m.Step(MoveStep{Doing: "comparing", Stream: s.Stream, Done: compared, Total: s.Messages})
		}
	}
	if compared != s.Messages {
		return fmt.Errorf("%w: %d of %d messages can be read", ErrGap, compared, s.Messages)
	}
	m.Step(MoveStep{Doing: "comparing", Stream: s.Stream, Done: compared, Total: s.Messages})
	return nil
}

// replicated waits until every server that is to have the copy has it.
func (m *mover) replicated(ctx context.Context) error {
	for patience := patience(); ; {
		behind := ""
		for _, s := range m.done.Streams {
			info, err := m.to.info(ctx, s.Stream)
			if err != nil {
				return err
			}
			if !current(info) {
				behind = s.Stream
			}
		}
		if behind == "" {
			return nil
		}
		m.Step(MoveStep{Doing: "replicating", Stream: behind})
		if !pause(ctx, patience.NextBackOff()) {
			return fmt.Errorf("replicate %s: %w", behind, ctx.Err())
		}
	}
}

// current says whether all copies of a stream are up to date.
func current(info *jetstream.StreamInfo) bool {
	if info.Config.Replicas <= 1 {
		return true
	}
	if info.Cluster == nil || info.Cluster.Leader == "" || len(info.Cluster.Replicas) != info.Config.Replicas-1 {
		return false
	}
	for _, r := range info.Cluster.Replicas {
		if !r.Current || r.Offline {
			return false
		}
	}
	return true
}

// turn makes the copy the log. Between its two steps neither is, which running it again ends.
func (m *mover) turn(ctx context.Context) error {
	m.Step(MoveStep{Doing: "switching"})
	err := m.from.reconfigure(ctx, streamFacts, func(cfg *jetstream.StreamConfig) { cfg.Metadata[movedKey] = m.Destination })
	if err != nil {
		return fmt.Errorf("switch: %w", err)
	}
	for _, s := range factsLast(m.Sizes.streams()) {
		err := m.to.reconfigure(ctx, s.Name, func(cfg *jetstream.StreamConfig) {
			delete(cfg.Metadata, copyKey)
			delete(cfg.Metadata, movedKey)
			if s.Name == streamFacts {
				cfg.Subjects = []string{factsAll}
			}
		})
		if err != nil {
			return fmt.Errorf("switch: %w", err)
		}
	}
	return nil
}

// factsLast puts the facts behind the other streams: what is said of them is said of the log.
func factsLast(configs []jetstream.StreamConfig) []jetstream.StreamConfig {
	return append(configs[1:], configs[0])
}

// reconfigure changes the settings of a stream.
func (l *Log) reconfigure(ctx context.Context, stream string, change func(*jetstream.StreamConfig)) error {
	info, err := l.info(ctx, stream)
	if err != nil {
		return err
	}
	cfg := info.Config
	if cfg.Metadata = maps.Clone(cfg.Metadata); cfg.Metadata == nil {
		cfg.Metadata = map[string]string{}
	}
	change(&cfg)
	err = call(ctx, l.nc, func(ctx context.Context) error {
		_, err := l.js.UpdateStream(ctx, cfg)
		return err
	})
	if err != nil {
		return fmt.Errorf("stream %s: %w", stream, err)
	}
	return nil
}

// known is what the server says of a stream, nil where there is none. It asks again for a while: servers of a cluster that are
// electing do not answer.
func (l *Log) known(ctx context.Context, stream string) (*jetstream.StreamInfo, error) {
	try := func() (*jetstream.StreamInfo, error) {
		ctx, cancel := context.WithTimeout(ctx, createTimeout)
		defer cancel()
		info, err := l.info(ctx, stream)
		if errors.Is(err, jetstream.ErrStreamNotFound) {
			return nil, nil
		}
		return info, err
	}
	return backoff.Retry(ctx, try, backoff.WithBackOff(patience()), backoff.WithMaxElapsedTime(apiTimeout))
}

// placed says whether a stream is the log's, or only what a move left or has brought so far.
func placed(info *jetstream.StreamInfo) error {
	switch metadata := info.Config.Metadata; {
	case info.Config.Mirror != nil:
		return ErrMirror
	case metadata[copyKey] != "":
		return ErrUnfinished
	case metadata[movedKey] != "":
		return fmt.Errorf("%w: it goes on at %s", ErrMoved, metadata[movedKey])
	}
	return nil
}

// placed looks whether the log is here, where there is one. Snapshots come first and facts last.
func (l *Log) placed(ctx context.Context) error {
	for _, name := range []string{streamFacts, streamSnap} {
		info, err := l.known(ctx, name)
		if err == nil && info != nil {
			err = placed(info)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// backupTimeout bounds the wait for one answer of a backup; a server that has received all of a big stream reads it before
// it answers.
const backupTimeout = 2 * time.Minute
