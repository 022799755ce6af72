package console

import (
	"bytes"
	"errors"
	"net/http"
	"net/netip"
	"slices"

	"github.com/ringfence/ringfence/libs/pce"
)

const (
	// mappedField keeps the labels that a cluster's LabelMap gives an object, by key and value.
	mappedField    = privatePrefix + "labels"
	machineIDField = "machine_id"
	hostsUpdated   = "container_cluster.update_hosts"
)

// hostsEdit is one report of nodes.
type hostsEdit struct {
	*transaction
	cluster string
	// names are the nodes of this report by the machine they are on.
	names map[string]string
	// duplicates are nodes of this report that are on a machine of somebody else; distinct those that are not.
	duplicates, distinct map[string]string
}

// reportHosts makes or updates the workloads of nodes, and their VENs. A machine that is new is what its pairing profile and
// the cluster's LabelMap say; of one that is known only what the cluster reports changes.
func (c *Console) reportHosts(r request) (response, error) {
	var body pce.Hosts
	if err := r.decode(&body); err != nil {
		return response{}, err
	}
	if err := withinBulk("hosts", len(body.Hosts)); err != nil {
		return response{}, err
	}
	var results []pce.BulkResult
	err := c.store.write(r.Context(), r.who.href, hostsUpdated, func(t *transaction) (err error) {
		results, err = t.reportNodes(r.who.cluster, body)
		return err
	})
	return ok(results), err
}

func (t *transaction) reportNodes(cluster string, body pce.Hosts) ([]pce.BulkResult, error) {
	h := &hostsEdit{transaction: t, cluster: cluster, names: map[string]string{}, duplicates: map[string]string{}, distinct: map[string]string{}}
	results := make([]pce.BulkResult, len(body.Hosts))
	var added []int
	for i, host := range body.Hosts {
		known, err := h.find(host)
		switch {
		case err != nil:
			results[i] = refusedItem("", err)
		case known == "":
			added = append(added, i)
		default:
			results[i] = h.update(known, host)
		}
	}
	if err := h.pairAll(body, added, results); err != nil {
		return nil, err
	}
	h.noteDuplicates()
	return results, nil
}

// find gives the id of the workload that a node is, "" where it is new. It is on a machine of its own, or it is refused.
func (h *hostsEdit) find(host pce.Host) (string, error) {
	if err := checkHost(host); err != nil {
		return "", err
	}
	machine := machineOf(host)
	if other, twice := h.names[machine]; twice && other != host.Name {
		return "", h.duplicate(host, "node "+other)
	}
	h.names[machine] = host.Name
	known := ""
	for id := range h.state.index.found[lookup{tableMachines, "", machineIDField, machine}] {
		switch r := h.get(tableMachines, id); {
		case r == nil || r.Owner == "":
		case r.Owner != h.cluster && host.MachineID != "":
			return "", h.duplicate(host, hrefOf(tableMachines, id, "")+" of another cluster")
		case r.Owner == h.cluster && r.Doc.text("hostname") != host.Name && h.hasNode(r.Doc.text("hostname")):
			return "", h.duplicate(host, "node "+r.Doc.text("hostname"))
		case r.Owner == h.cluster:
			known = id
		}
	}
	h.distinct[host.Name] = machine
	return known, nil
}

// machineOf is what a machine is known by: its own id, else the node's name, which is unique in the cluster alone.
func machineOf(host pce.Host) string {
	if host.MachineID != "" {
		return host.MachineID
	}
	return host.Name
}

func checkHost(host pce.Host) error {
	switch {
	case host.Name == "" || len(host.Name) > 253:
		return invalid("name", "want 1 to 253 characters")
	case len(host.MachineID) > 253:
		return invalid("machine_id", "want at most 253 characters")
	}
	for _, i := range host.Interfaces {
		if _, err := netip.ParseAddr(i.Address); i.Name == "" || err != nil {
			return invalid("interfaces", "want a name and an address in each")
		}
	}
	return nil
}

func (h *hostsEdit) duplicate(host pce.Host, of string) error {
	h.duplicates[host.Name] = machineOf(host)
	return refuse(http.StatusNotAcceptable, duplicateMachine, "machine_id %q of node %s is that of %s: give each machine an id of its own", machineOf(host), host.Name, of)
}

// hasNode tells whether the cluster has a node of this name, by its last report of itself.
func (h *hostsEdit) hasNode(name string) bool {
	var nodes []pce.ClusterNode
	return decodeInto(normal(h.state.get(tableClusters, h.cluster).Doc["nodes"]), &nodes) == nil &&
		slices.ContainsFunc(nodes, func(n pce.ClusterNode) bool { return n.Name == name })
}

