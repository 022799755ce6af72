// Package pcebridge is the pce-bridge service: the only part of Ringfence that talks to the policy console (PCE).
//
// Down, console to log: it writes the provisioned policy, labels and their keys, container workload profiles, the nodes'
// pairing profile and the console's own workloads as facts. It writes differences only; an object that went becomes a
// tombstone. Objects that the console versions are written by content, and then the manifest of the version, which commits
// them. A collection that the console does not serve (404) counts as empty.
//
// Up, log to console: it reports the cluster, its namespaces, its Kubernetes workloads, and the policy version that every
// node enforces. Which workloads the console took comes down again, as acknowledgements.
//
// What it promises:
//
//  1. A version reaches the log whole or not at all. An answer that is broken, or an object with an impossible field,
//     gives one log line that names the object and the field; the version before stays committed.
//  2. What the console holds and this version cannot express (rules for users, for other networks, …) is carried as an
//     unsupported actor, which matches nothing, with a log line that names rule set and rule. It never widens.
//  3. A version is read between two looks at its number; if the number moved, it is read again.
//  4. Facts are in an order that does not open or close more than the change itself: labels, objects, profiles and
//     workloads that become laxer, the manifest, the others, and tombstones last.
//  5. In a new incarnation of the log everything is written anew, what the console acknowledged included, then Synced.
//     Nothing is reported to the console before the watcher is in sync, so that a lost log never deletes workloads there.
//  6. A workload is acknowledged once the console gave it an href, and until the console no longer has it. While the console
//     is away nothing is acknowledged and nothing is forgotten.
//
// How it waits: where the console has our agent API, one long poll is open at all times and a change is fetched at once;
// else it polls every PceAPIPolicyInterval. After a failure it backs off with jitter between PceAPIMinBackoff and
// PceAPIMaxBackoff. A refused connection or an unknown host costs the console nothing, and is how a console looks that is
// just starting: there back-off begins at one second and doubles to PceAPIPolicyInterval. Without a successful answer for
// LinkDownAfter (three intervals, at least 60 s, where unset) the link counts as down, which starts degraded mode.
//
// It does not compute policy, talk to Kubernetes, or elect a leader: it runs as one replica.
package pcebridge
