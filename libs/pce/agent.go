package pce

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"time"
)

// AgentVersion is the version of the agent API, a path segment. Within a version fields and calls are only added.
const AgentVersion = "v1"

// MaxBulk is how many items one bulk call takes.
const MaxBulk = 1000

// Agent is the side of a cluster: the calls that a cluster's own token allows. Its API is this project's own.
type Agent struct {
	client  *Client
	cluster string
}

// Agent gives the agent calls of the cluster with this UUID.
func (c *Client) Agent(cluster string) *Agent {
	return &Agent{client: c, cluster: c.Org() + "/container_clusters/" + url.PathEscape(cluster)}
}

// Cluster is the href of the agent's cluster.
func (a *Agent) Cluster() string { return a.cluster }

func (a *Agent) path(call string) string { return a.cluster + "/agent/" + AgentVersion + "/" + call }

// ClusterDetails is what a cluster says of itself.
type ClusterDetails struct {
	ManagerType      string        `json:"manager_type"`
	NetworkType      string        `json:"network_type"`
	ContainerRuntime string        `json:"container_runtime"`
	ClusterMode      string        `json:"cluster_mode"`
	KubelinkVersion  string        `json:"kubelink_version"`
	Nodes            []ClusterNode `json:"nodes"`
	// Components gives the versions of the cluster's parts by name, enforcers by their oldest.
	Components map[string]string `json:"component_versions,omitempty"`
}

// ReportCluster replaces what the console knows of the cluster itself.
func (a *Agent) ReportCluster(ctx context.Context, d ClusterDetails) error {
	return a.client.call(ctx, http.MethodPut, a.path("cluster"), d, nil)
}

// Namespaces is the whole list of a cluster's namespaces.
type Namespaces struct {
	Namespaces []string `json:"namespaces"`
}

// ReportNamespaces replaces the list of namespaces. The console makes a profile, after the default profile, for every
// namespace that has none, and marks the others' profiles unlinked.
func (a *Agent) ReportNamespaces(ctx context.Context, names []string) error {
	return a.client.call(ctx, http.MethodPut, a.path("namespaces"), Namespaces{Namespaces: names}, nil)
}

// BulkResult is the outcome of one item of a bulk call, in the order of the items.
type BulkResult struct {
	Href    string `json:"href,omitempty"`
	Status  string `json:"status"`
	Token   string `json:"token,omitempty"`
	Message string `json:"message,omitempty"`
}

// Err is nil unless the item was refused.
func (r BulkResult) Err() error {
	if r.Token == "" {
		return nil
	}
	return fmt.Errorf("%s (%s)", r.Message, r.Token)
}

// CreateWorkloads reports new workloads: at most MaxBulk. An item that exists already is updated.
func (a *Agent) CreateWorkloads(ctx context.Context, items []KubernetesWorkload) ([]BulkResult, error) {
	return a.bulk(ctx, "kubernetes_workloads/bulk_create", items)
}

// UpdateWorkloads reports changed workloads by href: at most MaxBulk.
func (a *Agent) UpdateWorkloads(ctx context.Context, items []KubernetesWorkload) ([]BulkResult, error) {
	return a.bulk(ctx, "kubernetes_workloads/bulk_update", items)
}

// DeleteWorkloads reports workloads gone by href: at most MaxBulk.
func (a *Agent) DeleteWorkloads(ctx context.Context, hrefs []string) ([]BulkResult, error) {
	return a.bulk(ctx, "kubernetes_workloads/bulk_delete", refs(hrefs))
}

func (a *Agent) bulk(ctx context.Context, call string, items any) ([]BulkResult, error) {
	var results []BulkResult
	return results, a.client.call(ctx, http.MethodPut, a.path(call), items, &results)
}

// PolicyApplied is the body of SecurityPolicyApplied.
type PolicyApplied struct {
	Version int64 `json:"version"`
}

// SecurityPolicyApplied reports the version that every node of the cluster enforces. The path is the one seen of
// Illumio's own agent; the body is ours.
func (a *Agent) SecurityPolicyApplied(ctx context.Context, version int64) error {
	return a.client.call(ctx, http.MethodPut, a.cluster+"/security_policy_applied", PolicyApplied{Version: version}, nil)
}

// Heartbeat says that the cluster is alive and has nothing else to say.
func (a *Agent) Heartbeat(ctx context.Context) error {
	return a.client.call(ctx, http.MethodPut, a.path("heartbeat"), struct{}{}, nil)
}

// Changes is the answer of a long poll.
type Changes struct {
	// Cursor stands for the state at the answer; opaque, to be given to the next poll.
	Cursor string `json:"cursor"`
	// PolicyVersion is the active version.
	PolicyVersion int64 `json:"policy_version"`
}

// WaitForChanges returns at once when the provisioned version, a label, a pairing profile or one of the cluster's profiles
// changed after cursor, or when cursor is empty or unknown; otherwise after wait. An error of kind [Missing] says that the console
// has no agent API.
func (a *Agent) WaitForChanges(ctx context.Context, cursor string, wait time.Duration) (Changes, error) {
	ctx, cancel := context.WithTimeout(ctx, wait+a.client.config.Timeout)
	defer cancel()
	query := url.Values{"since": {cursor}, "wait": {fmt.Sprint(int(wait.Seconds()))}}
	path := a.path("changes") + "?" + query.Encode()
	var out Changes
	answer, err := a.client.do(ctx, http.MethodGet, path, nil, nil)
	if err != nil {
		return out, err
	}
	return out, answer.decode(http.MethodGet, path, &out)
}
