package policyfile

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Object is one object in plain form, with where it was read.
type object struct {
	plain map[string]any
	name  string
	// place is where a file has it.
	place place
}

type place struct {
	file string
	line int
}

func (p place) String() string { return fmt.Sprintf("%s:%d", p.file, p.line) }

// Policy is what files hold, or a console.
type Policy struct {
	// sections has the objects of each kind, by its name, in the order of their names. A kind without a section is not there.
	sections map[string][]object
	refs     []reference
	// Notes say what a console does not have.
	Notes []string
}

// reference is a name that a file uses.
type reference struct {
	place
	where, kind, name string
}

// Problem is something wrong in a file.
type Problem struct {
	File    string `json:"file"`
	Line    int    `json:"line"`
	Object  string `json:"object,omitempty"`
	Field   string `json:"field,omitempty"`
	Message string `json:"message"`
}

// Error is one line: file, line, object, field, and what is wrong.
func (p Problem) Error() string {
	text := fmt.Sprintf("%s:%d: ", p.File, p.Line)
	for _, part := range []string{p.Object, p.Field} {
		if part != "" {
			text += part + ": "
		}
	}
	return text + p.Message
}

// parser reads one file and collects what is wrong in it.
type parser struct {
	file   string
	object string
	policy *Policy
	wrong  []error
}

func (p *parser) fail(n *yaml.Node, at, message string) {
	p.wrong = append(p.wrong, Problem{File: p.file, Line: n.Line, Object: p.object, Field: at, Message: message})
}

func (p *parser) refers(n *yaml.Node, at, kind, name string) {
	p.policy.refs = append(p.policy.refs, reference{place: place{p.file, n.Line}, where: join(p.object, at), kind: kind, name: name})
}

// Parse takes files together: the text of each by its name. The error has everything that is wrong in them.
func Parse(files map[string][]byte) (*Policy, error) {
	policy := &Policy{sections: map[string][]object{}}
	var wrong []error
	for _, name := range sortedNames(files) {
		p := &parser{file: name, policy: policy}
		p.parse(files[name])
		wrong = append(wrong, p.wrong...)
	}
	return policy, errors.Join(append(wrong, policy.order()...)...)
}

func (p *parser) parse(content []byte) {
	decoder := yaml.NewDecoder(bytes.NewReader(content))
	for {
		var document yaml.Node
		err := decoder.Decode(&document)
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			p.wrong = append(p.wrong, fmt.Errorf("%s: %w", p.file, err))
			return
		}
		if len(document.Content) == 1 {
			p.sections(resolved(document.Content[0]))
		}
	}
}

func (p *parser) sections(root *yaml.Node) {
	if root.Tag == "!!null" {
		return
	}
	if root.Kind != yaml.MappingNode {
		p.fail(root, "", "want sections, such as labels and rule_sets")
		return
	}
	for i := 0; i < len(root.Content); i += 2 {
		p.object = ""
		k := kindNamed(root.Content[i].Value)
		if k == nil {
			p.fail(root.Content[i], root.Content[i].Value, "there is no such section; there are "+sectionNames())
			continue
		}
		p.section(k, resolved(root.Content[i+1]))
	}
}

func sectionNames() string {
	names := make([]string, len(kinds))
	for i := range kinds {
		names[i] = kinds[i].name
	}
	return strings.Join(names, ", ")
}

func (p *parser) section(k *kind, n *yaml.Node) {
	items := n.Content
	switch {
	case k.single:
		items = []*yaml.Node{n}
	case n.Tag == "!!null":
	case n.Kind != yaml.SequenceNode:
		p.fail(n, k.name, "want a list")
		return
	}
	if p.policy.sections[k.name] == nil {
		p.policy.sections[k.name] = []object{}
	}
	for i, item := range items {
		item = resolved(item)
		p.object = fmt.Sprintf("%s[%d]", k.name, i)
		if name := k.called(glance(item)); name != "" {
			p.object = fmt.Sprintf("%s %q", singular(k.name), name)
		}
		plain := k.item(p, item)
		name := k.called(plain)
		if name == "" {
			p.fail(item, "", "has no name")
			continue
		}
		p.policy.sections[k.name] = append(p.policy.sections[k.name], object{plain: plain, name: name, place: place{p.file, item.Line}})
	}
}

// item reads one object. A label may be just key=value.
func (k *kind) item(p *parser, n *yaml.Node) map[string]any {
	var plain map[string]any
	if k.name == kindLabels && n.Kind == yaml.ScalarNode {
		plain = map[string]any{"label": n.Value}
	} else {
		plain = k.parse(p, n, "").(map[string]any)
	}
	if label, given := plain["label"].(string); given && k.name == kindLabels {
		if key, value, ok := strings.Cut(label, "="); !ok || key == "" || value == "" {
			p.fail(n, "", fmt.Sprintf("%q is not a key and a value, key=value", label))
		}
	}
	return plain
}

// glance gives the texts of an object, to name it by before it is read.
func glance(n *yaml.Node) map[string]any {
	texts := map[string]any{}
	if n.Kind == yaml.ScalarNode {
		texts["label"] = n.Value
	}
	for i := 0; n.Kind == yaml.MappingNode && i+1 < len(n.Content); i += 2 {
		texts[n.Content[i].Value] = n.Content[i+1].Value
	}
	return texts
}

func singular(kind string) string { return strings.TrimSuffix(kind, "s") }

// order sorts every section and finds what is there twice.
func (p *Policy) order() (wrong []error) {
	for i := range kinds {
		objects := p.sections[kinds[i].name]
		slices.SortStableFunc(objects, func(a, b object) int { return strings.Compare(a.name, b.name) })
		for j := 1; j < len(objects); j++ {
			if a, b := objects[j-1], objects[j]; a.name == b.name {
				wrong = append(wrong, Problem{File: b.place.file, Line: b.place.line,
					Object: fmt.Sprintf("%s %q", singular(kinds[i].name), b.name), Message: "is there twice: the other is at " + a.place.String()})
			}
		}
	}
	return wrong
}

const head = `A policy of Ringfence. Read it into a console with: pce import FILE --provision`

// Write gives the policy as YAML. Equal policies have equal texts.
func (p *Policy) Write(w io.Writer) error {
	if _, err := fmt.Fprintf(w, "# %s\n", head); err != nil {
		return err
	}
	for i := range kinds {
		k := &kinds[i]
		objects := p.sections[k.name]
		if len(objects) == 0 {
			continue
		}
		section := k.node(objects[0].plain)
		if !k.single {
			section = &yaml.Node{Kind: yaml.SequenceNode}
			for _, o := range objects {
				section.Content = append(section.Content, k.entry(o))
			}
		}
		if _, err := fmt.Fprintln(w); err != nil {
			return err
		}
		encoder := yaml.NewEncoder(w)
		encoder.SetIndent(2)
		root := &yaml.Node{Kind: yaml.MappingNode, Content: []*yaml.Node{text{}.node(k.name), section}}
		if err := errors.Join(encoder.Encode(root), encoder.Close()); err != nil {
			return err
		}
	}
	return nil
}

// entry gives an object as YAML: a label that is nothing more as key=value.
func (k *kind) entry(o object) *yaml.Node {
	if k.name == kindLabels && len(o.plain) == 1 {
		return text{}.node(o.name)
	}
	return k.node(o.plain)
}
