package pce

import (
	"context"
	"net/http"
)

// This file holds what a cluster reports beside its workloads (agent.go). Every list holds at most MaxBulk items, and saying
// the same again changes nothing.

// Hosts are nodes of a cluster as machines. The activation code is a key of the pairing profile that gives a machine which
// the console did not know its labels and mode.
type Hosts struct {
	ActivationCode string `json:"activation_code"`
	Hosts          []Host `json:"hosts"`
}

// Host is one node. MachineID is what the console knows the machine by; without one it is the node's name.
type Host struct {
	Name       string      `json:"name"`
	MachineID  string      `json:"machine_id,omitempty"`
	Interfaces []Interface `json:"interfaces"`
	// Labels are those that the cluster's LabelMap gives the node, by key and value. They stand before the profile's.
	Labels []Label `json:"labels,omitempty"`
	// Runtime and AgentVersion are shown to people.
	Runtime      string `json:"container_runtime,omitempty"`
	AgentVersion string `json:"agent_version,omitempty"`
}

// ReportHosts makes or updates the workloads of nodes.
func (a *Agent) ReportHosts(ctx context.Context, h Hosts) ([]BulkResult, error) {
	return a.bulk(ctx, "hosts/bulk_update", h)
}

// DeleteHosts unpairs the workloads with these hrefs, which the cluster reported before.
func (a *Agent) DeleteHosts(ctx context.Context, hrefs []string) ([]BulkResult, error) {
	return a.bulk(ctx, "hosts/bulk_delete", refs(hrefs))
}

// ClusterService is a Service of type NodePort or LoadBalancer. The console keeps it as a virtual service, with the cluster
// and the namespace as external_data_set and the UID as external_data_reference, active at once.
type ClusterService struct {
	UID                   string `json:"uid"`
	Name                  string `json:"name"`
	Namespace             string `json:"namespace"`
	ServiceType           string `json:"service_type"`
	ExternalTrafficPolicy string `json:"external_traffic_policy,omitempty"`
	// Addresses are the Service's own, in the cluster and at the load balancer.
	Addresses []ServiceAddress `json:"service_addresses"`
	Ports     []ServicePort    `json:"service_ports"`
	NodePorts []int            `json:"node_ports,omitempty"`
	// Labels by key and value.
	Labels []Label `json:"labels,omitempty"`
}

// ReportServices makes or updates virtual services by UID.
func (a *Agent) ReportServices(ctx context.Context, items []ClusterService) ([]BulkResult, error) {
	return a.bulk(ctx, "services/bulk_update", items)
}

// DeleteServices removes virtual services by the UIDs of their Services.
func (a *Agent) DeleteServices(ctx context.Context, uids []string) ([]BulkResult, error) {
	return a.bulk(ctx, "services/bulk_delete", uidsOf(uids))
}

// ContainerWorkload is a pod, as clusters in a legacy mode report them.
type ContainerWorkload struct {
	Href string `json:"href,omitempty"`
	// UID is the pod's.
	UID              string             `json:"uid"`
	Name             string             `json:"name"`
	Namespace        string             `json:"namespace"`
	Node             string             `json:"node,omitempty"`
	Interfaces       []Interface        `json:"interfaces,omitempty"`
	Labels           []Label            `json:"labels,omitempty"`
	EnforcementMode  string             `json:"enforcement_mode,omitempty"`
	VisibilityLevel  string             `json:"visibility_level,omitempty"`
	ContainerCluster *Ref               `json:"container_cluster,omitempty"`
	Metadata         KubernetesMetadata `json:"metadata,omitzero"`
}

// ReportContainers makes or updates container workloads by UID.
func (a *Agent) ReportContainers(ctx context.Context, items []ContainerWorkload) ([]BulkResult, error) {
	return a.bulk(ctx, "container_workloads/bulk_update", items)
}

// DeleteContainers removes container workloads by the UIDs of their pods.
func (a *Agent) DeleteContainers(ctx context.Context, uids []string) ([]BulkResult, error) {
	return a.bulk(ctx, "container_workloads/bulk_delete", uidsOf(uids))
}

// CreateLabels makes labels by key and value, of dimensions that exist; one that exists already is answered with its href.
func (a *Agent) CreateLabels(ctx context.Context, labels []Label) ([]BulkResult, error) {
	return a.bulk(ctx, "labels/bulk_create", labels)
}

// LabelMap is the cluster's map of Kubernetes labels to the console's, for people to look at.
type LabelMap struct {
	Nodes     []LabelMapping `json:"node_label_map"`
	Workloads []LabelMapping `json:"workload_label_map"`
}

// LabelMapping maps one key.
type LabelMapping struct {
	FromKey     string              `json:"from_key"`
	ToKey       string              `json:"to_key"`
	AllowCreate bool                `json:"allow_create"`
	Values      []LabelValueMapping `json:"values_map,omitempty"`
}

// LabelValueMapping maps one value.
type LabelValueMapping struct {
	From string `json:"from"`
	To   string `json:"to"`
}

