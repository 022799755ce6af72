package pce

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
)

// Draft and Active are the two policy versions that always exist.
const (
	Draft  = "draft"
	Active = "active"
)

func (c *Client) policy(version, kind string) string {
	return c.Org() + "/sec_policy/" + version + "/" + kind
}

func create[T any](ctx context.Context, c *Client, path string, in T) (T, error) {
	var out T
	return out, c.call(ctx, http.MethodPost, path, in, &out)
}

func get[T any](ctx context.Context, c *Client, href string) (T, error) {
	var out T
	return out, c.call(ctx, http.MethodGet, href, nil, &out)
}

// Update changes the fields that fields sets on the object at href; the rest stay.
func (c *Client) Update(ctx context.Context, href string, fields any) error {
	return c.call(ctx, http.MethodPut, href, fields, nil)
}

// Delete removes the object at href; a versioned one stays active until the removal is provisioned.
func (c *Client) Delete(ctx context.Context, href string) error {
	return c.call(ctx, http.MethodDelete, href, nil, nil)
}

// Labels lists the organisation's labels.
func (c *Client) Labels(ctx context.Context) ([]Label, error) {
	return list[Label](ctx, c, c.Org()+"/labels")
}

// FindLabel returns the label with exactly this key and value; ok is false where there is none.
func (c *Client) FindLabel(ctx context.Context, key, value string) (label Label, ok bool, err error) {
	query := url.Values{"key": {key}, "value": {value}}
	found, err := list[Label](ctx, c, c.Org()+"/labels?"+query.Encode())
	for _, l := range found {
		if l.Key == key && l.Value == value {
			return l, true, nil
		}
	}
	return Label{}, false, err
}

// CreateLabel makes a label.
func (c *Client) CreateLabel(ctx context.Context, l Label) (Label, error) {
	return create(ctx, c, c.Org()+"/labels", l)
}

// LabelDimensions lists the keys that labels may have.
func (c *Client) LabelDimensions(ctx context.Context) ([]LabelDimension, error) {
	return list[LabelDimension](ctx, c, c.Org()+"/label_dimensions")
}

// CreateLabelDimension makes a key that labels may have from now on.
func (c *Client) CreateLabelDimension(ctx context.Context, d LabelDimension) (LabelDimension, error) {
	return create(ctx, c, c.Org()+"/label_dimensions", d)
}

// IPLists lists the IP lists of a version.
func (c *Client) IPLists(ctx context.Context, version string) ([]IPList, error) {
	return list[IPList](ctx, c, c.policy(version, "ip_lists"))
}

// CreateIPList makes a draft.
func (c *Client) CreateIPList(ctx context.Context, l IPList) (IPList, error) {
	return create(ctx, c, c.policy(Draft, "ip_lists"), l)
}

// Services lists the services of a version.
func (c *Client) Services(ctx context.Context, version string) ([]Service, error) {
	return list[Service](ctx, c, c.policy(version, "services"))
}

// CreateService makes a draft.
func (c *Client) CreateService(ctx context.Context, s Service) (Service, error) {
	return create(ctx, c, c.policy(Draft, "services"), s)
}

// RuleSets lists the rule sets of a version with their rules.
func (c *Client) RuleSets(ctx context.Context, version string) ([]RuleSet, error) {
	return list[RuleSet](ctx, c, c.policy(version, "rule_sets"))
}

// RuleSet reads one rule set with its rules.
func (c *Client) RuleSet(ctx context.Context, href string) (RuleSet, error) {
	return get[RuleSet](ctx, c, href)
}

// CreateRuleSet makes a draft. Rules may be given with it.
func (c *Client) CreateRuleSet(ctx context.Context, s RuleSet) (RuleSet, error) {
	return create(ctx, c, c.policy(Draft, "rule_sets"), s)
}

// CreateRule adds an allow rule to the draft rule set at href.
func (c *Client) CreateRule(ctx context.Context, ruleSet string, r Rule) (Rule, error) {
	return create(ctx, c, ruleSet+"/sec_rules", r)
}

