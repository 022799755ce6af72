package eventlog

import (
	"fmt"

	"github.com/klauspost/compress/zstd"
	"google.golang.org/protobuf/proto"

	"github.com/ringfence/ringfence/proto/decode"
	ringfencev1 "github.com/ringfence/ringfence/proto/ringfence/v1"
)

// Formats of the chunks of a snapshot. Both are read.
const (
	// formatPlain is the encoded chunk.
	formatPlain = 1
	// formatZstd is the encoded chunk, compressed.
	formatZstd = 2
)

// SnapshotFormat is the format of the snapshots that this version writes.
const SnapshotFormat = formatZstd

// maxChunk bounds what a chunk may unpack to. One holds partBytes, or a single fact of at most a message.
const maxChunk = 8 << 20

// chunkPacker encodes and compresses chunks.
type chunkPacker struct{ zstd *zstd.Encoder }

func newChunkPacker() (*chunkPacker, error) {
	encoder, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1))
	if err != nil {
		return nil, fmt.Errorf("compress: %w", err)
	}
	return &chunkPacker{encoder}, nil
}

func (p *chunkPacker) pack(chunk *ringfencev1.SnapshotChunk) ([]byte, error) {
	data, err := proto.Marshal(chunk)
	if err != nil {
		return nil, fmt.Errorf("encode: %w", err)
	}
	return p.zstd.EncodeAll(data, nil), nil
}

// unpackerOf gives what reads chunks of a format.
func unpackerOf(format uint32) (func([]byte) (*ringfencev1.SnapshotChunk, error), error) {
	switch format {
	case formatPlain:
		return decodeChunk, nil
	case formatZstd:
		decoder, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(maxChunk))
		if err != nil {
			return nil, fmt.Errorf("decompress: %w", err)
		}
		return func(packed []byte) (*ringfencev1.SnapshotChunk, error) {
			data, err := decoder.DecodeAll(packed, nil)
			if err != nil {
				return nil, fmt.Errorf("decompress: %w", err)
			}
			return decodeChunk(data)
		}, nil
	}
	return nil, fmt.Errorf("%w: format %d, this version reads %d and %d", ErrSnapshot, format, formatPlain, formatZstd)
}

func decodeChunk(data []byte) (*ringfencev1.SnapshotChunk, error) {
	chunk, err := decode.Chunk(data)
	if err != nil {
		return nil, fmt.Errorf("decode: %w", err)
	}
	return chunk, nil
}
