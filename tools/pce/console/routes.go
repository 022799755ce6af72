package console

import "net/http"

// routes mounts the API. The mux prefers the more specific pattern, so the order does not matter.
func (c *Console) routes() {
	const orgs = "/orgs/{org}"
	c.route(anyone, "GET /health", c.health)
	c.route(anyone, "GET /product_version", func(request) (response, error) { return ok(productVersion()), nil })
	c.route(anyone, "GET /noop", func(request) (response, error) { return noContent, nil })
	c.userRoutes()
	c.settingsRoutes()
	c.route(readers, "GET "+orgs, c.organisation)
	c.route(users, "GET "+orgs+"/events", c.listEvents)
	c.route(users, "GET "+orgs+"/events/{id}", c.readEvent)
	c.route(readers, "GET "+orgs+"/jobs/{id}", c.jobs.status)
	c.route(readers, "GET "+orgs+"/datafiles/{id}", c.jobs.fetch)

	c.collection(orgs+"/labels", labels, readers, users)
	c.route(readers, "GET "+orgs+"/label_dimensions", c.dimensions)
	c.route(readers, "GET "+orgs+"/label_dimensions/{id}", c.dimension)
	c.collection(orgs+"/pairing_profiles", pairing, readers, users)
	c.route(users, "POST "+orgs+"/pairing_profiles/{id}/pairing_key", c.createPairingKey)

	c.policyRoutes(orgs + "/sec_policy")
	c.clusterRoutes(orgs + "/container_clusters")
	c.agentAPI()
	c.trafficRoutes(orgs)

	workloads := kind{table: tableWorkloads, exact: []string{"namespace", "kind"}, substring: []string{"name"}}
	c.route(readers, "GET "+orgs+"/kubernetes_workloads", c.list(workloads))
	c.route(readers, "GET "+orgs+"/kubernetes_workloads/{id}", c.read(workloads))
	c.route(readers, "GET "+orgs+"/container_workloads", c.list(containers))
	c.route(readers, "GET "+orgs+"/container_workloads/{id}", c.read(containers))

	c.mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		c.write(w, r, c.failure(r, notFound(r.Method+" "+r.URL.Path)))
	})
}

func (c *Console) policyRoutes(policy string) {
	c.route(readers, "GET "+policy, c.versions)
	c.route(users, "POST "+policy, c.provision)
	c.route(users, "GET "+policy+"/pending", c.pending)
	c.route(readers, "GET "+policy+"/{version}", c.version)
	for path, k := range map[string]kind{
		"/ip_lists": ipLists, "/services": services, "/rule_sets": ruleSets,
		"/rule_sets/{rule_set}/sec_rules": rules, "/rule_sets/{rule_set}/deny_rules": denyRules,
	} {
		c.collection(policy+"/{version}"+path, k, readers, users)
	}
}

func (c *Console) clusterRoutes(path string) {
	c.route(users, "GET "+path, c.list(clusters))
	c.route(users, "POST "+path, c.createCluster)
	c.route(owners, "GET "+path+"/{cluster}", inCluster(c.read(clusters)))
	c.route(users, "PUT "+path+"/{cluster}", c.updateCluster)
	c.route(users, "DELETE "+path+"/{cluster}", inCluster(c.remove(clusters)))
	c.collection(path+"/{cluster}/container_workload_profiles", profiles, owners, users)
}
