package openapi

import (
	"net/http"
	"slices"
	"strings"
)

// Operation is a method at a path below /api/v2.
type Operation struct {
	Method, Path string
	// Tag groups operations; Does says what one is for.
	Tag, Does string
	// By says who may use it.
	By access
	// Status is the one of success, Answer the schema of its body, "" for none; List says that the body is a list of it.
	Status int
	Answer string
	List   bool
	// Body is the schema of the request's body, "" for none.
	Body string
	// Query are parameters, name and description.
	Query [][2]string
	// Location says that the answer has one.
	Location bool
}

type access string

const (
	anybody access = "Anybody."
	people  access = "Users."
	readers access = "Users, and clusters by their tokens."
	owners  access = "Users, and the cluster itself."
	cluster access = "The cluster itself, by its token."
)

const (
	get  = http.MethodGet
	post = http.MethodPost
	put  = http.MethodPut
	del  = http.MethodDelete
)

// Operations are all that the console serves.
func Operations() []Operation {
	return slices.Concat(aboutOperations, peopleOperations(), labelOperations(), policyOperations(), machineOperations(), clusterOperations(), agentOperations(), trafficOperations())
}

var listQuery = [][2]string{
	{"max_results", "How many objects at most, up to 500; 0 gives none, and their number in X-Total-Count."},
}

// one, many, make, change and remove are the verbs of most collections. name is that of one object.
func many(path, tag, name, answer string, by access, query ...string) Operation {
	o := Operation{Method: get, Path: path, Tag: tag, Does: "List " + name + "s. Beyond 500, ask with `Prefer: respond-async`.", By: by, Status: 200, Answer: answer, List: true, Query: listQuery}
	for _, q := range query {
		o.Query = append(slices.Clone(o.Query), [2]string{q, "Only those with this value, or with it in their text."})
	}
	return o
}

func one(path, tag, name, answer string, by access) Operation {
	return Operation{Method: get, Path: path, Tag: tag, Does: "Read one " + name + ".", By: by, Status: 200, Answer: answer}
}

func create(path, tag, name, answer string, by access) Operation {
	return Operation{Method: post, Path: path, Tag: tag, Does: "Make a " + name + ".", By: by, Status: 201, Answer: answer, Body: answer + "Fields", Location: true}
}

func change(path, tag, name, fields string, by access) Operation {
	return Operation{Method: put, Path: path, Tag: tag, Does: "Change the fields that are given of a " + name + ".", By: by, Status: 204, Body: fields + "Fields"}
}

func remove(path, tag, name string, by access) Operation {
	return Operation{Method: del, Path: path, Tag: tag, Does: "Remove a " + name + ".", By: by, Status: 204, Query: [][2]string{{"force", "true removes it even when others refer to it."}}}
}

// collection is all five.
func collection(path, tag, name, answer string, read, write access, query ...string) []Operation {
	at := path + "/{id}"
	return []Operation{
		many(path, tag, name, answer, read, query...), create(path, tag, name, answer, write),
		one(at, tag, name, answer, read), change(at, tag, name, answer, write), remove(at, tag, name, write),
	}
}

// nothing is a collection that other consoles have objects in.
func nothing(path, tag, name string) Operation {
	return Operation{Method: get, Path: path, Tag: tag, Does: "List " + name + ", of which this console has none.", By: readers, Status: 200, Answer: "Object", List: true, Query: listQuery}
}

func bulk(path, tag, does, body string, by access) Operation {
	return Operation{Method: put, Path: path, Tag: tag, Does: does + " An item that is refused leaves the others alone; at most 1,000.", By: by, Status: 200, Answer: "BulkResults", Body: body}
}

// bulks are the bulk calls of a collection.
func bulks(path, tag, name, body string) []Operation {
	return []Operation{
		bulk(path+"/bulk_create", tag, "Make "+name+"s.", body+"FieldsList", people), bulk(path+"/bulk_update", tag, "Change "+name+"s by href.", body+"FieldsList", people),
		bulk(path+"/bulk_delete", tag, "Remove "+name+"s by href.", "Refs", people),
	}
}

