package eventlogtest

import (
	"crypto/sha256"
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/minio/highwayhash"
)

// Layout of a record in the server's files; services/policy-store/blocks.go says more of it.
const (
	recordHeader = 22 // length, sequence and time in 4, 8 and 8 bytes, the subject's length in 2
	recordHash   = 8  // of sequence, time, subject, headers without their length, and payload
	withHeaders  = 1 << 31
)

// Shift changes the files of a stopped server as if its clock had been wrong by that much when it stored the messages of a stream
// from a sequence on, on whatever store they are. It gives how many those are.
func Shift(t testing.TB, store, stream string, from uint64, by time.Duration) (shifted int) {
	t.Helper()
	blocks, err := filepath.Glob(filepath.Join(store, "jetstream", "*", "streams", stream, "msgs", "*.blk"))
	if err != nil || len(blocks) == 0 {
		t.Fatalf("stream %s has no files in %s: %v", stream, store, err)
	}
	for _, block := range blocks {
		data, err := os.ReadFile(block)
		if err != nil {
			t.Fatal(err)
		}
		key := sha256.Sum256([]byte(stream + "-" + strings.TrimSuffix(filepath.Base(block), ".blk")))
		for rest := data; len(rest) > 0; {
			length := binary.LittleEndian.Uint32(rest)
			size := int(length &^ withHeaders)
			if size < recordHeader+recordHash || size > len(rest) {
				t.Fatalf("%s: a record of %d bytes, %d are left", block, size, len(rest))
			}
			if binary.LittleEndian.Uint64(rest[4:]) >= from {
				shift(t, rest[:size], length&withHeaders != 0, key[:], by)
				shifted++
			}
			rest = rest[size:]
		}
		if err := os.WriteFile(block, data, 0o600); err != nil {
			t.Fatal(err)
		}
		// The server's index says when the last message was stored; without it the messages themselves do.
		if err := os.Remove(filepath.Join(filepath.Dir(block), "index.db")); err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
	}
	return shifted
}

func shift(t testing.TB, record []byte, headers bool, key []byte, by time.Duration) {
	t.Helper()
	stored := binary.LittleEndian.Uint64(record[12:])
	binary.LittleEndian.PutUint64(record[12:], stored+uint64(by))
	subject := int(binary.LittleEndian.Uint16(record[20:]))
	body := record[recordHeader:]
	start := subject
	if headers {
		start += 4
	}
	hash, err := highwayhash.NewDigest64(key)
	if err != nil {
		t.Fatal(err)
	}
	end := len(body) - recordHash
	for _, part := range [][]byte{record[4:20], body[:subject], body[start:end]} {
		if _, err := hash.Write(part); err != nil {
			t.Fatal(err)
		}
	}
	hash.Sum(body[:end])
}

// Shift stops the server, shifts the times of its messages, and starts it again.
func (s *Server) Shift(stream string, from uint64, by time.Duration) {
	s.t.Helper()
	s.Stop()
	if Shift(s.t, s.dir, stream, from, by) == 0 {
		s.t.Fatalf("stream %s has no message from %d on", stream, from)
	}
	s.Restart()
}
