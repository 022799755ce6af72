package demo

import (
	"fmt"
	"strings"
)

// Workload is one workload of the sample shop.
type Workload struct {
	Name, Namespace string
	Port            int // on which its pods listen; 0 for one that only calls
	ServicePort     int // of the Service of the same name; 0 for none
}

// The sample: a shop of three tiers, the payments that its api calls, and a pod that has no business anywhere.
var sample = []Workload{
	{Name: "web", Namespace: "shop", Port: 8080, ServicePort: 80},
	{Name: "api", Namespace: "shop", Port: 8080, ServicePort: 80},
	{Name: "database", Namespace: "shop", Port: 5432, ServicePort: 5432},
	{Name: "ledger", Namespace: "payments", Port: 8080, ServicePort: 80},
	{Name: "intruder", Namespace: "intruder"},
}

// Namespaces of the sample, with the app label that their profiles assign.
var sampleNamespaces = []string{"shop", "payments", "intruder"}

// connection is a pair of workloads by name.
type connection struct{ from, to string }

// allowed is what the sample's rules allow, and nothing else.
var allowed = map[connection]bool{
	{"web", "api"}:      true,
	{"api", "database"}: true,
	{"api", "ledger"}:   true,
}

// Selector of the pods of a workload.
func (w Workload) Selector() string { return "app=" + w.Name }

// Key names a workload the way explain and the reachability checker do.
func (w Workload) Key() string { return w.Namespace + "/" + w.Name }

// Via is the way to a destination.
type Via string

// The ways that are probed.
const (
	ViaPod     Via = "pod"      // the pod's IPv4 address
	ViaPodIPv6 Via = "pod-ipv6" // the pod's IPv6 address, on clusters that have them
	ViaService Via = "service"  // the Service's name
)

// Outcome of a probe, as expected or observed.
type Outcome string

// Outcomes.
const (
	Connects Outcome = "connects"
	Blocked  Outcome = "blocked"
)

// Observation is one line of the reachability matrix.
type Observation struct {
	From     string  `json:"from"`
	To       string  `json:"to"`
	Port     int     `json:"port"`
	Via      Via     `json:"via"`
	Phase    string  `json:"phase"`
	Expected Outcome `json:"expected"`
	Observed Outcome `json:"observed"`
	// Detail says which pods on which nodes, and how a connection failed.
	Detail string `json:"detail,omitempty"`
}

// OK tells whether the observation is what was expected.
func (o Observation) OK() bool { return o.Expected == o.Observed }

// Key names a workload of the sample with its namespace.
func Key(name string) string { return workload(name).Key() }

func workload(name string) Workload {
	for _, w := range sample {
		if w.Name == name {
			return w
		}
	}
	panic(fmt.Sprintf("the sample has no workload %q", name))
}

// pairs lists every ordered pair of workloads of which the second listens.
func pairs() []connection {
	var all []connection
	for _, from := range sample {
		for _, to := range sample {
			if from.Name != to.Name && to.Port != 0 {
				all = append(all, connection{from.Name, to.Name})
			}
		}
	}
	return all
}

// Everything expects each connection to open, as before enforcement.
func Everything(_, _ string) Outcome { return Connects }

// ByTheRules expects what the sample's rules allow once they are enforced.
func ByTheRules(from, to string) Outcome {
	if allowed[connection{from, to}] {
		return Connects
	}
	return Blocked
}

func wrong(observations []Observation) []Observation {
	var bad []Observation
	for _, o := range observations {
		if !o.OK() {
			bad = append(bad, o)
		}
	}
	return bad
}

func explainWrong(observations []Observation) error {
	bad := wrong(observations)
	if len(bad) == 0 {
		return nil
	}
	var lines []string
	for _, o := range bad {
		lines = append(lines, fmt.Sprintf("%s: %s to %s port %d via %s: expected %s, observed %s (%s)",
			o.Phase, o.From, o.To, o.Port, o.Via, o.Expected, o.Observed, o.Detail))
	}
	return fmt.Errorf("%d of %d observations differ from the expectation:\n  %s", len(bad), len(observations), strings.Join(lines, "\n  "))
}
