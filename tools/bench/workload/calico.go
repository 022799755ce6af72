package workload

import (
	"fmt"
	"slices"
	"strings"
)

// The workloads of Calico's felix/calc/calc_graph_bench_test.go. Theirs compute one node's view, ours all nodes'. What they
// call local is on node 0 and comes last.

// Flavour says which labels of the pods become labels of the console.
type Flavour int

const (
	// EveryLabel is all of them.
	EveryLabel Flavour = iota
	// AsRun is all of them, with the values that the peer's generator really makes: what it calls unique has sixteen
	// values, for it takes the low four bits of a linear congruence, which repeat.
	AsRun
	// NamedLabels are those whose key a policy names: how a console is used, which has labels for what its rules say. The
	// others stay labels of Kubernetes.
	NamedLabels
)

// Customers is Calico's IsolatedCustomers: a namespace for each customer with one pod of fifteen labels and a policy that
// lets the namespace talk to itself, and ask for names at one address.
func Customers(customers int, flavour Flavour) *Cluster {
	c := &Cluster{ID: "C1", About: fmt.Sprintf("Calico, IsolatedCustomers, %d", customers), Nodes: Nodes, RulesFirst: true}
	if flavour == NamedLabels {
		c.Keys = []string{}
	}
	unique := uniqueText
	if flavour == AsRun {
		unique = peerText
	}
	local := min(100, customers)
	var last []Pod
	for i := range customers {
		c.namespace(fmt.Sprintf("customer-%d", i), customerLabels(i, flavour, unique)...)
		c.policy(Rule{}, Rule{}, Rule{Prefix: "10.96.0.10/32", Protocol: 17, Port: 53})
		p := Pod{Namespace: i, Node: 1 + randomNode(i, Nodes-1), Name: fmt.Sprintf("app-%09x-%05x", i*7+3, uint16(i*17+5)),
			Labels: customerPod(i, unique)}
		if i%(customers/local) == 0 && len(last) < local {
			p.Node = 0
			last = append(last, p)
			continue
		}
		c.Pods = append(c.Pods, p)
	}
	c.Pods = append(c.Pods, last...)
	c.Pairs = []Pair{{From: 0, To: len(c.Pods) - 1, Port: 80}, {From: len(c.Pods) - 1, Address: "10.96.0.10", Port: 53, Allowed: true},
		{From: 0, Address: "10.96.0.10", Port: 54}}
	return c
}

// customerLabels are those of a customer's namespace. No policy names them.
func customerLabels(i int, flavour Flavour, unique func(n, length int) string) []Label {
	if flavour == NamedLabels {
		return nil
	}
	return []Label{{"namespace-id", unique(i, 20)}, {"production", fmt.Sprint(i%2 == 0)}}
}

func customerPod(i int, unique func(n, length int) string) []Label {
	pick := func(values ...string) string { return values[i%len(values)] }
	bit := func(n int) string { return fmt.Sprint(i >> n & 1) }
	labels := []Label{
		{"pod-id", unique(5*i, 20)}, {"instance-id", unique(5*i+1, 20)}, {"short-id", unique(5*i+2, 10)},
		{"config-hash", unique(5*i+3, 20)}, {"version-tag", unique(5*i+4, 8)},
		{"enabled", bit(0)}, {"debug", bit(1)}, {"canary", bit(2)}, {"managed", bit(3)},
		{"environment", pick("dev", "staging", "prod")},
		{"tier", pick("frontend", "backend", "middleware", "data")},
		{"region", pick("us-east", "us-west", "eu-west", "ap-south")},
		{"team", pick("platform", "payments", "identity", "growth", "infra")},
		{"managed-by", "saas-controller"},
		{"tenant-id", unique(i%5000, 10)},
	}
	slices.SortFunc(labels, compareLabels)
	return labels
}

// uniqueText is different for each n. It is as long as asked, eight hexadecimal digits of n in front.
func uniqueText(n, length int) string {
	text := fmt.Sprintf("%08x", uint32(n)*2654435761)
	return text + strings.Repeat("0a1b2c3d4e5f", 2)[:length-len(text)]
}

// peerText is what the peer's generator makes: the low four bits of a linear congruence depend on nothing but themselves.
func peerText(n, length int) string {
	const digits = "abcdef0123456789"
	out := make([]byte, length)
	v := uint64(n)*2654435761 + 1
	for i := range out {
		out[i] = digits[v%16]
		v = v*6364136223846793005 + 1442695040888963407
	}
	return string(out)
}

// markers are keys that pods have or do not have. Two of them come twice, in the original too.
func markers() []string {
	plain := []string{"FOO_BAR", "BIFF_BOP", "calico/FizzBuzz", "calico/BoffBip", "calico/Bazzle", "calico/Razzle",
		"calico/DoopDeeDoo", "calico/SOME_LABEL", "calico/BORED_NOW"}
	out := append([]string{"FOO_BAR"}, plain...)
	out = append(out, "MyMarkerLabel")
	for _, prefix := range []string{"x", "yx"} {
		if prefix == "yx" {
			out = append(out, "yxMyMarkerLabel")
		}
		for _, name := range plain {
			out = append(out, prefix+name)
		}
	}
	return append(out, "yxMyMarkerLabel")
}

// Tags is Calico's Snapshot200Local250kTotal10000TagPols: pods of six labels, one of which is a marker, and policies that
// let the pods of five markers reach those of another. has(marker) is the label marker=true.
func Tags(pods, policies int, flavour Flavour) *Cluster {
	const namespaces, rules, local = 100, 5, 200
	c := &Cluster{ID: "C2", About: "Calico, Snapshot200Local250k", Nodes: Nodes, RulesFirst: true}
	names := markers()
	if flavour == NamedLabels {
		c.Keys = names
	}
	for i := range policies {
		p := Policy{Namespace: Whole}
		for j := range rules {
			p.Rules = append(p.Rules, Rule{Consumers: one(names[(i+j)%len(names)], "true"), Providers: one(names[i%len(names)], "true")})
		}
		c.Policies = append(c.Policies, p)
	}
	for i := range namespaces {
		// No policy names a namespace.
		c.Namespaces = append(c.Namespaces, Namespace{Name: fmt.Sprintf("namespace-%d", i), Unnamed: flavour == NamedLabels})
	}
	for i := range pods + local {
		node := 1 + randomNode(i, Nodes-1)
		if i >= pods {
			node = 0
		}
		number := i
		if i >= pods {
			number = i - pods
		}
		c.Pods = append(c.Pods, Pod{Namespace: number % namespaces, Node: node, Name: fmt.Sprintf("wep-%d", i), Labels: tagged(i+1, names)})
	}
	// The first pods have the markers 1, 2, 3 and so on; a marker lets itself and the next four in.
	c.Pairs = []Pair{{From: 2, To: 1, Port: 80, Allowed: true}, {From: 6, To: 2, Port: 80, Allowed: true}, {From: 1, To: 3, Port: 80}, {From: 9, To: 1, Port: 80}}
	return c
}

// tagged gives the labels of a pod.
func tagged(number int, names []string) []Label {
	var labels []Label
	for _, n := range []int{10, 11, 20, 30, 40} {
		labels = append(labels, Label{fmt.Sprintf("one-in-%d", n), fmt.Sprintf("value-%d", number%n)})
	}
	labels = append(labels, Label{names[number%len(names)], "true"})
	slices.SortFunc(labels, compareLabels)
	return labels
}
