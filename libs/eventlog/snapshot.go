package eventlog

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"iter"
	"slices"
	"strconv"
	"strings"

	"github.com/nats-io/nats.go/jetstream"
	"google.golang.org/protobuf/proto"

	ringfencev1 "github.com/ringfence/ringfence/proto/ringfence/v1"
)

// SnapshotFormat is the format of the snapshots that this version writes and reads.
const SnapshotFormat = 1

// maxChunks bounds what a reader is willing to read as one snapshot: 64 GiB.
const maxChunks = 1 << 17

// ErrSnapshot says that a snapshot is damaged, of another format, or of another incarnation: set it aside.
var ErrSnapshot = errors.New("the snapshot cannot be used")

func snapChunkSubject(sequence uint64, chunk uint32) string {
	return snapSubject(sequence) + "." + strconv.FormatUint(uint64(chunk), 10)
}
func snapSubject(sequence uint64) string     { return snapPrefix + strconv.FormatUint(sequence, 10) }
func snapDoneSubject(sequence uint64) string { return snapSubject(sequence) + ".done" }

// WriteSnapshot stores the last fact of every subject as of a sequence, in chunks, and ends it with a digest. A snapshot of
// that sequence which is complete already is left as it is; one that was cut off is written anew.
func (l *Log) WriteSnapshot(ctx context.Context, sequence uint64, entries iter.Seq[*ringfencev1.SnapshotEntry]) (*ringfencev1.SnapshotInfo, error) {
	info := &ringfencev1.SnapshotInfo{}
	if err := l.get(ctx, streamSnap, snapDoneSubject(sequence), info); err == nil {
		return info, nil
	}
	if err := l.DropSnapshot(ctx, sequence); err != nil {
		return nil, err
	}
	w := &snapshotWriter{log: l, sequence: sequence, sum: sha256.New()}
	for e := range entries {
		if err := w.add(ctx, e); err != nil {
			return nil, fmt.Errorf("snapshot at %d: %w", sequence, err)
		}
	}
	if err := w.flush(ctx); err != nil {
		return nil, fmt.Errorf("snapshot at %d: %w", sequence, err)
	}
	info = &ringfencev1.SnapshotInfo{
		Version: &ringfencev1.Version{Incarnation: l.incarnation, Sequence: sequence},
		Chunks:  w.chunks, Facts: w.facts, Sha256: w.sum.Sum(nil), Format: SnapshotFormat,
	}
	if err := w.store(ctx, snapDoneSubject(sequence), info); err != nil {
		return nil, fmt.Errorf("snapshot at %d: %w", sequence, err)
	}
	return info, nil
}

type snapshotWriter struct {
	log      *Log
	sequence uint64
	sum      hash.Hash
	chunks   uint32
	facts    uint64
	current  ringfencev1.SnapshotChunk
	bytes    int
}

func (w *snapshotWriter) add(ctx context.Context, e *ringfencev1.SnapshotEntry) error {
	n := proto.Size(e) + 8
	if w.bytes+n > partBytes && w.bytes > 0 {
		if err := w.flush(ctx); err != nil {
			return err
		}
	}
	w.current.Entries = append(w.current.Entries, e)
	w.bytes += n
	w.facts++
	return nil
}

func (w *snapshotWriter) flush(ctx context.Context) error {
	if w.bytes == 0 {
		return nil
	}
	if err := w.store(ctx, snapChunkSubject(w.sequence, w.chunks), &w.current); err != nil {
		return err
	}
	w.chunks++
	w.current.Reset()
	w.bytes = 0
	return nil
}

func (w *snapshotWriter) store(ctx context.Context, subject string, m proto.Message) error {
	msg, err := encode(subject, m)
	if err != nil {
		return err
	}
	w.sum.Write(msg.Data)
	return w.log.store(ctx, msg)
}

// Snapshots gives the complete snapshots of this incarnation, the newest first. They are not verified: ReadSnapshot does.
func (l *Log) Snapshots(ctx context.Context) ([]*ringfencev1.SnapshotInfo, error) {
	var out []*ringfencev1.SnapshotInfo
	r := l.streamReader(streamSnap, jetstream.DeliverAllPolicy, snapPrefix+"*.done")
	for m, err := range l.drain(ctx, r) {
		if err != nil {
			return nil, err
		}
		info := &ringfencev1.SnapshotInfo{}
		if err := proto.Unmarshal(m.data, info); err != nil {
			l.skip(ctx, m.subject, m.sequence, err)
			continue
		}
		if info.GetVersion().GetIncarnation() == l.incarnation {
			out = append(out, info)
		}
	}
	slices.SortFunc(out, func(a, b *ringfencev1.SnapshotInfo) int {
		return int(min(1, max(-1, int64(b.GetVersion().GetSequence())-int64(a.GetVersion().GetSequence()))))
	})
	return out, nil
}

