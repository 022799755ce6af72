// Package conform holds what a console answers against its description. Tests put it between server and console: an answer at a path, with
// a status, of a type or in a shape that package openapi does not describe is reported. OpenAPI 3.1 describes bodies by JSON Schema of
// 2020-12, and that is what they are held against.
package conform

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/ringfence/ringfence/tools/pce/openapi"
)

const (
	base = "/api/v2"
	at   = "openapi.json"
)

// schemas compiles the schemas of answers as they are asked for.
var schemas = &compiled{done: map[string]*jsonschema.Schema{}}

type compiled struct {
	mu       sync.Mutex
	compiler *jsonschema.Compiler
	done     map[string]*jsonschema.Schema
}

// at gives the schema at a pointer into the description.
func (c *compiled) at(pointer string) (*jsonschema.Schema, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.compiler == nil {
		description, err := jsonschema.UnmarshalJSON(bytes.NewReader(openapi.JSON()))
		if err != nil {
			return nil, err
		}
		c.compiler = jsonschema.NewCompiler()
		c.compiler.DefaultDraft(jsonschema.Draft2020)
		c.compiler.AssertFormat()
		if err := c.compiler.AddResource(at, description); err != nil {
			return nil, err
		}
	}
	if s := c.done[pointer]; s != nil {
		return s, nil
	}
	s, err := c.compiler.Compile(at + "#" + pointer)
	if err == nil {
		c.done[pointer] = s
	}
	return s, err
}

// Handler passes requests on to next, and tells report of every answer that is not as described.
func Handler(next http.Handler, report func(error)) http.Handler {
	described := mux()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, pattern := described.Handler(r)
		seen := &answer{ResponseWriter: w, status: http.StatusOK}
		next.ServeHTTP(seen, r)
		if r.Context().Err() != nil {
			return // the client is gone: there is no answer
		}
		if err := seen.check(pattern); err != nil {
			report(fmt.Errorf("%s %s answers %d: %w: %.400s", r.Method, r.URL, seen.status, err, seen.body.Bytes()))
		}
	})
}

// mux finds the operation of a request as the console's own does.
func mux() *http.ServeMux {
	m := http.NewServeMux()
	for _, o := range openapi.Operations() {
		m.Handle(o.Method+" "+base+o.Path, http.NotFoundHandler())
	}
	return m
}

// answer keeps what a handler writes.
type answer struct {
	http.ResponseWriter
	status int
	body   bytes.Buffer
}

func (a *answer) WriteHeader(status int) {
	a.status = status
	a.ResponseWriter.WriteHeader(status)
}

func (a *answer) Write(p []byte) (int, error) {
	a.body.Write(p)
	return a.ResponseWriter.Write(p)
}

// Unwrap lets an http.ResponseController through.
func (a *answer) Unwrap() http.ResponseWriter { return a.ResponseWriter }

func (a *answer) check(pattern string) error {
	if pattern == "" {
		if a.status != http.StatusNotFound && a.status != http.StatusMethodNotAllowed {
			return fmt.Errorf("the path is not described")
		}
		return a.holds("/components/schemas/Messages")
	}
	method, path, _ := strings.Cut(pattern, " ")
	item := openapi.Description()["paths"].(map[string]any)[strings.TrimPrefix(path, base)].(map[string]any)
	operation := item[strings.ToLower(method)].(map[string]any)
	response, described := operation["responses"].(map[string]any)[strconv.Itoa(a.status)].(map[string]any)
	if !described {
		return fmt.Errorf("the status is not described")
	}
	pointer := "/paths/" + escaped(strings.TrimPrefix(path, base)) + "/" + strings.ToLower(method) + "/responses/" + strconv.Itoa(a.status)
	if to, is := response["$ref"].(string); is {
		pointer = strings.TrimPrefix(to, "#")
		response = openapi.Description()["components"].(map[string]any)["responses"].(map[string]any)[strings.TrimPrefix(pointer, "/components/responses/")].(map[string]any)
	}
	headers, _ := response["headers"].(map[string]any)
	for name := range headers {
		if a.Header().Get(name) == "" {
			return fmt.Errorf("header %s is missing", name)
		}
	}
	if response["content"] == nil {
		if a.body.Len() > 0 {
			return fmt.Errorf("no body is described")
		}
		return nil
	}
	return a.holds(pointer + "/content/application~1json/schema")
}

func escaped(path string) string {
	path = strings.ReplaceAll(strings.ReplaceAll(path, "~", "~0"), "/", "~1")
	return strings.NewReplacer("{", "%7B", "}", "%7D").Replace(path)
}

// holds checks the body.
func (a *answer) holds(pointer string) error {
	if got := a.Header().Get("Content-Type"); got != "application/json" {
		return fmt.Errorf("the content type is %q", got)
	}
	schema, err := schemas.at(pointer)
	if err != nil {
		return err
	}
	if !json.Valid(a.body.Bytes()) {
		return fmt.Errorf("the body is not JSON")
	}
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(a.body.Bytes()))
	if err != nil {
		return err
	}
	return schema.Validate(value)
}
