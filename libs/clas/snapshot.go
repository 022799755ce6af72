package clas

import (
	"cmp"
	"fmt"
	"iter"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"

	"google.golang.org/protobuf/proto"

	"github.com/ringfence/ringfence/proto/decode"
	ringfencev1 "github.com/ringfence/ringfence/proto/ringfence/v1"
)

// position is the subject of the entry that ends a snapshot where the last fact of the log is not among those kept. Its
// fact is empty.
const position = "facts.ctl.position"

// kept is a fact that a snapshot holds: where it was in the log, and how to write it. What it refers to does not change.
type kept struct {
	sequence uint64
	order    int // among facts of one sequence
	pod      *pod
	group    *group // of the pod, as of the snapshot
	write    func() (subject string, fact *ringfencev1.Fact)
}

// Snapshot gives the facts that lead a new engine to this engine's state, in the order of the log: the last fact of every
// subject, the version in force with its objects, and of labels that are gone the last fact and the tombstone. Who observed
// a fact, and when, is not kept. The facts are those of the call; the sequence may be consumed later, and elsewhere, while
// the engine goes on. StoredAt is unset.
func (e *Engine) Snapshot() iter.Seq[*ringfencev1.SnapshotEntry] {
	facts := make([]kept, 0, len(e.cluster.pods.byHash)+len(e.provision.objects)+64)
	e.cluster.pods.all(func(p *pod) {
		facts = append(facts, kept{sequence: p.sequence, order: 1, pod: p, group: p.group})
	})
	keep := func(sequence uint64, order int, write func() (string, *ringfencev1.Fact)) {
		facts = append(facts, kept{sequence: sequence, order: order, write: write})
	}
	e.keepCluster(keep)
	e.keepConsole(keep)
	e.keepControl(keep)
	slices.SortStableFunc(facts, func(a, b kept) int { return cmp.Or(cmp.Compare(a.sequence, b.sequence), cmp.Compare(a.order, b.order)) })
	last := uint64(0)
	if n := len(facts); n > 0 {
		last = facts[n-1].sequence
	}
	sequence := e.sequence
	return func(yield func(*ringfencev1.SnapshotEntry) bool) {
		for _, k := range facts {
			if !yield(k.entry()) {
				return
			}
		}
		if last < sequence {
			yield(&ringfencev1.SnapshotEntry{Subject: position, Sequence: sequence})
		}
	}
}

func (k kept) entry() *ringfencev1.SnapshotEntry {
	var subject string
	var fact *ringfencev1.Fact
	if k.pod != nil {
		subject = kubernetesSubject("pod", k.group.ns.name, k.pod.name)
		fact = &ringfencev1.Fact{Body: &ringfencev1.Fact_Pod{Pod: k.pod.messageIn(k.group)}}
	} else {
		subject, fact = k.write()
	}
	encoded, err := proto.MarshalOptions{Deterministic: true}.Marshal(fact)
	if err != nil {
		// Only text that is not UTF-8 gets here, and Apply refuses that.
		panic(fmt.Sprintf("snapshot of %s: %v", subject, err))
	}
	return &ringfencev1.SnapshotEntry{Subject: subject, Sequence: k.sequence, Fact: encoded}
}

type keeping func(sequence uint64, order int, write func() (string, *ringfencev1.Fact))

func (e *Engine) keepCluster(keep keeping) {
	for _, ns := range e.cluster.namespaces {
		e.keepNamespace(ns, keep)
	}
	for _, n := range e.cluster.nodes {
		if m := n.message; m != nil {
			keep(n.sequence, 1, func() (string, *ringfencev1.Fact) {
				return kubernetesSubject("node", "", m.GetName()), &ringfencev1.Fact{Body: &ringfencev1.Fact_Node{Node: m}}
			})
		}
	}
	for _, v := range e.cluster.services {
		m := v.message
		keep(v.sequence, 1, func() (string, *ringfencev1.Fact) {
			return kubernetesSubject("service", m.GetNamespace(), m.GetName()), &ringfencev1.Fact{Body: &ringfencev1.Fact_Service{Service: m}}
		})
	}
	if m := e.labelMap.message; m != nil {
		keep(e.labelMap.sequence, 1, func() (string, *ringfencev1.Fact) {
			return kubernetesSubject("labelmap", "", m.GetName()), &ringfencev1.Fact{Body: &ringfencev1.Fact_LabelMap{LabelMap: m}}
		})
	}
}

