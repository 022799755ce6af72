package clas

import (
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	ringfencev1 "github.com/ringfence/ringfence/proto/ringfence/v1"
)

// pod is a pod of a fact, in as few bytes as it takes: there are a hundred thousand. What it shares with others is in its
// group. A new fact makes a new pod, so that a snapshot may read an old one while the engine goes on.
type pod struct {
	name  string
	group *group
	node  *node // nil before it is scheduled
	more  *podDetails
	// uid is the pod's UID where it is one in canonical form; else details have it.
	uid      [16]byte
	version  uint64 // the resource version where it is a number; else details have it
	sequence uint64
	// address is the first one, zero for none; details have the others.
	address         addr
	inGroup, inNode int32
	// given is the hash of what the last flush gave of the pod, 0 for nothing.
	given uint64
	phase uint8
	flags podFlags
	// stale says that it is among the changed pods of its node, contested that some address of it has another claimant, too,
	// gone that another took its place or none. They are no flags, for a snapshot reads those.
	stale, contested, gone bool
}

// podFlags are of the pod's fact, and do not change.
type podFlags uint8

const (
	ready podFlags = 1 << iota
	terminating
	withoutSandbox
	oddUID     // the uid is in the details
	oddVersion // the resource version is in the details
)

// podDetails are what most pods do not have.
type podDetails struct {
	uid, version, runtimeUID string
	addresses                []addr // beyond the first
	unknown                  []byte // fields of a newer release
}

func (p *pod) is(f podFlags) bool { return p.flags&f != 0 }

func (p *pod) set(f podFlags, on bool) {
	if on {
		p.flags |= f
	} else {
		p.flags &^= f
	}
}

// terminal tells whether the pod came to its end and gave up its addresses.
func (p *pod) terminal() bool {
	phase := ringfencev1.PodPhase(p.phase)
	return phase == ringfencev1.PodPhase_POD_PHASE_SUCCEEDED || phase == ringfencev1.PodPhase_POD_PHASE_FAILED
}

// planned tells whether the pod belongs into the plan of its node, if its namespace is managed.
func (p *pod) planned() bool { return !p.terminal() && p.group.ownsNetwork() && p.node != nil }

// holdsAddresses tells whether the pod's addresses are its own, now.
func (p *pod) holdsAddresses() bool {
	return !p.terminal() && p.group.ownsNetwork() && !p.is(withoutSandbox)
}

// addresses visits all addresses of the pod.
func (p *pod) addresses(visit func(addr)) {
	if p.address != (addr{}) {
		visit(p.address)
	}
	if p.more != nil {
		for _, a := range p.more.addresses {
			visit(a)
		}
	}
}

func (p *pod) addressList() []addr {
	var out []addr
	p.addresses(func(a addr) { out = append(out, a) })
	return out
}

// owned visits the addresses that the pod owns.
func (p *pod) owned(visit func(addr)) {
	if !p.holdsAddresses() {
		return
	}
	if !p.contested {
		p.addresses(visit)
		return
	}
	book := p.group.ns.book
	p.addresses(func(a addr) {
		if book.owner(a) == claimant(p) {
			visit(a)
		}
	})
}

func (p *pod) String() string { return p.group.ns.name + "/" + p.name }

func (p *pod) uidText() string {
	if p.is(oddUID) {
		return p.more.uid
	}
	return formatUID(p.uid)
}

// appendUID appends the runtime's uid.
func (p *pod) appendUID(b []byte) []byte {
	if p.is(oddUID) || p.more != nil {
		return append(b, p.runtimeUID()...)
	}
	return appendUID(b, p.uid)
}

// runtimeUID is how the container runtime calls the pod.
func (p *pod) runtimeUID() string {
	if p.more != nil && p.more.runtimeUID != "" {
		return p.more.runtimeUID
	}
	return p.uidText()
}

func (p *pod) claim() (uint64, string) {
	return p.sequence, "facts.k8s.pod." + p.group.ns.name + "." + p.name
}

func (p *pod) labelSet() *labelSet { return p.group.set }

