package workload

import (
	"fmt"
	"math/rand/v2"
	"slices"

	ringfencev1 "github.com/ringfence/ringfence/proto/ringfence/v1"
)

// The kinds of single changes.
const (
	PodAdded            = "pod added"
	PodRemoved          = "pod removed"
	PodRelabelled       = "pod relabelled"
	PodReaddressed      = "pod readdressed"
	NamespaceRelabelled = "namespace relabelled"
	PolicyAdded         = "policy added"
	PolicyRemoved       = "policy removed"
	PolicyEdited        = "policy edited"
	RuleForAllAdded     = "rule for all pods added"
	RuleForAllRemoved   = "rule for all pods removed"
)

// Step is one change: the facts of it are there together.
type Step struct {
	Kind  string
	Facts []Entry
}

// Round is a short series of changes after which the cluster is as before, but for the console's version and the ports of
// edited policies. It is empty where a cluster has nothing of the kind.
type Round []Step

// Changes makes changes of a cluster that an engine has folded. Rounds are to be applied in the order in which they are made.
type Changes struct {
	log    *Log
	source *rand.Rand
	pods   int // numbers of pods that were used
	sets   int // numbers of rule sets that were used
	ports  uint32
}

// Changes starts a series of changes.
func (l *Log) Changes() *Changes {
	return &Changes{log: l, source: draws(streamChange, 0), pods: len(l.Cluster.Pods), sets: len(l.sets), ports: 20_000}
}

// Rounds gives the ways to make rounds, by the kind of their first change, in the order of reports.
func (c *Changes) Rounds() []func() Round {
	return []func() Round{c.Pod, c.relabelPod, c.readdressPod, c.relabelNamespace, c.Policy, c.editPolicy, c.addRuleForAll}
}

// step decodes the facts of a change, as one who reads the log gets them.
func step(kind string, entries ...Entry) Step {
	messages := make([]Message, len(entries))
	for i, e := range entries {
		messages[i] = Encode(e)
	}
	facts, err := Decode(messages)
	if err != nil {
		panic(err) // they were encoded just now
	}
	return Step{kind, facts}
}

func gone(e Entry, uid string) Entry {
	return Entry{e.Subject, &ringfencev1.Fact{Body: &ringfencev1.Fact_Gone{Gone: &ringfencev1.Gone{Uid: uid}}}}
}

// anyPod draws a pod of the cluster.
func (c *Changes) anyPod() (number int, p Pod) {
	number = c.source.IntN(len(c.log.Cluster.Pods))
	return number, c.log.Cluster.Pods[number]
}

// Pod adds a pod like some other, and removes it.
func (c *Changes) Pod() Round {
	_, p := c.anyPod()
	number := c.pods
	c.pods++
	p.Name, p.Node = fmt.Sprintf("new-%d", number), randomNode(number, c.log.Cluster.Nodes)
	e := c.log.podEntry(number, p)
	return Round{step(PodAdded, e), step(PodRemoved, gone(e, uidOf(number)))}
}

// Replace adds a pod like one of the cluster, of a new name, address and node, and removes that one: what a rolling update does.
// A pod can be replaced once, and is not to be changed in other rounds.
func (c *Changes) Replace(pod int) Round {
	p := c.log.Cluster.Pods[pod]
	old := podSubject(c.log.Cluster.Namespaces[p.Namespace].Name, p.Name)
	number := c.pods
	c.pods++
	p.Name, p.Node = fmt.Sprintf("new-%d", number), randomNode(number, c.log.Cluster.Nodes)
	return Round{step(PodAdded, c.log.podEntry(number, p)), step(PodRemoved, gone(Entry{Subject: old}, uidOf(pod)))}
}

// relabelPod gives a pod the labels of another, and its own again. Where no label of pods is the console's, there is nothing
// to relabel.
func (c *Changes) relabelPod() Round {
	number, p := c.anyPod()
	if len(c.log.Cluster.requested(p.Labels)) == 0 {
		return nil
	}
	own := step(PodRelabelled, c.log.podEntry(number, p))
	p.Labels = c.otherLabels(p)
	return Round{step(PodRelabelled, c.log.podEntry(number, p)), own}
}

