// Package pce is the client of the policy console's REST API v2 and the types of its objects: labels and their groups, rule
// sets, enforcement boundaries, IP lists, services, virtual services, workloads, container clusters with their workload
// profiles, Kubernetes workloads, provisioning, and the agent API through which a cluster reports itself.
//
// What it promises:
//
//  1. Every error is one sentence that names the method, the path and, where one is known, the object and the field.
//     Its [Kind] says what went wrong; no caller needs to read its text.
//  2. A list is complete or an error. Where the console answers with fewer objects than it has (it returns at most 500
//     at once), the client asks for the whole as an asynchronous job.
//  3. Unknown fields are ignored; a known field of a wrong type is an error ([Malformed]), never a zero value.
//  4. Answers of 429, 502, 503 and 504 are retried, Retry-After included, within the call's deadline; an answer to a
//     POST that may already have taken effect is not.
//
// It does not judge policy, keep state or log. The agent API (agent.go) is this project's own, served by tools/pce; it
// makes no claim to be what Illumio's Kubelink speaks. All other paths follow the public API.
//
// A Client is safe for concurrent use.
package pce
