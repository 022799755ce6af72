package eventlog

import (
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// Names of the streams.
const (
	streamFacts  = "FACTS"
	streamSnap   = "SNAP"
	streamPolicy = "POLICY"
	streamPlan   = "PLAN"
	streamFlows  = "FLOWS"
	streamStatus = "STATUS"
)

// incarnationKey is where the metadata of FACTS keeps the incarnation.
const incarnationKey = "ringfence.incarnation"

// baseKey is where it keeps the first sequence of the incarnation, when that is not 1.
const baseKey = "ringfence.base"

// dedupeWindow is how long the log remembers idempotence ids; a producer that was away for longer compares with Latest.
const dedupeWindow = 2 * time.Minute

// Sizes says how much storage the log may use.
type Sizes struct {
	// Bytes of the whole storage. Streams get fixed shares of it; a tenth stays in reserve.
	Bytes int64
	// Replicas is how many servers hold each stream; 0 stands for one.
	Replicas int
}

func (s Sizes) percent(p int64) int64 { return s.Bytes / 100 * p }

// replicated gives a stream as many copies as are asked for. Its writes are then settled among the servers: what may be
// written later by one cannot be. Copies are not compressed: a server that was away has to catch up before another may go.
func (s Sizes) replicated(cfg jetstream.StreamConfig) jetstream.StreamConfig {
	cfg.Replicas = max(s.Replicas, 1)
	if cfg.Replicas > 1 {
		cfg.PersistMode, cfg.Compression = jetstream.DefaultPersistMode, jetstream.NoCompression
	}
	return cfg
}

// streams gives every stream's settings. Blocks are compressed once they are full; limits count what was written. FACTS refuses what is new when it is full, for what was acknowledged must not
// go but below a verified snapshot, which policy-store sees to; all others hold what can be derived or done without.
func (s Sizes) streams() []jetstream.StreamConfig {
	return []jetstream.StreamConfig{
		{
			Name: streamFacts, Subjects: []string{factsAll}, MaxBytes: s.percent(40),
			Description: "facts: the source of truth", Discard: jetstream.DiscardNew, Duplicates: dedupeWindow,
			AllowDirect: true, AllowAtomicPublish: true, DenyDelete: true, Compression: jetstream.S2Compression,
		},
		{
			Name: streamSnap, Subjects: []string{snapPrefix + ">"}, MaxBytes: s.percent(15),
			Description: "snapshots of the last fact of every subject", AllowDirect: true,
		},
		derived(streamPolicy, []string{setPrefix + ">", workloadPrefix + ">", namespacesSubject, headSubject}, s.percent(8), 1),
		derived(streamPlan, []string{planPrefix + "*"}, s.percent(2), 1),
		reported(derived(streamFlows, []string{flowsPrefix + "*"}, s.percent(20), 0)),
		reported(derived(streamStatus, []string{statusPrefix + "*"}, s.percent(5), 1)),
	}
}

// reported is a stream of what nodes say, which is much alike. Nobody waits for its acknowledgements, and a node could have
// them sent to where it may not publish.
func reported(cfg jetstream.StreamConfig) jetstream.StreamConfig {
	cfg.NoAck = true
	cfg.Compression = jetstream.S2Compression
	return cfg
}

// derived is a stream whose loss costs a computation, so that its writes need not wait for the disk.
func derived(name string, subjects []string, bytes, perSubject int64) jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name: name, Subjects: subjects, MaxBytes: bytes, MaxMsgsPerSubject: perSubject,
		AllowDirect: true, PersistMode: jetstream.AsyncPersistMode,
	}
}
