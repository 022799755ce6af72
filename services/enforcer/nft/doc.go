// Package nft programs pod policy into the kernel's nf_tables, over netlink, in one table of each pod's network
// namespace.
//
// # Layout
//
// The table is "inet ringfence". This is a server's, in full, as nft shows it:
//
//	chain input {
//		type filter hook input priority filter; policy drop;
//		iif "lo" accept
//		ct state established,related accept
//		ct state invalid drop                                   # in full alone
//		icmpv6 type packet-too-big accept                       # path MTU
//		icmpv6 type 130-137 accept                              # neighbour and multicast listener discovery
//		icmpv6 type 143 accept
//		icmp type destination-unreachable icmp code 4 accept    # path MTU
//		ip saddr @a4_node accept                                  # probes of the kubelet; input alone
//		ip6 saddr @a6_node accept
//		udp dport 53 accept                                     # DNS out; output alone
//		tcp dport 53 accept
//		meta l4proto . th dport vmap @in_ports                  # one look-up, jumps to the chain of that port
//		goto in_wide                                            # rules without a port and with long ranges
//	}
//	chain in_6_8080 { ip saddr @a4_web goto in_r_4211; ip6 saddr @a6_web goto in_r_4211; }
//	chain in_wide { tcp dport 30000-32767 ip saddr @a4_web goto in_r_4212; goto in_default; }
//	chain in_r_4211 { log prefix "r4211:A" group 52 snaplen 96 queue-threshold 64; accept; }
//	chain in_default { limit rate 100/second burst 200 packets log prefix "r0:B" ...; drop; }
//
// Outbound is the same with "out" and destinations. In visibility_only and selective the default chain logs "r0:P" and
// accepts; in idle there is no rule at all. What the essential rules accept is not reported as a flow.
//
// Address sets exist twice, a4_ and a6_ for hash sets and p4_ and p6_ for interval sets of ranges, and only the sets
// which the pod's policy uses are there.
//
// # Promises
//
//  1. The table and its base chains live as long as the pod. Deleting and making them again leaks packets even in one
//     transaction, because hooks are registered outside the generation switch; so only [guard.Remove] deletes a table.
//  2. Everything else changes in one transaction: element diffs where the rules stay, otherwise flush and refill of all
//     chains and sets; a chain or set that stays is never deleted and made again under its name. A transaction that
//     fails changes nothing.
//  3. Every chain ends in an explicit verdict. The base chains' policy attribute agrees with it and is the second belt.
//  4. A full load is read back and its elements are counted.
//
// # Why google/nftables, and which
//
// The released v0.3.0 loads long element lists partially without an error, fails on large batches, and so must not be
// used. The commit pinned here, v0.3.1-0.20251119083706-1db35da82052, splits lists, sizes its buffers and reads every
// acknowledgement. It needs about 3 times the processor time of an encoder of one's own for an element (16 us instead of 5),
// which no pod notices, and saves about 500 lines that would have to follow the kernel. The library does not leave
// this package, so that an own encoder can replace it. Rules here: one lasting connection a namespace (closing one
// that has worked costs 10 ms), at most 1,000 elements a message, count after a full load.
package nft
