package policyfile

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// A shape is what a value looks like, at the console and in a file. Between the two is its plain form: string, bool, int64, []any that is
// sorted, or map[string]any without what has its default.
type shape interface {
	// read gives the plain form of what a console gave, decoded with json.Number.
	read(c *catalogue, v any) (any, error)
	// write gives what a console takes.
	write(c *catalogue, v any) (any, error)
	// parse gives the plain form of what a file holds. It reports to p what is wrong.
	parse(p *parser, n *yaml.Node, at string) any
	// node gives the plain form as YAML.
	node(v any) *yaml.Node
	// clear is what a console takes for none.
	clear() any
}

// field is a part of an object.
type field struct {
	name  string
	shape shape
	// otherwise is the plain form of the default, which is not written down.
	otherwise any
	// required says that a file must have it.
	required bool
}

// text is a string.
type text struct{}

func (text) read(_ *catalogue, v any) (any, error) {
	switch v := v.(type) {
	case nil:
		return "", nil
	case string:
		return v, nil
	}
	return nil, fmt.Errorf("%v is not a text", v)
}
func (text) write(_ *catalogue, v any) (any, error) { return v, nil }
func (text) clear() any                             { return "" }
func (text) parse(p *parser, n *yaml.Node, at string) any {
	if n.Kind != yaml.ScalarNode {
		p.fail(n, at, "want a text")
		return ""
	}
	if n.Tag == "!!null" {
		return ""
	}
	return n.Value
}
func (text) node(v any) *yaml.Node {
	n := &yaml.Node{}
	n.SetString(v.(string))
	return n
}

// flag is true or false.
type flag struct{}

func (flag) read(_ *catalogue, v any) (any, error) {
	switch v := v.(type) {
	case nil:
		return nil, nil
	case bool:
		return v, nil
	}
	return nil, fmt.Errorf("%v is neither true nor false", v)
}
func (flag) write(_ *catalogue, v any) (any, error) { return v, nil }
func (flag) clear() any                             { return false }
func (flag) parse(p *parser, n *yaml.Node, at string) any {
	if b, err := strconv.ParseBool(n.Value); err == nil && n.Tag == "!!bool" {
		return b
	}
	p.fail(n, at, "want true or false")
	return nil
}
func (flag) node(v any) *yaml.Node {
	return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!bool", Value: strconv.FormatBool(v.(bool))}
}

// number is an integer; words are what may stand for one, by the number or, for a console that has words too, by themselves.
type number struct{ words map[string]any }

func (s number) read(_ *catalogue, v any) (any, error) {
	switch v := v.(type) {
	case nil:
		return nil, nil
	case json.Number:
		n, err := v.Int64()
		if err != nil {
			return nil, fmt.Errorf("%v is not a whole number", v)
		}
		for word, stands := range s.words {
			if stands == n {
				return word, nil
			}
		}
		return n, nil
	case string:
		if s.words[v] == v {
			return v, nil
		}
	}
	return nil, fmt.Errorf("%v is not a number", v)
}
func (s number) write(_ *catalogue, v any) (any, error) {
	if word, ok := v.(string); ok {
		return s.words[word], nil
	}
	return v, nil
}
func (number) clear() any { return nil }
func (s number) parse(p *parser, n *yaml.Node, at string) any {
	if s.words[n.Value] != nil {
		return n.Value
	}
	v, err := strconv.ParseInt(n.Value, 10, 64)
	if err != nil || n.Kind != yaml.ScalarNode {
		p.fail(n, at, "want a number"+s.orWords())
		return nil
	}
	for word, stands := range s.words {
		if stands == v {
			return word
		}
	}
	return v
}
func (s number) orWords() string {
	var words []string
	for word := range s.words {
		words = append(words, word)
	}
	if len(words) == 0 {
		return ""
	}
	slices.Sort(words)
	return " or " + strings.Join(words, ", ")
}
func (number) node(v any) *yaml.Node {
	if word, ok := v.(string); ok {
		return text{}.node(word)
	}
	return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!int", Value: strconv.FormatInt(v.(int64), 10)}
}

