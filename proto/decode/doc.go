// Package decode reads the messages that the log holds by the hundred thousand: facts of pods, and chunks of snapshots. It gives
// what [proto.Unmarshal] gives, at a tenth of the processor's time, and fails where that fails, with its error.
//
//  1. It takes the plain encoding of these messages by itself, without reflection. Whatever is not plain (a field of a newer
//     release, another kind of fact, text that is not UTF-8, a truncated message) it leaves to proto.Unmarshal from the
//     beginning, which decides. So nothing is accepted here that is refused there, and unknown fields survive.
//  2. The texts of a fact share one string. Who keeps a few of them for long, and not the fact, clones them.
//  3. Nothing of the result is used again: it is the caller's.
//
// All functions are safe for concurrent use.
package decode
