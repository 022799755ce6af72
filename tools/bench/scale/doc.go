// Package scale runs a cluster of a thousand nodes on one machine, without its nodes: the real policy-store in a process of its
// own, the facts of a hundred thousand pods, and a thousand enforcers without a datapath, each on a connection of its own, in a
// few other processes. It measures what policy-store needs and how soon the nodes have what changed.
//
// It goes through the life of a cluster:
//
//  1. Cold start. The nodes wait at an empty log. Watcher and bridge write the whole cluster at once, and say that they are
//     in sync. Measured from the first fact until the last node has its policy.
//  2. Steady state. Pods are replaced, each by one of a new address on another node. In the middle pods of a rolling update
//     come on top, a rule set is provisioned, and later every tenth node loses its connection.
//  3. The end. Every node must hold just what an engine computes that folds the same log in one go: its plan, and every
//     policy and address set that the plan refers to. One difference is an error.
//
// The latency of a fact is the time from its acknowledgement, when it is on disk, until the last of all nodes was given a
// state of its sequence or a later one. That is more than is wanted, which is the nodes concerned: all get every window.
// Facts around the cut, until ten seconds after it, do not count, for then nodes are away; how long those take to be back is a figure of its
// own.
//
// The clock is the machine's, which all processes share.
package scale
