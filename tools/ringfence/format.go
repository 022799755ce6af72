package ringfence

import (
	"bytes"
	"encoding/json"
	"fmt"
	"time"

	"google.golang.org/protobuf/encoding/protojson"

	"github.com/ringfence/ringfence/libs/eventlog"
	ringfencev1 "github.com/ringfence/ringfence/proto/ringfence/v1"
)

// Format names the form of an exported log in its first line.
const Format = "ringfence-log/1"

// maxLine bounds a line of a file: a fact of a message's size, 1 MiB, is a few times that in JSON.
const maxLine = 16 << 20

// Header is the first line of an exported log.
type Header struct {
	Format      string `json:"format"`
	Incarnation string `json:"incarnation"`
	// First and Last are the sequences of the first and the last fact, 0 when there are none.
	First uint64 `json:"first"`
	Last  uint64 `json:"last"`
	// Snapshot, where the log's start was trimmed, is the sequence up to which the file holds only the last fact of each
	// subject.
	Snapshot uint64 `json:"snapshot,omitempty"`
	// Engine is the version of the engine beside which the log was exported.
	Engine string `json:"engine"`
}

// record is the line of one fact.
type record struct {
	Sequence uint64          `json:"sequence"`
	StoredAt time.Time       `json:"stored_at"`
	Subject  string          `json:"subject"`
	Fact     json.RawMessage `json:"fact"`
}

// trailer is the last line.
type trailer struct {
	End   bool   `json:"end"`
	Facts uint64 `json:"facts"`
	// SHA256 of all bytes before this line, in lower-case hexadecimal.
	SHA256 string `json:"sha256"`
}

// Line gives a fact as the line that an exported log has for it, without the line's end.
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

// entry decodes the line's fact.
func (r record) entry() (eventlog.Entry, error) {
	fact := &ringfencev1.Fact{}
	if len(r.Fact) == 0 {
		return eventlog.Entry{}, fmt.Errorf("no field %q", "fact")
	}
	if err := protojson.Unmarshal(r.Fact, fact); err != nil {
		return eventlog.Entry{}, fmt.Errorf("fact: %w", err)
	}
	if fact.GetBody() == nil {
		return eventlog.Entry{}, fmt.Errorf("fact: no body that says what was observed")
	}
	return eventlog.Entry{Subject: r.Subject, Sequence: r.Sequence, StoredAt: r.StoredAt, Fact: fact}, nil
}
