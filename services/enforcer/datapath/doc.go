// Package datapath says what the enforcer asks of whatever filters packets: the policy of one pod, as plain values, and
// the interface that programs it into one network namespace.
//
// It knows neither the log nor the runtime, and no packet filter: package nft implements [Backend] with nf_tables, and
// a second backend can stand beside it. Values of this package are immutable once built, so that the pods of a node
// share address sets.
package datapath