// otherLabels are those of a pod that has others. Where all have the same, they are none.
func (c *Changes) otherLabels(p Pod) []Label {
	for range 20 {
		if _, other := c.anyPod(); !slices.Equal(c.log.Cluster.requested(other.Labels), c.log.Cluster.requested(p.Labels)) {
			return other.Labels
		}
	}
	return nil
}

// readdressPod gives a pod another address, and its own again.
func (c *Changes) readdressPod() Round {
	number, p := c.anyPod()
	own := step(PodReaddressed, c.log.podEntry(number, p))
	e := c.log.podEntry(number, p)
	e.Fact.GetPod().Addresses = []string{addressOf(c.pods).String()}
	c.pods++
	return Round{step(PodReaddressed, e), own}
}

// relabelNamespace gives a namespace the labels of another or, where it has none but its name, one that no policy names in
// the name's place; and its own again.
func (c *Changes) relabelNamespace() Round {
	cluster := c.log.Cluster
	number := c.source.IntN(len(cluster.Namespaces))
	n := cluster.Namespaces[number]
	own := step(NamespaceRelabelled, c.log.profileEntry(number, cluster.assigned(n)))
	moved := []Label{c.log.spare}
	if len(n.Labels) > 0 {
		n.Labels = c.otherNamespace(n).Labels
		moved = cluster.assigned(n)
	}
	return Round{step(NamespaceRelabelled, c.log.profileEntry(number, moved)), own}
}

// otherNamespace draws one with other labels, if there is any.
func (c *Changes) otherNamespace(n Namespace) Namespace {
	for range 20 {
		if other := c.log.Cluster.Namespaces[c.source.IntN(len(c.log.Cluster.Namespaces))]; !slices.Equal(other.Labels, n.Labels) {
			return other
		}
	}
	return Namespace{}
}

// anyRuleSet draws a rule set that has rules.
func (c *Changes) anyRuleSet() (number int, policies []Policy) {
	for {
		number = c.source.IntN(len(c.log.sets))
		if policies = c.log.sets[number]; slices.ContainsFunc(policies, func(p Policy) bool { return len(p.Rules) > 0 }) {
			return number, policies
		}
	}
}

// Policy provisions a rule set like some other, on a port of its own, and then none.
func (c *Changes) Policy() Round {
	_, policies := c.anyRuleSet()
	return c.provision(PolicyAdded, PolicyRemoved, c.onPort(policies))
}

// addRuleForAll provisions a rule set with one rule from everyone to everyone, and then none.
func (c *Changes) addRuleForAll() Round {
	c.ports++
	return c.provision(RuleForAllAdded, RuleForAllRemoved, []Policy{{Namespace: Whole, Rules: []Rule{{Protocol: 6, Port: c.ports}}}})
}

func (c *Changes) provision(added, removed string, policies []Policy) Round {
	number := c.sets
	c.sets++
	object := c.log.ruleSetEntry(number, policies)
	first := step(added, append([]Entry{object}, c.log.manifestEntries()...)...)
	delete(c.log.console.entries, hrefOf(object.Fact.GetPceObject()))
	return Round{first, step(removed, c.log.manifestEntries()...)}
}

// editPolicy provisions a rule set with the ports of one of its rules changed.
func (c *Changes) editPolicy() Round {
	number, policies := c.anyRuleSet()
	policies = slices.Clone(policies)
	for i, p := range policies {
		if len(p.Rules) > 0 {
			policies[i] = c.onPort(policies[i : i+1])[0]
			policies[i].Rules = append(policies[i].Rules, p.Rules[1:]...)
			break
		}
	}
	object := c.log.ruleSetEntry(number, policies)
	return Round{step(PolicyEdited, append([]Entry{object}, c.log.manifestEntries()...)...)}
}

// onPort gives the policies' first rules, on a port that no other has.
func (c *Changes) onPort(policies []Policy) []Policy {
	c.ports++
	out := make([]Policy, len(policies))
	for i, p := range policies {
		out[i] = Policy{Namespace: p.Namespace}
		if len(p.Rules) > 0 {
			r := p.Rules[0]
			r.Protocol, r.Port = 6, c.ports
			out[i].Rules = []Rule{r}
		}
	}
	return out
}
