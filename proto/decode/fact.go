package decode

import (
	"sync"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	ringfencev1 "github.com/ringfence/ringfence/proto/ringfence/v1"
)

// Facts decodes facts. The zero value is ready. It is safe for concurrent use.
type Facts struct {
	// released are facts of pods with everything in them that can be used again, and nothing that was decoded.
	released sync.Pool
}

// Decode decodes a fact. The result does not refer to data.
func (f *Facts) Decode(data []byte) (*ringfencev1.Fact, error) {
	room, _ := f.released.Get().(*ringfencev1.Fact)
	if room == nil {
		room = newRoom()
	}
	if podFact(string(data), room) {
		return room, nil
	}
	f.Release(room)
	fact := &ringfencev1.Fact{}
	if err := proto.Unmarshal(data, fact); err != nil {
		return nil, err
	}
	return fact, nil
}

// Release takes a fact back of which nothing is kept but texts: what it consists of is used for one that is decoded later. It is
// nobody's duty, and of use for facts of pods alone.
func (f *Facts) Release(fact *ringfencev1.Fact) {
	if body, isPod := fact.GetBody().(*ringfencev1.Fact_Pod); isPod && body.Pod != nil {
		empty(fact, body)
		f.released.Put(fact)
	}
}

// newRoom gives an empty fact of a pod with what most such facts have, in one piece of memory.
func newRoom() *ringfencev1.Fact {
	all := &struct {
		fact       ringfencev1.Fact
		body       ringfencev1.Fact_Pod
		pod        ringfencev1.Pod
		observedAt timestamppb.Timestamp
		addresses  [1]string
	}{}
	all.pod.Addresses = all.addresses[:0]
	all.body.Pod = &all.pod
	all.fact.Body, all.fact.ObservedAt = &all.body, &all.observedAt
	return &all.fact
}

// manyPairs is how many labels a map may have that is used again: emptying it takes as long as it is large.
const manyPairs = 64

// empty leaves of a fact of a pod what can be used again.
func empty(fact *ringfencev1.Fact, body *ringfencev1.Fact_Pod) {
	at, pod := fact.GetObservedAt(), body.Pod
	controller, addresses, labels := pod.GetController(), pod.GetAddresses(), pod.GetLabels()
	fact.Reset()
	pod.Reset()
	if at != nil {
		at.Reset()
	}
	if controller != nil {
		controller.Reset()
	}
	clear(addresses)
	if len(labels) > manyPairs {
		labels = nil
	}
	clear(labels)
	fact.Body, fact.ObservedAt = body, at
	pod.Controller, pod.Addresses, pod.Labels = controller, addresses[:0], labels
}

// pod is a fact of a pod while it is decoded, with what there is to use for it.
type pod struct {
	*ringfencev1.Pod
	controller *ringfencev1.ObjectRef
	labels     map[string]string
}

// podFact decodes a plain fact of a pod into an empty one. Of anything else it says that it is none; the fact is as good as
// before for another.
func podFact(data string, fact *ringfencev1.Fact) bool {
	body := fact.Body.(*ringfencev1.Fact_Pod)
	p, at, r := pod{body.Pod, body.Pod.Controller, body.Pod.Labels}, fact.ObservedAt, reader{data: data, end: len(data)}
	p.Controller, p.Labels, fact.ObservedAt = nil, nil, nil
	found := false
	for r.more() {
		switch r.varint() {
		case 1<<3 | bytesKind:
			fact.Producer = r.text()
		case 2<<3 | varintKind:
			fact.Counter = r.varint()
		case 3<<3 | bytesKind:
			if at == nil {
				at = &timestamppb.Timestamp{}
			}
			fact.ObservedAt = at
			readTimestamp(&r, at)
		case 4<<3 | fixedKind:
			fact.Checksum = r.fixed64()
		case 22<<3 | bytesKind:
			found = true
			p.read(&r)
		default:
			r.fail()
		}
	}
	return found && !r.failed
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
	r.leave(&in)
}

// read reads a pod. Where it comes twice, what comes later is added to what was there, as the encoding has it.
func (p *pod) read(r *reader) {
	var room [24]pair
	in, pairs := r.inner(), room[:0]
	in.ascii = isASCII(in.data[in.at:in.end])
	for in.more() {
		switch tag := in.varint(); tag {
		case 1<<3 | bytesKind:
			p.Namespace = in.text()
		case 2<<3 | bytesKind:
			p.Name = in.text()
		case 3<<3 | bytesKind:
			p.Uid = in.text()
		case 4<<3 | bytesKind:
			p.ResourceVersion = in.text()
		case 5<<3 | bytesKind:
			p.Node = in.text()
		case 6<<3 | bytesKind:
			p.Addresses = append(p.Addresses, in.text())
		case labels, annotations:
			pairs = append(pairs, in.pair(tag))
		case 12<<3 | bytesKind:
			p.readController(&in)
		case 13<<3 | bytesKind:
			p.Ports = append(p.Ports, readContainerPort(&in))
		case 15<<3 | bytesKind:
			p.RuntimeUid = in.text()
		default:
			readPodNumber(&in, tag, p.Pod)
		}
	}
	p.add(in.data, pairs)
	r.leave(&in)
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

func (p *pod) readController(r *reader) {
	if p.controller == nil {
		p.controller = &ringfencev1.ObjectRef{}
	}
	p.Controller = p.controller
	in, m := r.inner(), p.controller
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
	r.leave(&in)
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
	r.leave(&in)
	return m
}

// Tags of the fields of a pod that are maps.
const (
	labels      = 10<<3 | bytesKind
	annotations = 11<<3 | bytesKind
)

// pair is an entry of the map that is a field.
type pair struct {
	field      uint64
	key, value span
}

func (r *reader) pair(field uint64) pair {
	in := r.inner()
	if key, value, short := in.shortPair(); short {
		return pair{field, key, value}
	}
	p := pair{field: field}
	for in.more() {
		switch in.varint() {
		case 1<<3 | bytesKind:
			p.key = in.textSpan()
		case 2<<3 | bytesKind:
			p.value = in.textSpan()
		default:
			in.fail()
		}
	}
	r.leave(&in)
	return p
}

// shortPair finds key and value where the message is those, each of less than 128 bytes, and nothing else. It reads nothing.
func (r *reader) shortPair() (key, value span, short bool) {
	m := r.data[r.at:r.end]
	if !r.ascii || len(m) < 4 || m[0] != 1<<3|bytesKind {
		return key, value, false
	}
	k := 2 + int(m[1])
	if k+2 > len(m) || m[k] != 2<<3|bytesKind || k+2+int(m[k+1]) != len(m) {
		return key, value, false
	}
	return span{r.at + 2, r.at + k}, span{r.at + k + 2, r.end}, true
}

// add adds pairs to the maps, which are made where there are any.
func (p *pod) add(data string, pairs []pair) {
	for _, x := range pairs {
		switch {
		case x.field == annotations && p.Annotations == nil:
			p.Annotations = map[string]string{}
		case x.field == labels && p.Labels == nil && p.labels == nil:
			p.Labels = make(map[string]string, len(pairs))
		case x.field == labels && p.Labels == nil:
			p.Labels = p.labels
		}
		key, value := data[x.key.from:x.key.to], data[x.value.from:x.value.to]
		if x.field == labels {
			p.Labels[key] = value
		} else {
			p.Annotations[key] = value
		}
	}
}
