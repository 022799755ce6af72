package openapi

import (
	"bytes"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"strings"
	"sync"

	"go.yaml.in/yaml/v3"
)

//go:embed schemas/*.yaml
var files embed.FS

type object = map[string]any

// Description is the whole of it.
var Description = sync.OnceValue(func() object {
	schemas := readSchemas()
	paths := object{}
	for _, o := range Operations() {
		item, _ := paths[o.Path].(object)
		if item == nil {
			item = object{"parameters": parametersOf(o.Path)}
			if len(parametersOf(o.Path)) == 0 {
				delete(item, "parameters")
			}
			paths[o.Path] = item
		}
		item[strings.ToLower(o.Method)] = o.describe(schemas)
	}
	return object{
		"openapi": "3.1.0",
		"info": object{
			"title": "The console of Ringfence", "version": "2.0",
			"description": "The REST API v2 that tools/pce serves. Drafts are read and written under `/sec_policy/draft`, what is provisioned is read under `/sec_policy/active`, and what was under a version's number.",
		},
		"servers":  []any{object{"url": "/api/v2"}},
		"security": []any{object{"basic": []any{}}},
		"tags":     []any{tag("about"), tag("people"), tag("labels"), tag("policy"), tag("machines"), tag("clusters"), tag("agent"), tag("traffic")},
		"paths":    paths,
		"components": object{
			"securitySchemes": object{"basic": object{
				"type": "http", "scheme": "basic",
				"description": "An API key with its secret, a session, or a cluster's UUID with its token.",
			}},
			"schemas": schemas, "responses": responses, "headers": headers,
		},
	}
})

var tagWords = map[string]string{
	"about": "The console itself, and lists that are made to be fetched.", "people": "Users, API keys, sessions, settings and events.",
	"labels": "Labels and their keys; they act at once.", "policy": "What is provisioned.",
	"machines": "Workloads, VENs, pairing and service bindings; they act at once.", "clusters": "Kubernetes clusters and their profiles; they act at once.",
	"agent": "What a cluster says and asks; our own, and no part of the public API.", "traffic": "Flows, and questions about them.",
}

func tag(name string) object { return object{"name": name, "description": tagWords[name]} }

// JSON is the description as it is served.
var JSON = sync.OnceValue(func() []byte {
	encoded, err := json.Marshal(Description())
	if err != nil {
		panic("openapi: the description does not encode: " + err.Error())
	}
	return encoded
})

// YAML is the description as it is kept for readers: what fits a line is on one.
func YAML() ([]byte, error) {
	var root yaml.Node
	if err := root.Encode(Description()); err != nil {
		return nil, err
	}
	compact(&root)
	out := bytes.NewBufferString("# Made of tools/pce/openapi: go test ./pce/openapi -update\n")
	encoder := yaml.NewEncoder(out)
	encoder.SetIndent(2)
	err := errors.Join(encoder.Encode(&root), encoder.Close())
	return out.Bytes(), err
}

// lineLength is how long a mapping or a list may be to be written on one line.
const lineLength = 110

// compact gives the length of a node in one line, and has those written so that fit.
func compact(n *yaml.Node) int {
	length := len(n.Value) + 2
	for _, part := range n.Content {
		length += compact(part) + 2
	}
	if n.Kind != yaml.ScalarNode && length <= lineLength {
		n.Style = yaml.FlowStyle
	}
	return length
}

func readSchemas() object {
	schemas := object{
		"Empty":       object{"type": "object"},
		"Description": object{"type": "object", "required": []any{"openapi", "paths"}},
		"Report":      object{"type": "object", "description": "See the types of libs/pce."},
		"Reports":     object{"type": "array", "items": object{"type": "object"}, "maxItems": 1000, "description": "See the types of libs/pce."},
		"Lines":       object{"type": "string"},
	}
	entries, err := files.ReadDir("schemas")
	if err != nil {
		panic("openapi: " + err.Error())
	}
	for _, e := range entries {
		content, err := files.ReadFile("schemas/" + e.Name())
		var some object
		if err == nil {
			err = yaml.Unmarshal(content, &some)
		}
		if err != nil {
			panic(fmt.Sprintf("openapi: %s: %v", e.Name(), err))
		}
		maps.Copy(schemas, some)
	}
	for _, o := range Operations() {
		fields := strings.TrimSuffix(o.Body, "List")
		if name, is := strings.CutSuffix(fields, "Fields"); is {
			schemas[fields] = fieldsOf(schemas, schemas[name].(object))
		}
	}
	return schemas
}

// consoles are fields that the console fills in.
var consoles = []string{"href", "created_at", "created_by", "updated_at", "updated_by", "caps", "update_type", "deleted_at", "deleted_by", "usage", "linked"}

