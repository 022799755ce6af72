// Package ringfence is what the operator's command line knows: how to reach a cluster's event log, how to write the log's
// facts to a file and read them back, and how to fold either into the policy that it means, up to any place in it.
//
// It is for the command line, the demo and the end-to-end tests, which so run the same code. It prints nothing and
// computes no policy of its own: that is libs/clas, whichever way the facts came.
//
// It promises:
//
//  1. An exported log folds to the same digest as the log that it was taken from.
//  2. A file that is cut off or was altered still folds, and says so (Reader.Damage); a line that is no fact is an error
//     that names line and subject.
//  3. A fact that the engine refuses changes nothing, here as in policy-store; Replay.Refused names it.
package ringfence
