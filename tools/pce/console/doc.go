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
//   - One organisation (1). All users may do everything. Sessions and jobs are kept in memory.
//   - Requests of users are limited by the minute of the clock (window.go), as "pce serve" asks; those of clusters never are.
//   - A list gives 500 objects unless max_results asks for another number, which is honoured however large it is; a job
//     gives all. Jobs are done when they are answered, and are kept in memory.
//   - The ids of the built-in label dimensions are their keys.
//   - An object in use cannot be removed, and the answer names a user. With ?force=true a label or a workload can: what named
//     it then refers to nothing. A workload that a rule names cannot be unpaired.
//   - What a rule may be about is checked when it is written: an IP list on one side only, one label of a key in a scope,
//     services for all but rules whose providers are virtual services. Actors other than labels, label groups, IP lists,
//     workloads, virtual services and "ams" are refused, never dropped.
//   - VENs belong to clusters: they are upgraded with the cluster's chart (vens/upgrade says so for each), and their status
//     "suspended" is kept and shown but changes nothing.
//   - Restoring an old version, the impact of a change, virtual servers, secure connect gateways, networks, user groups and
//     iptables rules do not exist: lists of them are empty, and so are the ip_tables_rules of rule sets.
//   - Flows (package traffic) and what is noted that is no edit (notes.go: sign-ins, refusals, what clusters say happened in
//     them) have rings of their own, from which the oldest go: strangers and traffic can neither fill the journal nor slow it.
//     The newest 1,000 edits and 1,000 notes, at least, can be had as events. Queries of traffic and their results are kept in memory, one
//     runs at a time, and draft_policy_decision is always null.
//
// # Agent API, version 1
//
// All paths are under /api/v2/orgs/1/container_clusters/<uuid>; authentication is HTTP Basic with the cluster's UUID and
// token. It makes no claim to be compatible with Illumio's Kubelink.
//
//		PUT agent/v1/cluster                              {manager_type, network_type, container_runtime, cluster_mode, kubelink_version, component_versions, nodes:[{name, pod_subnet}]}  204
//		PUT agent/v1/namespaces                           {namespaces:[name]}, all of them; profiles are made for new ones                                    204
//		PUT agent/v1/label_map                            {node_label_map, workload_label_map}, shown as label_map of the cluster                             204
//		PUT agent/v1/labels/bulk_create                   [{key, value}] of dimensions that exist                                                             200 [{href, status}]
//		PUT agent/v1/kubernetes_workloads/bulk_create     [{name, kind, namespace, labels, interfaces, metadata:{uid, labels, annotations}}]                  200 [{href, status}]
//		PUT agent/v1/kubernetes_workloads/bulk_update     the same with href                                                                                  200 [{href, status}]
//		PUT agent/v1/kubernetes_workloads/bulk_delete     [{href}]                                                                                            200 [{href, status}]
//		PUT agent/v1/container_workloads/bulk_update      [{uid, name, namespace, node, interfaces, metadata}]: pods, in a legacy mode                        200 [{href, status}]
//		PUT agent/v1/container_workloads/bulk_delete      [{uid}]                                                                                             200 [{href, status}]
//		PUT agent/v1/hosts/bulk_update                    {activation_code, hosts:[{name, machine_id, interfaces, labels, container_runtime, agent_version}]} 200 [{href, status}]
//		PUT agent/v1/hosts/bulk_delete                    [{href}]                                                                                            200 [{href, status}]
//		PUT agent/v1/services/bulk_update                 [{uid, name, namespace, service_type, external_traffic_policy, service_addresses, service_ports,    200 [{href, status}]
//		                                                  node_ports, labels}]: virtual services, active at once
//		PUT agent/v1/services/bulk_delete                 [{uid}]                                                                                             200 [{href, status}]
//		PUT agent/v1/traffic_flows/bulk_create            {batch, flows:[...]}; a batch is taken once                                                         200 {num_flows_received, num_flows_failed}
//		GET agent/v1/traffic_flows/last                   {batch}: the newest that was taken, "" for none                                                     200
//		PUT agent/v1/events/bulk_create                   [{id, event_type, severity, status, timestamp, node, message}]; an id is taken once                 200 [{href, status}]
//		PUT agent/v1/heartbeat                            {}                                                                                                  204
//		GET agent/v1/changes?since=CURSOR&wait=SECONDS    {cursor, policy_version}; at once where the provisioned version, a label, a workload or a           200
//		                                                  profile of the cluster changed since the cursor, else after at most 60 s
//		PUT security_policy_applied                       {version}: every node of the cluster enforces it                                                     200
//		PUT security_policy_acks                          [{href, security_policy_sync_state, version, detail}] of Kubernetes workloads                       200 [{href, status}]
//
//	 1. A list holds at most 1,000 items and is answered in their order; an item that is refused has status
//	    validation_failure with token and message, and leaves the others alone.
//	 2. Saying the same again changes nothing and writes nothing.
//	 3. A cluster touches its own objects only. Removing the cluster removes all of them; flows and events stay.
//	 4. What the console made of a cluster's own report, a label, a machine, a virtual service or a profile, ends its poll as it
//	    ends those of others: it is for all of them to read. Reports of workloads, pods, states, flows and events end none.
//	 5. Labels given by key and value are those that the cluster's LabelMap makes. They stand before profiles and annotations;
//	    one that does not exist is left out. On hosts they change only when the LabelMap does, so that what people changed
//	    stays.
//	 6. A host is joined on its machine_id. Where another cluster's host, or another node that still exists, has the same, it
//	    is refused with token duplicate_machine_id, and is in the cluster's errors until it has one of its own or is gone.
//
// The same credentials read labels, label dimensions, the active policy, workloads, the cluster itself, its profiles and its
// own Kubernetes and container workloads through the public paths.
package console
