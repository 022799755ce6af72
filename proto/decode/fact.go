package decode

import (
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	ringfencev1 "github.com/ringfence/ringfence/proto/ringfence/v1"
)

// Fact decodes a fact. The result does not refer to data.
func Fact(data []byte) (*ringfencev1.Fact, error) {
	if fact := podFact(string(data)); fact != nil {
		return fact, nil
	}
	fact := &ringfencev1.Fact{}
	if err := proto.Unmarshal(data, fact); err != nil {
		return nil, err
	}
	return fact, nil
}

// pod is a fact of a pod with what most such facts have, in one piece of memory.
type pod struct {
	fact       ringfencev1.Fact
	body       ringfencev1.Fact_Pod
	pod        ringfencev1.Pod
	observedAt timestamppb.Timestamp
	controller ringfencev1.ObjectRef
	addresses  [1]string
}

// podFact decodes a plain fact of a pod. It gives nil for anything else.
func podFact(data string) *ringfencev1.Fact {
	p, r := &pod{}, reader{rest: data}
	for r.more() {
		switch r.varint() {
		case 1<<3 | bytesKind:
			p.fact.Producer = r.text()
		case 2<<3 | varintKind:
			p.fact.Counter = r.varint()
		case 3<<3 | bytesKind:
			p.fact.ObservedAt = &p.observedAt
			readTimestamp(&r, &p.observedAt)
		case 4<<3 | fixedKind:
			p.fact.Checksum = r.fixed64()
		case 22<<3 | bytesKind:
			p.body.Pod, p.fact.Body = &p.pod, &p.body
			p.readPod(&r)
		default:
			return nil
		}
	}
	if r.failed || p.fact.Body == nil {
		return nil
	}
	return &p.fact
}

func readTimestamp(r *reader, t *timestamppb.Timestamp) {
	in := r.inner()
	for in.more() {
		switch in.varint() {
		case 1<<3 | varintKind:
			t.Seconds = int64(in.varint())
		case 2<<3 | varintKind:
			t.Nanos = int32(in.varint())
		default:
			in.fail()
		}
	}
	r.leave(in)
}

// readPod reads a pod. Where it comes twice, what comes later is added to what was there, as the encoding has it.
func (p *pod) readPod(r *reader) {
	var room [24]pair
	in, m, pairs := r.inner(), &p.pod, room[:0]
	for in.more() {
		switch tag := in.varint(); tag {
		case 1<<3 | bytesKind:
			m.Namespace = in.text()
		case 2<<3 | bytesKind:
			m.Name = in.text()
		case 3<<3 | bytesKind:
			m.Uid = in.text()
		case 4<<3 | bytesKind:
			m.ResourceVersion = in.text()
		case 5<<3 | bytesKind:
			m.Node = in.text()
		case 6<<3 | bytesKind:
			p.addAddress(in.text())
		case 10<<3 | bytesKind, 11<<3 | bytesKind:
			pairs = append(pairs, in.pair(tag>>3))
		case 12<<3 | bytesKind:
			m.Controller = &p.controller
			readObjectRef(&in, &p.controller)
		case 13<<3 | bytesKind:
			m.Ports = append(m.Ports, readContainerPort(&in))
		case 15<<3 | bytesKind:
			m.RuntimeUid = in.text()
		default:
			readPodNumber(&in, tag, m)
		}
	}
	m.Labels, m.Annotations = addPairs(m.Labels, pairs, 10), addPairs(m.Annotations, pairs, 11)
	r.leave(in)
}

// readPodNumber reads a field of a pod that is a number or a truth.
func readPodNumber(in *reader, tag uint64, m *ringfencev1.Pod) {
	switch tag {
	case 7<<3 | varintKind:
		m.Phase = ringfencev1.PodPhase(in.varint())
	case 8<<3 | varintKind:
		m.Ready = in.varint() != 0
	case 9<<3 | varintKind:
		m.HostNetwork = in.varint() != 0
	case 14<<3 | varintKind:
		m.Terminating = in.varint() != 0
	case 16<<3 | varintKind:
		m.WithoutSandbox = in.varint() != 0
	default:
		in.fail()
	}
}

func (p *pod) addAddress(address string) {
	if p.pod.Addresses == nil {
		p.pod.Addresses = p.addresses[:0]
	}
	p.pod.Addresses = append(p.pod.Addresses, address)
}

func readObjectRef(r *reader, m *ringfencev1.ObjectRef) {
	in := r.inner()
	for in.more() {
		switch in.varint() {
		case 1<<3 | bytesKind:
			m.Kind = in.text()
		case 2<<3 | bytesKind:
			m.Name = in.text()
		case 3<<3 | bytesKind:
			m.Uid = in.text()
		default:
			in.fail()
		}
	}
	r.leave(in)
}

func readContainerPort(r *reader) *ringfencev1.ContainerPort {
	in, m := r.inner(), &ringfencev1.ContainerPort{}
	for in.more() {
		switch in.varint() {
		case 1<<3 | bytesKind:
			m.Name = in.text()
		case 2<<3 | varintKind:
			m.Port = uint32(in.varint())
		case 3<<3 | varintKind:
			m.Protocol = uint32(in.varint())
		default:
			in.fail()
		}
	}
	r.leave(in)
	return m
}

// pair is an entry of the map that is field.
type pair struct {
	field      uint64
	key, value string
}

func (r *reader) pair(field uint64) pair {
	in, p := r.inner(), pair{field: field}
	for in.more() {
		switch in.varint() {
		case 1<<3 | bytesKind:
			p.key = in.text()
		case 2<<3 | bytesKind:
			p.value = in.text()
		default:
			in.fail()
		}
	}
	r.leave(in)
	return p
}

// addPairs adds the pairs of a field to a map, which is made where it is nil and there are any.
func addPairs(m map[string]string, pairs []pair, field uint64) map[string]string {
	n := 0
	for _, p := range pairs {
		if p.field == field {
			n++
		}
	}
	if n == 0 {
		return m
	}
	if m == nil {
		m = make(map[string]string, n)
	}
	for _, p := range pairs {
		if p.field == field {
			m[p.key] = p.value
		}
	}
	return m
}
