// Package workload makes the clusters that the benchmarks fold: those of Antrea's and Calico's own benchmarks, rebuilt in
// our model, and a few of ours for what theirs do not have. It knows no engine and measures nothing.
//
// A [Cluster] is written in the peers' words: namespaces, pods with labels, policies with a subject and peers.
// [Cluster.Log] says it in ours, always in the same way:
//
//  1. A pod is a bare Pod fact with its Kubernetes labels. The LabelMap makes each of them the label of the console of the
//     same key and value. Where a cluster names its Keys, only labels of those keys are the console's.
//  2. A namespace is a Namespace fact and a container workload profile of its own: managed, full enforcement, and with an
//     assignment for each of the namespace's labels. Its name is the label of key ns.
//  3. A policy is a rule set of its own. Its scope is the namespace's name, or everything. Its subject is the provider of
//     each ingress rule and the consumer of each egress rule; the peers are the other side. One rule of ours opens both
//     ends, so that where the peers compile one direction we compile two. A policy that only denies is a rule set without
//     rules: full enforcement denies what no rule allows.
//  4. Labels, the built-in service for all ports, IP lists and the manifest in chunks are facts like all others, and their
//     cost is part of ours.
//
// The same cluster is the same bytes in every run: what looks random is drawn from the number of the object.
package workload
