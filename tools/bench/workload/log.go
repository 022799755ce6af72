package workload

import (
	"fmt"
	"maps"
	"slices"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/ringfence/ringfence/libs/eventlog"
	ringfencev1 "github.com/ringfence/ringfence/proto/ringfence/v1"
)

// Message is an encoded fact.
type Message struct {
	Subject string
	Data    []byte
}

// Entry is a decoded fact.
type Entry struct {
	Subject string
	Fact    *ringfencev1.Fact
}

// Incarnation is the log's in which the producers of a workload say that they are in sync.
const Incarnation = "benchmark"

// Log is a cluster as facts, in the order in which they were observed.
type Log struct {
	Cluster  *Cluster
	Messages []Message
	console  *console
	// sets are the policies of each rule set; spare is a label that no policy names.
	sets  [][]Policy
	spare Label
}

// observed is when everything was observed.
var observed = &timestamppb.Timestamp{Seconds: 1_795_000_000}

func objectSubject(sha string) string { return eventlog.ObjectSubject(sha) }

// Log writes the cluster down.
func (c *Cluster) Log() *Log {
	l := &Log{Cluster: c, console: newConsole(c), spare: Label{NameKey, "spare"}, sets: c.ruleSets()}
	var namespaces, objects, pods []Message
	for i, n := range c.Namespaces {
		namespaces = append(namespaces, Encode(namespaceEntry(i, n)), Encode(l.profileEntry(i, c.assigned(n))))
	}
	for i, policies := range l.sets {
		objects = append(objects, Encode(l.ruleSetEntry(i, policies)))
	}
	for _, o := range l.console.builtIn() {
		objects = append(objects, Encode(l.objectEntry(o)))
	}
	for _, e := range l.manifestEntries() {
		objects = append(objects, Encode(e))
	}
	for i, p := range c.Pods {
		pods = append(pods, Encode(l.podEntry(i, p)))
	}
	// The labels are complete only now that everything has asked for its own.
	l.console.label(l.spare)
	l.Messages = slices.Concat(l.labelMessages(), []Message{Encode(c.labelMapEntry())}, nodeMessages(c.Nodes))
	if c.RulesFirst {
		l.Messages = slices.Concat(l.Messages, objects, namespaces, pods)
	} else {
		l.Messages = slices.Concat(l.Messages, namespaces, objects, pods)
	}
	for _, producer := range []string{"watcher", "pce-bridge"} {
		l.Messages = append(l.Messages, Encode(Entry{eventlog.SyncedSubject(producer), &ringfencev1.Fact{Body: &ringfencev1.Fact_Synced{
			Synced: &ringfencev1.Synced{Producer: producer, Incarnation: Incarnation}}}}))
	}
	return l
}

// ruleSets groups policies: neighbours of one scope share a rule set where the cluster says so.
func (c *Cluster) ruleSets() [][]Policy {
	var out [][]Policy
	for part := range slices.Chunk(c.Policies, max(1, c.PoliciesInSet)) {
		out = append(out, part)
	}
	return out
}

// Encode gives a fact as the log has it, with what producers add.
func Encode(e Entry) Message {
	e.Fact.Producer, e.Fact.Counter, e.Fact.ObservedAt = "watcher", 1, observed
	data, err := proto.MarshalOptions{Deterministic: true}.Marshal(e.Fact)
	if err != nil {
		panic(fmt.Sprintf("%s: encode: %v", e.Subject, err)) // only text that is no UTF-8 gets here, and there is none
	}
	return Message{e.Subject, data}
}

// Decode gives the facts as one who reads the log gets them: no string is shared between two of them.
func Decode(messages []Message) ([]Entry, error) {
	out := make([]Entry, len(messages))
	for i, m := range messages {
		out[i] = Entry{string(append([]byte(nil), m.Subject...)), &ringfencev1.Fact{}}
		if err := proto.Unmarshal(m.Data, out[i].Fact); err != nil {
			return nil, fmt.Errorf("%s: decode: %w", m.Subject, err)
		}
	}
	return out, nil
}

func namespaceEntry(number int, n Namespace) Entry {
	labels := map[string]string{"kubernetes.io/metadata.name": n.Name}
	for _, l := range n.Labels {
		labels[l.Key] = l.Value
	}
	return Entry{eventlog.KubernetesSubject("namespace", "", n.Name), &ringfencev1.Fact{Body: &ringfencev1.Fact_Namespace{
		Namespace: &ringfencev1.Namespace{Name: n.Name, Uid: uidOf(1<<30 + number), Labels: labels}}}}
}

