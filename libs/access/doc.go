// Package access is the table of who may do what on the event log: from an identity to subjects of NATS.
//
// It promises:
//
//  1. Nobody may do more than what libs/eventlog puts on the wire for their part. Subjects of other nodes are in no
//     enforcer's rights, and no form of a request that carries its subject in the payload, where it cannot be held, is in
//     the rights of anybody who may not read the whole stream.
//  2. Enforcers are in an account of their own (Nodes). The server may be asked to send an answer to any subject, with
//     its own rights; in an account of their own, such an answer reaches neither a stream nor another service.
//  3. Everybody has an inbox of their own, and may listen to no other.
//
// The same table serves the embedded server and an auth callout of an external one. It knows nothing of either: whoever
// authenticates clients turns Rights into what its server understands.
package access