// ReportLabelMap replaces what the console knows of the cluster's label map.
func (a *Agent) ReportLabelMap(ctx context.Context, m LabelMap) error {
	return a.client.call(ctx, http.MethodPut, a.path("label_map"), m, nil)
}

// States of SecurityPolicySyncState.
const (
	// SyncApplied: every pod of the workload has the newest policy in the kernel.
	SyncApplied = "applied"
	// SyncSyncing: some have not.
	SyncSyncing = "syncing"
	// SyncError: programming it failed on some node; the policy before stays.
	SyncError = "error"
)

// PolicyAck says how one Kubernetes workload stands.
type PolicyAck struct {
	Href string `json:"href"`
	// State is one of the Sync constants.
	State string `json:"security_policy_sync_state"`
	// Version is the provisioned version that all its pods enforce, 0 where unknown.
	Version int64 `json:"version,omitempty"`
	// Detail says what is wrong, for people.
	Detail string `json:"detail,omitempty"`
}

// AcknowledgePolicy reports how workloads stand.
func (a *Agent) AcknowledgePolicy(ctx context.Context, acks []PolicyAck) ([]BulkResult, error) {
	var results []BulkResult
	return results, a.client.call(ctx, http.MethodPut, a.cluster+"/security_policy_acks", acks, &results)
}

// FlowUpload is a part of what was seen in one window. Batch names the part: one that the console took already is not taken
// twice.
type FlowUpload struct {
	Batch string        `json:"batch"`
	Flows []FlowSummary `json:"flows"`
}

// FlowReceipt is the answer to an upload.
type FlowReceipt struct {
	Received int `json:"num_flows_received"`
	Failed   int `json:"num_flows_failed"`
}

// FlowSummary counts connections between two ends within a window.
type FlowSummary struct {
	Src     FlowEnd     `json:"src"`
	Dst     FlowEnd     `json:"dst"`
	Service FlowService `json:"service"`
	// Direction is inbound or outbound, seen from the workload that reported it.
	Direction string `json:"flow_direction"`
	// Decision is allowed, potentially_blocked, blocked or unknown.
	Decision string `json:"policy_decision"`
	// State is active, closed, timed out, snapshot, new, incomplete or unknown.
	State       string    `json:"state"`
	Connections uint64    `json:"num_connections"`
	ICMPType    *int      `json:"icmp_type,omitempty"`
	ICMPCode    *int      `json:"icmp_code,omitempty"`
	Range       TimeRange `json:"timestamp_range"`
	// Rule is the href or id of the deciding rule, empty for the default.
	Rule string `json:"rule,omitempty"`
}

// FlowEnd is one end of a flow.
type FlowEnd struct {
	IP string `json:"ip"`
	// Workload is where the cluster knows the workload behind the address.
	Workload *Ref   `json:"workload,omitempty"`
	FQDN     string `json:"fqdn,omitempty"`
}

// FlowService is what the flow reached.
type FlowService struct {
	Port  *int `json:"port,omitempty"`
	Proto int  `json:"proto"`
}

// TimeRange is when the connections were seen, RFC 3339.
type TimeRange struct {
	First string `json:"first_detected"`
	Last  string `json:"last_detected"`
}

// ReportFlows uploads a part of a window.
func (a *Agent) ReportFlows(ctx context.Context, u FlowUpload) (FlowReceipt, error) {
	var receipt FlowReceipt
	return receipt, a.client.call(ctx, http.MethodPut, a.path("traffic_flows/bulk_create"), u, &receipt)
}

// LastFlows tells which upload the console took last, empty for none: where to go on after a restart.
func (a *Agent) LastFlows(ctx context.Context) (string, error) {
	var last struct {
		Batch string `json:"batch"`
	}
	return last.Batch, a.client.call(ctx, http.MethodGet, a.path("traffic_flows/last"), nil, &last)
}

// AgentEvent is something that happened in the cluster, for the console's events.
type AgentEvent struct {
	// ID names the event in the cluster: one that the console has is not taken twice.
	ID string `json:"id"`
	// Type is such as agent.tampering, agent.service_not_available, container_cluster.resynchronized.
	Type string `json:"event_type"`
	// Severity is info, warning or err; Status success or failure.
	Severity  string `json:"severity"`
	Status    string `json:"status"`
	Timestamp string `json:"timestamp"`
	// Node is where it happened, empty for the cluster as a whole.
	Node    string `json:"node,omitempty"`
	Message string `json:"message"`
}

// ReportEvents tells the console of events.
func (a *Agent) ReportEvents(ctx context.Context, events []AgentEvent) ([]BulkResult, error) {
	return a.bulk(ctx, "events/bulk_create", events)
}

func refs(hrefs []string) []Ref {
	items := make([]Ref, len(hrefs))
	for i, href := range hrefs {
		items[i].Href = href
	}
	return items
}

// uidRef names an object of Kubernetes.
type uidRef struct {
	UID string `json:"uid"`
}

func uidsOf(uids []string) []uidRef {
	items := make([]uidRef, len(uids))
	for i, uid := range uids {
		items[i].UID = uid
	}
	return items
}
