package decode

import (
	"maps"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"

	ringfencev1 "github.com/ringfence/ringfence/proto/ringfence/v1"
)

func checkEntries(t *testing.T, data []byte) {
	t.Helper()
	entry, err := Entry(data)
	same(t, data, entry, &ringfencev1.SnapshotEntry{}, err)
	chunk, err := Chunk(data)
	same(t, data, chunk, &ringfencev1.SnapshotChunk{}, err)
}

// entryEncodings are encodings of entries, and of chunks of them, in which decoders differ.
func entryEncodings(t testing.TB) map[string][]byte {
	plain := &ringfencev1.SnapshotEntry{}
	fill(plain.ProtoReflect())
	past := &ringfencev1.SnapshotEntry{Subject: "facts.ctl.position", StoredAt: -1}
	all := map[string][]byte{
		"nothing":                {},
		"an entry":               encoded(t, plain),
		"stored before 1970":     encoded(t, past),
		"an entry twice":         append(encoded(t, plain), encoded(t, past)...),
		"empty fact":             {4<<3 | 2, 0},
		"not UTF-8":              {1<<3 | 2, 1, 0xff},
		"unknown field":          {7 << 3, 1},
		"subject as a number":    {1 << 3, 1},
		"group":                  {3, 4},
		"field number zero":      {2, 1, 'n'},
		"length beyond the end":  {4<<3 | 2, 100, 'n'},
		"number of eleven bytes": {2 << 3, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1},
	}
	for name, entry := range maps.Clone(all) {
		all["chunk of "+name] = protowire.AppendBytes(protowire.AppendTag(nil, 1, protowire.BytesType), entry)
	}
	all["chunk of two"] = encoded(t, &ringfencev1.SnapshotChunk{Entries: []*ringfencev1.SnapshotEntry{plain, past}})
	return all
}

func TestEntriesAreWhatProtobufSays(t *testing.T) {
	for name, data := range entryEncodings(t) {
		t.Run(name, func(t *testing.T) { checkEntries(t, data) })
	}
}

// TestEveryFieldOfAnEntryIsPlain notices a field that the protocol has and this package does not.
func TestEveryFieldOfAnEntryIsPlain(t *testing.T) {
	chunk := &ringfencev1.SnapshotChunk{}
	fill(chunk.ProtoReflect())
	if !plainChunk(encoded(t, chunk), &ringfencev1.SnapshotChunk{}) {
		t.Fatal("a chunk with every field is not plain")
	}
}

func FuzzEntry(f *testing.F) {
	for _, data := range entryEncodings(f) {
		f.Add(data)
	}
	f.Fuzz(checkEntries)
}
