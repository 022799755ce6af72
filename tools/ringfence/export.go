package ringfence

import (
	"bufio"
	"compress/gzip"
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
	"strings"

	"github.com/ringfence/ringfence/libs/clas"
	"github.com/ringfence/ringfence/libs/eventlog"
)

// Step is told of every fact that was worked on: its sequence, and that of the last one to come. It may be nil.
type Step func(sequence, last uint64)

// Exported says what an export holds.
type Exported struct {
	Facts uint64
	First uint64
	Last  uint64
}

// Export writes the log's facts up to a sequence, 0 being the newest, as an exported log.
func Export(ctx context.Context, log *eventlog.Log, to uint64, w io.Writer, step Step) (Exported, error) {
	past, err := readHistory(ctx, log, to)
	if err != nil {
		return Exported{}, fmt.Errorf("export: %w", err)
	}
	header := Header{Incarnation: log.Incarnation(), Engine: clas.Version, First: past.first, Last: past.last, Snapshot: past.snapshot}
	return Write(w, header, counted(past.facts, past.last, step))
}

// ExportFile exports to a file, compressed when its name ends in .gz. The file appears under its name only when it is
// complete.
func ExportFile(ctx context.Context, log *eventlog.Log, to uint64, name string, step Step) (exported Exported, err error) {
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
	if exported, err = exportTo(ctx, log, to, file, strings.HasSuffix(name, ".gz"), step); err != nil {
		return Exported{}, err
	}
	if err = errors.Join(file.Chmod(0o644), file.Close()); err != nil {
		return Exported{}, fmt.Errorf("export to %s: %w", name, err)
	}
	return exported, os.Rename(file.Name(), name)
}

func exportTo(ctx context.Context, log *eventlog.Log, to uint64, w io.Writer, compress bool, step Step) (Exported, error) {
	if !compress {
		return Export(ctx, log, to, w, step)
	}
	packed := gzip.NewWriter(w)
	exported, err := Export(ctx, log, to, packed, step)
	return exported, errors.Join(err, packed.Close())
}

// Write writes facts, in ascending sequence, as an exported log. It fills in the header's format.
func Write(w io.Writer, header Header, facts iter.Seq2[eventlog.Entry, error]) (Exported, error) {
	header.Format = Format
	buffer := bufio.NewWriterSize(w, 1<<16)
	out := writer{w: buffer, sum: sha256.New()}
	if err := out.object(header); err != nil {
		return Exported{}, err
	}
	var done Exported
	for e, err := range facts {
		if err != nil {
			return done, fmt.Errorf("export: after sequence %d: %w", done.Last, err)
		}
		line, err := Line(e)
		if err != nil {
			return done, fmt.Errorf("export: %w", err)
		}
		if err := out.line(line); err != nil {
			return done, err
		}
		if done.Facts == 0 {
			done.First = e.Sequence
		}
		done.Facts, done.Last = done.Facts+1, e.Sequence
	}
	if err := out.object(trailer{End: true, Facts: done.Facts, SHA256: hex.EncodeToString(out.sum.Sum(nil))}); err != nil {
		return done, err
	}
	if err := buffer.Flush(); err != nil {
		return done, fmt.Errorf("export: %w", err)
	}
	return done, nil
}

// writer writes lines and sums them up.
type writer struct {
	w   io.Writer
	sum hash.Hash
}

func (w *writer) object(v any) error {
	line, err := encode(v)
	if err != nil {
		return fmt.Errorf("export: %w", err)
	}
	return w.line(line)
}

func (w *writer) line(line []byte) error {
	line = append(line, '\n')
	w.sum.Write(line)
	if _, err := w.w.Write(line); err != nil {
		return fmt.Errorf("export: %w", err)
	}
	return nil
}

// counted tells step of every fact that passes.
func counted(facts iter.Seq2[eventlog.Entry, error], last uint64, step Step) iter.Seq2[eventlog.Entry, error] {
	if step == nil {
		return facts
	}
	return func(yield func(eventlog.Entry, error) bool) {
		for e, err := range facts {
			if !yield(e, err) {
				return
			}
			step(e.Sequence, last)
		}
	}
}
