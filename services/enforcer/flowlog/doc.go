// Package flowlog reads what the packet filter reports of new connections in pods' network namespaces, over NFLOG, and
// counts it into batches.
//
// A [Reader] is one socket in one namespace: the kernel hands packets only to a socket of the namespace that they are
// in. It reads the headers, at most the first 96 bytes of a packet, and the log prefix that names rule and decision. A
// [Collector] adds up the events of all pods of the node.
//
// What is counted are packets that conntrack calls new. That is one for a TCP connection that is answered; retries of a
// blocked one and packets of a one-way UDP stream each count.
//
// The package reads the socket itself, in 100 lines on top of mdlayher/netlink, because a reader that reuses its buffer
// costs a quarter of the processor time per packet of the available NFLOG library, which also binds itself as the logger
// of the whole namespace. It never decides anything: lost packets cost a number in a report and nothing else.
package flowlog