// CreateDenyRule adds a deny rule to the draft rule set at href.
func (c *Client) CreateDenyRule(ctx context.Context, ruleSet string, r Rule) (Rule, error) {
	return create(ctx, c, ruleSet+"/deny_rules", r)
}

// LabelGroups lists the label groups of a version.
func (c *Client) LabelGroups(ctx context.Context, version string) ([]LabelGroup, error) {
	return list[LabelGroup](ctx, c, c.policy(version, "label_groups"))
}

// CreateLabelGroup makes a draft.
func (c *Client) CreateLabelGroup(ctx context.Context, g LabelGroup) (LabelGroup, error) {
	return create(ctx, c, c.policy(Draft, "label_groups"), g)
}

// EnforcementBoundaries lists the enforcement boundaries of a version.
func (c *Client) EnforcementBoundaries(ctx context.Context, version string) ([]EnforcementBoundary, error) {
	return list[EnforcementBoundary](ctx, c, c.policy(version, "enforcement_boundaries"))
}

// CreateEnforcementBoundary makes a draft.
func (c *Client) CreateEnforcementBoundary(ctx context.Context, b EnforcementBoundary) (EnforcementBoundary, error) {
	return create(ctx, c, c.policy(Draft, "enforcement_boundaries"), b)
}

// VirtualServices lists the virtual services of a version.
func (c *Client) VirtualServices(ctx context.Context, version string) ([]VirtualService, error) {
	return list[VirtualService](ctx, c, c.policy(version, "virtual_services"))
}

// CreateVirtualService makes a draft.
func (c *Client) CreateVirtualService(ctx context.Context, s VirtualService) (VirtualService, error) {
	return create(ctx, c, c.policy(Draft, "virtual_services"), s)
}

// ServiceBindings lists which workloads provide which virtual services.
func (c *Client) ServiceBindings(ctx context.Context) ([]ServiceBinding, error) {
	return list[ServiceBinding](ctx, c, c.Org()+"/service_bindings")
}

// CreateServiceBinding binds a workload to a virtual service, which is named by its active href.
func (c *Client) CreateServiceBinding(ctx context.Context, b ServiceBinding) (ServiceBinding, error) {
	var made []ServiceBinding
	if err := c.call(ctx, http.MethodPost, c.Org()+"/service_bindings", []ServiceBinding{b}, &made); err != nil {
		return ServiceBinding{}, err
	}
	if len(made) != 1 || made[0].Href == "" {
		return ServiceBinding{}, &Error{Kind: Malformed, Method: http.MethodPost, Path: c.Org() + "/service_bindings", Detail: "the answer names no binding"}
	}
	return made[0], nil
}

// Workloads lists the machines that the console manages or was told of.
func (c *Client) Workloads(ctx context.Context) ([]Workload, error) {
	return list[Workload](ctx, c, c.Org()+"/workloads")
}

// CreateWorkload tells the console of a machine without an agent.
func (c *Client) CreateWorkload(ctx context.Context, w Workload) (Workload, error) {
	return create(ctx, c, c.Org()+"/workloads", w)
}

// BulkWorkloads makes, changes or removes at most MaxBulk workloads; verb is "create", "update" or "delete".
func (c *Client) BulkWorkloads(ctx context.Context, verb string, items []Workload) ([]BulkResult, error) {
	var results []BulkResult
	return results, c.call(ctx, http.MethodPut, c.Org()+"/workloads/bulk_"+verb, items, &results)
}

// Pending lists, by type, the drafts that differ from the active policy.
func (c *Client) Pending(ctx context.Context) (ChangeSubset, error) {
	return get[ChangeSubset](ctx, c, c.Org()+"/sec_policy/pending")
}

// Provision makes drafts active.
func (c *Client) Provision(ctx context.Context, p Provisioning) (PolicyVersion, error) {
	var out PolicyVersion
	return out, c.call(ctx, http.MethodPost, c.Org()+"/sec_policy", p, &out)
}

