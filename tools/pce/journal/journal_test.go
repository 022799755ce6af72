package journal

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func open(t *testing.T, dir string, mib int64) *Journal {
	t.Helper()
	j, err := Open(t.Context(), dir, mib)
	if err != nil {
		t.Fatal(err)
	}
	return j
}

func replayed(t *testing.T, j *Journal, from uint64) []string {
	t.Helper()
	var got []string
	err := j.Replay(t.Context(), from, func(number uint64, record []byte) error {
		got = append(got, fmt.Sprintf("%d:%s", number, record))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func TestReplayGivesWhatWasAppended(t *testing.T) {
	dir := t.TempDir()
	j := open(t, dir, 8)
	for i := range 3 {
		if n, err := j.Append(t.Context(), fmt.Appendf(nil, "r%d", i), uint64(i)); err != nil || n != uint64(i+1) {
			t.Fatalf("append %d: %d %v", i, n, err)
		}
	}
	if _, err := j.Append(t.Context(), []byte("stale"), 1); err == nil {
		t.Fatal("an append after a record that is not the newest was stored")
	}
	j.Close()
	j = open(t, dir, 8)
	defer j.Close()
	if got := fmt.Sprint(replayed(t, j, 0)); got != "[1:r0 2:r1 3:r2]" {
		t.Fatal(got)
	}
	if got := fmt.Sprint(replayed(t, j, 2)); got != "[3:r2]" {
		t.Fatal(got)
	}
	broken := errors.New("broken")
	if err := j.Replay(t.Context(), 1, func(uint64, []byte) error { return broken }); !errors.Is(err, broken) || !strings.Contains(err.Error(), "edit 2") {
		t.Fatalf("got %v", err)
	}
}

func TestOneProcessAFolder(t *testing.T) {
	dir := t.TempDir()
	j := open(t, dir, 8)
	if _, err := Open(t.Context(), dir, 8); err == nil || !strings.Contains(err.Error(), "another console uses it") {
		t.Fatalf("got %v", err)
	}
	j.Close()
	open(t, dir, 8).Close()
}

// A full store refuses, and keeps what it has.
func TestFullStoreRefuses(t *testing.T) {
	j := open(t, t.TempDir(), 1)
	defer j.Close()
	record := bytes.Repeat([]byte("x"), 100<<10)
	var last uint64
	for {
		n, err := j.Append(t.Context(), record, last)
		if errors.Is(err, ErrFull) {
			break
		}
		if err != nil || n > 20 {
			t.Fatalf("record %d: %v", n, err)
		}
		last = n
	}
	if got := replayed(t, j, 0); len(got) != int(last) || last == 0 {
		t.Fatalf("%d records, %d were acknowledged", len(got), last)
	}
	if _, err := j.Append(t.Context(), make([]byte, MaxRecord+1), last); err == nil {
		t.Fatal("a record beyond the limit was stored")
	}
}

// A store whose blocks were lost is refused rather than served in part.
func TestHoleIsRefused(t *testing.T) {
	dir := t.TempDir()
	j := open(t, dir, 64)
	var last uint64
	for range 12 { // more than one block of 8 MiB
		var err error
		if last, err = j.Append(t.Context(), bytes.Repeat([]byte("x"), 1<<20), last); err != nil {
			t.Fatal(err)
		}
	}
	j.Close()
	blocks, err := filepath.Glob(filepath.Join(dir, "edits", "jetstream", "*", "streams", "*", "msgs", "*.blk"))
	if err != nil || len(blocks) < 2 {
		t.Fatalf("blocks %v (%v)", blocks, err)
	}
	if err := os.Remove(blocks[0]); err != nil {
		t.Fatal(err)
	}
	j = open(t, dir, 64)
	defer j.Close()
	err = j.Replay(t.Context(), 0, func(uint64, []byte) error { return nil })
	if err == nil || !strings.Contains(err.Error(), "edit 1 of") {
		t.Fatalf("got %v", err)
	}
}
