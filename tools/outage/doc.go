// Package outage holds the test of the longest promise: the log's disk is lost while the console is away, and for ten minutes of
// real time nothing changes for anybody. It runs the real commands (policy-store, pce-bridge, ringfence), the console, and the
// code by which enforcers follow policy, and needs neither a cluster nor root. Build tag e2e; make test runs it beside the other
// suites, for it waits and does little else. The same on a real cluster, with packets, for two minutes, is in tools/e2e.
package outage
