// Package openapi describes the console's REST API in OpenAPI 3.1: what is served where, to whom, and in what shape. The operations are a
// table (operations.go), the shapes of objects are files (schemas/*.yaml); together they make tools/pce/openapi.yaml, which is kept for
// readers, and the JSON that the console serves.
//
// The description is strict in what it names and silent about the rest: a field that it knows has the type that it says, and objects keep
// further fields that clients gave them. Package conform holds every answer of the console's tests against it.
//
// A route that is added or an answer that gets a new shape is described here in the same commit, and openapi.yaml is renewed:
//
//	go test ./pce/openapi -update
package openapi