// ref names an object of another kind.
type ref struct{ kind string }

func (s ref) read(c *catalogue, v any) (any, error) {
	if v == nil {
		return nil, nil
	}
	object, _ := v.(map[string]any)
	href, _ := object["href"].(string)
	return c.name(s.kind, href)
}
func (s ref) write(c *catalogue, v any) (any, error) {
	href, err := c.href(s.kind, v.(string))
	return map[string]any{"href": href}, err
}
func (ref) clear() any { return nil }
func (s ref) parse(p *parser, n *yaml.Node, at string) any {
	name, _ := text{}.parse(p, n, at).(string)
	if n.Kind == yaml.ScalarNode {
		p.refers(n, at, s.kind, name)
	}
	return name
}
func (ref) node(v any) *yaml.Node { return text{}.node(v) }

// list is any number of values, in no order that means anything.
type list struct {
	of shape
	// kept says that an empty list means something else than none.
	kept bool
}

func (s list) read(c *catalogue, v any) (any, error) {
	items, ok := v.([]any)
	if !ok && v != nil {
		return nil, fmt.Errorf("%v is not a list", v)
	}
	if v == nil || len(items) == 0 && !s.kept {
		return nil, nil
	}
	out := make([]any, len(items))
	for i := range items {
		var err error
		if out[i], err = s.of.read(c, items[i]); err != nil {
			return nil, fmt.Errorf("[%d]: %w", i, err)
		}
		if out[i] == nil {
			out[i] = []any{} // a list of lists, such as scopes
		}
	}
	return sorted(out), nil
}
func (s list) write(c *catalogue, v any) (any, error) {
	out := []any{}
	for i, item := range v.([]any) {
		written, err := s.of.write(c, item)
		if err != nil {
			return nil, fmt.Errorf("[%d]: %w", i, err)
		}
		out = append(out, written)
	}
	return out, nil
}
func (list) clear() any { return []any{} }
func (s list) parse(p *parser, n *yaml.Node, at string) any {
	if n.Kind != yaml.SequenceNode {
		if n.Tag != "!!null" {
			p.fail(n, at, "want a list")
		}
		return nil
	}
	if len(n.Content) == 0 && !s.kept {
		return nil
	}
	out := []any{}
	for i, item := range n.Content {
		v := s.of.parse(p, resolved(item), fmt.Sprintf("%s[%d]", at, i))
		if v == nil {
			v = []any{}
		}
		out = append(out, v)
	}
	return sorted(out)
}
func (s list) node(v any) *yaml.Node {
	n := &yaml.Node{Kind: yaml.SequenceNode}
	items := v.([]any)
	if len(items) == 0 {
		n.Style = yaml.FlowStyle
	}
	for _, item := range items {
		n.Content = append(n.Content, s.of.node(item))
	}
	return n
}

// record is an object with fields.
type record struct {
	fields []field
	// whole says that a field which is not among them cannot be left out of an export.
	whole bool
	// flow writes it on one line.
	flow bool
}

func (s record) read(c *catalogue, v any) (any, error) {
	if v == nil {
		return nil, nil
	}
	object, ok := v.(map[string]any)
	if !ok {
		return nil, fmt.Errorf("%v is not an object", v)
	}
	out := map[string]any{}
	for _, f := range s.fields {
		plain, err := f.shape.read(c, object[f.name])
		if err != nil {
			return nil, fmt.Errorf("%s: %w", f.name, err)
		}
		f.put(out, plain)
	}
	for name, value := range object {
		if s.whole && value != nil && !slices.ContainsFunc(s.fields, func(f field) bool { return f.name == name }) {
			return nil, fmt.Errorf("%s: there are no names for it, it cannot be written into a file", name)
		}
	}
	return out, nil
}

// put sets the field, unless it has its default.
func (f field) put(out map[string]any, plain any) {
	if fields, ok := plain.(map[string]any); ok && len(fields) == 0 {
		return
	}
	if plain != nil && plain != "" && !equal(plain, f.otherwise) {
		out[f.name] = plain
	}
}