func (e *Engine) keepNamespace(ns *namespace, keep keeping) {
	if fact := ns.fact; fact != nil {
		name := ns.name
		keep(fact.sequence, 1, func() (string, *ringfencev1.Fact) {
			return kubernetesSubject("namespace", "", name), &ringfencev1.Fact{Body: &ringfencev1.Fact_Namespace{Namespace: fact.message(name)}}
		})
	}
	for _, w := range ns.workloads {
		if m := w.message; m != nil {
			keep(w.sequence, 1, func() (string, *ringfencev1.Fact) {
				return kubernetesSubject(strings.ToLower(m.GetKind()), m.GetNamespace(), m.GetName()),
					&ringfencev1.Fact{Body: &ringfencev1.Fact_KubernetesWorkload{KubernetesWorkload: m}}
			})
		}
	}
	for _, s := range ns.slices {
		m := s.message
		keep(s.sequence, 1, func() (string, *ringfencev1.Fact) {
			return kubernetesSubject("endpointslice", m.GetNamespace(), m.GetName()), &ringfencev1.Fact{Body: &ringfencev1.Fact_EndpointSlice{EndpointSlice: m}}
		})
	}
}

func (e *Engine) keepConsole(keep keeping) {
	for id, r := range e.console.labels {
		keepLabel(id, r, keep)
	}
	for id, d := range e.console.dimensions {
		keep(d.sequence, 1, func() (string, *ringfencev1.Fact) {
			return consoleSubject("label_dimension", id), &ringfencev1.Fact{Body: &ringfencev1.Fact_LabelDimension{LabelDimension: d.message}}
		})
	}
	for id, p := range e.console.profiles {
		keep(p.sequence, 1, func() (string, *ringfencev1.Fact) {
			m := &ringfencev1.ContainerWorkloadProfile{}
			unmarshal("profile "+p.href, p.encoded, m)
			return consoleSubject("profile", id), &ringfencev1.Fact{Body: &ringfencev1.Fact_ContainerWorkloadProfile{ContainerWorkloadProfile: m}}
		})
	}
	for id, p := range e.console.pairings {
		keep(p.sequence, 1, func() (string, *ringfencev1.Fact) {
			return consoleSubject("pairing_profile", id), &ringfencev1.Fact{Body: &ringfencev1.Fact_PairingProfile{PairingProfile: p.message}}
		})
	}
	for id, x := range e.console.workloads {
		keep(x.sequence, 1, func() (string, *ringfencev1.Fact) {
			return consoleSubject("workload", id), &ringfencev1.Fact{Body: &ringfencev1.Fact_PceWorkload{PceWorkload: x.message}}
		})
	}
	for id, a := range e.console.acks {
		keep(a.sequence, 1, func() (string, *ringfencev1.Fact) {
			return consoleSubject("kubernetes_workload", id), &ringfencev1.Fact{Body: &ringfencev1.Fact_AcknowledgedWorkload{AcknowledgedWorkload: a.message}}
		})
	}
	e.keepProvision(keep)
	e.keepEmptied(keep)
}

// keepLabel keeps a label's last fact, and its tombstone where it is gone.
func keepLabel(id string, r *reference, keep keeping) {
	href, key, value := r.href, r.key, r.value
	keep(r.sequence, 1, func() (string, *ringfencev1.Fact) {
		return consoleSubject("label", id), &ringfencev1.Fact{Body: &ringfencev1.Fact_Label{Label: &ringfencev1.Label{Href: href, Key: key, Value: value}}}
	})
	if r.label == nil {
		keep(r.buried, 2, func() (string, *ringfencev1.Fact) {
			return consoleSubject("label", id), &ringfencev1.Fact{Body: &ringfencev1.Fact_Gone{Gone: &ringfencev1.Gone{}}}
		})
	}
}

func (e *Engine) keepProvision(keep keeping) {
	for _, o := range e.provision.objects {
		keep(o.sequence, 0, func() (string, *ringfencev1.Fact) {
			m := &ringfencev1.PceObject{}
			unmarshal(o.href, o.encoded, m)
			return consoleSubject("object", o.sha.String()), &ringfencev1.Fact{Body: &ringfencev1.Fact_PceObject{PceObject: m}}
		})
	}
	for _, c := range e.provision.kept() {
		keep(c.sequence, 1, func() (string, *ringfencev1.Fact) {
			return consoleSubject("provisioned", strconv.FormatUint(uint64(c.number), 10)), &ringfencev1.Fact{Body: &ringfencev1.Fact_Provisioned{Provisioned: c.message()}}
		})
	}
}

// keepEmptied keeps the tombstones of chunks that the version in force goes on without.
func (e *Engine) keepEmptied(keep keeping) {
	for _, c := range e.provision.force.chunks {
		if sequence := c.emptied; sequence > 0 {
			keep(sequence, 2, func() (string, *ringfencev1.Fact) {
				return consoleSubject("provisioned", strconv.FormatUint(uint64(c.number), 10)), &ringfencev1.Fact{Body: &ringfencev1.Fact_Gone{Gone: &ringfencev1.Gone{}}}
			})
		}
	}
}

