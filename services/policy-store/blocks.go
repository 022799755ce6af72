package policystore

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/klauspost/compress/s2"
	"github.com/minio/highwayhash"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/rs/zerolog"
	"golang.org/x/sync/errgroup"
)

// Layout of the server's block files (nats-server 2.x, server/filestore.go): records of a header, the subject, headers with
// their length, the payload and a hash.
const (
	recordHeader = 22      // length, sequence and time in 4, 8 and 8 bytes, the subject's length in 2
	recordHash   = 8       // HighwayHash-64 of sequence, time, subject, headers and payload
	withHeaders  = 1 << 31 // of the length: the record has headers
	maxRecord    = 64 << 20
	maxBlock     = 128 << 20 // a block ends with the record that makes it full
)

// errTorn says that a block ends within a record, as the newest does after a crash.
var errTorn = errors.New("it ends within a record")

// verifyBlocks reads all files of the log before the server does, and says which are damaged. The server takes its own index
// at its word, and looks at a record only when somebody asks for it: a damaged one then stops a stream, or keeps the server
// busy for ever. Without the index it goes through the records by itself, and keeps those that are good; what is missing then
// is noticed, and made good, by those who read the log. So the index of a damaged stream is removed. A compressed block that is
// damaged the server cannot read at all, and would give up the stream: what is good at its begin is put in its place.
func verifyBlocks(ctx context.Context, store string, log zerolog.Logger) error {
	blocks, err := filepath.Glob(filepath.Join(store, "jetstream", "*", "streams", "*", "msgs", "*.blk"))
	if err != nil {
		return fmt.Errorf("the log's files: %w", err)
	}
	verifying, ctx := errgroup.WithContext(ctx)
	verifying.SetLimit(runtime.GOMAXPROCS(0))
	for _, path := range blocks {
		verifying.Go(func() error {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return treat(path, log)
		})
	}
	return verifying.Wait()
}

// treat verifies a block, and sees to it that the server can read what is good of it.
func treat(path string, log zerolog.Logger) error {
	msgs := filepath.Dir(path)
	stream := filepath.Base(filepath.Dir(msgs))
	b, offset, err := verifyBlock(stream, path)
	if err == nil {
		return nil
	}
	removed := os.Remove(filepath.Join(msgs, "index.db"))
	if errors.Is(err, errTorn) && os.IsNotExist(removed) && !b.compressed {
		return nil // the server was killed while it wrote, and acknowledged nothing of it
	}
	if removed != nil && !os.IsNotExist(removed) {
		return fmt.Errorf("stream %s: %w", stream, removed)
	}
	log.Error().Err(err).Str("stream", stream).Str("file", path).Int("offset", offset).
		Msg("a file of the log is damaged: what can be read of it stays, and the rest is made good")
	if !b.compressed {
		return nil
	}
	if err := replace(path, b.records[:offset]); err != nil {
		return fmt.Errorf("stream %s: %w", stream, err)
	}
	return nil
}

// verifyBlock reads a block, and gives the place of the first record that is not as it was written.
func verifyBlock(stream, path string) (b block, offset int, err error) {
	b, damage := readBlock(path)
	offset, err = verifyRecords(stream, path, b.records)
	if damage != nil {
		err = damage
	}
	return b, offset, err
}

// block is what a file of the log holds.
type block struct {
	records    []byte
	compressed bool
}

// readBlock reads a file, and decompresses it as far as that is possible.
func readBlock(path string) (b block, err error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return b, err
	}
	var info server.CompressionInfo
	start, err := info.UnmarshalMetadata(data)
	if err != nil || info.Algorithm == server.NoCompression {
		return block{records: data}, nil // what is no record is found as such
	}
	b.compressed = true
	if info.OriginalSize > maxBlock || len(data) < start+recordHash {
		return b, fmt.Errorf("a compressed block of %d bytes for %d", len(data), info.OriginalSize)
	}
	end := len(data) - recordHash // the last record's hash stands behind, in the clear
	b.records = make([]byte, info.OriginalSize)
	n, err := io.ReadFull(s2.NewReader(bytes.NewReader(data[start:end])), b.records[:max(int(info.OriginalSize), recordHash)-recordHash])
	if err != nil {
		b.records = b.records[:n]
		return b, fmt.Errorf("what is compressed cannot be read from byte %d on: %w", n, err)
	}
	copy(b.records[n:], data[end:])
	return b, nil
}

// replace puts records in the place of a damaged block, so that it is either as it was or as it shall be. Without records
// nothing is left of it.
func replace(path string, records []byte) error {
	if len(records) == 0 {
		return os.Remove(path)
	}
	good := path + ".good"
	file, err := os.OpenFile(good, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = file.Write(records)
	if err = errors.Join(err, file.Sync(), file.Close()); err != nil {
		return err
	}
	return os.Rename(good, path)
}

// verifyRecords is verifyBlock for what was read of the file.
func verifyRecords(stream, path string, data []byte) (offset int, err error) {
	key := sha256.Sum256([]byte(stream + "-" + strings.TrimSuffix(filepath.Base(path), ".blk")))
	hash, err := highwayhash.NewDigest64(key[:])
	if err != nil {
		return 0, err
	}
	var room [recordHash]byte
	for offset < len(data) {
		rest := data[offset:]
		if len(rest) < recordHeader {
			return offset, errTorn
		}
		length, subject := binary.LittleEndian.Uint32(rest), int(binary.LittleEndian.Uint16(rest[20:]))
		size := int(length &^ withHeaders)
		start := subject
		if length&withHeaders != 0 {
			start += 4 // the headers' length
		}
		if size < recordHeader+start+recordHash || size > maxRecord {
			return offset, fmt.Errorf("a record of %d bytes with a subject of %d", size, subject)
		}
		if size > len(rest) {
			return offset, errTorn
		}
		body := rest[recordHeader:size]
		if length&withHeaders != 0 && !fits(body[subject:len(body)-recordHash]) {
			return offset, errors.New("a record's headers end elsewhere than it says")
		}
		hash.Reset()
		for _, part := range [][]byte{rest[4:20], body[:subject], body[start : len(body)-recordHash]} {
			if _, err := hash.Write(part); err != nil {
				return offset, err
			}
		}
		if !bytes.Equal(hash.Sum(room[:0]), body[len(body)-recordHash:]) {
			return offset, errors.New("a record does not have its checksum")
		}
		offset += size
	}
	return offset, nil
}

// fits tells whether headers are as long as the length before them says, which no hash covers.
func fits(data []byte) bool {
	length, headers := binary.LittleEndian.Uint32(data), data[4:]
	if uint64(length) > uint64(len(headers)) {
		return false
	}
	headers = headers[:length]
	return bytes.HasPrefix(headers, []byte("NATS/1.0")) && bytes.HasSuffix(headers, []byte("\r\n\r\n"))
}
