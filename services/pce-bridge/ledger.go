package pcebridge

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"google.golang.org/protobuf/proto"

	"github.com/ringfence/ringfence/libs/eventlog"
	"github.com/ringfence/ringfence/libs/pce"
	ringfencev1 "github.com/ringfence/ringfence/proto/ringfence/v1"
)

// producerName is what the bridge is called in facts.
const producerName = "pce-bridge"

// errLog marks failures of the log, as against those of the console.
var errLog = errors.New("write to the log")

// ledger is what the log holds of the bridge's facts, and the way to change it: it writes differences only. It belongs
// to one incarnation. It is safe for concurrent use; callers that write the same subjects take turns by themselves.
type ledger struct {
	log      *eventlog.Log
	producer *eventlog.Producer
	metrics  *metrics

	mu     sync.Mutex
	held   map[string]*ringfencev1.Fact // by subject; tombstones are not held
	synced bool
	// committed is the manifest that is in force in the log, nil where none is whole.
	committed *manifest
}

// manifest is a committed version: href to SHA-256.
type manifest struct {
	version int64
	entries map[string]string
}

// openLedger reads what the log holds.
func openLedger(ctx context.Context, log *eventlog.Log, m *metrics) (*ledger, error) {
	l := &ledger{log: log, producer: log.Producer(producerName), metrics: m, held: map[string]*ringfencev1.Fact{}}
	chunks := map[string]eventlog.Entry{}
	filters := []string{"facts.pce.label.>", "facts.pce.profile.>", "facts.pce.provisioned.>",
		eventlog.SettingsSubject, eventlog.LinkSubject, eventlog.SyncedSubject(producerName)}
	for entry, err := range log.Latest(ctx, filters...) {
		if err != nil {
			return nil, fmt.Errorf("read the log: %w", err)
		}
		switch body := entry.Fact.GetBody().(type) {
		case *ringfencev1.Fact_Gone:
			delete(l.held, entry.Subject)
		case *ringfencev1.Fact_Provisioned:
			chunks[entry.Subject] = entry
		case *ringfencev1.Fact_Synced:
			l.synced = body.Synced.GetIncarnation() == log.Incarnation()
		default:
			l.held[entry.Subject] = entry.Fact
		}
	}
	l.committed = wholeManifest(chunks)
	return l, nil
}

// wholeManifest gives the manifest that the newest chunk belongs to, if all of its chunks are there and it was committed
// by its last one. A version that broke off has overwritten chunks of the one before: then none is known.
func wholeManifest(chunks map[string]eventlog.Entry) *manifest {
	if len(chunks) == 0 {
		return nil
	}
	newest := slices.MaxFunc(slices.Collect(maps.Values(chunks)), func(a, b eventlog.Entry) int {
		return int(a.Sequence) - int(b.Sequence)
	}).Fact.GetProvisioned()
	out := &manifest{version: newest.GetVersion(), entries: map[string]string{}}
	for n := range newest.GetChunks() {
		entry, there := chunks[eventlog.ProvisionedSubject(n)]
		p := entry.Fact.GetProvisioned()
		if !there || p.GetVersion() != newest.GetVersion() || p.GetChunks() != newest.GetChunks() ||
			!proto.Equal(p.GetProvisionedAt(), newest.GetProvisionedAt()) {
			return nil
		}
		for _, e := range p.GetEntries() {
			out.entries[e.GetHref()] = e.GetSha256()
		}
	}
	return out
}

// write stores drafts and notes what the log holds now.
func (l *ledger) write(ctx context.Context, kind string, drafts ...eventlog.Draft) error {
	if len(drafts) == 0 {
		return nil
	}
	if err := l.producer.PublishAll(ctx, drafts); err != nil {
		return fmt.Errorf("%w: %w", errLog, err)
	}
	l.metrics.facts.WithLabelValues(kind).Add(float64(len(drafts)))
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, d := range drafts {
		if d.Fact.GetGone() != nil {
			delete(l.held, d.Subject)
		} else if d.Fact.GetPceObject() == nil && d.Fact.GetProvisioned() == nil {
			l.held[d.Subject] = d.Fact
		}
	}
	return nil
}