// ownership recounts whether the pod shares an address.
func (p *pod) ownership(e *Engine) {
	p.contested = false
	p.addresses(func(a addr) { p.contested = p.contested || len(e.cluster.addresses.others[a]) > 0 })
	if p.group.set != nil {
		p.group.set.digest = nil
	}
}

// canonicalUID reads a UID in its canonical form.
func canonicalUID(text string) (uid [16]byte, canonical bool) {
	if len(text) != 36 || text[8] != '-' || text[13] != '-' || text[18] != '-' || text[23] != '-' {
		return uid, false
	}
	n := 0
	for i := 0; i < 36; i += 2 {
		if text[i] == '-' {
			i++
		}
		hi, lo := digit(text[i]), digit(text[i+1])
		if hi > 15 || lo > 15 {
			return uid, false
		}
		uid[n] = hi<<4 | lo
		n++
	}
	return uid, true
}

// digit is the value of a lower-case hexadecimal digit, above 15 for anything else.
func digit(c byte) byte {
	switch {
	case c >= '0' && c <= '9':
		return c - '0'
	case c >= 'a' && c <= 'f':
		return c - 'a' + 10
	}
	return 255
}

func formatUID(uid [16]byte) string {
	var b [36]byte
	return string(appendUID(b[:0], uid))
}

func appendUID(b []byte, uid [16]byte) []byte {
	b = append(hex.AppendEncode(b, uid[0:4]), '-')
	b = append(hex.AppendEncode(b, uid[4:6]), '-')
	b = append(hex.AppendEncode(b, uid[6:8]), '-')
	b = append(hex.AppendEncode(b, uid[8:10]), '-')
	return hex.AppendEncode(b, uid[10:16])
}

// canonicalNumber reads a number that reads the same when it is written again.
func canonicalNumber(text string) (uint64, bool) {
	if text == "" {
		return 0, true
	}
	if text[0] == '0' || len(text) > 19 {
		return 0, false
	}
	n := uint64(0)
	for i := range len(text) {
		if text[i] < '0' || text[i] > '9' {
			return 0, false
		}
		n = n*10 + uint64(text[i]-'0')
	}
	return n, true
}

func checkPod(s subject, m *ringfencev1.Pod) error {
	if m.GetNamespace() == "" && m.GetName() != "" {
		return fmt.Errorf("pod of subject %s: namespace: empty", s.text)
	}
	if err := s.names("pod", m.GetNamespace(), m.GetName()); err != nil {
		return err
	}
	if m.GetUid() == "" {
		return fmt.Errorf("pod %s/%s: uid: empty", m.GetNamespace(), m.GetName())
	}
	if m.GetPhase() < 0 || m.GetPhase() > ringfencev1.PodPhase_POD_PHASE_FAILED {
		return fmt.Errorf("pod %s/%s: phase: %d is unknown", m.GetNamespace(), m.GetName(), m.GetPhase())
	}
	for i, port := range m.GetPorts() {
		if port.GetPort() > maxPort {
			return fmt.Errorf("pod %s/%s: ports[%d].port: %d is above 65535", m.GetNamespace(), m.GetName(), i, port.GetPort())
		}
		if port.GetProtocol() > 255 {
			return fmt.Errorf("pod %s/%s: ports[%d].protocol: %d is above 255", m.GetNamespace(), m.GetName(), i, port.GetProtocol())
		}
	}
	if c := m.GetController(); c != nil && (c.GetKind() == "" || c.GetName() == "") {
		return fmt.Errorf("pod %s/%s: controller: kind or name: empty", m.GetNamespace(), m.GetName())
	}
	return nil
}

// podText tells whether the text of a pod that no other pods share is UTF-8, so that a snapshot can hold it.
func podText(m *ringfencev1.Pod, p *pod) bool {
	return utf8.ValidString(m.GetName()) && utf8.ValidString(m.GetNamespace()) && utf8.ValidString(m.GetNode()) &&
		(p.more == nil || utf8.ValidString(p.more.uid) && utf8.ValidString(p.more.version) && utf8.ValidString(p.more.runtimeUID))
}

