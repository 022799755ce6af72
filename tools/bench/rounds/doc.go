// Package rounds measures the log beside etcd: the same work on each, in alternating rounds of one run, the server in a
// process of its own and the client in another, on both sides.
//
// Ours is the command policy-store as it ships, with its engine folding what is written, and as clients package load, which
// uses libs/eventlog. Theirs is the command of tools/bench/etcd. All are measured from outside and in the same way: the
// clock is the client's, processor time and memory are what the kernel says of the two processes between the word to begin
// and the client's answer. A client that did not do all of its work is an error and not a figure.
//
// It needs Linux, for /proc. Servers have empty folders in a folder that is removed at the end.
package rounds
