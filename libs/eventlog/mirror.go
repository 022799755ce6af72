package eventlog

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"
)

// ErrMirror says that what is here is a mirror of a log, which nobody writes while the log is.
var ErrMirror = errors.New("this is the mirror of a log")

// A mirror is another server's copy of facts and snapshots, which follows the log as facts are stored. The servers are linked as
// leaf node and hub. So that the mirror's server can do nothing but take its copy, policy-store makes the consumers that
// feed it, each with a subject that it alone chooses, and the link reaches no more of the log than MirrorLinks says: who
// could make consumers could have what they deliver sent to any subject.
const (
	mirrorPrefix = "ringfence.mirror."
	mirrorAPI    = mirrorPrefix + "api"
)

// mirrorKey is where the metadata of the facts keeps the name under which they are mirrored. A log that took another's place has
// another, so that no mirror goes on with it as if it were the same.
const mirrorKey = "ringfence.mirror"

// mirrored are the streams that a mirror has.
var mirrored = []string{streamFacts, streamSnap}

func mirrorConsumer(name string) string        { return "MIRROR-" + name }
func mirrorSubject(stream, name string) string { return mirrorPrefix + stream + "." + name }
func mirrorResetSubject(stream, name string) string {
	return ".CONSUMER.RESET." + stream + "." + mirrorConsumer(name)
}
func mirrorInfoSubject(stream string) string { return ".STREAM.INFO." + stream }

// MirrorLink is a subject of the log's account under the name that it has for a mirror.
type MirrorLink struct {
	Mirror, Log string
	// Heard subjects are sent to the mirror, all others by it.
	Heard bool
	// Answered subjects are requests.
	Answered bool
}

// OfferMirror makes what feeds a mirror, and gives the name under which the log is mirrored. Only policy-store calls it.
func (l *Log) OfferMirror(ctx context.Context) (name string, err error) {
	if name, err = l.mirrorName(ctx); err != nil {
		return "", fmt.Errorf("offer a mirror: %w", err)
	}
	for _, s := range mirrored {
		err := call(ctx, l.nc, func(ctx context.Context) error {
			_, err := l.js.CreateOrUpdatePushConsumer(ctx, s, jetstream.ConsumerConfig{
				Durable: mirrorConsumer(name), DeliverSubject: mirrorSubject(s, name), AckPolicy: jetstream.AckFlowControlPolicy,
				DeliverPolicy: jetstream.DeliverAllPolicy, IdleHeartbeat: time.Second, FlowControl: true,
			})
			return err
		})
		if err != nil {
			return "", fmt.Errorf("offer a mirror of %s: %w", s, err)
		}
	}
	return name, nil
}

// MirrorLinks are all that a mirror can reach of the log that has a name: to be fed anew from a sequence on, to see what the streams
// hold, to say what has come, and what it is fed with.
func MirrorLinks(name string) []MirrorLink {
	var links []MirrorLink
	for _, s := range mirrored {
		acknowledged := "$JS.FC." + s + "." + mirrorConsumer(name) + ".*"
		links = append(links,
			MirrorLink{Mirror: mirrorAPI + mirrorResetSubject(s, name), Log: "$JS.API" + mirrorResetSubject(s, name), Answered: true},
			MirrorLink{Mirror: mirrorAPI + mirrorInfoSubject(s), Log: "$JS.API" + mirrorInfoSubject(s), Answered: true},
			MirrorLink{Mirror: acknowledged, Log: acknowledged},
			MirrorLink{Mirror: mirrorSubject(s, name), Log: mirrorSubject(s, name), Heard: true})
	}
	return links
}

// mirrorName gives the log the name under which it is mirrored, once.
func (l *Log) mirrorName(ctx context.Context) (string, error) {
	info, err := l.info(ctx, streamFacts)
	if err != nil {
		return "", err
	}
	if name := info.Config.Metadata[mirrorKey]; name != "" {
		return name, nil
	}
	name := nuid.Next()
	return name, l.reconfigure(ctx, streamFacts, func(cfg *jetstream.StreamConfig) { cfg.Metadata[mirrorKey] = name })
}

// MirrorProgress is how far a mirror has followed.
type MirrorProgress struct {
	// Linked says that a mirror listens.
	Linked bool
	// Behind is how many facts it was not sent yet.
	Behind uint64
}

