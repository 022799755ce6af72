package workload

import (
	"cmp"
	"slices"
	"strings"
)

// Nodes is how many nodes a cluster has where nothing else is said; pods lie on them at random.
const Nodes = 1000

// NameKey is the key of the label that stands for a namespace's name.
const NameKey = "ns"

// Whole stands for the whole cluster in the place of a namespace.
const Whole = -1

// Label is a label of Kubernetes or of the console.
type Label struct{ Key, Value string }

// Namespace is a namespace with its labels but for its name. Unnamed says that its name is no label.
type Namespace struct {
	Name    string
	Labels  []Label
	Unnamed bool
}

// Pod is a bare pod. Namespace and Node are indexes. Labels are sorted by key.
type Pod struct {
	Namespace, Node int
	Name            string
	Labels          []Label
}

// Policy is a policy of the peers. Namespace is the index of its namespace, or Whole.
type Policy struct {
	Namespace int
	Rules     []Rule
}

// Rule lets consumers reach providers. A side without labels is everyone in the policy's namespace.
type Rule struct {
	Consumers, Providers []Label
	// Everywhere says that consumers may be in other namespaces.
	Everywhere bool
	// Prefix, where set, is the provider: an address range outside of the cluster.
	Prefix string
	// Port and Protocol are 0 for all.
	Port     uint32
	Protocol int32
}

// Pair is a connection over TCP from one pod to another or, over UDP, to an address, and whether policy allows it.
type Pair struct {
	From, To int
	Address  string
	Port     uint16
	Allowed  bool
}

// Cluster is a workload.
type Cluster struct {
	// ID is the workload's name in reports, About one line on it.
	ID, About  string
	Namespaces []Namespace
	Pods       []Pod
	Policies   []Policy
	// Keys are the keys of pod labels that are labels of the console; nil is all.
	Keys []string
	// Nodes is the number of nodes.
	Nodes int
	// RulesFirst is the order of Calico's benchmarks: policies, namespaces, pods, of which the last are on node 0.
	// Antrea's is namespaces, policies, pods.
	RulesFirst bool
	// PoliciesInSet is how many policies share a rule set, 1 where nothing is said.
	PoliciesInSet int
	// Pairs are samples of what follows from the policies.
	Pairs []Pair
}

// labels gives the labels of the console that a pod carries, sorted.
func (c *Cluster) labels(p Pod) []Label {
	out := slices.Concat(c.assigned(c.Namespaces[p.Namespace]), c.requested(p.Labels))
	slices.SortFunc(out, compareLabels)
	return out
}

// requested gives those of a pod's own labels that are labels of the console.
func (c *Cluster) requested(labels []Label) []Label {
	if c.Keys == nil {
		return labels
	}
	return slices.DeleteFunc(slices.Clone(labels), func(l Label) bool { return !slices.Contains(c.Keys, l.Key) })
}

// assigned gives the labels of the console that a namespace's profile assigns.
func (c *Cluster) assigned(n Namespace) []Label {
	if n.Unnamed {
		return n.Labels
	}
	return append([]Label{{NameKey, n.Name}}, n.Labels...)
}

func compareLabels(a, b Label) int {
	return cmp.Or(strings.Compare(a.Key, b.Key), strings.Compare(a.Value, b.Value))
}

// LabelSets counts the different label sets of the pods: so many workload policies there must be.
func (c *Cluster) LabelSets() int {
	seen := map[string]struct{}{}
	var text strings.Builder
	for _, p := range c.Pods {
		text.Reset()
		for _, l := range c.labels(p) {
			text.WriteString(l.Key + "\x00" + l.Value + "\x00")
		}
		seen[text.String()] = struct{}{}
	}
	return len(seen)
}

// Rules counts the rules of all policies.
func (c *Cluster) Rules() int {
	n := 0
	for _, p := range c.Policies {
		n += len(p.Rules)
	}
	return n
}
