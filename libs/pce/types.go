package pce

import (
	"encoding/json"
	"slices"
	"strings"
)

// Ref points at an object.
type Ref struct {
	Href string `json:"href"`
}

// Audit tells who made an object and when; the console fills it in. Times are RFC 3339.
type Audit struct {
	CreatedAt string `json:"created_at,omitempty"`
	CreatedBy *Ref   `json:"created_by,omitempty"`
	UpdatedAt string `json:"updated_at,omitempty"`
	UpdatedBy *Ref   `json:"updated_by,omitempty"`
}

// External ties an object to another system's; the pair is unique per organisation and type.
type External struct {
	ExternalDataSet       string `json:"external_data_set,omitempty"`
	ExternalDataReference string `json:"external_data_reference,omitempty"`
}

// Label is one value of one dimension.
type Label struct {
	Href  string `json:"href,omitempty"`
	Key   string `json:"key,omitempty"`
	Value string `json:"value,omitempty"`
	External
	Audit
}

// LabelDimension is a key that labels may have.
type LabelDimension struct {
	Href        string `json:"href,omitempty"`
	Key         string `json:"key"`
	DisplayName string `json:"display_name,omitempty"`
	External
	Audit
}

// IPList is a named list of addresses.
type IPList struct {
	Href        string    `json:"href,omitempty"`
	Name        string    `json:"name,omitempty"`
	Description string    `json:"description,omitempty"`
	IPRanges    []IPRange `json:"ip_ranges,omitzero"`
	FQDNs       []FQDN    `json:"fqdns,omitzero"`
	UpdateType  string    `json:"update_type,omitempty"`
	External
	Audit
}

// IPRange is an address, a CIDR, or an inclusive range from FromIP to ToIP.
type IPRange struct {
	FromIP      string `json:"from_ip"`
	ToIP        string `json:"to_ip,omitempty"`
	Exclusion   bool   `json:"exclusion,omitempty"`
	Description string `json:"description,omitempty"`
}

// FQDN is a name, perhaps with a wildcard.
type FQDN struct {
	FQDN        string `json:"fqdn"`
	Description string `json:"description,omitempty"`
}

// Service is a named list of ports.
type Service struct {
	Href         string        `json:"href,omitempty"`
	Name         string        `json:"name,omitempty"`
	Description  string        `json:"description,omitempty"`
	ProcessName  string        `json:"process_name,omitempty"`
	ServicePorts []ServicePort `json:"service_ports,omitzero"`
	// WindowsServices never apply to a container; they are kept only to say so.
	WindowsServices []json.RawMessage `json:"windows_services,omitempty"`
	UpdateType      string            `json:"update_type,omitempty"`
	External
	Audit
}

// ServicePort is a protocol (IANA number, -1 for all) with an optional inclusive range of ports.
type ServicePort struct {
	Port     *int `json:"port,omitempty"`
	ToPort   *int `json:"to_port,omitempty"`
	Proto    *int `json:"proto,omitempty"`
	ICMPType *int `json:"icmp_type,omitempty"`
	ICMPCode *int `json:"icmp_code,omitempty"`
}

// IngressService is the service of a rule: a reference, or ports in place.
type IngressService struct {
	Href string `json:"href,omitempty"`
	ServicePort
}

// RuleSet holds rules within scopes.
type RuleSet struct {
	Href        string `json:"href,omitempty"`
	Name        string `json:"name,omitempty"`
	Description string `json:"description,omitempty"`
	// Enabled absent means true.
	Enabled *bool `json:"enabled,omitempty"`
	// Scopes are alternatives; [[]] covers everything.
	Scopes     [][]Actor `json:"scopes,omitzero"`
	Rules      []Rule    `json:"rules,omitzero"`
	DenyRules  []Rule    `json:"deny_rules,omitzero"`
	UpdateType string    `json:"update_type,omitempty"`
	External
	Audit
}

// Rule allows (or, in a rule set's DenyRules, denies) its consumers to reach its providers on its services.
type Rule struct {
	Href        string `json:"href,omitempty"`
	Description string `json:"description,omitempty"`
	// Enabled absent means true.
	Enabled                     *bool            `json:"enabled,omitempty"`
	Consumers                   []Actor          `json:"consumers,omitzero"`
	Providers                   []Actor          `json:"providers,omitzero"`
	IngressServices             []IngressService `json:"ingress_services,omitzero"`
	ResolveLabelsAs             *ResolveLabelsAs `json:"resolve_labels_as,omitempty"`
	UnscopedConsumers           bool             `json:"unscoped_consumers"`
	SecConnect                  bool             `json:"sec_connect,omitempty"`
	Stateless                   bool             `json:"stateless,omitempty"`
	MachineAuth                 bool             `json:"machine_auth,omitempty"`
	NetworkType                 string           `json:"network_type,omitempty"`
	ConsumingSecurityPrincipals []Ref            `json:"consuming_security_principals,omitempty"`
	// Override makes a deny rule win over allow rules.
	Override   bool   `json:"override,omitempty"`
	UpdateType string `json:"update_type,omitempty"`
	External
	Audit
}