const (
	orgs     = "/orgs/{org}"
	draft    = orgs + "/sec_policy/{version}"
	clusters = orgs + "/container_clusters"
	settings = orgs + "/settings"
)

var aboutOperations = []Operation{
	{Method: get, Path: "/health", Tag: "about", Does: "Say how the console is.", By: anybody, Status: 200, Answer: "Health"},
	{Method: get, Path: "/product_version", Tag: "about", Does: "Say which console this is.", By: anybody, Status: 200, Answer: "ProductVersion"},
	{Method: get, Path: "/openapi.json", Tag: "about", Does: "Give this description.", By: anybody, Status: 200, Answer: "Description"},
	{Method: get, Path: "/noop", Tag: "about", Does: "Do nothing.", By: anybody, Status: 204},
	{Method: get, Path: orgs, Tag: "about", Does: "Read the organisation.", By: readers, Status: 200, Answer: "Organisation"},
	{Method: get, Path: orgs + "/jobs", Tag: "about", Does: "List one's own asynchronous requests.", By: readers, Status: 200, Answer: "Job", List: true},
	{Method: get, Path: orgs + "/jobs/{id}", Tag: "about", Does: "Say how an asynchronous request stands.", By: readers, Status: 200, Answer: "Job"},
	{Method: del, Path: orgs + "/jobs/{id}", Tag: "about", Does: "Forget an asynchronous request.", By: readers, Status: 204},
	{Method: get, Path: orgs + "/datafiles/{id}", Tag: "about", Does: "Fetch the result of an asynchronous request.", By: readers, Status: 200, Answer: "Datafile"},
}

func peopleOperations() []Operation {
	const keys = "/users/{user}/api_keys"
	return slices.Concat([]Operation{
		{Method: post, Path: "/login_users/authenticate", Tag: "people", Does: "Take a user's password (HTTP Basic), and give a token that is good for one sign-in.", By: anybody, Status: 200, Answer: "AuthToken", Query: [][2]string{{"pce_fqdn", "Ignored."}}},
		{Method: get, Path: "/users/login", Tag: "people", Does: "Sign in with such a token (`Authorization: Token token=…`).", By: anybody, Status: 200, Answer: "Session"},
		{Method: put, Path: "/users/{user}/logout", Tag: "people", Does: "End one's own session.", By: people, Status: 204},
		many("/users", "people", "user", "User", people, "username", "full_name", "type"),
		many(orgs+"/users", "people", "user", "User", people, "username", "full_name", "type"),
		create("/users", "people", "user", "User", people), one("/users/{id}", "people", "user", "User", people),
		change("/users/{id}", "people", "user", "User", people), remove("/users/{id}", "people", "user", people),
	}, collection(keys, "people", "API key", "APIKey", people, people, "name"), []Operation{
		{Method: get, Path: settings, Tag: "people", Does: "Read the organisation's settings.", By: people, Status: 200, Answer: "Settings"},
		{Method: put, Path: settings, Tag: "people", Does: "Change them.", By: people, Status: 204, Body: "SettingsFields"},
		{Method: get, Path: settings + "/workloads", Tag: "people", Does: "Read the settings of workloads.", By: people, Status: 200, Answer: "Settings"},
		{Method: put, Path: settings + "/workloads", Tag: "people", Does: "Change them.", By: people, Status: 204, Body: "SettingsFields"},
		{Method: get, Path: settings + "/events", Tag: "people", Does: "Read the settings of events.", By: people, Status: 200, Answer: "Settings"},
		{Method: put, Path: settings + "/events", Tag: "people", Does: "Change them.", By: people, Status: 204, Body: "SettingsFields"},
		many(orgs+"/events", "people", "event", "Event", people, "event_type", "severity", "status", "timestamp[gte]", "timestamp[lte]"),
		one(orgs+"/events/{id}", "people", "event", "Event", people),
	})
}

