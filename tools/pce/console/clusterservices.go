package console

import (
	"slices"

	"github.com/ringfence/ringfence/libs/pce"
)

// servicesProvisioned is the event of what clusters change of virtual services: it is active at once.
const servicesProvisioned = "system_task.provision_container_cluster_services"

// reportServices makes or updates virtual services after the Services of a cluster.
func (c *Console) reportServices(r request) (response, error) {
	var items []pce.ClusterService
	if err := r.decodeBulk(&items); err != nil {
		return response{}, err
	}
	results := make([]pce.BulkResult, len(items))
	err := c.store.write(r.Context(), r.who.href, servicesProvisioned, func(t *transaction) error {
		ids := t.state.idsByField(activeTables+tableVirtual, r.who.cluster, "external_data_reference")
		for i, item := range items {
			results[i] = t.reportService(r.who.cluster, ids, item)
		}
		return nil
	})
	return ok(results), err
}

func (t *transaction) reportService(cluster string, ids map[string]string, s pce.ClusterService) pce.BulkResult {
	if err := checkClusterService(s); err != nil {
		return refusedItem("", err)
	}
	doc := t.virtualServiceOf(cluster, s)
	id, known := ids[s.UID]
	if !known {
		id = newUUID()
		ids[s.UID] = id
	}
	result := pce.BulkResult{Href: hrefOf(activeTables+tableVirtual, id, ""), Status: "updated"}
	// The draft is what the active policy has, in the same edit: so the two do not differ.
	for _, table := range []string{draftTables + tableVirtual, activeTables + tableVirtual} {
		if known {
			t.updateWhereNew(table, id, doc)
			continue
		}
		t.create(table, id, cluster, doc)
		result.Status = "created"
	}
	return result
}

func checkClusterService(s pce.ClusterService) error {
	switch {
	case s.UID == "" || s.Name == "" || s.Namespace == "":
		return invalid("uid", "uid, name and namespace must not be empty")
	case len(s.Ports) == 0:
		return invalid("service_ports", "must not be empty")
	}
	if err := oneOf("service_type", s.ServiceType, []string{"ClusterIP", "NodePort", "LoadBalancer"}); err != nil {
		return err
	}
	for _, p := range s.Ports {
		if err := checkPort("service_ports", p, false); err != nil {
			return err
		}
	}
	for _, a := range s.Addresses {
		if err := checkServiceAddress(a); err != nil {
			return err
		}
	}
	for _, port := range s.NodePorts {
		if !within(&port, 1, 65535) {
			return invalid("node_ports", "%d is not a port", port)
		}
	}
	return nil
}

// virtualServiceOf is a Service as a virtual service. Its name need not be unique: Services of other namespaces have it too.
func (t *transaction) virtualServiceOf(cluster string, s pce.ClusterService) document {
	network := podNetwork(cluster, t.state.get(tableClusters, cluster).Doc.text("name"))
	addresses := []rendered{}
	for _, a := range s.Addresses {
		entry := rendered{"network": network}
		for field, value := range map[string]string{"ip": a.IP, "fqdn": a.FQDN} {
			if value != "" {
				entry[field] = value
			}
		}
		if a.Port != nil {
			entry["port"] = *a.Port
		}
		addresses = append(addresses, entry)
	}
	return document{}.set("name", s.Name).set("description", "").set("apply_to", "host_only").set("ip_overrides", none).
		set("labels", t.overlaid(nil, s.Labels)).set("service_ports", s.Ports).set("service_addresses", addresses).
		set("external_data_set", cluster+"|"+s.Namespace).set("external_data_reference", s.UID).
		set("k8s_service_info", rendered{
			"service_type": s.ServiceType, "external_traffic_policy": orNull(s.ExternalTrafficPolicy), "node_ports": orEmpty(s.NodePorts),
		})
}

// deleteServices removes virtual services by the UIDs of their Services. A rule that still names one then names nothing: what
// Kubernetes has not got cannot be kept for it.
func (c *Console) deleteServices(r request) (response, error) {
	var items []uidRef
	if err := r.decodeBulk(&items); err != nil {
		return response{}, err
	}
	results := make([]pce.BulkResult, len(items))
	err := c.store.write(r.Context(), r.who.href, servicesProvisioned, func(t *transaction) error {
		ids := t.state.idsByField(activeTables+tableVirtual, r.who.cluster, "external_data_reference")
		for i, item := range items {
			id, known := ids[item.UID]
			if !known {
				results[i] = refusedItem("", notFound("a Service of UID "+item.UID))
				continue
			}
			delete(ids, item.UID)
			t.removeClusterService(id)
			results[i] = pce.BulkResult{Href: hrefOf(activeTables+tableVirtual, id, ""), Status: "deleted"}
		}
		return nil
	})
	return ok(results), err
}

// removeClusterService removes a virtual service that a cluster made, with the bindings to it.
func (t *transaction) removeClusterService(id string) {
	t.remove(draftTables+tableVirtual, id)
	t.remove(activeTables+tableVirtual, id)
	users := t.state.usersOf(hrefOf(draftTables+tableVirtual, id, ""))
	for _, user := range slices.DeleteFunc(users, func(k key) bool { return k.Table != tableBindings }) {
		t.remove(tableBindings, user.ID)
	}
}
