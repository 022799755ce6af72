// Package e2e holds the end-to-end tests: the demo's story on a real Kubernetes, and what must stay true when parts of
// it fail. Build tag e2e; make test runs them on the lab, or on KUBECONFIG's cluster where that is set.
package e2e