// differs gives a draft of the fact unless the log holds an equal one.
func (l *ledger) differs(subject string, fact *ringfencev1.Fact) []eventlog.Draft {
	l.mu.Lock()
	defer l.mu.Unlock()
	if held := l.held[subject]; held != nil && proto.Equal(body(held), body(fact)) {
		return nil
	}
	return []eventlog.Draft{{Subject: subject, Fact: fact}}
}

// body gives a fact's body alone: who observed it and when is no difference.
func body(f *ringfencev1.Fact) *ringfencev1.Fact { return &ringfencev1.Fact{Body: f.GetBody()} }

func (l *ledger) get(subject string) *ringfencev1.Fact {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.held[subject]
}

// tombstones gives drafts that end the held subjects with a prefix, but for those to keep.
func (l *ledger) tombstones(prefix string, keep map[string]bool) []eventlog.Draft {
	l.mu.Lock()
	defer l.mu.Unlock()
	var drafts []eventlog.Draft
	for _, subject := range slices.Sorted(maps.Keys(l.held)) {
		if strings.HasPrefix(subject, prefix) && !keep[subject] {
			drafts = append(drafts, eventlog.Draft{Subject: subject, Fact: &ringfencev1.Fact{Body: &ringfencev1.Fact_Gone{Gone: &ringfencev1.Gone{}}}})
		}
	}
	return drafts
}

// record brings the log to the picture, in the order that the package comment promises, and marks it synced.
func (l *ledger) record(ctx context.Context, p *picture) error {
	labels, keptLabels := l.labels(p.labels)
	laxer, stricter, keptProfiles := l.profiles(p.profiles)
	if err := l.write(ctx, "label", labels...); err != nil {
		return err
	}
	objects, chunks := l.version(p.policy)
	if err := l.write(ctx, "object", objects...); err != nil {
		return err
	}
	if err := l.write(ctx, "profile", laxer...); err != nil {
		return err
	}
	if err := l.commit(ctx, p.policy, chunks); err != nil {
		return err
	}
	if err := l.write(ctx, "profile", stricter...); err != nil {
		return err
	}
	gone := append(l.tombstones("facts.pce.profile.", keptProfiles), l.tombstones("facts.pce.label.", keptLabels)...)
	if err := l.write(ctx, "tombstone", gone...); err != nil {
		return err
	}
	return l.markSynced(ctx)
}

func (l *ledger) labels(labels []*ringfencev1.Label) (drafts []eventlog.Draft, kept map[string]bool) {
	kept = map[string]bool{}
	for _, label := range labels {
		subject := eventlog.LabelSubject(pce.ID(label.GetHref()))
		kept[subject] = true
		drafts = append(drafts, l.differs(subject, &ringfencev1.Fact{Body: &ringfencev1.Fact_Label{Label: label}})...)
	}
	return drafts, kept
}

// profiles separates changes that enforce less than before from the others.
func (l *ledger) profiles(profiles []*ringfencev1.ContainerWorkloadProfile) (laxer, stricter []eventlog.Draft, kept map[string]bool) {
	kept = map[string]bool{}
	for _, p := range profiles {
		subject := eventlog.ProfileSubject(pce.ID(p.GetHref()))
		kept[subject] = true
		drafts := l.differs(subject, &ringfencev1.Fact{Body: &ringfencev1.Fact_ContainerWorkloadProfile{ContainerWorkloadProfile: p}})
		if strictness(p) < strictness(l.get(subject).GetContainerWorkloadProfile()) {
			laxer = append(laxer, drafts...)
		} else {
			stricter = append(stricter, drafts...)
		}
	}
	return laxer, stricter, kept
}

func strictness(p *ringfencev1.ContainerWorkloadProfile) int {
	if !p.GetManaged() {
		return 0
	}
	return int(p.GetEnforcementMode())
}

func (l *ledger) markSynced(ctx context.Context) error {
	if l.synced {
		return nil
	}
	if err := l.producer.Synced(ctx); err != nil {
		return fmt.Errorf("%w: %w", errLog, err)
	}
	l.synced = true
	return nil
}
