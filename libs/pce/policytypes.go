package pce

// LabelGroup is a named set of labels of one key.
type LabelGroup struct {
	Href        string `json:"href,omitempty"`
	Name        string `json:"name,omitempty"`
	Description string `json:"description,omitempty"`
	Key         string `json:"key,omitempty"`
	Labels      []Ref  `json:"labels,omitzero"`
	SubGroups   []Ref  `json:"sub_groups,omitzero"`
	UpdateType  string `json:"update_type,omitempty"`
	External
	Audit
}

// EnforcementBoundary denies like a deny rule, in the whole organisation.
type EnforcementBoundary struct {
	Href string `json:"href,omitempty"`
	Name string `json:"name,omitempty"`
	// Enabled absent means true.
	Enabled         *bool            `json:"enabled,omitempty"`
	Consumers       []Actor          `json:"consumers,omitzero"`
	Providers       []Actor          `json:"providers,omitzero"`
	IngressServices []IngressService `json:"ingress_services,omitzero"`
	NetworkType     string           `json:"network_type,omitempty"`
	UpdateType      string           `json:"update_type,omitempty"`
	Audit
}

// VirtualService is a service that workloads provide under addresses of its own.
type VirtualService struct {
	Href        string `json:"href,omitempty"`
	Name        string `json:"name,omitempty"`
	Description string `json:"description,omitempty"`
	Labels      []Ref  `json:"labels,omitzero"`
	// Service or ServicePorts are where it answers.
	Service          *Ref             `json:"service,omitempty"`
	ServicePorts     []ServicePort    `json:"service_ports,omitzero"`
	ServiceAddresses []ServiceAddress `json:"service_addresses,omitzero"`
	// IPOverrides are addresses or CIDRs that stand for those of the workloads.
	IPOverrides []string `json:"ip_overrides,omitzero"`
	UpdateType  string   `json:"update_type,omitempty"`
	// External is, for one that a cluster made after a Service of Kubernetes, "<cluster>|<namespace>" and the Service's uid.
	External
	Audit
}

// ServiceAddress is an address at which a virtual service answers, or a name.
type ServiceAddress struct {
	IP   string `json:"ip,omitempty"`
	FQDN string `json:"fqdn,omitempty"`
	// Port absent stands for all ports of the virtual service.
	Port *int `json:"port,omitempty"`
}

// ServiceBinding says that a workload provides a virtual service. It acts at once.
type ServiceBinding struct {
	Href           string `json:"href,omitempty"`
	VirtualService *Ref   `json:"virtual_service,omitempty"`
	Workload       *Ref   `json:"workload,omitempty"`
	// PortOverrides give the workload other ports than the virtual service's.
	PortOverrides []PortOverride `json:"port_overrides,omitzero"`
}

// PortOverride maps ports of a virtual service to a workload's own.
type PortOverride struct {
	Port      *int `json:"port,omitempty"`
	NewPort   *int `json:"new_port,omitempty"`
	NewToPort *int `json:"new_to_port,omitempty"`
}

// Workload is a machine that the console itself manages, or that somebody told it of.
type Workload struct {
	Href            string      `json:"href,omitempty"`
	Name            string      `json:"name,omitempty"`
	Hostname        string      `json:"hostname,omitempty"`
	Interfaces      []Interface `json:"interfaces,omitzero"`
	Labels          []Ref       `json:"labels,omitzero"`
	EnforcementMode string      `json:"enforcement_mode,omitempty"`
	// Managed tells that an agent enforces policy on it; where absent, VEN does.
	Managed *bool `json:"managed,omitempty"`
	VEN     *Ref  `json:"ven,omitempty"`
	// MachineID joins the workload with the node of a cluster that has the same.
	MachineID string `json:"machine_id,omitempty"`
	// ContainerCluster is the cluster that reported the machine as its node.
	ContainerCluster *Ref `json:"container_cluster,omitempty"`
	Deleted          bool `json:"deleted,omitempty"`
	External
	Audit
}

// Interface is a network interface of a workload.
type Interface struct {
	Name    string `json:"name,omitempty"`
	Address string `json:"address,omitempty"`
}
