package clas

import (
	"fmt"
	"strings"

	ringfencev1 "github.com/ringfence/ringfence/proto/ringfence/v1"
)

// reference is an href of the console, with what it stands for where that is a label, and everything that looked it up: when
// the href comes to stand for something else, those are derived anew. Of a label that went it keeps the key: without it nobody
// could tell whether a rule that still names the label offers an alternative less or demands a key more.
type reference struct {
	href  string
	users bag[dependent]
	// label is nil unless the href gives one now; key is the one that it gives or gave last, empty if it never did.
	label      *label
	key, value string
	// sequence and buried are the places of the last label and of its tombstone.
	sequence, buried uint64
}

// dependent is what was derived from the meaning of an href.
type dependent interface {
	// invalidate marks it to be derived anew.
	invalidate(*Engine)
}

// console knows what acts at once in the PCE.
type console struct {
	references map[string]*reference
	labels     map[string]*reference // by the last segment of the href, as subjects name them
	dimensions map[string]*record[*ringfencev1.LabelDimension]
	named      map[string]int // dimension facts by key
	profiles   map[string]*profile
	pairings   map[string]*pairing
	workloads  map[string]*external
	acks       map[string]*acknowledgement
}

// record is a fact that is kept as it came.
type record[M any] struct {
	sequence uint64
	message  M
}

func newConsole() *console {
	return &console{references: map[string]*reference{}, labels: map[string]*reference{},
		dimensions: map[string]*record[*ringfencev1.LabelDimension]{}, named: map[string]int{}, profiles: map[string]*profile{},
		pairings: map[string]*pairing{}, workloads: map[string]*external{}, acks: map[string]*acknowledgement{}}
}

// reference gives the href's entry, made where there is none.
func (c *console) reference(href string) *reference {
	r := c.references[href]
	if r == nil {
		r = &reference{href: href}
		c.references[href] = r
	}
	return r
}

// use gives the href's entry and notes who looks it up.
func (c *console) use(href string, user dependent) *reference {
	r := c.reference(href)
	r.users.add(user)
	return r
}

// leave takes back use.
func (c *console) leave(r *reference, user dependent) {
	r.users.remove(user)
	c.collect(r)
}

func (c *console) collect(r *reference) {
	if r.users.len() == 0 && r.key == "" {
		delete(c.references, r.href)
	}
}

// changed marks everything that looked the href up.
func (e *Engine) changed(href string) {
	if r := e.console.references[href]; r != nil {
		for _, user := range r.users.items {
			user.invalidate(e)
		}
	}
}

func lastSegment(href string) string { return href[strings.LastIndexByte(href, '/')+1:] }

func (e *Engine) putLabel(s subject, sequence uint64, m *ringfencev1.Label) error {
	if err := s.identifies("label", m.GetHref()); err != nil {
		return err
	}
	if m.GetKey() == "" {
		return fmt.Errorf("label %s: key: empty", m.GetHref())
	}
	if m.GetValue() == "" {
		return fmt.Errorf("label %s: value: empty", m.GetHref())
	}
	old := e.console.labels[s.id()]
	if old != nil && old.href != m.GetHref() {
		e.giveLabel(old, nil)
		old.key, old.value, old.sequence, old.buried = "", "", 0, 0
		e.changed(old.href)
		e.console.collect(old)
	}
	r := e.console.reference(m.GetHref())
	next := e.table.label(m.GetKey(), m.GetValue())
	r.sequence, r.buried, r.value = sequence, 0, next.value
	e.console.labels[lastSegment(r.href)] = r
	if r.label != next || r.key != next.key {
		r.key = next.key
		e.giveLabel(r, next)
		e.changed(r.href)
	}
	return nil
}

// removeLabel buries the label of a subject.
func (e *Engine) removeLabel(s subject, sequence uint64) {
	r := e.console.labels[s.id()]
	if r == nil || r.label == nil {
		return
	}
	r.buried = sequence
	e.giveLabel(r, nil)
	e.changed(r.href)
}

