package policyfile

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strings"

	api "github.com/ringfence/ringfence/libs/pce"
)

// Console is what is needed of a console: the client of libs/pce.
type Console interface {
	Org() string
	Documents(ctx context.Context, path string) ([]api.Document, error)
	Document(ctx context.Context, href string) (api.Document, error)
	Create(ctx context.Context, path string, fields any) (api.Document, error)
	Update(ctx context.Context, href string, fields any) error
	Delete(ctx context.Context, href string) error
}

// catalogue knows what a console calls its objects.
type catalogue struct {
	// names by href of the draft; hrefs by kind and name.
	names map[string]string
	hrefs map[[2]string]string
	// twice has the hrefs of another object with the same name.
	twice map[[2]string]string
}

func newCatalogue() *catalogue {
	return &catalogue{names: map[string]string{}, hrefs: map[[2]string]string{}, twice: map[[2]string]string{}}
}

func (c *catalogue) add(kind, name, href string) {
	c.names[draftOf(href)] = name
	at := [2]string{kind, name}
	if other, taken := c.hrefs[at]; taken && other != href {
		c.twice[at] = other
	}
	c.hrefs[at] = href
}

func draftOf(href string) string {
	return strings.Replace(href, "/sec_policy/active/", "/sec_policy/draft/", 1)
}

func (c *catalogue) name(kind, href string) (string, error) {
	name, known := c.names[draftOf(href)]
	if !known {
		return "", fmt.Errorf("%s does not exist", href)
	}
	if other, twice := c.twice[[2]string{kind, name}]; twice {
		return "", fmt.Errorf("%q is the name of both %s and %s: give one of them another", name, href, other)
	}
	return name, nil
}

func (c *catalogue) href(kind, name string) (string, error) {
	href, known := c.hrefs[[2]string{kind, name}]
	if !known {
		return "", fmt.Errorf("%s %q does not exist", singular(kind), name)
	}
	return href, nil
}

// held is an object that a console has.
type held struct {
	object
	href string
	raw  map[string]any
	// rules are those of a rule set, by the name of their field.
	rules map[string][]held
}

// contents are all objects of a console that can be in a file.
type contents struct {
	*catalogue
	objects map[string][]held
	// absent are kinds that the console does not serve.
	absent map[string]bool
	// going are objects of the draft that are to be deleted by the next provisioning.
	going map[string][]held
}

// load reads a console. version is draft or active.
func load(ctx context.Context, c Console, version string) (*contents, error) {
	out := &contents{catalogue: newCatalogue(), objects: map[string][]held{}, absent: map[string]bool{}, going: map[string][]held{}}
	raw := map[string][]held{}
	if err := out.loadClusters(ctx, c); err != nil {
		return nil, err
	}
	for i := range kinds {
		k := &kinds[i]
		var err error
		if raw[k.name], err = out.loadKind(ctx, c, k, version); err != nil {
			return nil, err
		}
	}
	if err := out.loadKubernetes(ctx, c, raw); err != nil {
		return nil, err
	}
	// By now every name is known.
	for i := range kinds {
		k := &kinds[i]
		for _, h := range raw[k.name] {
			if err := out.understand(k, h); err != nil {
				return nil, err
			}
		}
	}
	return out, nil
}

func (s *contents) loadClusters(ctx context.Context, c Console) error {
	clusters, err := c.Documents(ctx, c.Org()+"/"+kindClusters)
	if api.KindOf(err) == api.Missing {
		return nil
	}
	for _, cluster := range clusters {
		s.add(kindClusters, cluster.Text("name"), cluster.Href())
	}
	return err
}

// loadKind reads one collection, notes the names of its objects, and gives those that belong into a file.
func (s *contents) loadKind(ctx context.Context, c Console, k *kind, version string) (found []held, err error) {
	documents, err := k.documents(ctx, c, version, s.catalogue)
	if api.KindOf(err) == api.Missing {
		s.absent[k.name] = true
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	for _, d := range documents {
		object, err := decode(d)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", d.Href(), err)
		}
		if object["deleted"] == true {
			continue
		}
		object = k.fromConsole(object)
		h := held{href: d.Href(), raw: object}
		if object["update_type"] == "delete" {
			h.name = k.called(object)
			s.going[k.name] = append(s.going[k.name], h)
			continue
		}
		if k.name == kindProfiles {
			cluster, _, _ := strings.Cut(h.href, "/"+kindProfiles)
			object["cluster"] = map[string]any{"href": cluster}
		} else {
			s.add(k.name, k.called(object), h.href)
		}
		if k.ours == nil || k.ours(object) {
			found = append(found, h)
		}
	}
	return found, nil
}

