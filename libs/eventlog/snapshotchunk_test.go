package eventlog

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"testing"

	"google.golang.org/protobuf/proto"

	ringfencev1 "github.com/ringfence/ringfence/proto/ringfence/v1"
)

func packed(t testing.TB, entries ...*ringfencev1.SnapshotEntry) []byte {
	t.Helper()
	p, err := newChunkPacker()
	if err != nil {
		t.Fatal(err)
	}
	data, err := p.pack(&ringfencev1.SnapshotChunk{Entries: entries})
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestChunksAreSmallerThanTheirFactsAndBounded(t *testing.T) {
	var entries []*ringfencev1.SnapshotEntry
	for i := range 1000 {
		entries = append(entries, &ringfencev1.SnapshotEntry{Subject: "facts.k8s.pod.shop.web", Sequence: uint64(i), Fact: bytes.Repeat([]byte("shop"), 50)})
	}
	data := packed(t, entries...)
	if plain := proto.Size(&ringfencev1.SnapshotChunk{Entries: entries}); len(data) > plain/10 {
		t.Errorf("%d bytes of %d", len(data), plain)
	}
	unpack, err := unpackerOf(formatZstd)
	if err != nil {
		t.Fatal(err)
	}
	if chunk, err := unpack(data); err != nil || len(chunk.GetEntries()) != 1000 {
		t.Errorf("%d entries, %v", len(chunk.GetEntries()), err)
	}
	if _, err := unpack(packed(t, &ringfencev1.SnapshotEntry{Fact: make([]byte, 2*maxChunk)})); err == nil {
		t.Error("a chunk that unpacks to more than the bound was read")
	}
	if _, err := unpackerOf(3); !errors.Is(err, ErrSnapshot) {
		t.Errorf("format 3: %v", err)
	}
}

// What does not compress fits a message all the same.
func TestAChunkThatDoesNotCompressFitsAMessage(t *testing.T) {
	fact := make([]byte, 0, partBytes)
	for sum := sha256.Sum256(nil); len(fact) < partBytes; sum = sha256.Sum256(sum[:]) {
		fact = append(fact, sum[:]...)
	}
	if data := packed(t, &ringfencev1.SnapshotEntry{Fact: fact}); len(data) > 512<<10 {
		t.Errorf("%d bytes", len(data))
	}
}

func FuzzSnapshotChunk(f *testing.F) {
	data := packed(f, &ringfencev1.SnapshotEntry{Subject: "facts.ctl.settings", Sequence: 1, Fact: []byte("x")})
	f.Add(data)
	f.Add(data[:len(data)/2])
	f.Add([]byte("garbage"))
	bomb, err := hex.DecodeString("28b52ffda0ffffff7f" + "03000000")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(bomb)
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, format := range []uint32{formatPlain, formatZstd} {
			unpack, err := unpackerOf(format)
			if err != nil {
				t.Fatal(err)
			}
			if chunk, err := unpack(data); (err == nil) != (chunk != nil) {
				t.Fatalf("chunk %v with error %v", chunk, err)
			}
		}
	})
}