func (e *Engine) keepControl(keep keeping) {
	for producer, r := range e.synced {
		keep(r.sequence, 1, func() (string, *ringfencev1.Fact) {
			return "facts.ctl.synced." + encodeToken(producer), &ringfencev1.Fact{Body: &ringfencev1.Fact_Synced{Synced: r.message}}
		})
	}
	if m := e.settings.message; m != nil {
		keep(e.settings.sequence, 1, func() (string, *ringfencev1.Fact) {
			return "facts.ctl.settings", &ringfencev1.Fact{Body: &ringfencev1.Fact_Settings{Settings: m}}
		})
	}
	if m := e.link.message; m != nil {
		keep(e.link.sequence, 1, func() (string, *ringfencev1.Fact) {
			return "facts.ctl.link", &ringfencev1.Fact{Body: &ringfencev1.Fact_PceLink{PceLink: m}}
		})
	}
}

// unmarshal reads what the engine itself encoded.
func unmarshal(object string, encoded []byte, m proto.Message) {
	if err := proto.Unmarshal(encoded, m); err != nil {
		panic(fmt.Sprintf("%s, which was encoded here: %v", object, err)) // only broken memory gets here
	}
}

func kubernetesSubject(kind, namespace, name string) string {
	if namespace == "" {
		namespace = clusterScoped
	} else {
		namespace = encodeToken(namespace)
	}
	return "facts.k8s." + encodeToken(kind) + "." + namespace + "." + encodeToken(name)
}

func consoleSubject(kind, id string) string { return "facts.pce." + kind + "." + encodeToken(id) }

// encodeToken writes a token of a subject; parseSubject reads it.
func encodeToken(token string) string {
	plain := true
	for i := range len(token) {
		c := token[i]
		plain = plain && (c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_')
	}
	if plain {
		return token
	}
	return strings.ReplaceAll(url.PathEscape(token), ".", "%2E")
}

// Restore builds an engine from a snapshot's entries, in their order. Its first flush gives the whole policy. The entries are
// read, and their facts decoded, ahead of the engine in a goroutine that ends before Restore does.
func Restore(entries iter.Seq2[*ringfencev1.SnapshotEntry, error]) (*Engine, error) {
	e := New()
	for entry := range decodeAhead(entries) {
		if entry.err != nil {
			return nil, fmt.Errorf("restore: %w", entry.err)
		}
		if err := e.restore(entry); err != nil {
			return nil, fmt.Errorf("restore: entry %d: %w", entry.GetSequence(), err)
		}
	}
	return e, nil
}

// decoded is an entry with its fact, or what came in place of them.
type decoded struct {
	*ringfencev1.SnapshotEntry
	fact *ringfencev1.Fact
	err  error
}

func (e *Engine) restore(entry decoded) error {
	if entry.GetSubject() == position {
		e.sequence = max(e.sequence, entry.GetSequence())
		return nil
	}
	return e.apply(entry.GetSubject(), entry.GetSequence(), entry.fact)
}

// decodedAtOnce is how many entries are handed over together; some such batches wait for the engine.
const decodedAtOnce, decodedBatches = 128, 8

// decodeAhead decodes entries in another goroutine while those before are in use.
func decodeAhead(entries iter.Seq2[*ringfencev1.SnapshotEntry, error]) iter.Seq[decoded] {
	return func(yield func(decoded) bool) {
		batches, enough := make(chan []decoded, decodedBatches), make(chan struct{})
		var reading sync.WaitGroup
		reading.Go(func() {
			defer close(batches)
			batch, facts := make([]decoded, 0, decodedAtOnce), decode.Facts{}
			for entry, err := range entries {
				if batch = append(batch, decodeEntry(&facts, entry, err)); len(batch) < decodedAtOnce {
					continue
				}
				select {
				case batches <- batch:
				case <-enough:
					return
				}
				batch = make([]decoded, 0, decodedAtOnce)
			}
			select {
			case batches <- batch:
			case <-enough:
			}
		})
		defer reading.Wait()
		defer close(enough)
		for batch := range batches {
			for _, d := range batch {
				if !yield(d) {
					return
				}
			}
		}
	}
}

func decodeEntry(facts *decode.Facts, entry *ringfencev1.SnapshotEntry, err error) decoded {
	d := decoded{SnapshotEntry: entry, err: err}
	if err != nil || entry.GetSubject() == position {
		return d
	}
	if d.fact, err = facts.Decode(entry.GetFact()); err != nil {
		d.err = fmt.Errorf("entry %d: fact of subject %s: decode: %w", entry.GetSequence(), entry.GetSubject(), err)
	}
	return d
}