func labelOperations() []Operation {
	return slices.Concat(
		collection(orgs+"/labels", "labels", "label", "Label", readers, people, "key", "value", "external_data_set", "external_data_reference"),
		collection(orgs+"/label_dimensions", "labels", "label dimension", "LabelDimension", readers, people, "key", "display_name"))
}

func policyOperations() []Operation {
	const policy, tag = orgs + "/sec_policy", "policy"
	named := []string{"name", "description", "external_data_set", "external_data_reference"}
	return slices.Concat(
		[]Operation{
			{Method: get, Path: policy, Tag: tag, Does: "List the provisioned versions, the newest first.", By: readers, Status: 200, Answer: "PolicyVersion", List: true, Query: listQuery},
			{Method: post, Path: policy, Tag: tag, Does: "Provision: make drafts active.", By: people, Status: 201, Answer: "PolicyVersion", Body: "Provisioning"},
			{Method: get, Path: policy + "/pending", Tag: tag, Does: "List the drafts that differ from the active policy.", By: people, Status: 200, Answer: "ChangeSet"},
			{Method: del, Path: policy + "/pending", Tag: tag, Does: "Throw all of them away.", By: people, Status: 204},
			{Method: put, Path: policy + "/delete", Tag: tag, Does: "Throw some of them away.", By: people, Status: 204, Body: "Provisioning"},
			{Method: post, Path: policy + "/draft/dependencies", Tag: tag, Does: "List what must be provisioned with some of them.", By: people, Status: 200, Answer: "ChangeSet", Body: "Provisioning"},
			{Method: get, Path: policy + "/{version}", Tag: tag, Does: "Read a provisioned version: active, or its number.", By: readers, Status: 200, Answer: "PolicyVersion"},
			{Method: get, Path: draft + "/firewall_settings", Tag: tag, Does: "Read the firewall settings.", By: readers, Status: 200, Answer: "FirewallSettings"},
			{Method: put, Path: draft + "/firewall_settings", Tag: tag, Does: "Change those that are given.", By: people, Status: 204, Body: "FirewallSettingsFields"},
		},
		collection(draft+"/ip_lists", tag, "IP list", "IPList", readers, people, append(named, "ip_address", "fqdn")...),
		collection(draft+"/services", tag, "service", "Service", readers, people, append(named, "port", "proto")...),
		collection(draft+"/label_groups", tag, "label group", "LabelGroup", readers, people, append(named, "key")...),
		collection(draft+"/virtual_services", tag, "virtual service", "VirtualService", readers, people, append(named, "labels", "service")...),
		bulks(draft+"/virtual_services", tag, "virtual service", "VirtualService"),
		collection(draft+"/enforcement_boundaries", tag, "enforcement boundary", "EnforcementBoundary", readers, people, "name", "enabled"),
		collection(draft+"/rule_sets", tag, "rule set", "RuleSet", readers, people, append(named, "enabled", "labels")...),
		collection(draft+"/rule_sets/{rule_set}/sec_rules", tag, "rule", "Rule", readers, people),
		collection(draft+"/rule_sets/{rule_set}/deny_rules", tag, "deny rule", "Rule", readers, people),
		[]Operation{
			{Method: post, Path: draft + "/rule_search", Tag: tag, Does: "Find rules of all rule sets.", By: readers, Status: 200, Answer: "Rule", List: true, Body: "RuleFields", Query: listQuery},
			nothing(draft+"/virtual_servers", tag, "virtual servers"), nothing(draft+"/secure_connect_gateways", tag, "gateways"),
		})
}

