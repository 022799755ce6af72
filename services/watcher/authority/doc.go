// Package authority issues the certificate by which clients know the event log, and the authority that they verify it by. It is
// the watcher's, because the watcher alone talks to Kubernetes, where all of it is kept:
//
//   - Secret ringfence-ca holds the authority with its key, the next one while it is announced, and earlier ones. Nobody but
//     the watcher needs it.
//   - Secret ringfence-log-tls holds the log's certificate and key, in the form of cert-manager's Secrets.
//   - ConfigMap ringfence-ca holds the authorities that clients trust, and in an annotation since when it has had each.
//
// An authority lives for a year, a certificate for thirty days; both are renewed when two thirds of that are over. What it promises:
//
//  1. Nothing is signed by an authority before the ConfigMap has had it for a day, wherever it came from, so that every client has
//     it by then. It signs at once only where clients could verify nothing that is served.
//  2. An earlier authority is trusted until it ends. What is served is verified by one that is trusted.
//  3. Nobody is trusted who was neither made here nor stood in Secret ringfence-ca, but for who signed what is served, where
//     ringfence-ca does not say who that was.
//  4. What is damaged or lost is replaced under the same rules.
//  5. Of two that run at once, one writes nothing over what it has not read: the API server refuses it.
//
// The package issues nothing for anybody else, and makes no certificates of clients: those prove themselves by tokens.
package authority
