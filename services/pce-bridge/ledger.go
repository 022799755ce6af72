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

// openLedger shuts out whoever wrote before, and then reads what the log holds. holder names this process.
func openLedger(ctx context.Context, log *eventlog.Log, holder string, m *metrics) (*ledger, error) {
	producer, err := log.Lead(ctx, producerName, holder)
	if err != nil {
		return nil, err
	}
	producer.Observe(m.publish)
	l := &ledger{log: log, producer: producer, metrics: m, held: map[string]*ringfencev1.Fact{}}
	chunks := map[string]eventlog.Entry{}
	filters := []string{"facts.pce.provisioned.>", eventlog.SettingsSubject, eventlog.LinkSubject, eventlog.SyncedSubject(producerName)}
	for _, kind := range slices.Concat(unversionedKinds, []string{acknowledgedKind}) {
		filters = append(filters, prefixOf(kind)+">")
	}
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

// labels gives the console's labels as the log holds them.
func (l *ledger) labels() labels {
	// The keys that every console has, whether or not it lists them.
	known := labels{keys: map[string]bool{"role": true, "app": true, "env": true, "loc": true}, labels: map[pce.Label]bool{}}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, f := range l.held {
		switch body := f.GetBody().(type) {
		case *ringfencev1.Fact_Label:
			known.labels[pce.Label{Key: body.Label.GetKey(), Value: body.Label.GetValue()}] = true
		case *ringfencev1.Fact_LabelDimension:
			known.keys[body.LabelDimension.GetKey()] = true
		}
	}
	return known
}

// holds tells whether the log has objects of a kind, as hrefs spell it.
func (l *ledger) holds(kind string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.committed != nil {
		for href := range l.committed.entries {
			if strings.Contains(href, "/"+kind+"/") {
				return true
			}
		}
	}
	for subject := range l.held {
		if strings.HasPrefix(subject, prefixOf(strings.TrimSuffix(kind, "s"))) {
			return true
		}
	}
	return false
}

// hrefs gives what the console calls the Kubernetes workloads that it knows, by our key.
func (l *ledger) hrefs() map[string]string {
	out := map[string]string{}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, f := range l.held {
		if w := f.GetAcknowledgedWorkload(); w != nil {
			out[workloadKey(w.GetNamespace(), w.GetKind(), w.GetName())] = w.GetHref()
		}
	}
	return out
}

// hosts gives what the console calls machines, by their names.
func (l *ledger) hosts() map[string]string {
	out := map[string]string{}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, f := range l.held {
		if w := f.GetPceWorkload(); w.GetHostname() != "" {
			out[w.GetHostname()] = w.GetHref()
		}
	}
	return out
}

// tombstones gives drafts that end the held subjects with a prefix, but for those of the facts that stay.
func (l *ledger) tombstones(prefix string, stay []*unversioned) []eventlog.Draft {
	keep := make(map[string]bool, len(stay))
	for _, f := range stay {
		keep[f.subject] = true
	}
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

// unversionedKinds are the kinds of objects that act at once in the console, as subjects spell them, in the order in which
// tombstones are written: what refers to others goes first.
var unversionedKinds = []string{"profile", "pairing_profile", "workload", "label", "label_dimension"}

// acknowledgedKind are the Kubernetes workloads that the console knows.
const acknowledgedKind = "kubernetes_workload"

func prefixOf(kind string) string { return "facts.pce." + kind + "." }

// record brings the log to the picture, in the order that the package comment promises, and marks it synced.
func (l *ledger) record(ctx context.Context, p *picture) error {
	facts := p.unversioned()
	laxer, stricter := l.changes(facts)
	objects, chunks := l.version(p.policy)
	if err := l.writeKinds(ctx, laxer, "label_dimension", "label"); err != nil {
		return err
	}
	if err := l.write(ctx, "object", objects...); err != nil {
		return err
	}
	if err := l.writeKinds(ctx, laxer, "workload", "pairing_profile", "profile"); err != nil {
		return err
	}
	if err := l.commit(ctx, p.policy, chunks); err != nil {
		return err
	}
	if err := l.writeKinds(ctx, stricter, "workload", "pairing_profile", "profile"); err != nil {
		return err
	}
	var gone []eventlog.Draft
	for _, kind := range unversionedKinds {
		gone = append(gone, l.tombstones(prefixOf(kind), facts)...)
	}
	if err := l.write(ctx, "tombstone", gone...); err != nil {
		return err
	}
	if err := l.acknowledge(ctx, p.acknowledged, p.allAcknowledged); err != nil {
		return err
	}
	return l.markSynced(ctx)
}

// changes gives, by kind, drafts of the facts that the log does not hold so. Those that enforce more than before, or the
// same otherwise, are apart from the rest, which comes before the version; labels enforce nothing and come first.
func (l *ledger) changes(facts []*unversioned) (laxer, stricter map[string][]eventlog.Draft) {
	laxer, stricter = map[string][]eventlog.Draft{}, map[string][]eventlog.Draft{}
	for _, f := range facts {
		to := stricter
		if f.kind == "label" || f.kind == "label_dimension" || strictness(f.fact) < strictness(l.get(f.subject)) {
			to = laxer
		}
		to[f.kind] = append(to[f.kind], l.differs(f.subject, f.fact)...)
	}
	return laxer, stricter
}

func (l *ledger) writeKinds(ctx context.Context, drafts map[string][]eventlog.Draft, kinds ...string) error {
	for _, kind := range kinds {
		if err := l.write(ctx, kind, drafts[kind]...); err != nil {
			return err
		}
	}
	return nil
}

// strictness orders facts by how much they have enforced.
func strictness(f *ringfencev1.Fact) int {
	enforces, mode := false, ringfencev1.EnforcementMode_ENFORCEMENT_MODE_UNSPECIFIED
	switch body := f.GetBody().(type) {
	case *ringfencev1.Fact_ContainerWorkloadProfile:
		enforces, mode = body.ContainerWorkloadProfile.GetManaged(), body.ContainerWorkloadProfile.GetEnforcementMode()
	case *ringfencev1.Fact_PairingProfile:
		enforces, mode = body.PairingProfile.GetEnabled(), body.PairingProfile.GetEnforcementMode()
	case *ringfencev1.Fact_PceWorkload:
		enforces, mode = body.PceWorkload.GetManaged(), body.PceWorkload.GetEnforcementMode()
	}
	if !enforces {
		return 0
	}
	return int(mode)
}

// acknowledge writes which Kubernetes workloads the console knows. Those that the log knows beyond them stay unless the
// list is all of them.
func (l *ledger) acknowledge(ctx context.Context, known []*ringfencev1.AcknowledgedWorkload, all bool) error {
	var drafts []eventlog.Draft
	facts := make([]*unversioned, len(known))
	for i, w := range known {
		facts[i] = &unversioned{
			kind: acknowledgedKind, subject: eventlog.AcknowledgedSubject(pce.ID(w.GetHref())),
			fact: &ringfencev1.Fact{Body: &ringfencev1.Fact_AcknowledgedWorkload{AcknowledgedWorkload: w}},
		}
		drafts = append(drafts, l.differs(facts[i].subject, facts[i].fact)...)
	}
	if all {
		drafts = append(drafts, l.tombstones(prefixOf(acknowledgedKind), facts)...)
	}
	return l.write(ctx, "acknowledgement", drafts...)
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
