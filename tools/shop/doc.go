// Package shop is the sample application of the demo and of the end-to-end tests: small servers that talk to each
// other for ever, and the probe that tells who can reach whom.
//
// It is deliberately ignorant of Ringfence. It knows no label, no policy and no Kubernetes API, so that what it
// observes is what any application would observe. It promises:
//
//  1. A probe and a call are the same exchange: open a TCP connection of their own, send one request, read the first
//     bytes of an answer. Nothing is pooled, so every exchange meets the policy of its moment.
//  2. The exchange is the same for the HTTP server and for the "database", which echoes what it reads.
//  3. Every wait is bounded by the timeout that the caller gave.
package shop