// ActiveVersion tells which version is active. A console that cannot be asked for it alone is asked for all versions;
// where nothing was ever provisioned the version is 0.
func (c *Client) ActiveVersion(ctx context.Context) (PolicyVersion, error) {
	v, err := get[PolicyVersion](ctx, c, c.Org()+"/sec_policy/active")
	if KindOf(err) != Missing {
		return v, err
	}
	all, err := list[PolicyVersion](ctx, c, c.Org()+"/sec_policy")
	var newest PolicyVersion
	for _, v := range all {
		if v.Version > newest.Version {
			newest = v
		}
	}
	return newest, err
}

// ContainerClusters lists the organisation's clusters.
func (c *Client) ContainerClusters(ctx context.Context) ([]ContainerCluster, error) {
	return list[ContainerCluster](ctx, c, c.Org()+"/container_clusters")
}

// ContainerCluster reads one cluster.
func (c *Client) ContainerCluster(ctx context.Context, href string) (ContainerCluster, error) {
	return get[ContainerCluster](ctx, c, href)
}

// CreateContainerCluster makes a cluster; the answer alone carries its token.
func (c *Client) CreateContainerCluster(ctx context.Context, cluster ContainerCluster) (ContainerCluster, error) {
	return create(ctx, c, c.Org()+"/container_clusters", cluster)
}

// Profiles lists the container workload profiles of the cluster at href.
func (c *Client) Profiles(ctx context.Context, cluster string) ([]ContainerWorkloadProfile, error) {
	return list[ContainerWorkloadProfile](ctx, c, cluster+"/container_workload_profiles")
}

// CreateProfile makes a profile for a namespace, which need not exist yet.
func (c *Client) CreateProfile(ctx context.Context, cluster string, p ContainerWorkloadProfile) (ContainerWorkloadProfile, error) {
	return create(ctx, c, cluster+"/container_workload_profiles", p)
}

// KubernetesWorkloads lists the workloads that the credentials may see: a cluster's token sees its own cluster's.
func (c *Client) KubernetesWorkloads(ctx context.Context) ([]KubernetesWorkload, error) {
	return list[KubernetesWorkload](ctx, c, c.Org()+"/kubernetes_workloads")
}

// ContainerWorkloads lists the pods of clusters in a legacy mode that the credentials may see.
func (c *Client) ContainerWorkloads(ctx context.Context) ([]ContainerWorkload, error) {
	return list[ContainerWorkload](ctx, c, c.Org()+"/container_workloads")
}

// PairingProfiles lists the pairing profiles.
func (c *Client) PairingProfiles(ctx context.Context) ([]PairingProfile, error) {
	return list[PairingProfile](ctx, c, c.Org()+"/pairing_profiles")
}

// CreatePairingProfile makes a pairing profile.
func (c *Client) CreatePairingProfile(ctx context.Context, p PairingProfile) (PairingProfile, error) {
	return create(ctx, c, c.Org()+"/pairing_profiles", p)
}

// CreatePairingKey makes a key (the chart's cluster_code) of the profile at href.
func (c *Client) CreatePairingKey(ctx context.Context, profile string) (string, error) {
	var key struct {
		Code string `json:"activation_code"`
	}
	return key.Code, c.call(ctx, http.MethodPost, profile+"/pairing_key", struct{}{}, &key)
}

// ProductVersion is the console's own.
func (c *Client) ProductVersion(ctx context.Context) (string, error) {
	var v struct {
		Long string `json:"long_display"`
	}
	err := c.call(ctx, http.MethodGet, "/product_version", nil, &v)
	return v.Long, err
}

// OrgOfToken reads the organisation's number from a cluster token, "<organisation>_<hexadecimal digits>".
func OrgOfToken(token string) (int, bool) {
	for i := range len(token) {
		if token[i] == '_' {
			n, err := strconv.Atoi(token[:i])
			return n, err == nil && n > 0
		}
	}
	return 0, false
}
