package console

import (
	"maps"
	"slices"

	"github.com/ringfence/ringfence/libs/pce"
)

// duplicateMachine is the error of a node that is on a machine which another workload has.
const duplicateMachine = "duplicate_machine_id"

// clusterError is an entry of a cluster's errors. The node is what tells when it is over.
type clusterError struct {
	Type       string   `json:"error_type"`
	Duplicates []string `json:"duplicate_ids"`
	AuditEvent pce.Ref  `json:"audit_event"`
	Node       string   `json:"node"`
}

func errorsOf(cluster document) []clusterError {
	var all []clusterError
	if decodeInto(normal(cluster["errors"]), &all) != nil {
		return nil
	}
	return all
}

// noteDuplicates brings the cluster's errors up to date with a report of nodes: an error lasts until its node is reported on a
// machine of its own. The event of an error is the edit in which it appears.
func (h *hostsEdit) noteDuplicates() {
	before := errorsOf(h.state.get(tableClusters, h.cluster).Doc)
	after := slices.DeleteFunc(slices.Clone(before), func(e clusterError) bool {
		machine, still := h.duplicates[e.Node]
		return h.distinct[e.Node] != "" || (still && !slices.Contains(e.Duplicates, machine))
	})
	for _, node := range slices.Sorted(maps.Keys(h.duplicates)) {
		if !slices.ContainsFunc(after, func(e clusterError) bool { return e.Node == node }) {
			after = append(after, clusterError{
				Type: duplicateMachine, Duplicates: []string{h.duplicates[node]}, AuditEvent: pce.Ref{Href: eventHref(eventID(h.state.last + 1))}, Node: node,
			})
		}
	}
	if len(before)+len(after) > 0 {
		h.updateReported(h.cluster, document{}.set("errors", orEmpty(after)))
	}
}

// withoutErrorsOf gives the errors of a cluster less those of nodes that it no longer has.
func withoutErrorsOf(cluster document, nodes []pce.ClusterNode) []clusterError {
	return orEmpty(slices.DeleteFunc(errorsOf(cluster), func(e clusterError) bool {
		return !slices.ContainsFunc(nodes, func(n pce.ClusterNode) bool { return n.Name == e.Node })
	}))
}
