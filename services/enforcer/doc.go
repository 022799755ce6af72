// Package enforcer is the node's agent: it finds the pods of its node through the container runtime, follows the node's
// policy in the event log, and keeps each pod's network namespace programmed with it. It reports what is in force and
// which flows it saw.
//
// It never talks to Kubernetes or the PCE, and its module graph has no client-go.
//
// # Promises
//
//  1. A pod is touched only once a complete policy of this node was received, or an operator asked for everything to be
//     opened. Until then, and after a stop or crash, what is in the kernel stays in force.
//  2. A policy that cannot be programmed leaves the pod's previous one in force; the status says why, and it is tried
//     again with back-off.
//  3. The version, window and provisioned version in the status are of a policy that is in the kernel of every pod of the
//     plan that runs here, as far as a listing of the runtime that was begun afterwards knows.
//  4. Pods that the plan does not name are not touched, unless they carry a table from when it did: that is opened.
//  5. The break-glass file opens every pod, without log or API server, over restarts, until it is removed.
//
// # Limits
//
// Connections that were open before a pod's first policy are new to the kernel's connection tracking, which begins with
// that policy: the first packet that it sees decides. A pod that is enforced from its start, or was in visibility_only
// before, does not meet this. Between the start of a sandbox and the arrival of its plan a pod is open.
//
// # Parts
//
// The log delivers policy and the runtime lists sandboxes; both go into the node's state, which gives every sandbox an
// order: enforce a policy, open, or leave alone. One keeper a sandbox carries its orders out, the newest only, a few
// keepers at a time. A status loop and a flow loop report. Package datapath is what a keeper asks of the packet filter,
// nft does it, flowlog reads flows, cri asks the runtime.
package enforcer
