// Package access is the table of who may do what on the event log: from an identity to subjects of NATS.
//
// It promises:
//
//  1. Nobody may do more than what libs/eventlog puts on the wire for their part. Subjects of other nodes are in no
//     enforcer's rights, and no form of a request that carries its subject in the payload, where it cannot be held, is in
//     the rights of anybody who may not read the whole stream.
//  2. Enforcers are in an account of their own, and so are people. The server may be asked to send an answer to any
//     subject, with its own rights; in such an account the answer reaches neither a stream nor a service. Nor may they
//     make consumers, whose deliveries go to any subject of the log's account. watcher and pce-bridge may, and are
//     trusted with each other's facts.
//  3. Everybody has an inbox of their own, and may listen to no other.
//
// The same table serves the embedded server and an auth callout of an external one. It knows nothing of either: whoever
// authenticates clients turns Rights into what its server understands.
package access
