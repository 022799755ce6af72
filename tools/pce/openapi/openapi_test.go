package openapi

import (
	"bytes"
	"flag"
	"os"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

var update = flag.Bool("update", false, "write openapi.yaml anew")

const kept = "../openapi.yaml"

func TestFileIsUpToDate(t *testing.T) {
	want, err := YAML()
	if err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile(kept, want, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(kept)
	if err != nil || !bytes.Equal(got, want) {
		t.Fatalf("openapi.yaml is out of date (%v): run go test ./pce/openapi -update", err)
	}
}

// The description is itself what OpenAPI 3.1 wants, by its authors' own schema (testdata), and every shape in it is a JSON Schema.
func TestDescriptionIsValid(t *testing.T) {
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	meta, err := c.Compile("testdata/openapi-3.1.json")
	if err != nil {
		t.Fatal(err)
	}
	description, err := jsonschema.UnmarshalJSON(bytes.NewReader(JSON()))
	if err != nil {
		t.Fatal(err)
	}
	if err := meta.Validate(description); err != nil {
		t.Fatal(err)
	}
	if err := c.AddResource("openapi.json", description); err != nil {
		t.Fatal(err)
	}
	for name := range Description()["components"].(object)["schemas"].(object) {
		if _, err := c.Compile("openapi.json#/components/schemas/" + name); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestOperationsAreNamedOnce(t *testing.T) {
	seen := map[string]bool{}
	for _, o := range Operations() {
		if seen[o.id()] {
			t.Errorf("%s %s: there are two called %s", o.Method, o.Path, o.id())
		}
		seen[o.id()] = true
	}
}