// groupText tells whether the text that pods share, but for labels and annotations, is UTF-8.
func groupText(m *ringfencev1.Pod) bool {
	c := m.GetController()
	return utf8.ValidString(c.GetKind()) && utf8.ValidString(c.GetName()) && utf8.ValidString(c.GetUid()) &&
		!slices.ContainsFunc(m.GetPorts(), func(p *ringfencev1.ContainerPort) bool { return !utf8.ValidString(p.GetName()) })
}

// newPod makes a pod of a checked fact, without its group and node, with the message's own name. Other texts are cloned: those of a
// message share one string.
func newPod(sequence uint64, m *ringfencev1.Pod) (*pod, error) {
	p := &pod{name: m.GetName(), sequence: sequence, phase: uint8(m.GetPhase())}
	p.set(ready, m.GetReady())
	p.set(terminating, m.GetTerminating())
	p.set(withoutSandbox, m.GetWithoutSandbox())
	var more podDetails
	canonical := false
	if p.uid, canonical = canonicalUID(m.GetUid()); !canonical {
		p.set(oddUID, true)
		more.uid = strings.Clone(m.GetUid())
	}
	if p.version, canonical = canonicalNumber(m.GetResourceVersion()); !canonical {
		p.set(oddVersion, true)
		more.version = strings.Clone(m.GetResourceVersion())
	}
	more.runtimeUID, more.unknown = strings.Clone(m.GetRuntimeUid()), m.ProtoReflect().GetUnknown()
	if err := p.takeAddresses(m, &more); err != nil {
		return nil, err
	}
	if more.uid+more.version+more.runtimeUID != "" || len(more.unknown)+len(more.addresses) > 0 {
		p.more = &more
	}
	return p, nil
}

func (p *pod) takeAddresses(m *ringfencev1.Pod, more *podDetails) error {
	if len(m.GetAddresses()) == 0 {
		return nil
	}
	var err error
	if len(m.GetAddresses()) == 1 {
		if p.address, err = parseAddr(m.GetAddresses()[0]); err != nil {
			return fmt.Errorf("pod %s/%s: addresses[0]: %w", m.GetNamespace(), m.GetName(), err)
		}
		return nil
	}
	all, err := parseAddrs(m.GetAddresses(), func() string { return "pod " + m.GetNamespace() + "/" + m.GetName() }, "addresses")
	if err != nil {
		return err
	}
	p.address, more.addresses = all[0], all[1:]
	return nil
}

// message gives the pod's fact again.
func (p *pod) message() *ringfencev1.Pod { return p.messageIn(p.group) }

// messageIn gives the pod's fact with what it shares with the pods of a group.
func (p *pod) messageIn(g *group) *ringfencev1.Pod {
	m := &ringfencev1.Pod{Namespace: g.ns.name, Name: p.name, Uid: p.uidText(), Phase: ringfencev1.PodPhase(p.phase),
		Ready: p.is(ready), Terminating: p.is(terminating), WithoutSandbox: p.is(withoutSandbox), HostNetwork: g.hostNetwork,
		Labels: g.labels.texts(), Annotations: g.annotations.texts()}
	if p.is(oddVersion) {
		m.ResourceVersion = p.more.version
	} else if p.version > 0 {
		m.ResourceVersion = strconv.FormatUint(p.version, 10)
	}
	if p.node != nil {
		m.Node = p.node.name
	}
	if p.address != (addr{}) {
		m.Addresses = append(m.Addresses, p.address.String())
	}
	if p.more != nil {
		m.Addresses = append(m.Addresses, texts(p.more.addresses)...)
		m.RuntimeUid = p.more.runtimeUID
		m.ProtoReflect().SetUnknown(slices.Clone(p.more.unknown))
	}
	if g.controller != nil {
		m.Controller = &ringfencev1.ObjectRef{Kind: g.controller.kind, Name: g.controller.name, Uid: g.controller.uid}
	}
	for _, port := range g.ports {
		m.Ports = append(m.Ports, &ringfencev1.ContainerPort{Name: port.name, Port: uint32(port.port), Protocol: uint32(port.protocol)})
	}
	return m
}

