// Package ringfence is what the operator's command line knows: how to reach a cluster's event log, how to take a part of it
// along in one file, and how to fold either into the policy that it means, at any place in it; what changed between two places,
// and which fact changed a verdict.
//
// It is for the command line, the demo and the end-to-end tests, which so run the same code. It prints nothing and
// computes no policy of its own: that is libs/clas, whichever way the facts came.
//
// It promises:
//
//  1. An exported log folds to the same digest as the log that it was taken from, at every place that it holds. So does a log
//     that was imported from it.
//  2. A fold begins with the newest snapshot at or below the place that proves good, or else with the start of the log, and says
//     which (State.Start). Where neither is there, that is an error that is ErrOutOfRange.
//  3. A file that was cut off or altered, or is no log, is refused before anything is made of it, with an error that says what is
//     wrong with it.
//  4. A fact that the engine refuses changes nothing, here as in policy-store; State.Refused names it.
//  5. A verdict that Diff or Bisect names is what clas.Engine.Explain says there.
package ringfence