// update writes what a cluster reports of a node that is known.
func (h *hostsEdit) update(id string, host pce.Host) pce.BulkResult {
	r := h.get(tableMachines, id)
	fields := document{}.set("hostname", host.Name).set("interfaces", orEmpty(host.Interfaces)).set(mappedField, orEmpty(bareLabels(host.Labels)))
	if !bytes.Equal(r.Doc[mappedField], fields[mappedField]) {
		fields = fields.set("labels", h.relabelled(r.Doc, host.Labels))
	}
	h.updateWhereNew(tableMachines, id, fields)
	if ven := h.state.venOf(id); ven != "" {
		h.updateWhereNew(tableVENs, ven, venFieldsOf(host))
	}
	return pce.BulkResult{Href: hrefOf(tableMachines, id, ""), Status: "updated"}
}

func venFieldsOf(host pce.Host) document {
	return document{}.set("hostname", host.Name).set("version", host.AgentVersion).set("uid", machineOf(host)).
		set("container_runtime", host.Runtime)
}

// bareLabels keeps of labels what names them.
func bareLabels(labels []pce.Label) []pce.Label {
	var bare []pce.Label
	for _, l := range labels {
		bare = append(bare, pce.Label{Key: l.Key, Value: l.Value})
	}
	return bare
}

// relabelled gives the labels of a node after its LabelMap's changed: for their keys those of the LabelMap, for the others what
// there is, but for what the LabelMap gave before and no longer does.
func (h *hostsEdit) relabelled(doc document, mapped []pce.Label) []pce.Ref {
	var before []pce.Label
	if decodeInto(normal(doc[mappedField]), &before) != nil {
		before = nil
	}
	var kept []pce.Ref
	for _, l := range h.state.namedLabels(doc) {
		withdrawn := slices.ContainsFunc(before, func(b pce.Label) bool { return b.Key == l.Key && b.Value == l.Value })
		if !withdrawn {
			kept = append(kept, pce.Ref{Href: l.Href})
		}
	}
	return h.overlaid(kept, mapped)
}

// overlaid puts the labels that a LabelMap gives in place of those of the same keys. One that does not exist is left out.
func (t *transaction) overlaid(labels []pce.Ref, mapped []pce.Label) []pce.Ref {
	given, out := map[string]string{}, []pce.Ref{}
	for _, l := range mapped {
		if id := t.labelID(l.Key, l.Value); id != "" {
			given[l.Key] = id
		}
	}
	for _, ref := range labels {
		if l, there := t.state.label(pce.ID(ref.Href)); there && given[l.Key] == "" {
			out = append(out, pce.Ref{Href: ref.Href})
		}
	}
	for _, l := range mapped {
		if id := given[l.Key]; id != "" {
			out = append(out, pce.Ref{Href: hrefOf(tableLabels, id, "")})
			delete(given, l.Key)
		}
	}
	return out
}

// pairAll pairs the new machines with the activation code. One that is not accepted refuses them alone.
func (h *hostsEdit) pairAll(body pce.Hosts, added []int, results []pce.BulkResult) error {
	if len(added) == 0 {
		return nil
	}
	profile, err := h.redeem(body.ActivationCode, len(added))
	var refused *refusal
	if err != nil && !errors.As(err, &refused) {
		return err
	}
	for _, i := range added {
		id, reason := "", err
		if reason == nil {
			id, reason = h.pairHost(h.get(tablePairing, profile).Doc, body.Hosts[i])
		}
		if reason != nil {
			results[i] = refusedItem("", reason)
			continue
		}
		results[i] = pce.BulkResult{Href: hrefOf(tableMachines, id, ""), Status: "created"}
	}
	return nil
}

// pairHost makes the workload of a node, with its VEN.
func (h *hostsEdit) pairHost(profile document, host pce.Host) (string, error) {
	var p pce.PairingProfile
	if err := profile.into(&p); err != nil {
		return "", err
	}
	workload := document{}.set("name", host.Name).set("hostname", host.Name).set(machineIDField, machineOf(host)).
		set("interfaces", orEmpty(host.Interfaces)).set("labels", h.overlaid(p.Labels, host.Labels)).
		set(mappedField, orEmpty(bareLabels(host.Labels))).merge(profile.only([]string{"enforcement_mode", "visibility_level"}))
	return h.pair(h.cluster, workload, venFieldsOf(host).set("name", host.Name))
}

// deleteHosts unpairs machines that the cluster reported before.
func (c *Console) deleteHosts(r request) (response, error) {
	var items []pce.Ref
	if err := r.decodeBulk(&items); err != nil {
		return response{}, err
	}
	results := make([]pce.BulkResult, len(items))
	err := c.store.write(r.Context(), r.who.href, "container_cluster.delete_hosts", func(t *transaction) error {
		for i, item := range items {
			table, id, _ := tableOf(item.Href)
			if m := t.get(tableMachines, id); table != tableMachines || m == nil || m.Owner != r.who.cluster {
				results[i] = missing(item.Href)
				continue
			}
			t.unpair(id)
			results[i] = pce.BulkResult{Href: item.Href, Status: "deleted"}
		}
		return nil
	})
	return ok(results), err
}
