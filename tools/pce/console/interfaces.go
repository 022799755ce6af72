package console

import (
	"encoding/json"
	"net/http"

	"github.com/ringfence/ringfence/libs/pce"
)

// interfaceRoutes mounts the interfaces of a workload one by one; they are fields of the workload all the same, and their
// names are their ids.
func (c *Console) interfaceRoutes(path string) {
	c.route(readers, "GET "+path, func(r request) (response, error) {
		items, err := c.interfaces(r)
		if err != nil {
			return response{}, err
		}
		return c.answerList(r, items)
	})
	c.route(readers, "GET "+path+"/{name}", func(r request) (response, error) { return c.oneInterface(r, r.PathValue("name")) })
	c.route(users, "POST "+path, c.addInterface)
	c.route(users, "DELETE "+path+"/{name}", c.removeInterface)
}

func interfaceHref(workload, name string) string {
	return hrefOf(tableMachines, workload, "") + "/interfaces/" + name
}

// interfaces renders those of the workload that the path names.
func (c *Console) interfaces(r request) ([]rendered, error) {
	id, items, known := r.PathValue("id"), []rendered{}, false
	c.store.view(func(s *state) {
		m := s.get(tableMachines, id)
		if known = m != nil; !known {
			return
		}
		for _, i := range interfacesOf(m.Doc) {
			name, _ := i["name"].(string)
			i["href"] = interfaceHref(id, name)
			items = append(items, i)
		}
	})
	if !known {
		return nil, notFound(hrefOf(tableMachines, id, ""))
	}
	return items, nil
}

func (c *Console) oneInterface(r request, name string) (response, error) {
	items, err := c.interfaces(r)
	if err != nil {
		return response{}, err
	}
	for _, i := range items {
		if i["name"] == name {
			return ok(i), nil
		}
	}
	return response{}, notFound(interfaceHref(r.PathValue("id"), name))
}

// changeInterfaces writes the interfaces of the workload that the path names; those of a managed one are its agent's to say.
func (c *Console) changeInterfaces(r request, change func([]json.RawMessage) ([]json.RawMessage, error)) error {
	return c.store.write(r.Context(), r.who.href, "workload.update", func(t *transaction) error {
		at, id := place{kind: machines, table: tableMachines}, r.PathValue("id")
		m, err := at.object(t, id)
		if err != nil {
			return err
		}
		if m.Doc.flag("managed", false) {
			return refuse(http.StatusNotAcceptable, "workload_is_managed", "%s has an agent, which reports its interfaces", hrefOf(tableMachines, id, ""))
		}
		var have []json.RawMessage
		if err := decodeInto(normal(m.Doc["interfaces"]), &have); err != nil {
			return err
		}
		if have, err = change(have); err != nil {
			return err
		}
		return at.change(t, id, document{}.set("interfaces", append([]json.RawMessage{}, have...)))
	})
}

func (c *Console) addInterface(r request) (response, error) {
	body, err := r.body()
	if err != nil {
		return response{}, err
	}
	var made pce.Interface
	if err := decodeInto(body, &made); err != nil {
		return response{}, err
	}
	err = c.changeInterfaces(r, func(have []json.RawMessage) ([]json.RawMessage, error) { return append(have, body), nil })
	if err != nil {
		return response{}, err
	}
	answer, err := c.oneInterface(r, made.Name)
	answer.status, answer.header = http.StatusCreated, map[string]string{"Location": interfaceHref(r.PathValue("id"), made.Name)}
	return answer, err
}

// removeInterface removes all the addresses of an interface.
func (c *Console) removeInterface(r request) (response, error) {
	name := r.PathValue("name")
	err := c.changeInterfaces(r, func(have []json.RawMessage) ([]json.RawMessage, error) {
		var left []json.RawMessage
		for _, entry := range have {
			var i pce.Interface
			if json.Unmarshal(entry, &i) != nil || i.Name != name {
				left = append(left, entry)
			}
		}
		if len(left) == len(have) {
			return nil, notFound(interfaceHref(r.PathValue("id"), name))
		}
		return left, nil
	})
	return noContent, err
}
