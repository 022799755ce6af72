package eventlog

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"iter"
	"slices"
	"strconv"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"google.golang.org/protobuf/proto"

	ringfencev1 "github.com/ringfence/ringfence/proto/ringfence/v1"
)

// maxChunks bounds what a reader is willing to read as one snapshot: 64 GiB.
const maxChunks = 1 << 17

// ErrSnapshot says that a snapshot is damaged, of another format, or of another incarnation: set it aside.
var ErrSnapshot = errors.New("the snapshot cannot be used")

func snapChunkSubject(sequence uint64, chunk uint32) string {
	return snapSubject(sequence) + "." + strconv.FormatUint(uint64(chunk), 10)
}
func snapSubject(sequence uint64) string     { return snapPrefix + strconv.FormatUint(sequence, 10) }
func snapDoneSubject(sequence uint64) string { return snapSubject(sequence) + ".done" }

// Computed names a policy by its digest and the version of the engine that computed it.
type Computed struct{ Engine, Digest string }

// WriteSnapshot stores the last fact of every subject as of a sequence, in chunks, and ends it with a digest of them and
// with the policy that they give. A complete snapshot of that sequence which says the same is left as it is; any other
// there is written anew.
func (l *Log) WriteSnapshot(ctx context.Context, sequence uint64, policy Computed, entries iter.Seq[*ringfencev1.SnapshotEntry]) (*ringfencev1.SnapshotInfo, error) {
	info := &ringfencev1.SnapshotInfo{}
	err := l.get(ctx, streamSnap, snapDoneSubject(sequence), info)
	if err == nil && info.GetFormat() == SnapshotFormat && policy == (Computed{info.GetEngine(), info.GetDigest()}) {
		return info, nil
	}
	if err := l.DropSnapshot(ctx, sequence); err != nil {
		return nil, err
	}
	w, err := newSnapshotWriter(l, sequence)
	if err != nil {
		return nil, fmt.Errorf("snapshot at %d: %w", sequence, err)
	}
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
		Engine: policy.Engine, Digest: policy.Digest,
	}
	msg, err := encode(snapDoneSubject(sequence), info)
	if err == nil {
		err = l.store(ctx, msg)
	}
	if err != nil {
		return nil, fmt.Errorf("snapshot at %d: %w", sequence, err)
	}
	return info, nil
}

type snapshotWriter struct {
	log      *Log
	sequence uint64
	packer   *chunkPacker
	sum      hash.Hash
	chunks   uint32
	facts    uint64
	current  ringfencev1.SnapshotChunk
	bytes    int
}

func newSnapshotWriter(l *Log, sequence uint64) (*snapshotWriter, error) {
	packer, err := newChunkPacker()
	if err != nil {
		return nil, err
	}
	return &snapshotWriter{log: l, sequence: sequence, packer: packer, sum: sha256.New()}, nil
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
	msg := nats.NewMsg(snapChunkSubject(w.sequence, w.chunks))
	var err error
	if msg.Data, err = w.packer.pack(&w.current); err != nil {
		return fmt.Errorf("chunk %d: %w", w.chunks, err)
	}
	w.sum.Write(msg.Data)
	if err := w.log.store(ctx, msg); err != nil {
		return err
	}
	w.chunks++
	w.current.Reset()
	w.bytes = 0
	return nil
}

// Snapshots gives the complete snapshots of this incarnation, the newest first. They are not verified: ReadSnapshot does.
func (l *Log) Snapshots(ctx context.Context) ([]*ringfencev1.SnapshotInfo, error) {
	stream, err := l.stream(ctx, streamSnap)
	if err != nil {
		return nil, err
	}
	done, err := stream.Info(ctx, jetstream.WithSubjectFilter(snapPrefix+"*.done"))
	if err != nil {
		return nil, fmt.Errorf("stream %s: %w", streamSnap, err)
	}
	var out []*ringfencev1.SnapshotInfo
	for subject := range done.State.Subjects {
		info, err := l.snapshotInfo(ctx, subject)
		if err != nil {
			return nil, err
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

// snapshotInfo reads what a complete snapshot says of itself: nothing when that was dropped meanwhile, or cannot be decoded.
func (l *Log) snapshotInfo(ctx context.Context, subject string) (*ringfencev1.SnapshotInfo, error) {
	var msg *nats.Msg
	err := call(ctx, l.nc, func(ctx context.Context) (err error) {
		msg, err = lastMessage(ctx, l.nc, streamSnap, subject)
		return err
	})
	if errors.Is(err, ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	info := &ringfencev1.SnapshotInfo{}
	if err := proto.Unmarshal(msg.Data, info); err != nil {
		l.skip(ctx, subject, 0, err)
		return nil, nil
	}
	return info, nil
}

// ReadSnapshot gives the entries of a snapshot in ascending sequence, and verifies all of it at the end: what was made of them
// counts only when the iteration ended without error. An error is the last pair; ErrSnapshot says that the snapshot must be
// set aside, other errors are of the connection.
func (l *Log) ReadSnapshot(ctx context.Context, info *ringfencev1.SnapshotInfo) iter.Seq2[*ringfencev1.SnapshotEntry, error] {
	return func(yield func(*ringfencev1.SnapshotEntry, error) bool) {
		goesOn := true
		err := l.readSnapshot(ctx, info, func(entries []*ringfencev1.SnapshotEntry) bool {
			for _, e := range entries {
				if goesOn = yield(e, nil); !goesOn {
					break
				}
			}
			return goesOn
		})
		if err != nil && goesOn {
			yield(nil, fmt.Errorf("snapshot at %d: %w", info.GetVersion().GetSequence(), err))
		}
	}
}

// readSnapshot gives the entries of one chunk after the other until take wants no more.
func (l *Log) readSnapshot(ctx context.Context, info *ringfencev1.SnapshotInfo, take func([]*ringfencev1.SnapshotEntry) bool) error {
	unpack, err := unpackerOf(info.GetFormat())
	switch {
	case err != nil:
		return err
	case info.GetVersion().GetIncarnation() != l.incarnation:
		return fmt.Errorf("%w: of incarnation %s", ErrSnapshot, info.GetVersion().GetIncarnation())
	case info.GetChunks() > maxChunks:
		return fmt.Errorf("%w: %d chunks", ErrSnapshot, info.GetChunks())
	}
	stream, err := l.stream(ctx, streamSnap)
	if err != nil {
		return err
	}
	sum, facts := sha256.New(), uint64(0)
	for chunk := range info.GetChunks() {
		msg, err := stream.GetLastMsgForSubject(ctx, snapChunkSubject(info.GetVersion().GetSequence(), chunk))
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			return fmt.Errorf("%w: chunk %d of %d is missing", ErrSnapshot, chunk, info.GetChunks())
		}
		if err != nil {
			return fmt.Errorf("chunk %d: %w", chunk, err)
		}
		sum.Write(msg.Data)
		read, err := unpack(msg.Data)
		if err != nil {
			return fmt.Errorf("chunk %d: %w: %w", chunk, ErrSnapshot, err)
		}
		facts += uint64(len(read.GetEntries()))
		if !take(read.GetEntries()) {
			return nil
		}
	}
	if !bytes.Equal(sum.Sum(nil), info.GetSha256()) || facts != info.GetFacts() {
		return fmt.Errorf("%w: digest or number of facts differ", ErrSnapshot)
	}
	return nil
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
