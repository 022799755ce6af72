// Package eventlog is Ringfence's event log as its users see it: facts in one total order, the policy that is derived
// from them, and the status and flows that come back, all over NATS JetStream.
//
// It promises:
//
//  1. A fact is stored once its publication returned without error: it is on disk and synced. Facts have one total
//     order, their sequence, within one incarnation of the log. Sequences of different incarnations are never compared.
//  2. A reader of all facts sees every sequence, every fact of each producer, and each as it was written, or gets ErrGap; it
//     learns of a new incarnation by ErrIncarnation, and never goes on silently with something else than it asked for.
//  3. Whatever cannot be decoded is skipped with one error line that names the subject, written to the logger of the
//     context (zerolog.Ctx), and changes nothing.
//  4. A follower of policy (Follow) is given complete and consistent states only, and keeps the last one in doubt.
//  5. One process at a time writes a producer's facts (Lead). Whoever led before is refused, however late it wakes up.
//
// It computes no policy, hosts no server and starts no work of its own: every goroutine ends with the call or the context
// that started it, but for one exchange with the server that a caller did not wait for. A Log is safe for concurrent use.
// Nothing in here depends on a server within the same process, but for the Dialer's option to use one.
package eventlog
