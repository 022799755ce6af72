package ringfence

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"iter"
	"strings"

	"github.com/ringfence/ringfence/libs/eventlog"
)

// Reader reads an exported log once, from its start. It is not safe for concurrent use.
type Reader struct {
	Header Header

	lines  *bufio.Scanner
	number int       // of the current line, from 1
	sum    hash.Hash // of the lines before the current one
	facts  uint64
	last   uint64 // sequence of the newest fact

	ended  bool // nothing is left to read
	damage []string
}

// NewReader starts to read an exported log, compressed with gzip or not. An error that is ErrNotALog says what is wrong
// with the first line.
func NewReader(r io.Reader) (*Reader, error) {
	plain, err := unpack(r)
	if err != nil {
		return nil, err
	}
	reader := &Reader{lines: bufio.NewScanner(plain), sum: sha256.New()}
	reader.lines.Buffer(make([]byte, 0, 1<<16), maxLine)
	reader.lines.Split(wholeLines)
	line, err := reader.next()
	if err != nil {
		return nil, err
	}
	if json.Unmarshal(line, &reader.Header) != nil || !strings.HasPrefix(reader.Header.Format, "ringfence-log/") {
		return nil, fmt.Errorf("%w: line 1 has no format %s; make one with ringfence export", ErrNotALog, Format)
	}
	if reader.Header.Format != Format {
		return nil, fmt.Errorf("%w of a form that is known here: it is %s, this reads %s; use the ringfence that exported it",
			ErrNotALog, reader.Header.Format, Format)
	}
	reader.sum.Write(line)
	return reader, nil
}

// unpack looks into the first bytes for gzip's mark.
func unpack(r io.Reader) (io.Reader, error) {
	buffered := bufio.NewReader(r)
	if mark, _ := buffered.Peek(2); !bytes.Equal(mark, []byte{0x1f, 0x8b}) {
		return buffered, nil
	}
	packed, err := gzip.NewReader(buffered)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNotALog, err)
	}
	return packed, nil
}

// wholeLines splits into lines with their ends, so that a line that was cut off can be told from a whole one.
func wholeLines(data []byte, atEOF bool) (int, []byte, error) {
	if i := bytes.IndexByte(data, '\n'); i >= 0 {
		return i + 1, data[:i+1], nil
	}
	if atEOF && len(data) > 0 {
		return len(data), data, nil
	}
	return 0, nil, nil
}

// Entries gives the facts in ascending sequence. What cannot be a fact is an error that names line and subject, and ends
// the iteration. Damage that leaves the rest readable ends up in Damage instead.
func (r *Reader) Entries() iter.Seq2[eventlog.Entry, error] {
	return func(yield func(eventlog.Entry, error) bool) {
		for !r.ended {
			line, err := r.next()
			if err != nil {
				yield(eventlog.Entry{}, err)
				return
			}
			if r.ended || r.end(line) {
				return
			}
			e, err := r.fact(line)
			if err != nil {
				r.ended = true
				yield(eventlog.Entry{}, err)
				return
			}
			if !yield(e, nil) {
				return
			}
		}
	}
}

// Damage reads what is left of the file without looking at its facts, and then says what is wrong with the file as a
// whole: that it is truncated, that it was altered. It is empty when all is well.
func (r *Reader) Damage() []string {
	for !r.ended {
		line, err := r.next()
		if err != nil {
			r.damage = append(r.damage, err.Error())
			break
		}
		if r.ended || r.end(line) {
			break
		}
		r.keep(line)
	}
	return r.damage
}

// next gives the next line; it sets ended where there is none, or only a part of one.
func (r *Reader) next() ([]byte, error) {
	r.number++
	if r.lines.Scan() {
		if line := r.lines.Bytes(); bytes.HasSuffix(line, []byte("\n")) {
			return line, nil
		}
		r.truncated(fmt.Sprintf("line %d is cut off", r.number))
		return nil, r.whole()
	}
	err := r.lines.Err()
	switch {
	case errors.Is(err, bufio.ErrTooLong):
		r.ended = true
		return nil, fmt.Errorf("line %d: longer than %d bytes", r.number, maxLine)
	case err == nil, errors.Is(err, io.ErrUnexpectedEOF):
		r.truncated("the end line is missing")
		return nil, r.whole()
	}
	r.ended = true
	return nil, fmt.Errorf("line %d: %w", r.number, err)
}

// whole is an error for a file that ends before its first line does.
func (r *Reader) whole() error {
	if r.number > 1 {
		return nil
	}
	return fmt.Errorf("%w: it is empty, or ends within line 1; make one with ringfence export", ErrNotALog)
}

func (r *Reader) truncated(what string) {
	r.ended = true
	r.damage = append(r.damage, fmt.Sprintf("truncated: %s after %d whole facts; its first line promises facts up to sequence %d",
		what, r.facts, r.Header.Last))
}

// keep counts a fact's line in without a look at it.
func (r *Reader) keep(line []byte) {
	r.sum.Write(line)
	r.facts++
}

// end takes the end line, and says whether it was one.
func (r *Reader) end(line []byte) bool {
	var end trailer
	if !bytes.HasPrefix(line, []byte(`{"end":`)) || json.Unmarshal(line, &end) != nil || !end.End {
		return false
	}
	r.ended = true
	if sum := hex.EncodeToString(r.sum.Sum(nil)); end.SHA256 != sum || end.Facts != r.facts {
		r.damage = append(r.damage, fmt.Sprintf("altered: it holds %d facts with SHA-256 %.12q, its end line says %d with %.12q",
			r.facts, sum, end.Facts, end.SHA256))
	}
	if r.lines.Scan() {
		r.damage = append(r.damage, fmt.Sprintf("altered: more follows its end line, line %d; that is left out", r.number))
	}
	return true
}

// fact decodes the line of a fact.
func (r *Reader) fact(line []byte) (eventlog.Entry, error) {
	var rec record
	if err := json.Unmarshal(line, &rec); err != nil {
		return eventlog.Entry{}, fmt.Errorf("line %d (%q): %w", r.number, subjectIn(line), err)
	}
	if !strings.HasPrefix(rec.Subject, "facts.") {
		return eventlog.Entry{}, fmt.Errorf("line %d: subject %q is not one of facts", r.number, rec.Subject)
	}
	e, err := rec.entry()
	if err != nil {
		return eventlog.Entry{}, fmt.Errorf("line %d (%q): %w", r.number, rec.Subject, err)
	}
	if e.Sequence <= r.last {
		return eventlog.Entry{}, fmt.Errorf("line %d (%q): sequence %d does not follow %d", r.number, rec.Subject, e.Sequence, r.last)
	}
	r.keep(line)
	r.last = e.Sequence
	return e, nil
}

// subjectIn finds the subject in a line that is no JSON.
func subjectIn(line []byte) string {
	_, rest, found := strings.Cut(string(line), `"subject":"`)
	subject, _, closed := strings.Cut(rest, `"`)
	if !found || !closed || len(subject) > 200 {
		return "no subject"
	}
	return subject
}
