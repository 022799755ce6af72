package clas_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	pb "github.com/ringfence/ringfence/proto/ringfence/v1"
	"google.golang.org/protobuf/proto"
)

// The oracle is a second reading of docs/policy-model.md: "may A talk to B on this port?", answered from raw facts, one rule
// after the other, with no index and no compiled state. It shares with the engine nothing but the messages, and is written to
// be read against that page, whose sections the comments name, not to be fast: it only remembers what it has already answered
// about one world. Its parts:
//
//	oracle_test.go           facts, and the version in force        (1)
//	oracle_labels_test.go    who carries which label                (2)
//	oracle_actors_test.go    who takes part, under which addresses  (3, 5.1)
//	oracle_sides_test.go     who is on which side of a rule         (4.1, 4.2, 5.3)
//	oracle_reach_test.go     which ports, at which addresses        (4.3, 5.2, 5.3)
//	oracle_verdict_test.go   what a packet meets                    (4.4)
//	oracle_plan_test.go      what a node is told                    (6, 7)

// logged is a fact at its place in the log, and what somebody did once it was applied.
type logged struct {
	entry
	sequence uint64
	then     look
}

// oracle is the world after the facts of a log.
type oracle struct {
	last map[string]logged // by subject
	// buried are the last facts of labels that are gone, by subject, for their keys.
	buried map[string]*pb.Label

	objects map[string]*pb.PceObject // by SHA-256
	chunks  map[uint32]*pb.Provisioned
	active  []*pb.Provisioned
	console map[string]*pb.PceObject // by href, of the version in force
	version int64

	// From here on the oracle only remembers.
	facts                                         []logged
	pods, services, nodes, machines, slices, acks []logged
	labels                                        []*pb.Label
	settings                                      *pb.Settings
	degraded                                      bool
	actors                                        []*actor
	memory                                        memory
}

// memory is what the oracle has already answered.
type memory struct {
	owners   map[string]*claim
	labelled map[*pb.Service]attributes
	objects  map[string]attributes
	parts    map[*pb.Actor]labelPart // by the first actor of a list
}

func newOracle(log []logged) *oracle {
	o := &oracle{last: map[string]logged{}, buried: map[string]*pb.Label{}, objects: map[string]*pb.PceObject{},
		chunks: map[uint32]*pb.Provisioned{}, console: map[string]*pb.PceObject{}}
	for _, f := range log {
		o.see(f)
	}
	o.memory = memory{owners: map[string]*claim{}, labelled: map[*pb.Service]attributes{}, objects: map[string]attributes{},
		parts: map[*pb.Actor]labelPart{}}
	for _, subject := range slices.Sorted(maps.Keys(o.last)) {
		o.gather(o.last[subject])
	}
	o.settings = o.last["facts.ctl.settings"].fact.GetSettings()
	link := o.last["facts.ctl.link"].fact.GetPceLink()
	o.degraded = link != nil && !link.GetUp()
	o.actors = o.takePart()
	return o
}

func (o *oracle) gather(f logged) {
	o.facts = append(o.facts, f)
	switch body := f.fact.GetBody().(type) {
	case *pb.Fact_Pod:
		o.pods = append(o.pods, f)
	case *pb.Fact_Service:
		o.services = append(o.services, f)
	case *pb.Fact_Node:
		o.nodes = append(o.nodes, f)
	case *pb.Fact_PceWorkload:
		o.machines = append(o.machines, f)
	case *pb.Fact_EndpointSlice:
		o.slices = append(o.slices, f)
	case *pb.Fact_AcknowledgedWorkload:
		o.acks = append(o.acks, f)
	case *pb.Fact_Label:
		o.labels = append(o.labels, body.Label)
	}
}

// see takes in a fact.
func (o *oracle) see(f logged) {
	id := f.subject[strings.LastIndex(f.subject, ".")+1:]
	switch body := f.fact.GetBody().(type) {
	case *pb.Fact_Gone:
		o.bury(f.subject, id, body.Gone.GetUid())
	case *pb.Fact_PceObject:
		o.objects[id] = body.PceObject
	case *pb.Fact_Provisioned:
		o.chunks[body.Provisioned.GetChunk()] = body.Provisioned
	default:
		delete(o.buried, f.subject)
		o.last[f.subject] = f
	}
	o.commit()
}

// bury takes in a tombstone: one with the uid of another object removes nothing.
func (o *oracle) bury(subject, id, uid string) {
	switch {
	case strings.HasPrefix(subject, "facts.pce.object."):
		if !slices.ContainsFunc(o.active, func(p *pb.Provisioned) bool { return lists(p, id) }) {
			delete(o.objects, id)
		}
		return
	case strings.HasPrefix(subject, "facts.pce.provisioned."):
		maps.DeleteFunc(o.chunks, func(n uint32, _ *pb.Provisioned) bool { return fmt.Sprint(n) == id })
		return
	}
	held := o.last[subject].fact
	if was := uidIn(held); uid != "" && was != "" && was != uid {
		return
	}
	if l := held.GetLabel(); l != nil {
		o.buried[subject] = l
	}
	delete(o.last, subject)
}

func lists(p *pb.Provisioned, sha string) bool {
	return slices.ContainsFunc(p.GetEntries(), func(m *pb.ManifestEntry) bool { return m.GetSha256() == sha })
}

// commit puts a version in force once its chunks and objects are all there.
func (o *oracle) commit() {
	first := o.chunks[0]
	if first == nil {
		return
	}
	var candidate []*pb.Provisioned
	console, kept := map[string]*pb.PceObject{}, map[string]*pb.PceObject{}
	for i := range first.GetChunks() {
		c := o.chunks[i]
		if c == nil || c.GetVersion() != first.GetVersion() || c.GetChunks() != first.GetChunks() ||
			!proto.Equal(c.GetProvisionedAt(), first.GetProvisionedAt()) {
			return
		}
		candidate = append(candidate, c)
		for _, m := range c.GetEntries() {
			object := o.objects[m.GetSha256()]
			if object == nil || objectHref(object) != m.GetHref() {
				return
			}
			console[m.GetHref()], kept[m.GetSha256()] = object, object
		}
	}
	if slices.EqualFunc(candidate, o.active, func(a, b *pb.Provisioned) bool { return proto.Equal(a, b) }) {
		return
	}
	o.active, o.console, o.objects, o.version = candidate, console, kept, first.GetVersion()
}

// uidIn gives the uid of an object of Kubernetes.
func uidIn(f *pb.Fact) string {
	switch body := f.GetBody().(type) {
	case *pb.Fact_Namespace:
		return body.Namespace.GetUid()
	case *pb.Fact_Node:
		return body.Node.GetUid()
	case *pb.Fact_Pod:
		return body.Pod.GetUid()
	case *pb.Fact_Service:
		return body.Service.GetUid()
	case *pb.Fact_KubernetesWorkload:
		return body.KubernetesWorkload.GetUid()
	case *pb.Fact_EndpointSlice:
		return body.EndpointSlice.GetUid()
	case *pb.Fact_LabelMap:
		return body.LabelMap.GetUid()
	}
	return ""
}

// latest gives the latest of the facts that fulfil a condition, or none.
func latest(facts []logged, fulfils func(logged) bool) logged {
	var best logged
	for _, f := range facts {
		if f.sequence > best.sequence && fulfils(f) {
			best = f
		}
	}
	return best
}