func (s record) write(c *catalogue, v any) (any, error) {
	out := map[string]any{}
	for _, f := range s.fields {
		plain, given := v.(map[string]any)[f.name]
		if !given {
			continue
		}
		written, err := f.shape.write(c, plain)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", f.name, err)
		}
		out[f.name] = written
	}
	return out, nil
}
func (record) clear() any { return nil }
func (s record) parse(p *parser, n *yaml.Node, at string) any {
	out := map[string]any{}
	if n.Kind != yaml.MappingNode {
		p.fail(n, at, "want fields")
		return out
	}
	given := map[string]bool{}
	for i := 0; i < len(n.Content); i += 2 {
		name, value := n.Content[i].Value, resolved(n.Content[i+1])
		found := slices.IndexFunc(s.fields, func(f field) bool { return f.name == name })
		if found < 0 {
			p.fail(n.Content[i], join(at, name), "there is no such field; there are "+s.names())
			continue
		}
		given[name] = true
		f := s.fields[found]
		f.put(out, f.shape.parse(p, value, join(at, name)))
	}
	for _, f := range s.fields {
		if f.required && !given[f.name] {
			p.fail(n, join(at, f.name), "must be given")
		}
	}
	return out
}
func (s record) names() string {
	names := make([]string, len(s.fields))
	for i, f := range s.fields {
		names[i] = f.name
	}
	return strings.Join(names, ", ")
}
func (s record) node(v any) *yaml.Node {
	n := &yaml.Node{Kind: yaml.MappingNode}
	if s.flow {
		n.Style = yaml.FlowStyle
	}
	for _, f := range s.fields {
		if plain, given := v.(map[string]any)[f.name]; given {
			n.Content = append(n.Content, text{}.node(f.name), f.shape.node(plain))
		}
	}
	return n
}

func join(at, name string) string {
	if at == "" {
		return name
	}
	return at + "." + name
}

// traffic is a service by name, or ports in place.
type traffic struct{ record }

func (s traffic) read(c *catalogue, v any) (any, error) {
	object, _ := v.(map[string]any)
	if object["href"] == nil {
		return s.record.read(c, v)
	}
	name, err := ref{kindServices}.read(c, v)
	return map[string]any{"service": name}, err
}
func (s traffic) write(c *catalogue, v any) (any, error) {
	if name, given := v.(map[string]any)["service"]; given {
		return ref{kindServices}.write(c, name)
	}
	return s.record.write(c, v)
}

// resolved follows an alias.
func resolved(n *yaml.Node) *yaml.Node {
	for n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	return n
}

// sorted puts a list into its one order.
func sorted(items []any) []any {
	slices.SortFunc(items, func(a, b any) int { return strings.Compare(rank(a), rank(b)) })
	return items
}

// rank is a text by which plain values are ordered, numbers by their size. Equal values have equal ranks, and only they.
func rank(v any) string {
	switch v := v.(type) {
	case int64:
		return fmt.Sprintf("%020d", v)
	case []any:
		var b strings.Builder
		for _, item := range v {
			b.WriteString(rank(item) + "\x01")
		}
		return b.String()
	case map[string]any:
		var b strings.Builder
		for _, name := range namesOf(v) {
			b.WriteString(name + "\x02" + rank(v[name]) + "\x03")
		}
		return b.String()
	default:
		return fmt.Sprint(v)
	}
}

// telling are fields by which people look for an entry of a list: they come first in its order.
var telling = []string{"from_ip", "fqdn", "ip", "proto", "port"}

// namesOf are the names of fields in the order of ranks.
func namesOf(v map[string]any) []string {
	names := sortedNames(v)
	slices.SortStableFunc(names, func(a, b string) int { return weight(a) - weight(b) })
	return names
}

func weight(name string) int {
	if i := slices.Index(telling, name); i >= 0 {
		return i
	}
	return len(telling)
}

func sortedNames[V any](of map[string]V) []string { return slices.Sorted(maps.Keys(of)) }

func equal(a, b any) bool {
	if (a == nil) != (b == nil) {
		return false
	}
	_, listA := a.([]any)
	_, listB := b.([]any)
	return listA == listB && rank(a) == rank(b)
}
