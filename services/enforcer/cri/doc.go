// Package cri asks the node's container runtime, over the Container Runtime Interface, which pods run and where their
// network namespaces are.
//
// It only reads. It neither opens namespaces (package podnetns does) nor knows policy. The Kubernetes API has no part in
// this: a node that cannot reach it still finds its pods.
package cri
