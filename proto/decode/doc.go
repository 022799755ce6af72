// Package decode reads the messages that the log holds by the hundred thousand: facts of pods, and entries of snapshots. It gives
// what [proto.Unmarshal] gives, in a quarter of the time, and fails where that fails, with its error.
//
//  1. It takes the plain encoding of these messages by itself, without reflection. Whatever is not plain (a field of a newer
//     release, another kind of fact, text that is not UTF-8, a truncated message) it leaves to proto.Unmarshal from the
//     beginning, which decides. So nothing is accepted here that is refused there, and unknown fields survive.
//  2. The texts of a fact share one string. Who keeps a few of them for long, and not the fact, clones them.
//  3. A fact is the caller's. It is used again only where the caller gives it back (Facts.Release).
//  4. A snapshot's entries refer to the data that they were decoded from, which must not change.
//
// All functions are safe for concurrent use.
package decode