func machineOperations() []Operation {
	const tag = "machines"
	return slices.Concat(
		collection(orgs+"/workloads", tag, "workload", "Workload", readers, people, "name", "hostname", "labels", "managed", "online", "ip_address"),
		bulks(orgs+"/workloads", tag, "workload", "Workload"),
		collection(orgs+"/pairing_profiles", tag, "pairing profile", "PairingProfile", readers, people, "name", "description", "enabled", "labels"),
		[]Operation{
			{Method: get, Path: orgs + "/workloads/{id}/interfaces", Tag: tag, Does: "List a workload's interfaces.", By: readers, Status: 200, Answer: "Interface", List: true, Query: listQuery},
			create(orgs+"/workloads/{id}/interfaces", tag, "interface", "Interface", people), one(orgs+"/workloads/{id}/interfaces/{name}", tag, "interface", "Interface", readers),
			{Method: del, Path: orgs + "/workloads/{id}/interfaces/{name}", Tag: tag, Does: "Remove an interface.", By: people, Status: 204},
			{Method: put, Path: orgs + "/workloads/unpair", Tag: tag, Does: "Unpair workloads from their agents.", By: people, Status: 204, Body: "Unpairing"},
			{Method: post, Path: orgs + "/pairing_profiles/{id}/pairing_key", Tag: tag, Does: "Make a pairing key.", By: people, Status: 201, Answer: "PairingKey", Body: "Empty"},
			many(orgs+"/vens", tag, "VEN", "VEN", readers, "name", "hostname", "status", "labels"), one(orgs+"/vens/{id}", tag, "VEN", "VEN", readers),
			change(orgs+"/vens/{id}", tag, "VEN", "VEN", people),
			{Method: put, Path: orgs + "/vens/unpair", Tag: tag, Does: "Unpair VENs.", By: people, Status: 204, Body: "Unpairing"},
			{Method: put, Path: orgs + "/vens/upgrade", Tag: tag, Does: "Upgrade VENs, which this console leaves to the clusters' charts.", By: people, Status: 200, Answer: "UpgradeResult", Body: "Upgrade"},
			many(orgs+"/service_bindings", tag, "service binding", "ServiceBinding", readers, "virtual_service", "workload"),
			nothing(orgs+"/networks", tag, "networks"), nothing(orgs+"/security_principals", tag, "security principals"),
			one(orgs+"/service_bindings/{id}", tag, "service binding", "ServiceBinding", readers),
			{Method: post, Path: orgs + "/service_bindings", Tag: tag, Does: "Bind workloads to virtual services.", By: people, Status: 201, Answer: "ServiceBindingsMade", Body: "ServiceBindingFieldsList"},
			remove(orgs+"/service_bindings/{id}", tag, "service binding", people),
		})
}

func clusterOperations() []Operation {
	const tag = "clusters"
	at := clusters + "/{cluster}"
	return slices.Concat([]Operation{
		many(clusters, tag, "container cluster", "ContainerCluster", people, "name", "description"),
		create(clusters, tag, "container cluster", "ContainerCluster", people),
		one(at, tag, "container cluster", "ContainerCluster", owners), change(at, tag, "container cluster", "ContainerCluster", people),
		remove(at, tag, "container cluster", people),
		{Method: put, Path: at + "/container_workload_profiles/update", Tag: tag, Does: "Change several profiles alike: those listed as container_workload_profiles.", By: people, Status: 204, Body: "ContainerWorkloadProfileFields"},
		{Method: get, Path: at + "/service_backends", Tag: tag, Does: "List the Services that the cluster reported.", By: owners, Status: 200, Answer: "ServiceBackend", List: true, Query: listQuery},
		many(orgs+"/kubernetes_workloads", tag, "Kubernetes workload", "KubernetesWorkload", readers, "namespace", "kind", "name"),
		one(orgs+"/kubernetes_workloads/{id}", tag, "Kubernetes workload", "KubernetesWorkload", readers),
		many(orgs+"/container_workloads", tag, "container workload", "ContainerWorkload", readers, "namespace", "name"),
		one(orgs+"/container_workloads/{id}", tag, "container workload", "ContainerWorkload", readers),
	}, collection(at+"/container_workload_profiles", tag, "container workload profile", "ContainerWorkloadProfile", owners, people, "namespace", "name", "managed", "linked"))
}