// MirrorProgress says how far the mirror is that OfferMirror feeds.
func (l *Log) MirrorProgress(ctx context.Context) (p MirrorProgress, err error) {
	name, err := l.mirrorName(ctx)
	if err != nil {
		return MirrorProgress{}, fmt.Errorf("progress of the mirror: %w", err)
	}
	err = call(ctx, l.nc, func(ctx context.Context) error {
		consumer, err := l.js.PushConsumer(ctx, streamFacts, mirrorConsumer(name))
		if err == nil {
			info := consumer.CachedInfo()
			p = MirrorProgress{Linked: info.PushBound, Behind: info.NumPending}
		}
		return err
	})
	if err != nil {
		return MirrorProgress{}, fmt.Errorf("progress of the mirror: %w", err)
	}
	return p, nil
}

// Mirror keeps a mirror on the server to which its connection goes.
type Mirror struct {
	log *Log
}

// MirrorState is what a mirror holds, and how far the log was when it was last asked.
type MirrorState struct {
	Incarnation string
	Mirrored    uint64 // sequence of the newest fact here
	Original    uint64 // and there
}

// Behind is how many facts of the log are not here yet.
func (s MirrorState) Behind() uint64 { return s.Original - min(s.Mirrored, s.Original) }

// MakeMirror makes the mirror's streams where they are not there yet, which needs the link to the log once. It waits for it
// until ctx ends.
func MakeMirror(ctx context.Context, nc *nats.Conn, s Sizes) (*Mirror, error) {
	l, err := newLog(nc)
	if err != nil {
		return nil, err
	}
	m := &Mirror{log: l}
	for _, cfg := range s.streams() {
		if cfg.Name != streamFacts && cfg.Name != streamSnap {
			continue
		}
		if err := m.make(ctx, s, cfg); err != nil {
			return nil, fmt.Errorf("mirror %s: %w", cfg.Name, err)
		}
	}
	return m, nil
}

func (m *Mirror) make(ctx context.Context, s Sizes, cfg jetstream.StreamConfig) error {
	info, err := m.log.known(ctx, cfg.Name)
	switch {
	case err != nil:
		return err
	case info != nil && info.Config.Mirror == nil:
		return fmt.Errorf("%w, and no mirror", ErrExists)
	case info != nil:
		return nil
	}
	name := ""
	feed := func() (_ struct{}, err error) {
		name, err = m.feed(ctx, cfg.Name)
		return struct{}{}, err
	}
	if _, err := backoff.Retry(ctx, feed, backoff.WithBackOff(patience()), backoff.WithMaxElapsedTime(0)); err != nil {
		return err
	}
	cfg = s.replicated(cfg)
	return m.log.createMarked(ctx, jetstream.StreamConfig{
		Name: cfg.Name, Description: "mirror of " + cfg.Description, Storage: jetstream.FileStorage, Replicas: cfg.Replicas, MaxBytes: cfg.MaxBytes,
		AllowDirect: true, MirrorDirect: true, // what the log trims goes here when there is no room
		Mirror: &jetstream.StreamSource{
			Name: cfg.Name, External: &jetstream.ExternalStream{APIPrefix: mirrorAPI, DeliverPrefix: ""},
			Consumer: &jetstream.StreamConsumerSource{Name: mirrorConsumer(name), DeliverSubject: mirrorSubject(cfg.Name, name)},
		},
	})
}

// feed has everything sent from the beginning, for what was sent to another mirror before is not here, and gives the name under
// which the log is mirrored.
func (m *Mirror) feed(ctx context.Context, stream string) (name string, err error) {
	there, err := m.original(ctx)
	if err != nil {
		return "", err
	}
	name = there.Config.Metadata[mirrorKey]
	if name == "" || strings.ContainsAny(name, ".*> ") {
		return "", fmt.Errorf("%w: the log is not to be mirrored", ErrNotFound)
	}
	return name, m.request(ctx, mirrorResetSubject(stream, name), map[string]uint64{"seq": 1}, nil)
}

// original is what the log says of its facts.
func (m *Mirror) original(ctx context.Context) (info jetstream.StreamInfo, err error) {
	err = m.request(ctx, mirrorInfoSubject(streamFacts), nil, &info)
	return info, err
}

