package ringfence

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"strings"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/ringfence/ringfence/libs/eventlog"
	"github.com/ringfence/ringfence/proto/decode"
	ringfencev1 "github.com/ringfence/ringfence/proto/ringfence/v1"
)

// File is an exported log. It is a Source: its start, where that is not the log's, is a snapshot. It is safe for concurrent
// use.
type File struct {
	Header  Header
	Trailer Trailer

	content    io.ReaderAt
	closer     io.Closer // nil where it is the caller's to close
	size       int64
	body, tail int64 // where the frames begin and end
	facts      decode.Facts
}

var _ Source = (*File)(nil)

// OpenFile opens an exported log and verifies all of it: an error that is ErrNotALog or ErrDamaged says what is wrong. Close it
// when done.
func OpenFile(name string) (*File, error) {
	file, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	info, err := file.Stat()
	var f *File
	if err == nil {
		f, err = NewFile(file, info.Size())
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", name, err), file.Close())
	}
	f.closer = file
	return f, nil
}

// NewFile is OpenFile for what is open already, and stays so.
func NewFile(content io.ReaderAt, size int64) (*File, error) {
	f := &File{content: content, size: size}
	if err := f.readHeader(); err != nil {
		return nil, err
	}
	return f, f.readEnd()
}

// Close closes what OpenFile opened. It was only read, so that nothing can be lost by it.
func (f *File) Close() {
	if f.closer != nil {
		_ = f.closer.Close()
	}
}

func (f *File) readHeader() error {
	first := make([]byte, min(f.size, maxHeader))
	if _, err := io.ReadFull(io.NewSectionReader(f.content, 0, f.size), first); err != nil {
		return err
	}
	line, _, whole := bytes.Cut(first, []byte("\n"))
	switch {
	case len(first) == 0:
		return fmt.Errorf("%w: it is empty; make one with ringfence export", ErrNotALog)
	case !bytes.HasPrefix(line, []byte(`{"format":"`+formats)):
		return fmt.Errorf("%w: it does not begin with a line that says so; make one with ringfence export", ErrNotALog)
	case !whole:
		return fmt.Errorf("%w: truncated: it ends within its first line", ErrDamaged)
	}
	if err := json.Unmarshal(line, &f.Header); err != nil {
		return fmt.Errorf("%w: its first line: %w", ErrDamaged, err)
	}
	if f.Header.Format != Format {
		return fmt.Errorf("%w of a form that is known here: it is %s, this reads %s; use the ringfence that exported it",
			ErrNotALog, f.Header.Format, Format)
	}
	f.body = int64(len(line)) + 1
	return nil
}

// readEnd reads the last two lines and compares the checksum.
func (f *File) readEnd() error {
	end := make([]byte, min(f.size-f.body, maxEnd))
	if _, err := f.content.ReadAt(end, f.size-int64(len(end))); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	rest, last := cutLine(end)
	rest, trailer := cutLine(rest)
	var sealed seal
	if rest == nil || strictly(last, &sealed) != nil || len(sealed.SHA256) != 2*sha256.Size {
		return fmt.Errorf("%w: truncated: it has no end line after its %d bytes; its first line promises facts up to sequence %d",
			ErrDamaged, f.size, f.Header.Last)
	}
	summed := f.size - int64(len(last)) - 1
	sum := sha256.New()
	if _, err := io.Copy(sum, io.NewSectionReader(f.content, 0, summed)); err != nil {
		return err
	}
	if got := hex.EncodeToString(sum.Sum(nil)); got != sealed.SHA256 {
		return fmt.Errorf("%w: altered: its content has SHA-256 %.12s…, its end line says %.12s…", ErrDamaged, got, sealed.SHA256)
	}
	f.tail = summed - int64(len(trailer)) - 2
	if err := strictly(trailer, &f.Trailer); err != nil || f.tail < f.body {
		return fmt.Errorf("%w: its line before the last is not what an export writes there", ErrDamaged)
	}
	if f.Header.Base == 0 || f.Header.Start > f.Header.Last || f.Header.Start == 0 && f.Trailer.State > 0 {
		return fmt.Errorf("%w: its first line names no range of facts: base %d, start %d, last %d", ErrDamaged, f.Header.Base, f.Header.Start, f.Header.Last)
	}
	return nil
}

// cutLine cuts the last line off, without its end. The rest ends where the line before it does; it is nil where there is no
// whole line.
func cutLine(data []byte) (rest, line []byte) {
	if !bytes.HasSuffix(data, []byte("\n")) {
		return nil, nil
	}
	data = data[:len(data)-1]
	i := bytes.LastIndexByte(data, '\n')
	if i < 0 {
		return nil, nil
	}
	return data[:i+1], data[i+1:]
}

// strictly decodes JSON that has no other fields.
func strictly(line []byte, into any) error {
	decoder := json.NewDecoder(bytes.NewReader(line))
	decoder.DisallowUnknownFields()
	return decoder.Decode(into)
}

