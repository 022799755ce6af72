package ringfence

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"iter"
	"os"
	"path/filepath"
	"slices"

	"github.com/klauspost/compress/zstd"
	"google.golang.org/protobuf/encoding/protodelim"

	"github.com/ringfence/ringfence/libs/clas"
	"github.com/ringfence/ringfence/libs/eventlog"
	ringfencev1 "github.com/ringfence/ringfence/proto/ringfence/v1"
)

// Exported says what an export holds.
type Exported struct {
	Header
	Trailer
	// Refused has a line for every fact that the engine refused; the file holds it all the same.
	Refused []string
}

// Export writes a part of a log as an exported log: the state at from and the facts after it, up to to. The zero value of
// from is the log's start, or what stands for it where that was trimmed.
func Export(ctx context.Context, source Source, from, to Place, w io.Writer, step Step) (Exported, error) {
	last, err := Find(ctx, source, to)
	if err != nil {
		return Exported{}, fmt.Errorf("export: %w", err)
	}
	state, err := exportStart(ctx, source, from, last, step)
	if err != nil {
		return Exported{}, fmt.Errorf("export: %w", err)
	}
	header := Header{Incarnation: source.Incarnation(), Base: max(source.Base(), 1), Last: last, Engine: clas.Version}
	var entries iter.Seq[*ringfencev1.SnapshotEntry]
	if state.Sequence >= header.Base {
		header.Start, header.StartedAt, header.StartDigest = state.Sequence, state.StoredAt.UTC(), state.Engine.Digest()
		entries = state.Engine.Snapshot()
	}
	out, err := newFileWriter(w, header, entries)
	if err == nil {
		err = state.advance(ctx, source, last, step, out.fact)
	}
	if err == nil {
		err = out.finish(state.Engine.Digest())
	}
	if err != nil {
		return Exported{}, fmt.Errorf("export: %w", err)
	}
	return Exported{Header: out.header, Trailer: out.trailer, Refused: state.Refused}, nil
}

// exportStart gives the state that an export starts with.
func exportStart(ctx context.Context, source Source, from Place, last uint64, step Step) (*State, error) {
	if from != (Place{}) {
		state, err := At(ctx, source, from, step)
		if err == nil && state.Sequence > last {
			return nil, fmt.Errorf("the start, sequence %d, comes after the end, sequence %d", state.Sequence, last)
		}
		return state, err
	}
	usage, err := source.Usage(ctx)
	if err != nil {
		return nil, err
	}
	base := max(source.Base(), 1)
	if usage.First <= base {
		return &State{Engine: clas.New(), Incarnation: source.Incarnation(), Sequence: base - 1}, nil
	}
	infos, err := source.Snapshots(ctx)
	if err != nil {
		return nil, fmt.Errorf("snapshots: %w", err)
	}
	for _, info := range slices.Backward(infos) { // the oldest first
		sequence := info.GetVersion().GetSequence()
		if sequence+1 < usage.First || sequence > last {
			continue
		}
		engine, err := restoreSnapshot(ctx, source, info, step)
		if err == nil {
			return &State{Engine: engine, Incarnation: source.Incarnation(), Sequence: sequence}, nil
		}
		if !errors.Is(err, eventlog.ErrSnapshot) {
			return nil, err
		}
	}
	return nil, trimmed(ctx, source, usage, last)
}

// ExportFile exports to a file, which appears under its name only when it is complete.
func ExportFile(ctx context.Context, source Source, from, to Place, name string, step Step) (exported Exported, err error) {
	file, err := os.CreateTemp(filepath.Dir(name), "."+filepath.Base(name)+".*")
	if err != nil {
		return Exported{}, fmt.Errorf("export to %s: %w", name, err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(file.Name()))
		}
	}()
	defer file.Close()
	if exported, err = Export(ctx, source, from, to, file, step); err != nil {
		return Exported{}, err
	}
	if err = errors.Join(file.Chmod(0o644), file.Sync(), file.Close()); err != nil {
		return Exported{}, fmt.Errorf("export to %s: %w", name, err)
	}
	return exported, os.Rename(file.Name(), name)
}

// Write writes facts, in ascending sequence, as an exported log that starts with nothing. It fills in what it can of the
// header, and computes the digest.
func Write(w io.Writer, header Header, facts iter.Seq2[eventlog.Entry, error]) (Exported, error) {
	engine := clas.New()
	header.Base, header.Engine, header.Start, header.StartDigest = max(header.Base, 1), clas.Version, 0, ""
	out, err := newFileWriter(w, header, nil)
	if err != nil {
		return Exported{}, fmt.Errorf("export: %w", err)
	}
	done := Exported{Header: out.header}
	for e, err := range facts {
		if err == nil {
			err = out.fact(e)
		}
		if err != nil {
			return done, fmt.Errorf("export: after %d facts: %w", out.trailer.Facts, err)
		}
		if err := engine.Apply(e.Subject, e.Sequence, e.Fact); err != nil {
			done.Refused = append(done.Refused, fmt.Sprintf("sequence %d (%s): %v", e.Sequence, e.Subject, err))
		}
	}
	if err := out.finish(engine.Digest()); err != nil {
		return done, fmt.Errorf("export: %w", err)
	}
	done.Trailer = out.trailer
	return done, nil
}

// fileWriter writes an exported log.
type fileWriter struct {
	header  Header
	trailer Trailer

	buffer *bufio.Writer
	sum    hash.Hash
	out    io.Writer // to both
	frames *zstd.Encoder
}

// newFileWriter writes the header and the state at the start.
func newFileWriter(w io.Writer, header Header, state iter.Seq[*ringfencev1.SnapshotEntry]) (*fileWriter, error) {
	header.Format = Format
	f := &fileWriter{header: header, buffer: bufio.NewWriterSize(w, 1<<16), sum: sha256.New()}
	f.out = io.MultiWriter(f.buffer, f.sum)
	if err := f.line(header); err != nil {
		return nil, err
	}
	var err error
	if f.frames, err = zstd.NewWriter(f.out, zstd.WithEncoderConcurrency(1)); err != nil {
		return nil, err
	}
	if state == nil {
		return f, nil
	}
	for entry := range state {
		if _, err := protodelim.MarshalTo(f.frames, entry); err != nil {
			return nil, err
		}
		f.trailer.State++
	}
	return f, nil
}

func (f *fileWriter) fact(e eventlog.Entry) error {
	entry, err := packed(e)
	if err != nil {
		return err
	}
	f.trailer.Facts++
	_, err = protodelim.MarshalTo(f.frames, entry)
	return err
}

// finish ends the file. Digest is that of the policy at its end.
func (f *fileWriter) finish(digest string) error {
	f.trailer.Digest = digest
	if err := f.frames.Close(); err != nil {
		return err
	}
	if _, err := io.WriteString(f.out, "\n"); err != nil {
		return err
	}
	if err := f.line(f.trailer); err != nil {
		return err
	}
	if err := f.line(seal{SHA256: hex.EncodeToString(f.sum.Sum(nil))}); err != nil {
		return err
	}
	return f.buffer.Flush()
}

// line writes a line of JSON.
func (f *fileWriter) line(v any) error {
	line, err := encode(v)
	if err != nil {
		return err
	}
	_, err = f.out.Write(append(line, '\n'))
	return err
}
