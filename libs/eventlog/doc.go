// Package eventlog is Ringfence's event log as its users see it: facts in one total order, the policy that is derived
// from them, and the status and flows that come back, all over NATS JetStream.
//
// It promises:
//
//  1. A fact is stored once its publication returned without error: it is on disk and synced. Facts have one total
//     order, their sequence, within one incarnation of the log. Sequences of different incarnations are never compared.
//  2. A reader of all facts sees every sequence or gets ErrGap, and learns of a new incarnation by ErrIncarnation; it
//     never goes on silently with something else than it asked for.
//  3. Whatever cannot be decoded is skipped with one error line that names the subject, written to the logger of the
//     context (zerolog.Ctx), and changes nothing.
//  4. A follower of policy (Follow) is given complete and consistent states only, and keeps the last one in doubt.
//
// It computes no policy, hosts no server and starts no work of its own: every goroutine ends with the call or the context
// that started it. A Log is safe for concurrent use. Nothing in here depends on a server within the same process, but
// for the Dialer's option to use one.
package eventlog
