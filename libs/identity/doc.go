// Package identity tells who a client of the event log is, by the ServiceAccount token that Kubernetes projected into its
// pod or gave a person.
//
// It promises:
//
//  1. A token is taken only if a key that the cluster publishes signed it, for the right issuer and audience, and its time
//     is now. Who it is comes from the signed claims alone: the ServiceAccount, and the node and pod that the token is
//     bound to. The claims of Kubernetes 1.30 and later are required.
//  2. Every refusal is one of the errors below, so that it can be counted, and says in words what was wrong. None holds
//     the token, or a part of it that would be of use.
//  3. Nothing in here asks Kubernetes about a single token: keys are fetched rarely, kept on disk, and outlive the API
//     server. A token's deadline therefore stands until it comes, even if its pod is gone.
//  4. While the keys cannot be fetched, the kubelet cannot renew tokens either: then, and only then, a token that is bound
//     to a node is taken for up to Grace after its end. Identity.Expired says so; whoever takes it raises an alarm.
//
// It knows nothing of NATS and of what an identity may do: that is libs/access.
package identity
