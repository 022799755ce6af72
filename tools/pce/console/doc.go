// Package console is the policy console itself: enough of the public REST API v2 to write label-based policy, provision it,
// onboard Kubernetes clusters and watch them, and an agent API of our own for the clusters.
//
// How it works, and what it promises:
//
//  1. The state is a fold over edits (state.go). An edit names its author and time and is stored, synced to disk, before
//     the caller is answered; a restart folds the same edits to the same state.
//  2. Objects keep the fields that clients gave them, known to this console or not; what policy depends on is validated.
//     An answer of 406 names the field. Nothing that was refused leaves a trace.
//  3. Rule sets, IP lists, services, label groups, virtual services, enforcement boundaries and the firewall settings exist
//     as draft and as active. Only provisioning changes the active policy, at once and as one edit, and a version is refused
//     that would leave an object with a reference to nothing. Every version that was ever active can be read by its number.
//  4. Labels, label dimensions, workloads, VENs, service bindings, pairing and container workload profiles act at once. The
//     clusters that wait for changes hear of them.
//  5. Reading never waits for a write to reach the disk. Records are found by an index over names, external data, owners and
//     references (index.go): no write costs more because there are many objects of its kind.
//  6. Every collection has the same conventions (conventions_test.go): a whole object and its Location on creation, no body
//     on change and removal, 406 with tokens, pairs of external data unique by kind, null to clear a field, every field of
//     the documented shape in every answer (shapes.go).
//
// Where it departs from the public API, on purpose:
//
//   - One organisation (1). Requests are not rate limited.
//   - A list gives 500 objects unless max_results asks for another number, which is honoured however large it is; a job
//     gives all. Jobs are done when they are answered, and are kept in memory.
//   - The ids of the built-in label dimensions are their keys. Users and sessions do not exist (API keys do).
//   - An object in use cannot be removed, and the answer names a user. With ?force=true a label or a workload can: what named
//     it then refers to nothing. A workload that a rule names cannot be unpaired.
//   - What a rule may be about is checked when it is written: an IP list on one side only, one label of a key in a scope,
//     services for all but rules whose providers are virtual services. Actors other than labels, label groups, IP lists,
//     workloads, virtual services and "ams" are refused, never dropped.
//   - VENs belong to clusters: they are upgraded with the cluster's chart (vens/upgrade says so for each), and their status
//     "suspended" is kept and shown but changes nothing.
//   - Restoring an old version, the impact of a change, virtual servers, secure connect gateways, networks, user groups and
//     iptables rules do not exist: lists of them are empty, and so are the ip_tables_rules of rule sets. Traffic queries and
//     events beyond a minimal list are absent.
//
// # Agent API, version 1
//
// All paths are under /api/v2/orgs/1/container_clusters/<uuid>; authentication is HTTP Basic with the cluster's UUID and
// token. It makes no claim to be compatible with Illumio's Kubelink.
//
//	PUT agent/v1/cluster                              {manager_type, network_type, container_runtime, cluster_mode, kubelink_version, nodes:[{name, pod_subnet}]}  204
//	PUT agent/v1/namespaces                           {namespaces:[name]}, all of them; profiles are made for new ones                                    204
//	PUT agent/v1/kubernetes_workloads/bulk_create     [{name, kind, namespace, metadata:{uid, labels, annotations}}], at most 1,000                       200 [{href, status}]
//	PUT agent/v1/kubernetes_workloads/bulk_update     the same with href                                                                                  200 [{href, status}]
//	PUT agent/v1/kubernetes_workloads/bulk_delete     [{href}]                                                                                            200 [{href, status}]
//	PUT agent/v1/heartbeat                            {}                                                                                                  204
//	GET agent/v1/changes?since=CURSOR&wait=SECONDS    {cursor, policy_version}; at once where the provisioned version, a label, a workload or a           200
//	                                                  profile of the cluster changed since the cursor, else after at most 60 s
//	PUT security_policy_applied                       {version}: every node of the cluster enforces it                                                     200
//
// The same credentials read labels, label dimensions, the active policy, the cluster itself, its profiles and its own
// Kubernetes workloads through the public paths.
package console