func (l *Log) profileEntry(number int, assigned []Label) Entry {
	p := l.console.profile(number, assigned)
	return Entry{eventlog.ProfileSubject(uidOf(-2 - number)),
		&ringfencev1.Fact{Body: &ringfencev1.Fact_ContainerWorkloadProfile{ContainerWorkloadProfile: p}}}
}

func (l *Log) ruleSetEntry(number int, policies []Policy) Entry {
	return l.objectEntry(&ringfencev1.PceObject{Object: &ringfencev1.PceObject_RuleSet{RuleSet: l.console.ruleSet(number, policies)}})
}

func (l *Log) objectEntry(o *ringfencev1.PceObject) Entry {
	subject, fact := l.console.object(hrefOf(o), o)
	return Entry{subject, fact}
}

func hrefOf(o *ringfencev1.PceObject) string {
	switch x := o.GetObject().(type) {
	case *ringfencev1.PceObject_RuleSet:
		return x.RuleSet.GetHref()
	case *ringfencev1.PceObject_IpList:
		return x.IpList.GetHref()
	default:
		return o.GetService().GetHref()
	}
}

func (l *Log) manifestEntries() []Entry {
	var out []Entry
	for i, chunk := range l.console.manifest() {
		out = append(out, Entry{eventlog.ProvisionedSubject(uint32(i)), &ringfencev1.Fact{Body: &ringfencev1.Fact_Provisioned{Provisioned: chunk}}})
	}
	return out
}

func (l *Log) labelMessages() []Message {
	var out []Message
	for i, label := range l.console.labelFacts() {
		out = append(out, Encode(Entry{eventlog.LabelSubject(fmt.Sprint(i + 1)), &ringfencev1.Fact{Body: &ringfencev1.Fact_Label{Label: label}}}))
	}
	return out
}

// labelMapEntry maps the labels of pods that are the console's to those, key by key.
func (c *Cluster) labelMapEntry() Entry {
	keys := map[string]bool{}
	for _, p := range c.Pods {
		for _, label := range c.requested(p.Labels) {
			keys[label.Key] = true
		}
	}
	m := &ringfencev1.LabelMap{Name: "default", Uid: uidOf(1<<29 + 1)}
	for _, key := range slices.Sorted(maps.Keys(keys)) {
		m.WorkloadLabelMap = append(m.WorkloadLabelMap, &ringfencev1.LabelMapping{FromKey: key, ToKey: key})
	}
	return Entry{eventlog.KubernetesSubject("labelmap", "", m.GetName()), &ringfencev1.Fact{Body: &ringfencev1.Fact_LabelMap{LabelMap: m}}}
}

func nodeMessages(nodes int) []Message {
	var out []Message
	for i := range nodes {
		n := &ringfencev1.Node{Name: NodeName(i), Uid: uidOf(1<<31 + i), Addresses: []string{nodeAddress(i).String()},
			MachineId: randomText(i, 32), ContainerRuntime: "containerd://2.2.0", KubeletVersion: "v1.35.0",
			Labels: map[string]string{"kubernetes.io/hostname": NodeName(i), "kubernetes.io/os": "linux"}}
		out = append(out, Encode(Entry{eventlog.KubernetesSubject("node", "", n.GetName()), &ringfencev1.Fact{Body: &ringfencev1.Fact_Node{Node: n}}}))
	}
	return out
}

// NodeName is the name of a node.
func NodeName(node int) string { return fmt.Sprintf("node-%d", node) }

// podEntry is the fact of a pod; number gives it its address and uid.
func (l *Log) podEntry(number int, p Pod) Entry {
	namespace := l.Cluster.Namespaces[p.Namespace].Name
	m := &ringfencev1.Pod{Namespace: namespace, Name: p.Name, Uid: uidOf(number), ResourceVersion: fmt.Sprint(1_000_000 + number),
		Node: NodeName(p.Node), Addresses: []string{addressOf(number).String()}, Phase: ringfencev1.PodPhase_POD_PHASE_RUNNING, Ready: true,
		Labels: map[string]string{}}
	for _, label := range p.Labels {
		m.Labels[label.Key] = label.Value
	}
	for _, label := range l.Cluster.requested(p.Labels) {
		l.console.label(label)
	}
	return Entry{podSubject(namespace, p.Name), &ringfencev1.Fact{Body: &ringfencev1.Fact_Pod{Pod: m}}}
}

func podSubject(namespace, name string) string {
	return eventlog.KubernetesSubject("pod", namespace, name)
}