// documents reads the objects of a kind: of profiles, those of every cluster.
func (k *kind) documents(ctx context.Context, c Console, version string, names *catalogue) ([]api.Document, error) {
	path := c.Org() + "/" + k.name
	if k.versioned {
		path = c.Org() + "/sec_policy/" + version + "/" + k.name
	}
	switch {
	case k.single:
		one, err := c.Document(ctx, path)
		if one != nil && one.Href() == "" {
			one["href"], err = json.Marshal(path)
		}
		return []api.Document{one}, err
	case k.name != kindProfiles:
		return c.Documents(ctx, path)
	}
	var all []api.Document
	for at, href := range names.hrefs {
		if at[0] != kindClusters {
			continue
		}
		some, err := c.Documents(ctx, href+"/"+kindProfiles)
		if err != nil {
			return nil, err
		}
		all = append(all, some...)
	}
	return all, nil
}

// loadKubernetes reads the names of Kubernetes workloads, which may be many, where a rule of the console names one.
func (s *contents) loadKubernetes(ctx context.Context, c Console, raw map[string][]held) error {
	for _, name := range []string{kindRuleSets, kindBoundaries} {
		for _, h := range raw[name] {
			if encoded, err := json.Marshal(h.raw); err != nil || !bytes.Contains(encoded, []byte("/"+kindKubernetes+"/")) {
				continue
			}
			return s.nameKubernetes(ctx, c)
		}
	}
	return nil
}

func (s *contents) nameKubernetes(ctx context.Context, c Console) error {
	workloads, err := c.Documents(ctx, c.Org()+"/"+kindKubernetes)
	for _, w := range workloads {
		var cluster struct{ Name string }
		if err := json.Unmarshal(w["container_cluster"], &cluster); err != nil {
			return fmt.Errorf("%s: container_cluster: %w", w.Href(), err)
		}
		s.add(kindWorkloads, strings.Join([]string{cluster.Name, w.Text("namespace"), w.Text("kind"), w.Text("name")}, "/"), w.Href())
	}
	return err
}

func decode(d api.Document) (map[string]any, error) {
	encoded, err := json.Marshal(d)
	if err != nil {
		return nil, err
	}
	decoder := json.NewDecoder(bytes.NewReader(encoded))
	decoder.UseNumber()
	var object map[string]any
	return object, decoder.Decode(&object)
}

// understand gives an object its plain form.
func (s *contents) understand(k *kind, h held) error {
	plain, err := k.read(s.catalogue, h.raw)
	if err != nil {
		return fmt.Errorf("%s %q (%s): %w", singular(k.name), k.called(h.raw), h.href, err)
	}
	h.plain, _ = plain.(map[string]any)
	h.name = k.called(h.plain)
	if k.name != kindProfiles {
		if _, err := s.catalogue.name(k.name, h.href); err != nil {
			return err
		}
	}
	if k.name == kindRuleSets {
		if err := s.rulesOf(&h); err != nil {
			return err
		}
	}
	s.objects[k.name] = append(s.objects[k.name], h)
	return nil
}

// rulesOf takes the rules of a rule set one by one, without those that are to be deleted.
func (s *contents) rulesOf(set *held) error {
	set.rules = map[string][]held{}
	for field, shape := range ruleShapes {
		list, _ := set.raw[field].([]any)
		plains := []any{}
		for _, item := range list {
			rule, _ := item.(map[string]any)
			if rule["update_type"] == "delete" {
				continue
			}
			plain, err := shape.read(s.catalogue, rule)
			if err != nil {
				return fmt.Errorf("rule %v: %w", rule["href"], err)
			}
			href, _ := rule["href"].(string)
			set.rules[field] = append(set.rules[field], held{href: href, object: object{plain: plain.(map[string]any)}})
			plains = append(plains, plain)
		}
		if delete(set.plain, field); len(plains) > 0 {
			set.plain[field] = sorted(plains)
		}
	}
	return nil
}

var ruleShapes = map[string]record{fieldRules: allowRule, fieldDeny: denyRule}

// Export reads the whole policy of a console, of its draft or of what is active.
func Export(ctx context.Context, c Console, version string) (*Policy, error) {
	all, err := load(ctx, patiently(c), version)
	if err != nil {
		return nil, err
	}
	p := &Policy{sections: map[string][]object{}, Notes: all.notes()}
	for kind, objects := range all.objects {
		p.sections[kind] = []object{}
		for _, h := range objects {
			p.sections[kind] = append(p.sections[kind], h.object)
		}
	}
	for _, err := range p.order() {
		return nil, err
	}
	return p, nil
}

func (s *contents) notes() (notes []string) {
	for i := range kinds {
		if s.absent[kinds[i].name] {
			notes = append(notes, kinds[i].name+": the console does not serve them")
		}
	}
	return notes
}