func (m *Mirror) request(ctx context.Context, subject string, body, answer any) error {
	ctx, cancel := context.WithTimeout(ctx, createTimeout)
	defer cancel()
	var encoded []byte
	if body != nil {
		var err error
		if encoded, err = json.Marshal(body); err != nil {
			return err
		}
	}
	msg, err := m.log.nc.RequestWithContext(ctx, mirrorAPI+subject, encoded)
	if err != nil {
		return fmt.Errorf("the log: %w", err)
	}
	var refused apiAnswer
	if err := json.Unmarshal(msg.Data, &refused); err != nil {
		return fmt.Errorf("the log: answer: %w", err)
	}
	if refused.Error != nil {
		return fmt.Errorf("the log: %w", refused.Error)
	}
	if answer == nil {
		return nil
	}
	return json.Unmarshal(msg.Data, answer)
}

// Compare asks the log how far it is, and takes its incarnation over. Where the log cannot be asked, the state is what is here,
// with the error.
func (m *Mirror) Compare(ctx context.Context) (MirrorState, error) {
	here, err := m.log.info(ctx, streamFacts)
	if err != nil {
		return MirrorState{}, err
	}
	state := MirrorState{Incarnation: here.Config.Metadata[incarnationKey], Mirrored: here.State.LastSeq, Original: here.State.LastSeq}
	there, err := m.original(ctx)
	if err != nil {
		return state, err
	}
	if name := there.Config.Metadata[mirrorKey]; here.Config.Mirror != nil && here.Config.Mirror.Consumer.Name != mirrorConsumer(name) {
		return state, fmt.Errorf("%w: another log, of incarnation %s, is where the mirrored one was; this mirror stays what it is: promote it, or begin one of the new log in an empty folder",
			ErrIncarnation, there.Config.Metadata[incarnationKey])
	}
	state.Original = there.State.LastSeq
	named := there.Config.Metadata
	if named[incarnationKey] == "" || named[incarnationKey] == state.Incarnation && named[baseKey] == here.Config.Metadata[baseKey] {
		return state, nil
	}
	err = m.log.reconfigure(ctx, streamFacts, func(cfg *jetstream.StreamConfig) {
		cfg.Metadata[incarnationKey] = named[incarnationKey]
		if _, err := strconv.ParseUint(named[baseKey], 10, 64); err == nil {
			cfg.Metadata[baseKey] = named[baseKey]
		}
	})
	state.Incarnation = named[incarnationKey]
	return state, err
}

// Promote makes a mirror the log: its incarnation goes on behind the last fact that was mirrored. Do it only where the log is lost,
// or can never be written again: two logs of one incarnation must never both be written. A log that is none is left as it is.
func Promote(ctx context.Context, nc *nats.Conn, s Sizes) (*Log, error) {
	l, err := newLog(nc)
	if err != nil {
		return nil, err
	}
	facts, err := l.known(ctx, streamFacts)
	switch {
	case err != nil:
		return nil, fmt.Errorf("promote: %w", err)
	case facts == nil:
		return nil, fmt.Errorf("promote: %w: there is no mirror", ErrNotFound)
	case facts.Config.Mirror != nil && facts.Config.Metadata[incarnationKey] == "":
		return nil, fmt.Errorf("promote: %w: it never learned which log it mirrors", ErrUnfinished)
	}
	if l.incarnation = facts.Config.Metadata[incarnationKey]; facts.Config.Mirror != nil {
		err = l.dropAhead(ctx)
	}
	if err == nil {
		err = l.createAll(ctx, s)
	}
	if err == nil {
		err = l.learn(ctx)
	}
	if err != nil {
		return nil, fmt.Errorf("promote: %w", err)
	}
	return l, nil
}

// dropAhead removes the snapshots of what comes after the last fact: the streams were mirrored each by itself.
func (l *Log) dropAhead(ctx context.Context) error {
	last, err := l.LastSequence(ctx)
	if err != nil {
		return err
	}
	infos, err := l.Snapshots(ctx)
	if err != nil {
		return err
	}
	for _, info := range infos {
		if sequence := info.GetVersion().GetSequence(); sequence > last {
			if err := l.DropSnapshot(ctx, sequence); err != nil {
				return err
			}
		}
	}
	return nil
}
