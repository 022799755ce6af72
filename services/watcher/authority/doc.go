// Package authority issues the certificate by which clients know the event log, and the authority that they verify it by. It is
// the watcher's, because the watcher alone talks to Kubernetes, where all of it is kept:
//
//   - Secret ringfence-ca holds the authority with its key, the next one while it is announced, and earlier ones. Nobody but
//     the watcher needs it.
//   - Secret ringfence-log-tls holds the log's certificate and key, in the form of cert-manager's Secrets.
//   - ConfigMap ringfence-ca holds the authorities that clients trust, and since when they can have each.
//
// An authority lives for a year, a certificate for thirty days; both are renewed when two thirds of that are over. A new
// authority is published for a day before anything is signed by it, so that every client has it by then, and an earlier one is
// trusted until it ends. One that somebody else put into its Secret is published first, too. What is damaged is replaced in the
// same way, as far as there is still a certificate to serve meanwhile.
//
// The package issues nothing for anybody else, and makes no certificates of clients: those prove themselves by tokens.
package authority
