// Package console is the policy console itself: enough of the public REST API v2 to write label-based policy, provision it,
// onboard Kubernetes clusters and watch them, and an agent API of our own for the clusters.
//
// How it works, and what it promises:
//
//  1. The state is a fold over edits (state.go). An edit names its author and time and is stored, synced to disk, before
//     the caller is answered; a restart folds the same edits to the same state.
//  2. Objects keep the fields that clients gave them, known to this console or not; what policy depends on is validated.
//     An answer of 406 names the field. Nothing that was refused leaves a trace.
//  3. Rule sets, IP lists and services exist as draft and as active. Only provisioning changes the active policy, at
//     once and as one edit, and a version is refused that would leave a rule with a reference to nothing.
//  4. Reading never waits for a write to reach the disk.
//
// Where it departs from the public API: one organisation (1); requests are not rate limited; historical versions of the
// policy cannot be read; label groups, virtual services, workloads, users and sessions do not exist (API keys do); a label
// in use can be deleted with ?force=true. Traffic queries and events beyond a minimal list are absent.
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
//	GET agent/v1/changes?since=CURSOR&wait=SECONDS    {cursor, policy_version}; at once where the provisioned version, a label or a profile of the        200
//	                                                  cluster changed since the cursor, else after at most 60 s
//	PUT security_policy_applied                       {version}: every node of the cluster enforces it                                                     200
//
// The same credentials read labels, label dimensions, the active policy, the cluster itself, its profiles and its own
// Kubernetes workloads through the public paths.
package console
