// Package chart renders the repository's Helm charts with the helm that tools/dev pins, so that tests can say what a
// chart gives for which values. It needs no cluster. Its tests also hold the plain manifests of deploy/ to the types of
// Kubernetes.
package chart
