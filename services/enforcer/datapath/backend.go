package datapath

import "github.com/ringfence/ringfence/services/enforcer/podnetns"

// Backend filters packets inside network namespaces.
type Backend interface {
	// Attach opens a lasting connection into the namespace and changes nothing there. The guard keeps its own
	// reference to the namespace: the caller may close the handle.
	Attach(ns *podnetns.Handle) (Guard, error)
}

// Guard programs one network namespace. It is not safe for concurrent use; guards of different namespaces are
// independent of each other.
type Guard interface {
	// Apply makes the namespace enforce the policy, in one transaction: on an error what was enforced before stays. The
	// first Apply adopts what an earlier process left, whatever it is.
	Apply(p Policy) (Change, error)
	// Open lets everything pass and reports nothing, where the namespace was ever programmed; elsewhere it does nothing.
	Open() error
	// Remove takes out everything that Apply put in. It is for an operator's explicit release alone.
	Remove() error
	// Close ends the connection. What is programmed stays in force.
	Close() error
}

// Change says what an Apply sent to the kernel.
type Change struct {
	// Full is set when chains and sets were flushed and refilled, and read back.
	Full bool
	// Elements counts set elements that were added or deleted.
	Elements int
}
