// Package load is one client's work on the log, for benchmarks: writing facts, watching, listing, replaying. It uses
// libs/eventlog as the services do and nothing below it. The same work on etcd is in tools/bench/etcd, a module of its own;
// package rounds runs both, each in a process of its own, and measures them from outside.
//
// A client prepares itself (connects, makes its facts, starts its watchers), says "ready" on a line of its output, and
// begins once it reads a line of input. When it is done it prints its [Result] as a line of JSON, and stays until its input
// ends, so that who measures can look at the process before it is gone.
package load
