package pce

// ContainerCluster is a Kubernetes cluster as the console knows it.
type ContainerCluster struct {
	Href             string        `json:"href,omitempty"`
	Name             string        `json:"name,omitempty"`
	Description      string        `json:"description,omitempty"`
	ManagerType      string        `json:"manager_type,omitempty"`
	NetworkType      string        `json:"network_type,omitempty"`
	ContainerRuntime string        `json:"container_runtime,omitempty"`
	ClusterMode      string        `json:"cluster_mode,omitempty"`
	ClasMode         bool          `json:"clas_mode,omitempty"`
	KubelinkVersion  string        `json:"kubelink_version,omitempty"`
	LastConnected    string        `json:"last_connected,omitempty"`
	Online           bool          `json:"online,omitempty"`
	Nodes            []ClusterNode `json:"nodes,omitzero"`
	// Token is given once, in the answer to the cluster's creation: <organisation>_<64 hexadecimal digits>.
	Token string `json:"container_cluster_token,omitempty"`
	Audit
}

// ClusterNode is a node of a cluster. A node with several pod subnets is listed once for each.
type ClusterNode struct {
	Name      string `json:"name"`
	PodSubnet string `json:"pod_subnet,omitempty"`
}

// Enforcement modes of a profile or workload.
const (
	ModeIdle           = "idle"
	ModeVisibilityOnly = "visibility_only"
	ModeSelective      = "selective"
	ModeFull           = "full"
)

// ContainerWorkloadProfile decides how one namespace's workloads are managed, enforced and labelled.
type ContainerWorkloadProfile struct {
	Href        string  `json:"href,omitempty"`
	Name        *string `json:"name,omitempty"`
	Description string  `json:"description,omitempty"`
	// Namespace nil marks the cluster's default profile.
	Namespace       *string        `json:"namespace,omitempty"`
	Managed         *bool          `json:"managed,omitempty"`
	EnforcementMode string         `json:"enforcement_mode,omitempty"`
	VisibilityLevel string         `json:"visibility_level,omitempty"`
	Labels          []ProfileLabel `json:"labels,omitzero"`
	// Linked is true while the cluster has the namespace.
	Linked bool `json:"linked,omitempty"`
	Audit
}

// ProfileLabel is a profile's say on one label key: a fixed value, or a limit on annotations. A Restriction that is
// empty but not nil allows none.
type ProfileLabel struct {
	Key         string      `json:"key"`
	Assignment  *LabelRef   `json:"assignment,omitempty"`
	Restriction *[]LabelRef `json:"restriction,omitempty"`
}

// LabelRef points at a label and may repeat its value.
type LabelRef struct {
	Href  string `json:"href"`
	Value string `json:"value,omitempty"`
}

// KubernetesWorkload is a top-level controller of pods, or a Service, of a cluster.
type KubernetesWorkload struct {
	Href                    string  `json:"href,omitempty"`
	Name                    string  `json:"name"`
	Kind                    string  `json:"kind"`
	Namespace               string  `json:"namespace"`
	Labels                  []Label `json:"labels,omitempty"`
	EnforcementMode         string  `json:"enforcement_mode,omitempty"`
	VisibilityLevel         string  `json:"visibility_level,omitempty"`
	SecurityPolicySyncState string  `json:"security_policy_sync_state,omitempty"`
	ContainerCluster        *Ref    `json:"container_cluster,omitempty"`
	// Interfaces are the addresses of its pods, only where they are asked for by meta.illumio.podIPObservability.
	Interfaces []Interface        `json:"interfaces,omitempty"`
	Metadata   KubernetesMetadata `json:"metadata,omitzero"`
}

// KubernetesMetadata is what the cluster said of the object: only labels and annotations that matter to policy.
type KubernetesMetadata struct {
	UID         string            `json:"uid,omitempty"`
	Labels      map[string]string `json:"labels,omitempty"`
	Annotations map[string]string `json:"annotations,omitempty"`
}
