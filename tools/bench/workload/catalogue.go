package workload

import "fmt"

// Kind is a workload that can be made in any size.
type Kind struct {
	ID, About string
	// Rank says when it is measured where nothing is chosen: in every mode, cold only, or not at all.
	Rank Rank
	// Make makes it; scale 1 is the size that the peers measured.
	Make func(scale float64) *Cluster
}

// Rank says how much of a workload is worth its time.
type Rank int

const (
	// Main workloads are those of the targets.
	Main Rank = iota
	// Variant is of a main one.
	Variant
	// Extreme is measured only when it is asked for.
	Extreme
)

// named gives a cluster the id under which it is listed.
func (k Kind) named(c *Cluster) *Cluster {
	c.ID = k.ID
	return c
}

// Catalogue lists the workloads in the order of reports.
func Catalogue() []Kind {
	out := []Kind{
		{"A1", "Antrea SmallNamespaces: 25,000 namespaces, 100,000 pods, 75,000 policies", Main, func(s float64) *Cluster { return Small(scaled(25_000, s, 20)) }},
		{"A2", "Antrea LargeNamespaces: 100 namespaces, 100,000 pods, 10,100 policies", Main, func(s float64) *Cluster { return Large(scaled(100, s, 2)) }},
		{"A3", "Antrea OneNamespace: 10,000 pods of one label, 10,000 policies", Main, func(s float64) *Cluster { return One(scaled(10_000, s, 20)) }},
		{"A4", "Antrea NetpolPerPod: 10,000 pods, a policy for each", Main, func(s float64) *Cluster { return PerPod(scaled(5_000, s, 20)) }},
		{"A5", "Antrea ClusterScopedNetpol: 1,000 namespaces, 100,000 pods, 10,000 policies", Main, func(s float64) *Cluster { return Scoped(scaled(1_000, s, 20)) }},
		{"C1-1k", "Calico IsolatedCustomers, 1,000", Variant, func(s float64) *Cluster { return Customers(scaled(1_000, s, 20), EveryLabel) }},
		{"C1-10k", "Calico IsolatedCustomers, 10,000", Variant, func(s float64) *Cluster { return Customers(scaled(10_000, s, 20), EveryLabel) }},
		{"C1", "Calico IsolatedCustomers, 100,000: pods of 15 labels, five of them unique", Main, func(s float64) *Cluster { return Customers(scaled(100_000, s, 20), EveryLabel) }},
		{"C1-run", "C1 with the values that Calico's generator really makes", Variant, func(s float64) *Cluster { return Customers(scaled(100_000, s, 20), AsRun) }},
		{"C1-named", "C1 where only keys that a policy names are labels of the console", Variant, func(s float64) *Cluster { return Customers(scaled(100_000, s, 20), NamedLabels) }},
		{"C2", "Calico Snapshot200Local250k: 250,200 pods, 10,000 policies; the markers that they name are labels", Main, func(s float64) *Cluster { return tags(s, NamedLabels) }},
		{"G", "Antrea SyncAddressGroup: 1,000 pods in one address set, 1,000 policies on it", Main, func(s float64) *Cluster { return Group(scaled(1_000, s, 20)) }},
	}
	for _, k := range []int{100, 1_000, 10_000, 100_000} {
		out = append(out, Kind{fmt.Sprintf("I-%d", k), fmt.Sprintf("Calico labelindex: 10,000 pods, %d rules", k), Main,
			func(s float64) *Cluster { return Selectors(scaled(k, s, 20), scaled(10_000, s, 50)) }})
	}
	out = append(out, Kind{"M", "a city: 100,000 pods, 1,000 label sets, 10,000 rules, 1,000 nodes", Main, func(s float64) *Cluster {
		return City(Shape{Pods: scaled(100_000, s, 20), LabelSets: scaled(1_000, s, 20), Rules: scaled(10_000, s, 20), Nodes: scaled(Nodes, s, 5)})
	}})
	out = append(out, Kind{"C2-all", "C2 where all six labels and the namespace are labels of the console: 191,400 policies of 3,226 rules; hours", Extreme, func(s float64) *Cluster {
		return tags(s, EveryLabel)
	}})
	for i, k := range out {
		out[i].Make = func(scale float64) *Cluster { return k.named(k.Make(scale)) }
	}
	return out
}

// scaled is never less than a floor, below which what is sampled would not exist.
func scaled(n int, scale float64, floor int) int { return max(min(n, floor), int(float64(n)*scale)) }

func tags(scale float64, flavour Flavour) *Cluster {
	return Tags(scaled(250_000, scale, 50), scaled(10_000, scale, 62), flavour)
}