// ResolveLabelsAs lists, per side, what labels stand for: "workloads", "virtual_services".
type ResolveLabelsAs struct {
	Providers []string `json:"providers"`
	Consumers []string `json:"consumers"`
}

// Actor names endpoints on one side of a rule or in a scope. Exactly one of its references is set.
type Actor struct {
	Label          *Ref `json:"label,omitempty"`
	LabelGroup     *Ref `json:"label_group,omitempty"`
	IPList         *Ref `json:"ip_list,omitempty"`
	Workload       *Ref `json:"workload,omitempty"`
	VirtualService *Ref `json:"virtual_service,omitempty"`
	// Actors is "ams" for all managed workloads.
	Actors string `json:"actors,omitempty"`
	// Exclusion turns a label into all the others of its key.
	Exclusion bool `json:"exclusion,omitempty"`
	// Unknown lists, sorted, the keys that this package has no field for.
	Unknown []string `json:"-"`
}

var actorKeys = []string{"label", "label_group", "ip_list", "workload", "virtual_service", "actors", "exclusion"}

// UnmarshalJSON decodes an actor and keeps the names of keys it does not know, so that an actor of a new kind can be
// reported by name in place of vanishing.
func (a *Actor) UnmarshalJSON(data []byte) error {
	type plain Actor
	if err := json.Unmarshal(data, (*plain)(a)); err != nil {
		return err
	}
	var keys map[string]json.RawMessage
	if err := json.Unmarshal(data, &keys); err != nil {
		return err
	}
	a.Unknown = nil
	for key := range keys {
		if !slices.Contains(actorKeys, key) {
			a.Unknown = append(a.Unknown, key)
		}
	}
	slices.Sort(a.Unknown)
	return nil
}

// Built-in objects, whose ids differ from organisation to organisation: look them up by name.
const (
	AnyIPList   = "Any (0.0.0.0/0 and ::/0)"
	AllServices = "All Services"
	// AllManagedWorkloads is the value of Actor.Actors.
	AllManagedWorkloads = "ams"
)

// Provisioning is the request that turns drafts into the active policy. An empty subset takes everything pending.
type Provisioning struct {
	UpdateDescription string       `json:"update_description"`
	ChangeSubset      ChangeSubset `json:"change_subset,omitzero"`
}

// ChangeSubset lists draft objects by type.
type ChangeSubset struct {
	RuleSets              []Ref `json:"rule_sets,omitempty"`
	IPLists               []Ref `json:"ip_lists,omitempty"`
	Services              []Ref `json:"services,omitempty"`
	LabelGroups           []Ref `json:"label_groups,omitempty"`
	VirtualServices       []Ref `json:"virtual_services,omitempty"`
	EnforcementBoundaries []Ref `json:"enforcement_boundaries,omitempty"`
	FirewallSettings      []Ref `json:"firewall_settings,omitempty"`
}

// PolicyVersion describes one provisioned version.
type PolicyVersion struct {
	Href              string         `json:"href"`
	Version           int64          `json:"version"`
	WorkloadsAffected int            `json:"workloads_affected"`
	CommitMessage     string         `json:"commit_message"`
	ObjectCounts      map[string]int `json:"object_counts,omitempty"`
	Audit
}

// PairingProfile decides what a node becomes that pairs with one of its keys.
type PairingProfile struct {
	Href            string `json:"href,omitempty"`
	Name            string `json:"name,omitempty"`
	Description     string `json:"description,omitempty"`
	Enabled         bool   `json:"enabled"`
	EnforcementMode string `json:"enforcement_mode,omitempty"`
	VisibilityLevel string `json:"visibility_level,omitempty"`
	Labels          []Ref  `json:"labels,omitzero"`
	// KeyLifespan (seconds) and AllowedUsesPerKey are numbers or "unlimited".
	KeyLifespan       any `json:"key_lifespan,omitempty"`
	AllowedUsesPerKey any `json:"allowed_uses_per_key,omitempty"`
	TotalUseCount     int `json:"total_use_count,omitempty"`
	External
	Audit
}

// ID is the last segment of an href.
func ID(href string) string { return href[strings.LastIndexByte(href, '/')+1:] }