// giveLabel makes the href stand for a label, nil for none, and tells the actors that ask for either.
func (e *Engine) giveLabel(r *reference, next *label) {
	before := r.label
	r.label = next
	if next != nil {
		e.table.count(next, 1, e)
	}
	if before != nil {
		e.table.count(before, -1, e)
	}
}

// count counts an href that gives the label. Where the label, or the whole dimension, comes or goes, those who ask for it are
// labelled anew.
func (t *labelTable) count(l *label, by int32, e *Engine) {
	known := e.dimension(l.key)
	existed := l.hrefs > 0
	l.hrefs += by
	if t.dimensions[l.key] += int(by); t.dimensions[l.key] == 0 {
		delete(t.dimensions, l.key)
	}
	if existed != (l.hrefs > 0) {
		for _, actor := range l.requesters.items {
			actor.relabel(e)
		}
	}
	if known != e.dimension(l.key) {
		e.relabelMapped()
	}
	if e.degraded() && existed != (l.hrefs > 0) {
		e.enrollAll() // known workloads without pods may ask for it
	}
	t.collect(l)
}

// dimension tells whether labels may have the key.
func (e *Engine) dimension(key string) bool {
	switch key {
	case "role", "app", "env", "loc":
		return true
	}
	return e.console.named[key] > 0 || e.table.dimensions[key] > 0
}

func (e *Engine) putDimension(s subject, sequence uint64, m *ringfencev1.LabelDimension) error {
	if err := s.identifies("label_dimension", m.GetHref()); err != nil {
		return err
	}
	if m.GetKey() == "" {
		return fmt.Errorf("label dimension %s: key: empty", m.GetHref())
	}
	e.dropDimension(s.id())
	e.console.dimensions[s.id()] = &record[*ringfencev1.LabelDimension]{sequence, m}
	e.nameDimension(m.GetKey(), 1)
	return nil
}

func (e *Engine) dropDimension(id string) {
	if old := e.console.dimensions[id]; old != nil {
		delete(e.console.dimensions, id)
		e.nameDimension(old.message.GetKey(), -1)
	}
}

func (e *Engine) nameDimension(key string, by int) {
	known := e.dimension(key)
	if e.console.named[key] += by; e.console.named[key] == 0 {
		delete(e.console.named, key)
	}
	if known != e.dimension(key) {
		e.relabelMapped()
	}
}

// acknowledgement says that the console knows a Kubernetes workload.
type acknowledgement struct {
	sequence uint64
	message  *ringfencev1.AcknowledgedWorkload
	workload *workload
}

func (e *Engine) putAcknowledgement(s subject, sequence uint64, m *ringfencev1.AcknowledgedWorkload) error {
	if err := s.identifies("kubernetes_workload", m.GetHref()); err != nil {
		return err
	}
	for _, field := range []struct{ name, value string }{{"namespace", m.GetNamespace()}, {"kind", m.GetKind()}, {"name", m.GetName()}} {
		if field.value == "" {
			return fmt.Errorf("kubernetes workload %s: %s: empty", m.GetHref(), field.name)
		}
	}
	e.dropAcknowledgement(s.id())
	ns := e.cluster.namespace(m.GetNamespace())
	a := &acknowledgement{sequence: sequence, message: m, workload: ns.workload(strings.ToLower(m.GetKind()), m.GetName())}
	e.console.acks[s.id()] = a
	a.workload.acks.add(a)
	e.acknowledged(a)
	return nil
}

func (e *Engine) dropAcknowledgement(id string) {
	a := e.console.acks[id]
	if a == nil {
		return
	}
	delete(e.console.acks, id)
	a.workload.acks.remove(a)
	e.acknowledged(a)
	e.cluster.collectWorkload(a.workload)
}

// acknowledged tells everything that an acknowledgement, which came or went, reaches.
func (e *Engine) acknowledged(a *acknowledgement) {
	e.regroup(a.workload)
	e.stale.workload(a.workload)
	e.changed(a.message.GetHref())
}
