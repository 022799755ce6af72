package decode

import (
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	ringfencev1 "github.com/ringfence/ringfence/proto/ringfence/v1"
)

// Chunk decodes a chunk of a snapshot. The facts of its entries, encoded as they are, are parts of data.
func Chunk(data []byte) (*ringfencev1.SnapshotChunk, error) {
	chunk := &ringfencev1.SnapshotChunk{}
	if plainChunk(data, chunk) {
		return chunk, nil
	}
	if err := proto.Unmarshal(data, chunk); err != nil {
		return nil, err
	}
	return chunk, nil
}

// Entry decodes an entry of a snapshot. Its fact, encoded as it is, is a part of data.
func Entry(data []byte) (*ringfencev1.SnapshotEntry, error) {
	entry := &ringfencev1.SnapshotEntry{}
	if plainEntry(data, entry) {
		return entry, nil
	}
	if err := proto.Unmarshal(data, entry); err != nil {
		return nil, err
	}
	return entry, nil
}

func plainChunk(data []byte, chunk *ringfencev1.SnapshotChunk) bool {
	for len(data) > 0 {
		number, kind, value, n := field(data)
		if n < 0 || number != 1 || kind != protowire.BytesType {
			return false
		}
		entry := &ringfencev1.SnapshotEntry{}
		if !plainEntry(value, entry) {
			return false
		}
		chunk.Entries = append(chunk.Entries, entry)
		data = data[n:]
	}
	return true
}

func plainEntry(data []byte, entry *ringfencev1.SnapshotEntry) bool {
	for len(data) > 0 {
		number, kind, value, n := field(data)
		if n < 0 {
			return false
		}
		switch {
		case number == 1 && kind == protowire.BytesType && utf8.Valid(value):
			entry.Subject = string(value)
		case number == 2 && kind == protowire.VarintType:
			entry.Sequence, _ = protowire.ConsumeVarint(value)
		case number == 3 && kind == protowire.VarintType:
			v, _ := protowire.ConsumeVarint(value)
			entry.StoredAt = int64(v)
		case number == 4 && kind == protowire.BytesType:
			entry.Fact = value
		default:
			return false
		}
		data = data[n:]
	}
	return true
}

// field takes the first field of a message apart, of which it is n bytes, negative for none: its value without its length, or
// the number as it is encoded. It looks at numbers and bytes only.
func field(data []byte) (number protowire.Number, kind protowire.Type, value []byte, n int) {
	number, kind, tag := protowire.ConsumeTag(data)
	if tag < 0 {
		return 0, 0, nil, tag
	}
	switch kind {
	case protowire.VarintType:
		_, n = protowire.ConsumeVarint(data[tag:])
		value = data[tag : tag+max(n, 0)]
	case protowire.BytesType:
		value, n = protowire.ConsumeBytes(data[tag:])
	default:
		n = -1
	}
	if n < 0 {
		return 0, 0, nil, n
	}
	return number, kind, value[:len(value):len(value)], tag + n
}
