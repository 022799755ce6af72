package load

import (
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/ringfence/ringfence/libs/clas"
	"github.com/ringfence/ringfence/libs/eventlog"
	"github.com/ringfence/ringfence/libs/eventlog/eventlogtest"
	"github.com/ringfence/ringfence/proto/decode"
	ringfencev1 "github.com/ringfence/ringfence/proto/ringfence/v1"
)

// The stages of a replay, each by itself, over the history of a city of 5,000 pods with ten revisions. What is timed is one
// fact of the history.
const benchPods, benchRevisions = 5000, 10

// encodedHistory gives the history as producers encode it, but for checksums, and its subjects.
func encodedHistory(b *testing.B) (subjects []string, facts [][]byte) {
	h, err := NewHistory(benchPods)
	if err != nil {
		b.Fatal(err)
	}
	drafts, err := h.first(0, h.Facts())
	for revision := 1; err == nil && revision < benchRevisions; revision++ {
		var more []eventlog.Draft
		more, err = h.later(revision)(0, benchPods)
		drafts = append(drafts, more...)
	}
	if err != nil {
		b.Fatal(err)
	}
	for i, d := range drafts {
		fact := &ringfencev1.Fact{Producer: "bench", Counter: uint64(i + 1), Checksum: uint64(i), ObservedAt: timestamppb.Now(), Body: d.Fact.GetBody()}
		data, err := proto.Marshal(fact)
		if err != nil {
			b.Fatal(err)
		}
		subjects, facts = append(subjects, d.Subject), append(facts, data)
	}
	return subjects, facts
}

// BenchmarkStageDecode decodes.
func BenchmarkStageDecode(b *testing.B) {
	_, facts := encodedHistory(b)
	var decoding decode.Facts
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		fact, err := decoding.Decode(facts[i%len(facts)])
		if err != nil {
			b.Fatal(err)
		}
		decoding.Release(fact)
	}
}

// BenchmarkStageApply folds facts that are decoded already.
func BenchmarkStageApply(b *testing.B) {
	subjects, encoded := encodedHistory(b)
	var decoding decode.Facts
	facts := make([]*ringfencev1.Fact, len(encoded))
	for i, data := range encoded {
		var err error
		if facts[i], err = decoding.Decode(data); err != nil {
			b.Fatal(err)
		}
	}
	e := clas.New()
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if i%len(facts) == 0 {
			e = clas.New()
		}
		if err := e.Apply(subjects[i%len(facts)], uint64(i+1), facts[i%len(facts)]); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkStageDecodeAndApply is a replay without a log.
func BenchmarkStageDecodeAndApply(b *testing.B) {
	subjects, facts := encodedHistory(b)
	var decoding decode.Facts
	e := clas.New()
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if i%len(facts) == 0 {
			e = clas.New()
		}
		fact, err := decoding.Decode(facts[i%len(facts)])
		if err == nil {
			err = e.Apply(subjects[i%len(facts)], uint64(i+1), fact)
		}
		if err != nil {
			b.Fatal(err)
		}
		decoding.Release(fact)
	}
}

// BenchmarkStageRead reads from a server in this process, which costs processor time, too, and decodes.
func BenchmarkStageRead(b *testing.B) {
	_, l := eventlogtest.StartLog(b)
	h, err := NewHistory(benchPods)
	if err != nil {
		b.Fatal(err)
	}
	p := l.Producer("bench")
	for revision := range 4 {
		drafts, err := h.later(revision)(0, benchPods)
		if err == nil {
			err = p.PublishAll(b.Context(), drafts)
		}
		if err != nil {
			b.Fatal(err)
		}
	}
	b.ReportAllocs()
	b.ResetTimer()
	for n := 0; n < b.N; {
		for e, err := range l.Read(b.Context(), 0, 0) {
			if err != nil {
				b.Fatal(err)
			}
			l.Release(e)
			if n++; n == b.N {
				break
			}
		}
	}
}
