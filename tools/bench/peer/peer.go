// Package peer holds what other engines need for the workloads that package workload rebuilds, as it was measured with
// their own benchmarks on a machine of this project's type; docs/benchmarks.md says which commits and which machine.
package peer

// Names of the peers with the commit that was measured.
const (
	Antrea = "antrea-io/antrea fc70f2b"
	Calico = "projectcalico/calico 87c1590"
)

// Cold is what a cold computation of a whole workload took.
type Cold struct {
	Peer string
	// Benchmark is the function that was run.
	Benchmark string
	// Seconds of wall time. For Antrea all queues were drained to a fixed point, which is the whole job, with the nodes that
	// each policy reaches; AsShipped is what its benchmark reports, which leaves that out. For NetpolPerPod the lower of the
	// two counts: drained it took 17.9 s.
	Seconds, AsShipped float64
	// OneNode says that it was computed for one node, not for all.
	OneNode bool
	// HeapMB is the live heap afterwards, AllocatedMB what was allocated; 0 where it was not measured.
	HeapMB, AllocatedMB float64
	// Faster is how many times faster Ringfence wants to be.
	Faster float64
}

// Colds are the cold computations by workload.
var Colds = map[string]Cold{
	"A1":     {Antrea, "InitXLargeScaleWithSmallNamespaces", 7.7, 3.9, false, 590, 1647, 20},
	"A2":     {Antrea, "InitXLargeScaleWithLargeNamespaces", 1.92, 0.88, false, 202, 554, 10},
	"A3":     {Antrea, "InitXLargeScaleWithOneNamespace", 12.1, 0.26, false, 572, 4528, 20},
	"A4":     {Antrea, "InitXLargeScaleWithNetpolPerPod", 17.7, 17.7, false, 79, 238, 20},
	"A5":     {Antrea, "InitXLargeScaleWithClusterScopedNetpol", 1.44, 0.62, false, 154, 468, 10},
	"C1-1k":  {Calico, "IsolatedCustomers1k", 0.052, 0, true, 9.3, 0, 0},
	"C1-10k": {Calico, "IsolatedCustomers10k", 0.51, 0, true, 39, 0, 0},
	"C1":     {Calico, "IsolatedCustomers100k", 12.6, 0, true, 315, 0, 20},
	"C2":     {Calico, "Snapshot200Local250kTotal10000TagPols", 9.5, 0, true, 283, 0, 10},
}

// Of finds the cold computation of a workload: that of its plain form where the form itself was not measured.
func Of(workload string) (Cold, bool) {
	for _, id := range []string{workload, plain(workload)} {
		if c, found := Colds[id]; found {
			return c, true
		}
	}
	return Cold{}, false
}

func plain(workload string) string {
	if len(workload) > 2 && workload[0] == 'C' {
		return workload[:2]
	}
	return workload
}

// Single changes, in microseconds, and what they allocate.
const (
	// SyncAddressGroup is Antrea's BenchmarkSyncAddressGroup: any change of one of 1,000 members.
	SyncAddressGroupMicros = 1400.0
	SyncAddressGroupBytes  = 1.2e6
	// SelectorUpdates100k is Calico's labelindex BenchmarkSelectorUpdates100000: a new selector over 100,000 endpoints.
	SelectorUpdates100kMicros = 23_000.0
)

// WorkloadUpdateMicros is Calico's labelindex BenchmarkWorkloadUpdate: one endpoint against so many selectors.
var WorkloadUpdateMicros = map[int]float64{10: 8.8, 100: 24, 1_000: 205, 10_000: 5_600}