// fieldsOf is what a client may send of a schema: any of its fields but those that the console fills in.
func fieldsOf(schemas, schema object) object {
	properties := object{}
	gather(schemas, schema, properties)
	for _, name := range consoles {
		delete(properties, name)
	}
	return object{"type": "object", "properties": properties}
}

func gather(schemas, schema, into object) {
	if at, is := schema["$ref"].(string); is {
		gather(schemas, schemas[strings.TrimPrefix(at, "#/components/schemas/")].(object), into)
		return
	}
	parts, _ := schema["allOf"].([]any)
	for _, part := range parts {
		gather(schemas, part.(object), into)
	}
	properties, _ := schema["properties"].(object)
	maps.Copy(into, properties)
}

var headers = object{
	"Total":      object{"description": "How many objects there are.", "required": true, "schema": object{"type": "integer"}},
	"Location":   object{"description": "The href of what was made.", "required": true, "schema": object{"type": "string"}},
	"RetryAfter": object{"description": "How many seconds to wait.", "schema": object{"type": "integer"}},
}

// refusals are answers that any operation may give.
var refusals = map[int]string{
	401: "The credentials are not accepted.", 403: "They are not good for this.", 404: "There is no such object.",
	405: "There is no such method here: the active policy is read only.", 406: "The request is refused; the messages say why.",
	413: "The body is too large.", 429: "Too many requests.", 500: "The console failed.", 503: "The console is stopping.", 507: "The console's store is full.",
}

var responses = func() object {
	all := object{}
	for status, words := range refusals {
		all["Refused"+strconv.Itoa(status)] = object{"description": words, "content": jsonOf(reference("Messages"))}
	}
	return all
}()

func reference(schema string) object { return object{"$ref": "#/components/schemas/" + schema} }

func jsonOf(schema object) object { return object{"application/json": object{"schema": schema}} }

func parametersOf(path string) []any {
	var found []any
	for _, part := range strings.Split(path, "/") {
		name, is := strings.CutPrefix(part, "{")
		if !is {
			continue
		}
		found = append(found, object{"name": strings.TrimSuffix(name, "}"), "in": "path", "required": true, "schema": object{"type": "string"}})
	}
	return found
}

func (o Operation) describe(schemas object) object {
	out := object{
		"operationId": o.id(), "tags": []any{o.Tag}, "summary": strings.TrimSuffix(strings.SplitAfter(o.Does, ".")[0], "."),
		"description": o.Does + " For: " + strings.ToLower(string(o.By[:1])) + string(o.By[1:]), "responses": o.answers(),
	}
	if o.By == anybody {
		out["security"] = []any{}
	}
	var query []any
	for _, q := range o.Query {
		query = append(query, object{"name": q[0], "in": "query", "description": q[1], "schema": object{"type": "string"}})
	}
	if len(query) > 0 {
		out["parameters"] = query
	}
	if o.Body != "" {
		out["requestBody"] = object{"content": o.accepts(schemas)}
	}
	return out
}

func (o Operation) accepts(schemas object) object {
	if o.Body == "Lines" {
		return object{"text/plain": object{"schema": reference(o.Body)}}
	}
	if one, is := strings.CutSuffix(o.Body, "List"); is && schemas[o.Body] == nil {
		return jsonOf(object{"type": "array", "items": reference(one), "maxItems": 1000})
	}
	return jsonOf(reference(o.Body))
}

func (o Operation) answers() object {
	success := object{"description": "Done."}
	if o.Answer != "" {
		schema := reference(o.Answer)
		if o.List {
			schema = object{"type": "array", "items": schema}
			success["headers"] = object{"X-Total-Count": object{"$ref": "#/components/headers/Total"}}
		}
		success["content"] = jsonOf(schema)
	}
	if o.Location {
		success["headers"] = object{"Location": object{"$ref": "#/components/headers/Location"}}
	}
	answers := object{strconv.Itoa(o.Status): success}
	if o.List {
		answers["202"] = object{
			"description": "The list is made to be fetched: Location is its job.",
			"headers":     object{"Location": object{"$ref": "#/components/headers/Location"}, "Retry-After": object{"$ref": "#/components/headers/RetryAfter"}},
		}
	}
	for _, status := range o.mayRefuse() {
		answers[strconv.Itoa(status)] = object{"$ref": "#/components/responses/Refused" + strconv.Itoa(status)}
	}
	return answers
}

func (o Operation) mayRefuse() []int {
	may := []int{500}
	if o.By != anybody {
		may = append(may, 401, 403, 404, 406, 429)
	} else if o.Tag == "people" {
		may = append(may, 401, 429)
	}
	if o.Method != get {
		may = append(may, 413, 507)
	}
	if strings.HasSuffix(o.Path, "/changes") {
		may = append(may, 503)
	}
	if o.Method != get && strings.Contains(o.Path, "{version}") {
		may = append(may, 405)
	}
	return may
}