var errNotText = errors.New("some text is not UTF-8")

// putPod takes in a pod in the place of the one of its name.
func (e *Engine) putPod(s subject, sequence uint64, m *ringfencev1.Pod) error {
	if err := checkPod(s, m); err != nil {
		return err
	}
	p, err := newPod(sequence, m)
	if err != nil {
		return err
	}
	ns := e.cluster.namespace(m.GetNamespace())
	old := e.cluster.pods.find(ns, p.name)
	g, err := e.groupAfter(old, ns, m)
	if err == nil && !podText(m, p) {
		err = errNotText
	}
	if err != nil {
		return fmt.Errorf("pod %q: %w", m.GetNamespace()+"/"+m.GetName(), err)
	}
	staying := old != nil && e.staysAt(old, p)
	if old != nil {
		p.name = old.name
		e.detachPod(old, staying)
		e.cluster.pods.replace(ns, old, p)
	} else {
		p.name = strings.Clone(p.name)
		e.cluster.pods.put(ns, p)
	}
	if name := m.GetNode(); name != "" {
		p.node = e.cluster.node(name)
		p.inNode = int32(len(p.node.pods))
		p.node.pods = append(grown(p.node.pods), p)
	}
	e.joinGroup(p, g)
	switch {
	case staying && p.holdsAddresses():
		e.cluster.addresses.setSole(p.address, p)
	case staying:
		e.release(p.address, old)
	case p.holdsAddresses():
		p.addresses(func(a addr) { e.claim(a, p) })
	}
	e.stale.pod(p)
	return nil
}

// staysAt tells whether a pod takes over the one address of another, which nobody else claims. Most facts of pods change
// something else.
func (e *Engine) staysAt(old, p *pod) bool {
	return p.more == nil && old.more == nil && p.address == old.address && p.address != (addr{}) && old.holdsAddresses() &&
		e.cluster.addresses.sole(old.address) == old
}

// dropPod takes a pod out.
func (e *Engine) dropPod(p *pod) {
	e.detachPod(p, false)
	e.cluster.pods.remove(p.group.ns, p)
}

// detachPod takes a pod out of everything but the table of pods and, where another stays at it, its address.
func (e *Engine) detachPod(p *pod, staying bool) {
	switch {
	case staying:
		e.touch(p.address)
	case p.holdsAddresses():
		p.addresses(func(a addr) { e.release(a, p) })
	}
	if p.group.set != nil {
		p.group.set.digest = nil
	}
	if p.node != nil {
		n := p.node
		last := n.pods[len(n.pods)-1]
		n.pods[p.inNode], last.inNode = last, p.inNode
		n.pods[len(n.pods)-1] = nil
		n.pods = n.pods[:len(n.pods)-1]
		if p.given != 0 {
			e.stale.departed(p)
		}
		e.stale.node(n)
	}
	e.leaveGroup(p)
	p.gone = true
}

// claim gives a claimant an address and tells those who shared it.
func (e *Engine) claim(a addr, c claimant) {
	e.touch(a)
	others := e.cluster.addresses.claim(a, c)
	if len(others) == 0 {
		if _, isPod := c.(*pod); !isPod {
			c.ownership(e)
		}
		return
	}
	c.ownership(e)
	for _, other := range others {
		other.ownership(e)
	}
}

// release takes a claimant's address from it.
func (e *Engine) release(a addr, c claimant) {
	e.touch(a)
	for _, other := range e.cluster.addresses.release(a, c) {
		other.ownership(e)
	}
}

// touch remembers where an address was when the last flush gave out the address sets. It comes before every change of who
// owns an address or of an owner's label set.
func (e *Engine) touch(a addr) {
	if !e.flushed {
		return
	}
	if _, known := e.stale.moved[a]; !known {
		e.stale.moved[a] = e.cluster.addresses.placement(a)
	}
}

func (e *Engine) touchPod(p *pod) {
	if e.flushed && p.holdsAddresses() {
		p.addresses(e.touch)
	}
}
