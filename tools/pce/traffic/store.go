package traffic

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/ringfence/ringfence/libs/pce"
)

// Ring keeps records and drops the oldest when it is full. Append returns once a record is on disk.
type Ring interface {
	Append(ctx context.Context, record []byte) (number uint64, err error)
	Bounds(ctx context.Context) (first, last uint64, err error)
	Get(ctx context.Context, number uint64) (record []byte, kept bool, err error)
	Replay(ctx context.Context, take func(number uint64, record []byte)) error
}

// Store keeps batches of flows. It is safe for concurrent use.
type Store struct {
	ring     Ring
	compress *zstd.Encoder
	expand   *zstd.Decoder

	adding sync.Mutex // one batch at a time, so that none is taken twice

	mu      sync.Mutex
	batches []batch // oldest first
	known   map[string]bool
}

// batch is what is known of a record without reading it. It is the record's first line; the flows follow, compressed.
type batch struct {
	number uint64
	// Cluster is the UUID of the one that reported, "" for people; Name its own name for the batch.
	Cluster string    `json:"cluster"`
	Name    string    `json:"batch"`
	First   time.Time `json:"first"`
	Last    time.Time `json:"last"`
}

func (b batch) key() string { return b.Cluster + "/" + b.Name }

// maxExpanded bounds what one record may hold, against a damaged one.
const maxExpanded = 64 << 20

// Open reads what batches the ring keeps.
func Open(ctx context.Context, ring Ring) (*Store, error) {
	compress, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithLowerEncoderMem(true))
	if err != nil {
		return nil, fmt.Errorf("traffic store: %w", err)
	}
	expand, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxMemory(maxExpanded))
	if err != nil {
		return nil, fmt.Errorf("traffic store: %w", err)
	}
	s := &Store{ring: ring, compress: compress, expand: expand, known: map[string]bool{}}
	return s, ring.Replay(ctx, func(number uint64, record []byte) {
		if b, _, err := s.read(number, record); err == nil { // a record that is damaged is not worth the others
			s.note(b)
		}
	})
}

// Add stores flows that a cluster reported under a name. It tells whether they are new: a batch that is kept already is not
// stored again.
func (s *Store) Add(ctx context.Context, cluster, name string, flows []Flow) (added bool, err error) {
	s.adding.Lock()
	defer s.adding.Unlock()
	b := batch{Cluster: cluster, Name: name}
	if s.has(b) {
		return false, nil
	}
	if len(flows) == 0 {
		return true, nil
	}
	b.First, b.Last = flows[0].First, flows[0].Last
	summaries := make([]pce.FlowSummary, len(flows))
	for i, f := range flows {
		summaries[i] = f.Summary
		if f.First.Before(b.First) {
			b.First = f.First
		}
		if f.Last.After(b.Last) {
			b.Last = f.Last
		}
	}
	record, err := s.record(b, summaries)
	if err != nil {
		return false, err
	}
	// A client that hangs up must not leave open whether its batch was taken.
	if b.number, err = s.ring.Append(context.WithoutCancel(ctx), record); err != nil {
		return false, err
	}
	s.note(b)
	return true, s.forget(ctx)
}

func (s *Store) record(b batch, flows []pce.FlowSummary) ([]byte, error) {
	head, err := json.Marshal(b)
	if err != nil {
		return nil, fmt.Errorf("encode flows: %w", err)
	}
	body, err := json.Marshal(flows)
	if err != nil {
		return nil, fmt.Errorf("encode flows: %w", err)
	}
	return s.compress.EncodeAll(body, append(head, '\n')), nil
}

// Last is what a cluster called the newest of its batches that are kept, "" where there is none.
func (s *Store) Last(cluster string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, b := range slices.Backward(s.batches) {
		if b.Cluster == cluster {
			return b.Name
		}
	}
	return ""
}

func (s *Store) has(b batch) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.known[b.key()]
}

func (s *Store) note(b batch) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.batches = append(s.batches, b)
	s.known[b.key()] = true
}

// forget drops what the ring has dropped.
func (s *Store) forget(ctx context.Context) error {
	first, _, err := s.ring.Bounds(ctx)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	gone := 0
	for gone < len(s.batches) && s.batches[gone].number < first {
		delete(s.known, s.batches[gone].key())
		gone++
	}
	s.batches = slices.Delete(s.batches, 0, gone)
	return nil
}

// errDamaged says that a record is not what Add wrote.
var errDamaged = errors.New("the record is damaged")

// read gives what is known of a record, and its flows still compressed.
func (s *Store) read(number uint64, record []byte) (b batch, body []byte, err error) {
	head, body, found := bytes.Cut(record, []byte{'\n'})
	if !found || json.Unmarshal(head, &b) != nil {
		return batch{}, nil, errDamaged
	}
	b.number = number
	return b, body, nil
}

// between gives the batches with flows in a range of time, newest first.
func (s *Store) between(from, to time.Time) []batch {
	s.mu.Lock()
	defer s.mu.Unlock()
	var found []batch
	for _, b := range slices.Backward(s.batches) {
		if !b.Last.Before(from) && (to.IsZero() || !b.First.After(to)) {
			found = append(found, b)
		}
	}
	return found
}

// scan calls visit with the flows that were seen in a range of time, the newest batch first. A batch that goes meanwhile, or
// is damaged, is left out.
func (s *Store) scan(ctx context.Context, from, to time.Time, visit func(cluster string, f Flow)) error {
	for _, b := range s.between(from, to) {
		if err := ctx.Err(); err != nil {
			return err
		}
		record, kept, err := s.ring.Get(ctx, b.number)
		if err != nil {
			return err
		}
		if !kept {
			continue
		}
		for _, f := range s.flows(b.number, record) {
			if !f.Last.Before(from) && (to.IsZero() || !f.First.After(to)) {
				visit(b.Cluster, f)
			}
		}
	}
	return nil
}

func (s *Store) flows(number uint64, record []byte) []Flow {
	_, body, err := s.read(number, record)
	if err != nil {
		return nil
	}
	text, err := s.expand.DecodeAll(body, nil)
	if err != nil {
		return nil
	}
	var summaries []pce.FlowSummary
	if json.Unmarshal(text, &summaries) != nil {
		return nil
	}
	flows := make([]Flow, 0, len(summaries))
	for _, summary := range summaries {
		if f, err := Check(summary); err == nil {
			flows = append(flows, f)
		}
	}
	return flows
}
