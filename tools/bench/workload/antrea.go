package workload

import "fmt"

// The workloads of Antrea's networkpolicy_controller_perf_test.go. All of its policies have the types Ingress and Egress,
// one ingress rule at most, and no ports.

// one gives labels of one key.
func one(key, value string) []Label { return []Label{{key, value}} }

// pod adds a pod to the last namespace, on a random node.
func (c *Cluster) pod(name string, labels []Label) int {
	n := len(c.Pods)
	c.Pods = append(c.Pods, Pod{Namespace: len(c.Namespaces) - 1, Node: randomNode(n, c.Nodes), Name: name, Labels: labels})
	return n
}

// namespace adds a namespace.
func (c *Cluster) namespace(name string, labels ...Label) {
	c.Namespaces = append(c.Namespaces, Namespace{Name: name, Labels: labels})
}

// policy adds a policy to the last namespace.
func (c *Cluster) policy(rules ...Rule) {
	c.Policies = append(c.Policies, Policy{Namespace: len(c.Namespaces) - 1, Rules: rules})
}

// Small is Antrea's XLargeScaleWithSmallNamespaces: in each namespace two pods of each of two apps, a policy that denies
// everything, and one for each app that lets it talk to itself.
func Small(namespaces int) *Cluster {
	c := &Cluster{ID: "A1", About: "Antrea, SmallNamespaces", Nodes: Nodes}
	first, second := one("app-1", "scale-1"), one("app-2", "scale-2")
	for i := range namespaces {
		c.namespace(randomText(i, 8))
		c.policy()
		for j, app := range [][]Label{first, second} {
			c.policy(Rule{Consumers: app, Providers: app})
			c.pod(fmt.Sprintf("pod%d", 2*j+1), app)
			c.pod(fmt.Sprintf("pod%d", 2*j+2), app)
		}
	}
	c.Pairs = []Pair{{From: 0, To: 1, Port: 80, Allowed: true}, {From: 0, To: 2, Port: 80}, {From: 3, To: 2, Port: 8080, Allowed: true}}
	if namespaces > 1 {
		c.Pairs = append(c.Pairs, Pair{From: 0, To: 4, Port: 80})
	}
	return c
}

// Large is Antrea's XLargeScaleWithLargeNamespaces: in each namespace ten pods of each of a hundred apps, a policy that
// denies everything, and one for each app that lets it talk to itself.
func Large(namespaces int) *Cluster {
	const apps, replicas = 100, 10
	c := &Cluster{ID: "A2", About: "Antrea, LargeNamespaces", Nodes: Nodes}
	for i := range namespaces {
		c.namespace(randomText(i, 8))
		c.policy()
		for j := range apps {
			app := one(fmt.Sprintf("app-%d", j), fmt.Sprintf("scale-%d", j))
			c.policy(Rule{Consumers: app, Providers: app})
			for k := range replicas {
				c.pod(fmt.Sprintf("pod-%d-%d", j, k), app)
			}
		}
	}
	c.Pairs = []Pair{{From: 0, To: 9, Port: 80, Allowed: true}, {From: 0, To: 10, Port: 80}, {From: 999, To: 990, Port: 80, Allowed: true}}
	return c
}

// One is Antrea's XLargeScaleWithOneNamespace: pods of one label, and as many policies, each of which lets that label talk
// to itself.
func One(pods int) *Cluster {
	c := &Cluster{ID: "A3", About: "Antrea, OneNamespace", Nodes: Nodes}
	c.namespace(randomText(0, 8))
	app := one("app-1", "scale-1")
	for i := range pods {
		c.policy(Rule{Consumers: app, Providers: app})
		c.pod("pod-"+randomText(i, 8), app)
	}
	c.Pairs = []Pair{{From: 0, To: 1, Port: 80, Allowed: true}, {From: pods - 1, To: 0, Port: 443, Allowed: true}}
	return c
}

// PerPod is Antrea's XLargeScaleWithNetpolPerPod: pairs of pods, each with a label of its own and a policy that lets the
// other of the pair in.
func PerPod(pairs int) *Cluster {
	c := &Cluster{ID: "A4", About: "Antrea, NetpolPerPod", Nodes: Nodes}
	c.namespace(randomText(0, 8))
	for i := range pairs {
		a := one("app", "scale-"+randomText(2*i+1, 8))
		b := one("app", "scale-"+randomText(2*i+2, 8))
		c.policy(Rule{Consumers: b, Providers: a})
		c.policy(Rule{Consumers: a, Providers: b})
		c.pod("pod-"+randomText(2*i+1, 8), a)
		c.pod("pod-"+randomText(2*i+2, 8), b)
	}
	c.Pairs = []Pair{{From: 0, To: 1, Port: 80, Allowed: true}, {From: 1, To: 0, Port: 80, Allowed: true}}
	if pairs > 1 {
		c.Pairs = append(c.Pairs, Pair{From: 0, To: 2, Port: 80}, Pair{From: 0, To: 3, Port: 80})
	}
	return c
}

// Scoped is Antrea's XLargeScaleWithClusterScopedNetpol: namespaces of companies, ten to a company, each with ten pods of
// each of ten apps, and a policy for each app that lets in the same app of all namespaces of the company.
func Scoped(namespaces int) *Cluster {
	const apps, replicas, perCompany = 10, 10, 10
	c := &Cluster{ID: "A5", About: "Antrea, ClusterScopedNetpol", Nodes: Nodes}
	companies := max(1, namespaces/perCompany)
	for i := range namespaces {
		company := Label{"company", fmt.Sprintf("company-%d", i%companies)}
		c.namespace(company.Value+"-"+randomText(i, 8), company)
		for j := range apps {
			app := Label{"app", fmt.Sprintf("scale-%d", j)}
			c.policy(Rule{Consumers: []Label{company, app}, Providers: []Label{app}, Everywhere: true})
			for k := range replicas {
				c.pod(fmt.Sprintf("pod-%d-%d", j, k), []Label{app})
			}
		}
	}
	c.Pairs = []Pair{{From: 0, To: 9, Port: 80, Allowed: true}, {From: 0, To: 10, Port: 80}}
	if next := companies * apps * replicas; next < len(c.Pods) {
		c.Pairs = append(c.Pairs, Pair{From: 0, To: next, Port: 80, Allowed: true}, Pair{From: next + 10, To: 0, Port: 80})
	}
	if companies > 1 {
		c.Pairs = append(c.Pairs, Pair{From: 0, To: apps * replicas, Port: 80})
	}
	return c
}
