// Package bridge measures pce-bridge between the console and the log: the real bridge in this process, tools/pce and policy-store in
// processes of their own, and between bridge and console a proxy that counts requests.
//
// What happens:
//
//  1. The console is given its labels and rules, and they are provisioned; each round has a container cluster of its own in it.
//  2. First full sync. The log holds what the watcher saw, and nothing of the bridge. Measured from the bridge's start until it said that
//     it is in sync and the log has an acknowledgement of the console for every Kubernetes workload.
//  3. Change. A rule set is provisioned over and over; measured from the console's answer until the version is committed in the log.
//  4. Steady state. Nothing changes, enforcers report their status as ever. Counted are the requests for each poll, a poll being one that
//     waits for changes.
//
// At the end the console must list all workloads, and the log must have every rule set of the version: anything else is an error and no
// figure.
package bridge
