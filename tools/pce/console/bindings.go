package console

import (
	"net/http"

	"github.com/ringfence/ringfence/libs/pce"
)

// checkBinding holds that a workload is bound to a virtual service that is active, and named as such: a binding acts at
// once, what is only a draft cannot.
func checkBinding(v *validation, _ string, doc, _ document) (document, error) {
	doc = doc.otherwise(map[string]any{"port_overrides": []string{}})
	var b pce.ServiceBinding
	if err := doc.into(&b); err != nil {
		return nil, err
	}
	if b.VirtualService == nil || b.Workload == nil {
		return nil, invalid("virtual_service", "want virtual_service and workload")
	}
	table, id, ok := tableOf(b.VirtualService.Href)
	if !ok || table != activeTables+tableVirtual {
		return nil, invalid("virtual_service", "%q is not the href of an active virtual service", b.VirtualService.Href)
	}
	if v.get(table, id) == nil {
		return nil, invalid("virtual_service", "%s does not exist", b.VirtualService.Href)
	}
	if err := v.refers("virtual_service", tableVirtual, b.VirtualService.Href); err != nil {
		return nil, err
	}
	if err := v.refers("workload", tableMachines, b.Workload.Href); err != nil {
		return nil, err
	}
	for _, o := range b.PortOverrides {
		if err := checkOverride(o); err != nil {
			return nil, err
		}
	}
	return doc.set("virtual_service", pce.Ref{Href: b.VirtualService.Href}).set("workload", pce.Ref{Href: b.Workload.Href}), nil
}

func checkOverride(o pce.PortOverride) error {
	switch {
	case o.NewPort == nil:
		return invalid("port_overrides.new_port", "must be given")
	case !within(o.NewPort, 0, 65535):
		return invalid("port_overrides.new_port", "%d is not a port", *o.NewPort)
	case !within(o.Port, 0, 65535):
		return invalid("port_overrides.port", "%d is not a port", *o.Port)
	case o.NewToPort != nil && (*o.NewToPort < *o.NewPort || *o.NewToPort > 65535):
		return invalid("port_overrides.new_to_port", "%d is not a port above new_port", *o.NewToPort)
	}
	return nil
}

// createBindings takes one binding or a list; the answer is a list either way, an entry for each in its order.
func (c *Console) createBindings(r request) (response, error) {
	items, err := r.documents(bindings)
	if err != nil {
		return response{}, err
	}
	results := make([]any, len(items))
	made := map[int]string{}
	err = c.store.write(r.Context(), r.who.href, "service_binding.create", func(t *transaction) error {
		for i, doc := range items {
			id, err := place{kind: bindings, table: tableBindings}.add(t, doc.without([]string{hrefField}))
			if err != nil && len(items) == 1 {
				return err
			}
			if results[i], err = outcome(bulkItem{err: err}, "created"); err != nil {
				return err
			}
			if id != "" {
				made[i] = id
			}
		}
		return nil
	})
	if err != nil {
		return response{}, err
	}
	c.store.view(func(s *state) {
		for i, id := range made {
			out := s.render(tableBindings, id, c.agents)
			out["status"] = "created"
			results[i] = out
		}
	})
	return response{status: http.StatusCreated, body: results}, nil
}

// decorateBinding names the workload.
func (s *state) decorateBinding(out rendered, r *record) {
	href := r.Doc.ref("workload")
	if m := s.get(tableMachines, pce.ID(href)); m != nil {
		out["workload"] = map[string]any{
			"href": href, "name": m.Doc.orNull("name"), "hostname": m.Doc.orNull("hostname"), "deleted": false,
		}
	}
	if vs := s.get(activeTables+tableVirtual, pce.ID(r.Doc.ref("virtual_service"))); vs != nil {
		out["virtual_service"] = map[string]any{"href": r.Doc.ref("virtual_service"), "name": vs.Doc.text("name")}
	}
	out["bound_service"] = out["virtual_service"]
}
