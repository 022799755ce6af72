package console

import (
	"net/http"
	"strings"

	"github.com/ringfence/ringfence/libs/pce"
)

// routes mounts the API. The mux prefers the more specific pattern, so the order does not matter.
func (c *Console) routes() {
	const orgs = "/orgs/{org}"
	c.route(anyone, "GET /health", c.health)
	c.route(anyone, "GET /product_version", func(request) (response, error) { return ok(productVersion()), nil })
	c.route(anyone, "GET /noop", func(request) (response, error) { return noContent, nil })
	c.route(anyone, "GET /openapi.json", describe)
	c.userRoutes()
	c.settingsRoutes()
	c.route(readers, "GET "+orgs, c.organisation)
	c.route(users, "GET "+orgs+"/events", c.listEvents)
	c.route(users, "GET "+orgs+"/events/{id}", c.readEvent)
	c.route(readers, "GET "+orgs+"/jobs", c.jobs.list)
	c.route(readers, "GET "+orgs+"/jobs/{id}", c.jobs.status)
	c.route(readers, "DELETE "+orgs+"/jobs/{id}", c.jobs.remove)
	c.route(readers, "GET "+orgs+"/datafiles/{id}", c.jobs.fetch)

	c.collection(orgs+"/labels", labels, readers, users)
	c.collection(orgs+"/label_dimensions", dimensions, readers, users)
	c.collection(orgs+"/pairing_profiles", pairing, readers, users)
	c.route(users, "POST "+orgs+"/pairing_profiles/{id}/pairing_key", c.createPairingKey)

	for _, absent := range []string{"networks", "security_principals"} {
		c.route(readers, "GET "+orgs+"/"+absent, c.nothing)
	}
	c.machineRoutes(orgs)
	c.policyRoutes(orgs + "/sec_policy")
	c.clusterRoutes(orgs + "/container_clusters")
	c.agentAPI()
	c.trafficRoutes(orgs)

	c.route(readers, "GET "+orgs+"/kubernetes_workloads", c.list(kubernetesWorkloads))
	c.route(readers, "GET "+orgs+"/kubernetes_workloads/{id}", c.read(kubernetesWorkloads))
	c.route(readers, "GET "+orgs+"/container_workloads", c.list(containers))
	c.route(readers, "GET "+orgs+"/container_workloads/{id}", c.read(containers))

	c.mux.HandleFunc("/", c.elsewhere)
}

// nothing lists kinds that the console has no objects of: clients that load everything go on.
func (c *Console) nothing(r request) (response, error) { return c.answerList(r, []rendered{}) }

// elsewhere answers for paths that nothing is at, and for known ones with a method that they do not have.
func (c *Console) elsewhere(w http.ResponseWriter, r *http.Request) {
	var allowed []string
	for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodPut, http.MethodDelete} {
		other := r.Clone(r.Context())
		other.Method = method
		if _, pattern := c.mux.Handler(other); pattern != "/" {
			allowed = append(allowed, method)
		}
	}
	if len(allowed) == 0 {
		c.write(w, r, c.failure(r, notFound(r.Method+" "+r.URL.Path)))
		return
	}
	answer := c.failure(r, refuse(http.StatusMethodNotAllowed, "method_not_allowed", "%s has no %s", r.URL.Path, r.Method))
	answer.header = map[string]string{"Allow": strings.Join(allowed, ", ")}
	c.write(w, r, answer)
}

func (c *Console) machineRoutes(orgs string) {
	c.collection(orgs+"/workloads", machines, readers, users)
	c.bulkRoutes(orgs+"/workloads", machines)
	c.interfaceRoutes(orgs + "/workloads/{id}/interfaces")
	c.route(users, "PUT "+orgs+"/workloads/unpair",
		c.unpair("workloads", func(u unpairing) []pce.Ref { return u.Workloads }, workloadByHref))
	c.route(readers, "GET "+orgs+"/vens", c.list(vens))
	c.route(readers, "GET "+orgs+"/vens/{id}", c.read(vens))
	c.route(users, "PUT "+orgs+"/vens/{id}", c.update(vens))
	c.route(users, "PUT "+orgs+"/vens/unpair", c.unpair("vens", func(u unpairing) []pce.Ref { return u.VENs }, workloadByVEN))
	c.route(users, "PUT "+orgs+"/vens/upgrade", c.upgradeVENs)
	c.route(readers, "GET "+orgs+"/service_bindings", c.list(bindings))
	c.route(readers, "GET "+orgs+"/service_bindings/{id}", c.read(bindings))
	c.route(users, "POST "+orgs+"/service_bindings", c.createBindings)
	c.route(users, "DELETE "+orgs+"/service_bindings/{id}", c.remove(bindings))
}

func (c *Console) policyRoutes(policy string) {
	c.route(readers, "GET "+policy, c.versions)
	c.route(users, "POST "+policy, c.provision)
	c.route(users, "GET "+policy+"/pending", c.pending)
	c.route(users, "DELETE "+policy+"/pending", c.revert)
	c.route(users, "PUT "+policy+"/delete", c.revert)
	c.route(users, "POST "+policy+"/draft/dependencies", c.dependencies)
	c.route(readers, "GET "+policy+"/{version}", c.version)
	c.route(readers, "POST "+policy+"/{version}/rule_search", c.searchRules)
	for _, absent := range []string{"virtual_servers", "secure_connect_gateways"} {
		c.route(readers, "GET "+policy+"/{version}/"+absent, c.nothing)
	}
	c.firewallRoutes(policy + "/{version}/firewall_settings")
	for path, k := range map[string]kind{
		"/ip_lists": ipLists, "/services": services, "/rule_sets": ruleSets, "/label_groups": groups,
		"/enforcement_boundaries": boundaries, "/virtual_services": virtualServices,
		"/rule_sets/{rule_set}/sec_rules": rules, "/rule_sets/{rule_set}/deny_rules": denyRules,
	} {
		c.collection(policy+"/{version}"+path, k, readers, users)
	}
	c.bulkRoutes(policy+"/{version}/virtual_services", virtualServices)
}

func (c *Console) clusterRoutes(path string) {
	c.route(users, "GET "+path, c.list(clusters))
	c.route(users, "POST "+path, c.createCluster)
	c.route(owners, "GET "+path+"/{cluster}", inCluster(c.read(clusters)))
	c.route(users, "PUT "+path+"/{cluster}", c.updateCluster)
	c.route(users, "DELETE "+path+"/{cluster}", inCluster(c.remove(clusters)))
	c.collection(path+"/{cluster}/container_workload_profiles", profiles, owners, users)
	c.route(users, "PUT "+path+"/{cluster}/container_workload_profiles/update", c.updateProfiles)
	c.route(owners, "GET "+path+"/{cluster}/service_backends", c.serviceBackends)
}
