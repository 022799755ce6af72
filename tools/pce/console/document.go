package console

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"
	"strings"

	"github.com/ringfence/ringfence/libs/pce"
)

// document is an object as a client wrote it: field name to JSON value. A document is never changed once stored.
type document map[string]json.RawMessage

// served are the fields that the console fills in for every kind; what clients send for them is dropped.
var served = []string{
	"href", "created_at", "created_by", "updated_at", "updated_by", "deleted_at", "deleted_by", "update_type", "caps",
	"container_cluster_token", "linked",
}

func decodeDocument(body []byte) (document, error) {
	var d document
	if err := json.Unmarshal(body, &d); err != nil || d == nil {
		return nil, invalid("the body", "want a JSON object")
	}
	for field := range d {
		if slices.Contains(served, field) || strings.HasPrefix(field, privatePrefix) {
			delete(d, field)
		}
	}
	return d, nil
}

// privatePrefix begins the names of fields that are kept but neither taken from clients nor served.
const privatePrefix = "_"

// merge gives d with the fields of change over it.
func (d document) merge(change document) document {
	merged := maps.Clone(d)
	if merged == nil {
		merged = document{}
	}
	maps.Copy(merged, change)
	return merged
}

// set gives d with one more field.
func (d document) set(field string, value any) document {
	encoded, err := json.Marshal(value)
	if err != nil {
		panic("console: a value of our own does not encode: " + err.Error())
	}
	return d.merge(document{field: encoded})
}

// otherwise gives d with these values where it has none, or null.
func (d document) otherwise(values map[string]any) document {
	full := d.merge(nil)
	for field, value := range values {
		if len(full[field]) == 0 || string(full[field]) == "null" {
			full = full.set(field, value)
		}
	}
	return full
}

// text is the value of a string field, or "" where it is something else.
func (d document) text(field string) string {
	if plain, ok := unescaped(d[field]); ok {
		return plain
	}
	var s string
	if json.Unmarshal(d[field], &s) != nil {
		return ""
	}
	return s
}

// unescaped reads a JSON string of ASCII without escapes, which nearly all are, without the cost of a decoder.
func unescaped(value []byte) (string, bool) {
	if len(value) < 2 || value[0] != '"' || value[len(value)-1] != '"' {
		return "", false
	}
	inner := value[1 : len(value)-1]
	for _, b := range inner {
		if b == '\\' || b == '"' || b >= 0x80 {
			return "", false
		}
	}
	return string(inner), true
}

// ref is the href of a field that refers to an object, or "".
func (d document) ref(field string) string {
	var r pce.Ref
	if json.Unmarshal(d[field], &r) != nil {
		return ""
	}
	return r.Href
}

// list is the value of a field that holds a list of objects.
func (d document) list(field string) []map[string]any {
	var entries []map[string]any
	if json.Unmarshal(d[field], &entries) != nil {
		return nil
	}
	return entries
}

// without gives d without fields that clients may send back but not set.
func (d document) without(fields []string) document {
	rest := d.merge(nil)
	for _, field := range fields {
		delete(rest, field)
	}
	return rest
}

// flag is the value of a boolean field, or otherwise where it is something else.
func (d document) flag(field string, otherwise bool) bool {
	var b *bool
	if json.Unmarshal(d[field], &b) != nil || b == nil {
		return otherwise
	}
	return *b
}

// into decodes the whole document into a typed object. The error names the field.
func (d document) into(out any) error {
	body, err := json.Marshal(d)
	if err != nil {
		return invalid("the body", "%v", err)
	}
	return decodeInto(body, out)
}

// mapHrefs gives d with every value of a key "href", at any depth, replaced by f of it.
func (d document) mapHrefs(f func(string) string) document {
	mapped := make(document, len(d))
	for field, value := range d {
		if !bytes.Contains(value, []byte(`"href"`)) {
			mapped[field] = value
			continue
		}
		var tree any
		decoder := json.NewDecoder(bytes.NewReader(value))
		decoder.UseNumber()
		if decoder.Decode(&tree) != nil {
			mapped[field] = value
			continue
		}
		mapped = mapped.set(field, mapTree(tree, f))
	}
	return mapped
}

func mapTree(tree any, f func(string) string) any {
	switch t := tree.(type) {
	case map[string]any:
		for key, value := range t {
			if s, ok := value.(string); ok && key == "href" {
				t[key] = f(s)
			} else {
				t[key] = mapTree(value, f)
			}
		}
	case []any:
		for i := range t {
			t[i] = mapTree(t[i], f)
		}
	}
	return tree
}

// hrefs calls visit with every href in the document.
func (d document) hrefs(visit func(string)) {
	for _, value := range d {
		var tree any
		if bytes.Contains(value, []byte(`"href"`)) && json.Unmarshal(value, &tree) == nil {
			mapTree(tree, func(href string) string {
				visit(href)
				return href
			})
		}
	}
}

// references are the hrefs in the document, each once and in its draft form.
func (d document) references() []string {
	var found []string
	d.hrefs(func(href string) {
		if href = toDraft(href); !slices.Contains(found, href) {
			found = append(found, href)
		}
	})
	return found
}

const (
	draftPart  = "/sec_policy/draft/"
	activePart = "/sec_policy/active/"
)

func toDraft(href string) string  { return strings.Replace(href, activePart, draftPart, 1) }
func toActive(href string) string { return strings.Replace(href, draftPart, activePart, 1) }
