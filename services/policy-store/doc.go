// Package policystore is the service that hosts the event log and folds its facts into policy.
//
// It promises:
//
//  1. A fact that was acknowledged is on disk. A log that is full refuses new facts; it forgets old ones only below a
//     snapshot that was read back and verified.
//  2. Nothing is published in an incarnation of the log before watcher and pce-bridge are both in sync in it.
//  3. What is published follows the facts in their order: within milliseconds when calm, at most four times a second under
//     load, by numbered windows. The numbers go on after a restart.
//  4. A fact that the engine refuses gives one line and a metric, and the object's last good state stays.
//  5. When facts were lost, which a gap in their sequence tells, it begins a new incarnation, so that the producers write
//     everything again; until they have, the last policy stays.
//  6. Where it is told to, it lets nobody in without a token that proves who they are, and gives them the rights of that alone:
//     on its own server, and on an external cluster, whose servers ask it about each client. A token ends with its pod.
//  7. When the disk fails it says so once, goes on serving what it has, and starts the log anew once the disk takes writes.
//
// It talks neither to the PCE nor to Kubernetes. All others reach the log by NATS on its port; only this package uses the
// server that is within its own process, and nothing but the dialing of its own connection depends on that.
package policystore