// ReadSnapshot reads a snapshot, verifies all of it, and gives its entries in ascending sequence. ErrSnapshot says that it
// must be set aside; other errors are of the connection. What it gives is small against its facts' history, and is held in
// memory.
func (l *Log) ReadSnapshot(ctx context.Context, info *ringfencev1.SnapshotInfo) ([]*ringfencev1.SnapshotEntry, error) {
	sequence := info.GetVersion().GetSequence()
	switch {
	case info.GetFormat() != SnapshotFormat:
		return nil, fmt.Errorf("snapshot at %d: %w: format %d, this version reads %d", sequence, ErrSnapshot, info.GetFormat(), SnapshotFormat)
	case info.GetVersion().GetIncarnation() != l.incarnation:
		return nil, fmt.Errorf("snapshot at %d: %w: of incarnation %s", sequence, ErrSnapshot, info.GetVersion().GetIncarnation())
	case info.GetChunks() > maxChunks:
		return nil, fmt.Errorf("snapshot at %d: %w: %d chunks", sequence, ErrSnapshot, info.GetChunks())
	}
	stream, err := l.stream(ctx, streamSnap)
	if err != nil {
		return nil, fmt.Errorf("snapshot at %d: %w", sequence, err)
	}
	var entries []*ringfencev1.SnapshotEntry
	sum := sha256.New()
	for chunk := range info.GetChunks() {
		msg, err := stream.GetLastMsgForSubject(ctx, snapChunkSubject(sequence, chunk))
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			return nil, fmt.Errorf("snapshot at %d: %w: chunk %d of %d is missing", sequence, ErrSnapshot, chunk, info.GetChunks())
		}
		if err != nil {
			return nil, fmt.Errorf("snapshot at %d: chunk %d: %w", sequence, chunk, err)
		}
		sum.Write(msg.Data)
		if entries, err = appendChunk(entries, msg.Data); err != nil {
			return nil, fmt.Errorf("snapshot at %d: chunk %d: %w", sequence, chunk, err)
		}
	}
	if !slices.Equal(sum.Sum(nil), info.GetSha256()) || uint64(len(entries)) != info.GetFacts() {
		return nil, fmt.Errorf("snapshot at %d: %w: digest or number of facts differ", sequence, ErrSnapshot)
	}
	return entries, nil
}

func appendChunk(entries []*ringfencev1.SnapshotEntry, data []byte) ([]*ringfencev1.SnapshotEntry, error) {
	chunk := &ringfencev1.SnapshotChunk{}
	if err := proto.Unmarshal(data, chunk); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrSnapshot, err)
	}
	return append(entries, chunk.GetEntries()...), nil
}

// DropSnapshot removes a snapshot, complete or not.
func (l *Log) DropSnapshot(ctx context.Context, sequence uint64) error {
	return l.purge(ctx, streamSnap, jetstream.WithPurgeSubject(snapSubject(sequence)+".>"))
}

// DropPartialSnapshots removes what snapshots left behind that were cut off, other than those of keep.
func (l *Log) DropPartialSnapshots(ctx context.Context, keep []*ringfencev1.SnapshotInfo) error {
	stream, err := l.stream(ctx, streamSnap)
	if err != nil {
		return err
	}
	info, err := stream.Info(ctx, jetstream.WithSubjectFilter(snapPrefix+"*.0"))
	if err != nil {
		return fmt.Errorf("stream %s: %w", streamSnap, err)
	}
	for subject := range info.State.Subjects {
		sequence, err := strconv.ParseUint(strings.TrimSuffix(strings.TrimPrefix(subject, snapPrefix), ".0"), 10, 64)
		if err != nil || slices.ContainsFunc(keep, func(i *ringfencev1.SnapshotInfo) bool { return i.GetVersion().GetSequence() == sequence }) {
			continue
		}
		if err := l.DropSnapshot(ctx, sequence); err != nil {
			return err
		}
	}
	return nil
}
