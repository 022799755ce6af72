// Package clas is the Cluster Local Actor Store: the engine that folds the facts of a cluster into its policy.
//
// Facts about Kubernetes objects and about the console's rules go in by [Engine.Apply]; compiled policy comes out by
// [Engine.Flush] as what changed, or by [Engine.Policy] as a whole. [Engine.Explain] answers from the same compiled state
// why a connection is allowed or not, and what would turn that round. What it computes is docs/policy-model.md, sentence by
// sentence; testdata/spec has a case for each.
//
// The package does no I/O and knows no clock, randomness or log; the events' order and the publication of what comes out are
// its callers' business. Policy-store uses it live, the command line to replay, tests to predict.
//
// What it promises:
//
//  1. Policy is a function of the facts in the order of the log. Applied in one go, in pieces with flushes anywhere
//     between, repeated from some earlier place on, or restored from a snapshot with the rest applied after, the same facts
//     give the same policy, byte for byte, and the same [Engine.Digest].
//  2. The deltas of consecutive flushes, applied to what the flushes before gave, make exactly what Policy gives. A flush
//     names nothing that did not change.
//  3. A fact that is malformed is refused with an error that names the object and the field, and the object's last good
//     fact stays in force.
//  4. What refers to something missing matches nothing, never everything, and is named in a warning. A label that is gone
//     leaves the other labels of its key matching; if even its key was never known, the labels beside it match nothing
//     either, for it may have narrowed them.
//  5. A version of the console's policy takes effect at the fact that completes it and not before: all chunks of the
//     manifest and all objects that it lists, verified by their hash. Until then the version before stays in force. The
//     latest complete version in the order of the log wins, also over a higher number: consoles are restored from backups.
//  6. An address belongs to one actor, so that it is in the address sets of one label set or of none.
//  7. A fact costs what depends on it. One about a pod costs the address sets that its label set is in, and its place in the
//     plan of its node, whatever the size of the cluster; what it allocates is in a test. Policies are computed once for a
//     label set and mode, and anew only when a rule, a label that a rule names, or a Service that it reaches changes.
//  8. Identifiers are hashes: of the selector for an address set, of label set and mode for a workload policy, of the href
//     for a rule. They mean the same in every cluster and every run.
//
// Facts given to an engine and messages taken from it are shared with it and must not be changed by anyone. An engine is
// not safe for concurrent use; what [Engine.Snapshot] gives may be consumed elsewhere while the engine goes on.
package clas