func agentOperations() []Operation {
	const tag, at = "agent", clusters + "/{cluster}/"
	report := func(call, does string) Operation {
		return Operation{Method: put, Path: at + call, Tag: tag, Does: does, By: cluster, Status: 204, Body: "Report"}
	}
	items := func(call, does string) Operation { return bulk(at+call, tag, does, "Reports", cluster) }
	return []Operation{
		report("agent/v1/cluster", "Say what the cluster is."), report("agent/v1/namespaces", "Say all namespaces that the cluster has."),
		report("agent/v1/heartbeat", "Say that the cluster is alive."), report("agent/v1/label_map", "Say how labels of Kubernetes are mapped."),
		items("agent/v1/kubernetes_workloads/bulk_create", "Report new workloads."), items("agent/v1/kubernetes_workloads/bulk_update", "Report changed workloads, by href."),
		items("agent/v1/kubernetes_workloads/bulk_delete", "Report workloads gone, by href."),
		items("agent/v1/container_workloads/bulk_update", "Report pods."), items("agent/v1/container_workloads/bulk_delete", "Report pods gone, by UID."),
		items("agent/v1/labels/bulk_create", "Make labels that the label map may make."), items("agent/v1/events/bulk_create", "Report events."),
		items("agent/v1/hosts/bulk_delete", "Report nodes gone, by href."), items("agent/v1/services/bulk_update", "Report Services that become virtual services."),
		items("agent/v1/services/bulk_delete", "Report Services gone, by UID."),
		bulk(at+"agent/v1/hosts/bulk_update", tag, "Report nodes, with the activation code that gives new ones their profile.", "Report", cluster),
		{Method: get, Path: at + "agent/v1/traffic_flows/last", Tag: tag, Does: "Say which part of the flows was taken last.", By: cluster, Status: 200, Answer: "FlowsTaken"},
		items("security_policy_acks", "Report how workloads stand."),
		{Method: put, Path: at + "agent/v1/traffic_flows/bulk_create", Tag: tag, Does: "Report flows.", By: cluster, Status: 200, Answer: "FlowReceipt", Body: "Report"},
		{Method: put, Path: at + "security_policy_applied", Tag: tag, Does: "Say which version every node enforces.", By: cluster, Status: 200, Answer: "PolicyApplied", Body: "PolicyApplied"},
		{Method: get, Path: at + "agent/v1/changes", Tag: tag, Does: "Wait for changes that matter to the cluster.", By: cluster, Status: 200, Answer: "Changes",
			Query: [][2]string{{"since", "The cursor of the answer before; without it the answer comes at once."}, {"wait", "How many seconds to wait at most."}}},
	}
}

func trafficOperations() []Operation {
	const tag, at = "traffic", orgs + "/traffic_flows/"
	return []Operation{
		{Method: post, Path: at + "traffic_analysis_queries", Tag: tag, Does: "Ask for flows, and get them at once.", By: people, Status: 200, Answer: "Flows", Body: "Report"},
		{Method: post, Path: at + "async_queries", Tag: tag, Does: "Ask for flows, and fetch them later.", By: people, Status: 202, Answer: "TrafficQuery", Body: "Report", Location: true},
		many(at+"async_queries", tag, "such a question", "TrafficQuery", people), one(at+"async_queries/{id}", tag, "such question", "TrafficQuery", people),
		{Method: get, Path: at + "async_queries/{id}/download", Tag: tag, Does: "Fetch the flows.", By: people, Status: 200, Answer: "Flows"},
		{Method: put, Path: at + "async_queries/{id}", Tag: tag, Does: "Cancel a question.", By: people, Status: 204, Body: "Report"},
		{Method: del, Path: at + "async_queries/{id}", Tag: tag, Does: "Forget a question.", By: people, Status: 204},
		{Method: post, Path: orgs + "/agents/bulk_traffic_flows", Tag: tag, Does: "Upload flows as lines: source, destination, port, protocol.", By: people, Status: 201, Answer: "FlowReceipt", Body: "Lines"},
	}
}

// id names an operation.
func (o Operation) id() string {
	words := strings.FieldsFunc(strings.Replace(o.Path, orgs, "/org", 1), func(r rune) bool { return r == '/' || r == '{' || r == '}' || r == '.' })
	return strings.ToLower(o.Method) + "_" + strings.Join(words, "_")
}
