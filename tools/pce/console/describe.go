package console

import (
	"encoding/json"

	"github.com/ringfence/ringfence/tools/pce/openapi"
)

// describe gives the description of what is served.
func describe(request) (response, error) { return ok(json.RawMessage(openapi.JSON())), nil }
