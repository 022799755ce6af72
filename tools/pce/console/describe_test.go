package console

import (
	"slices"
	"testing"

	"github.com/rs/zerolog"

	"github.com/ringfence/ringfence/tools/pce/journal"
	"github.com/ringfence/ringfence/tools/pce/openapi"
)

// Every route is described, and nothing else is.
func TestRoutesAreDescribed(t *testing.T) {
	j, err := journal.Open(t.Context(), t.TempDir(), 64)
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	c, err := Open(t.Context(), j, zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	var described []string
	for _, o := range openapi.Operations() {
		pattern := o.Method + " " + o.Path
		described = append(described, pattern)
		if !slices.Contains(c.mounted, pattern) {
			t.Errorf("%s is described and not served", pattern)
		}
	}
	for _, pattern := range c.mounted {
		if !slices.Contains(described, pattern) {
			t.Errorf("%s is served and not described: see package openapi", pattern)
		}
	}
}
