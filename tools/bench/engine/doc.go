// Package engine measures libs/clas on the clusters of package workload, in the ways in which policy-store uses it: folding
// a log from its start, restarting from a snapshot, and following single changes.
//
// Every measurement checks what it measured: a fold that is refused a fact, or that gives another number of policies than
// the cluster has label sets, is an error and not a time.
package engine
