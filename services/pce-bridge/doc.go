// Package pcebridge is the pce-bridge service: the only part of Ringfence that talks to the policy console (PCE).
//
// Down, console to log: it writes the provisioned policy, labels and their keys, container workload profiles, the nodes'
// pairing profile and the console's own workloads as facts. It writes differences only; an object that went becomes a
// tombstone. Objects that the console versions are written by content, and then the manifest of the version, which commits
// them. A collection that the console does not serve (404) counts as empty.
//
// Up, log to console: it reports the cluster with its namespaces and LabelMap, and, as the cluster mode has it, its controllers and
// Services as Kubernetes workloads, its pods as container workloads, Services for outsiders as virtual services, and nodes as
// machines; the labels that a LabelMap may make; the policy version that every node enforces, how each workload stands, what goes
// wrong on nodes, and flows, summed over ten minutes. Which workloads the console took comes down again, as acknowledgements.
//
// A console that does not serve clusters by their tokens, such as Illumio's own, is read with an API key, and told nothing.
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
//  6. Differences alone are reported, new things before those that go; what the console has of the cluster is asked for at the start
//     and after every failure. So are flows: the console says which window it has.
//  7. A collection that the console had is not taken for empty because it answers 404.
//  8. A workload is acknowledged once the console gave it an href, and until the console no longer has it. While the console
//     is away nothing is acknowledged and nothing is forgotten.
//
// How it waits: where the console has our agent API, one long poll is open at all times and a change is fetched at once;
// else it polls every PceAPIPolicyInterval. After a failure it backs off with jitter between PceAPIMinBackoff and
// PceAPIMaxBackoff, or as long as the console asks for. A refused connection or an unknown host costs the console nothing, and
// is how a console looks that is just starting: there back-off begins at one second and doubles to PceAPIPolicyInterval.
//
// The link: without a successful answer for LinkDownAfter (three intervals, at least 60 s, where unset) the console counts as away,
// which starts degraded mode. Once it answers again the link is resynchronising, and up when its state is in the log. The bridge
// says every five seconds that it is there; where policy-store does not hear of it, policy-store writes that the console is away.
//
// It does not compute policy, talk to Kubernetes, or elect a leader: it runs as one replica.
package pcebridge
