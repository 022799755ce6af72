// Package kubefact turns Kubernetes objects into facts: what policy needs of them, the annotations that the console is to be
// told of beside, and nothing else.
//
// It promises:
//
//  1. It is pure: no I/O, no clock, no state. The same objects give the same facts.
//  2. An object that cannot be right (an address that is none, a protocol that does not exist) gives an error that names
//     the object and the field, and no fact.
//  3. Trim keeps everything that Observe reads: what an Observer trimmed gives it the fact of the whole object.
//  4. No annotation enters a fact but by the rule below: people keep secrets in annotations.
//
// Two rules are decided here. The owner chain: a pod belongs to the controller above it, and ReplicaSets, Jobs and
// ReplicationControllers pass their pods on to the controller above them; every other kind is final, whether this
// package knows it or not. The annotations: com.illumio.* and meta.illumio.* are kept, which carry meaning for policy,
// and those that an Observer was given by their full names, which carry none; of a controller, those of the object itself
// win over those of its pod template.
//
// It does not watch, list or publish; package watcher does.
package kubefact