// entries gives the messages of the frames in their order, until visit wants no more. Visit is told whether one belongs to
// the state at the start.
func (f *File) entries(ctx context.Context, visit func(entry *ringfencev1.SnapshotEntry, state bool) bool) error {
	frames, err := zstd.NewReader(io.NewSectionReader(f.content, f.body, f.tail-f.body), zstd.WithDecoderMaxWindow(maxWindow),
		zstd.WithDecoderMaxMemory(maxWindow))
	if err != nil {
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	defer frames.Close()
	reader, last := bufio.NewReaderSize(frames, 1<<16), uint64(0)
	for n := range f.Trailer.State + f.Trailer.Facts {
		entry, err := readEntry(reader)
		if err != nil {
			return fmt.Errorf("%w: fact %d of %d, after sequence %d: %w", ErrDamaged, n+1, f.Trailer.State+f.Trailer.Facts, last, err)
		}
		state := n < f.Trailer.State
		if err := f.check(entry, last, state); err != nil {
			return fmt.Errorf("%w: fact %d of %d: %w", ErrDamaged, n+1, f.Trailer.State+f.Trailer.Facts, err)
		}
		if last = entry.GetSequence(); !visit(entry, state) {
			return nil
		}
		if n%1024 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
	}
	if _, err := reader.ReadByte(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("%w: more than the promised %d facts", ErrDamaged, f.Trailer.State+f.Trailer.Facts)
	}
	return nil
}

// readEntry reads a message that is led by its length.
func readEntry(from *bufio.Reader) (*ringfencev1.SnapshotEntry, error) {
	size, err := binary.ReadUvarint(from)
	if err != nil {
		return nil, fmt.Errorf("length: %w", err)
	}
	if size > maxFact {
		return nil, fmt.Errorf("length: %d is more than %d", size, maxFact)
	}
	data := make([]byte, size)
	if _, err := io.ReadFull(from, data); err != nil {
		return nil, fmt.Errorf("%d bytes: %w", size, err)
	}
	return decode.Entry(data)
}

// check refuses a fact that is out of its place.
func (f *File) check(entry *ringfencev1.SnapshotEntry, last uint64, state bool) error {
	sequence := entry.GetSequence()
	switch {
	case !strings.HasPrefix(entry.GetSubject(), "facts."):
		return fmt.Errorf("sequence %d: subject %q is not one of facts", sequence, entry.GetSubject())
	case state && (sequence < last || sequence > f.Header.Start):
		return fmt.Errorf("sequence %d (%s) after %d, in the state at %d", sequence, entry.GetSubject(), last, f.Header.Start)
	case !state && (sequence <= max(last, f.Header.Start) || sequence > f.Header.Last):
		return fmt.Errorf("sequence %d (%s) does not follow %d, up to %d", sequence, entry.GetSubject(), max(last, f.Header.Start), f.Header.Last)
	}
	return nil
}

// Incarnation is that of the log that was exported.
func (f *File) Incarnation() string { return f.Header.Incarnation }

// Base is the first sequence of the incarnation.
func (f *File) Base() uint64 { return f.Header.Base }

// first is the sequence after which the state at the start is.
func (f *File) first() uint64 { return max(f.Header.Start+1, f.Header.Base) }

// startedBefore tells whether the state at the start is known to be that of a time, or one before.
func (f *File) startedBefore(t time.Time) bool {
	return f.Header.Start > 0 && !f.Header.StartedAt.IsZero() && !t.Before(f.Header.StartedAt)
}

// Usage names the facts after the start.
func (f *File) Usage(context.Context) (eventlog.Usage, error) {
	return eventlog.Usage{Facts: f.Trailer.Facts, First: f.first(), Last: f.Header.Last, Bytes: uint64(f.size)}, nil //nolint:gosec // a size
}

// Snapshots gives the state at the start, where the file does not hold the log from its first fact.
func (f *File) Snapshots(context.Context) ([]*ringfencev1.SnapshotInfo, error) {
	if f.Header.Start == 0 {
		return nil, nil
	}
	return []*ringfencev1.SnapshotInfo{{
		Version: &ringfencev1.Version{Incarnation: f.Header.Incarnation, Sequence: f.Header.Start},
		Facts:   f.Trailer.State, Digest: f.Header.StartDigest, Engine: f.Header.Engine,
	}}, nil
}

// ReadSnapshot gives the facts of the state at the start.
func (f *File) ReadSnapshot(ctx context.Context, _ *ringfencev1.SnapshotInfo) iter.Seq2[*ringfencev1.SnapshotEntry, error] {
	return func(yield func(*ringfencev1.SnapshotEntry, error) bool) {
		goesOn := true
		err := f.entries(ctx, func(entry *ringfencev1.SnapshotEntry, state bool) bool {
			goesOn = goesOn && state && yield(entry, nil)
			return goesOn
		})
		if err != nil && goesOn {
			yield(nil, err)
		}
	}
}

// Read gives facts after the start.
func (f *File) Read(ctx context.Context, from, to uint64, filters ...string) iter.Seq2[eventlog.Entry, error] {
	return func(yield func(eventlog.Entry, error) bool) {
		goesOn := true
		err := f.entries(ctx, func(s *ringfencev1.SnapshotEntry, state bool) bool {
			if to > 0 && s.GetSequence() > to {
				return false
			}
			if state || s.GetSequence() < from || !Matches(s.GetSubject(), filters) {
				return true
			}
			e, err := f.unpacked(s)
			goesOn = yield(e, err) && err == nil
			return goesOn
		})
		if err != nil && goesOn {
			yield(eventlog.Entry{}, err)
		}
	}
}

// Release takes back an entry that Read gave and of whose fact nothing is kept but texts, as (*eventlog.Log).Release does.
func (f *File) Release(e eventlog.Entry) { f.facts.Release(e.Fact) }

// SequenceAt is the last sequence that was stored at or before a time; before the first fact it is the one before that. Clocks are
// set back, so all of the file is read: a time that came twice means its last coming.
func (f *File) SequenceAt(ctx context.Context, t time.Time) (uint64, error) {
	var first, last, sequence uint64
	err := f.entries(ctx, func(s *ringfencev1.SnapshotEntry, state bool) bool {
		if state {
			return true
		}
		if last = s.GetSequence(); first == 0 {
			first = last
		}
		if s.GetStoredAt() <= t.UnixNano() {
			sequence = last
		}
		return true
	})
	switch {
	case sequence == last: // of what could not be read after it no time is known
		return f.Header.Last, err
	case sequence > 0:
		return sequence, err
	}
	return first - 1, err
}
