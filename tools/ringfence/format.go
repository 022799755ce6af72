package ringfence

import (
	"bytes"
	"encoding/json"
	"fmt"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/ringfence/ringfence/libs/eventlog"
	ringfencev1 "github.com/ringfence/ringfence/proto/ringfence/v1"
)

// Format names the form of an exported log in its first line.
//
// A file is a line of JSON (Header), one or more frames of zstd, a line's end, a line of JSON (Trailer), and a line of JSON
// that has the SHA-256 of all bytes before it. The frames hold SnapshotEntry messages, each led by its size as a varint: first
// those that give the state that the file starts with, then the facts in ascending sequence.
const Format = "ringfence-log/2"

// formats is how the names of all forms begin.
const formats = "ringfence-log/"

const (
	// maxFact bounds one message of a file; the log takes 1 MiB.
	maxFact = 16 << 20
	// maxHeader bounds the first line, maxEnd the last two together.
	maxHeader, maxEnd = 1 << 16, 1 << 12
	// maxWindow bounds what decompressing may need.
	maxWindow = 64 << 20
)

// Header is the first line of an exported log.
type Header struct {
	Format      string `json:"format"`
	Incarnation string `json:"incarnation"`
	// Base is the first sequence of the incarnation.
	Base uint64 `json:"base"`
	// Start is the sequence whose state the file starts with; the facts after it follow. 0 where it holds all facts from the
	// incarnation's first.
	Start uint64 `json:"start"`
	// StartedAt is when the log stored the fact there, zero where that is not known.
	StartedAt time.Time `json:"started_at,omitzero"`
	// StartDigest is that of the policy at the start.
	StartDigest string `json:"start_digest,omitempty"`
	// Last is the sequence that the file goes up to.
	Last uint64 `json:"last"`
	// Engine is the version of the engine that computed the digests.
	Engine string `json:"engine"`
}

// Trailer is the line before the last.
type Trailer struct {
	// State is the number of facts that give the state at the start, Facts of those after it.
	State uint64 `json:"state"`
	Facts uint64 `json:"facts"`
	// Digest is that of the policy at the end.
	Digest string `json:"digest"`
}

// seal is the last line.
type seal struct {
	// SHA256 of all bytes before this line, in lower-case hexadecimal.
	SHA256 string `json:"sha256"`
}

// record is a fact as JSON.
type record struct {
	Sequence uint64          `json:"sequence"`
	StoredAt time.Time       `json:"stored_at"`
	Subject  string          `json:"subject"`
	Fact     json.RawMessage `json:"fact"`
}

// Line gives a fact as a line of JSON, without the line's end.
func Line(e eventlog.Entry) ([]byte, error) {
	fact, err := protojson.Marshal(e.Fact)
	if err != nil {
		return nil, fmt.Errorf("sequence %d (%s): %w", e.Sequence, e.Subject, err)
	}
	var compact bytes.Buffer // protojson puts blanks at random
	if err := json.Compact(&compact, fact); err != nil {
		return nil, fmt.Errorf("sequence %d (%s): %w", e.Sequence, e.Subject, err)
	}
	return encode(record{Sequence: e.Sequence, StoredAt: e.StoredAt.UTC(), Subject: e.Subject, Fact: compact.Bytes()})
}

// encode gives one line of JSON that keeps <, > and & as they are.
func encode(v any) ([]byte, error) {
	var line bytes.Buffer
	encoder := json.NewEncoder(&line)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(line.Bytes(), []byte("\n")), nil
}

// packed gives a fact as a file holds it, with what this version does not know of it.
func packed(e eventlog.Entry) (*ringfencev1.SnapshotEntry, error) {
	fact, err := proto.MarshalOptions{Deterministic: true}.Marshal(e.Fact)
	if err != nil {
		return nil, fmt.Errorf("sequence %d (%s): %w", e.Sequence, e.Subject, err)
	}
	return &ringfencev1.SnapshotEntry{Subject: e.Subject, Sequence: e.Sequence, StoredAt: e.StoredAt.UnixNano(), Fact: fact}, nil
}

// unpacked is the inverse.
func (f *File) unpacked(s *ringfencev1.SnapshotEntry) (eventlog.Entry, error) {
	fact, err := f.facts.Decode(s.GetFact())
	if err != nil {
		return eventlog.Entry{}, fmt.Errorf("sequence %d (%s): fact: %w", s.GetSequence(), s.GetSubject(), err)
	}
	if fact.GetBody() == nil {
		return eventlog.Entry{}, fmt.Errorf("sequence %d (%s): fact: no body that this version knows", s.GetSequence(), s.GetSubject())
	}
	return eventlog.Entry{Subject: s.GetSubject(), Sequence: s.GetSequence(), StoredAt: time.Unix(0, s.GetStoredAt()).UTC(), Fact: fact}, nil
}
