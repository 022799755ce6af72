// Package watcher is the service that turns the objects of a Kubernetes cluster into facts in the event log.
//
// It promises:
//
//  1. What the log holds of the cluster becomes what the cluster is. Whoever is behind (the watcher was down, the log was
//     lost, a publication failed) is brought up by comparing both sides and writing the difference, tombstones included.
//     No change is remembered as an event, so none can be lost: an object is marked, and its newest state is written.
//  2. A fact is written only when something changed that policy needs, or an annotation of those that the console is told of by
//     the operator's wish. Where that list of annotations changed, the facts that differ by it are written at the next start.
//  3. Facts of one object are written in the order of its states. Of states that follow each other quickly only the last
//     may be written.
//  4. One watcher writes, by a Lease; the others stand by with warm caches. One that sees another take its lease stops
//     writing and ends. While the API server is away the last facts stay, and nothing is written.
//  5. A LabelMap is a custom resource: where the API server does not serve that kind there is none, and it is looked for again,
//     with back-off. What is not known, as long as the API server does not say, is not taken for gone.
//  6. The tombstone of a controller follows those of its pods, so that they keep their labels while they are shut down.
//
// It computes no policy and does not talk to the console. Package kubefact says what the fact of an object is.
package watcher
