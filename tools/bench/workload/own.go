package workload

import "fmt"

// Workloads of ours, for what the peers measure in parts or not at all.

// Selectors is Calico's label index benchmark: k selectors alpha=beta and has(ipset-i), each here on both sides of a rule,
// and pods that one of them matches, each in a namespace of its own that has no labels. What its benchmark has no policies
// for is in rule sets of a hundred.
func Selectors(k, pods int) *Cluster {
	c := &Cluster{ID: fmt.Sprintf("I(%d)", k), About: fmt.Sprintf("Calico, labelindex, %d selectors", k), Nodes: Nodes, PoliciesInSet: 100}
	member := func(i int) []Label { return []Label{{"alpha", "beta"}, {fmt.Sprintf("ipset-%d", i), "true"}} }
	for i := range k {
		c.Policies = append(c.Policies, Policy{Namespace: Whole, Rules: []Rule{{Consumers: member(i), Providers: member(i)}}})
	}
	for i := range pods {
		c.Namespaces = append(c.Namespaces, Namespace{Name: fmt.Sprintf("namespace-%d", i), Unnamed: true})
		c.pod(fmt.Sprintf("wep-%d", i), member(i%k))
	}
	if pods > k {
		c.Pairs = append(c.Pairs, Pair{From: 0, To: k, Port: 80, Allowed: true})
	}
	c.Pairs = append(c.Pairs, Pair{From: 0, To: 1, Port: 80})
	return c
}

// Group is Antrea's BenchmarkSyncAddressGroup: one address group of pods, and as many policies that refer to it.
func Group(pods int) *Cluster {
	c := One(pods)
	c.ID, c.About = "G", fmt.Sprintf("Antrea, SyncAddressGroup, %d", pods)
	return c
}

// Shape is the size of a city.
type Shape struct{ Pods, LabelSets, Rules, Nodes int }

// roles of a city's apps.
const roles = 5

// City is a cluster as large ones are used: apps of five roles, a namespace and a rule set for each app, pods spread over
// the label sets, and rules from role to role on ports of their own.
func City(s Shape) *Cluster {
	c := &Cluster{ID: "M", About: fmt.Sprintf("%d pods, %d label sets, %d rules, %d nodes", s.Pods, s.LabelSets, s.Rules, s.Nodes), Nodes: s.Nodes}
	apps := max(1, s.LabelSets/roles)
	role := func(i int) []Label { return one("role", fmt.Sprintf("role-%d", i%roles)) }
	for a := range apps {
		c.Namespaces = append(c.Namespaces, Namespace{Name: fmt.Sprintf("app-%d", a), Unnamed: true,
			Labels: []Label{{"app", fmt.Sprintf("app-%d", a)}, {"env", "prod"}}})
		var rules []Rule
		for r := a; r < s.Rules; r += apps {
			n := len(rules)
			rules = append(rules, Rule{Consumers: role(n), Providers: role(n + 1 + n/roles), Protocol: 6, Port: uint32(8000 + n)})
		}
		c.Policies = append(c.Policies, Policy{Namespace: a, Rules: rules})
	}
	for i := range s.Pods {
		c.Pods = append(c.Pods, Pod{Namespace: i % apps, Node: randomNode(i, s.Nodes), Name: fmt.Sprintf("pod-%d", i), Labels: role(i / apps)})
	}
	c.Pairs = []Pair{{From: 0, To: apps, Port: 8000, Allowed: true}, {From: apps, To: 0, Port: 8000}}
	if apps > 1 {
		c.Pairs = append(c.Pairs, Pair{From: 0, To: apps + 1, Port: 8000})
	}
	return c
}
