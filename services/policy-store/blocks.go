package policystore

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/minio/highwayhash"
	"github.com/rs/zerolog"
)

// Layout of the server's block files (nats-server 2.x, server/filestore.go): records of a header, the subject, headers with
// their length, the payload and a hash.
const (
	recordHeader = 22      // length, sequence and time in 4, 8 and 8 bytes, the subject's length in 2
	recordHash   = 8       // HighwayHash-64 of sequence, time, subject, headers and payload
	withHeaders  = 1 << 31 // of the length: the record has headers
	maxRecord    = 64 << 20
)

// errTorn says that a block ends within a record, as the newest does after a crash.
var errTorn = errors.New("it ends within a record")

// verifyBlocks reads all files of the log before the server does, and says which are damaged. The server takes its own index
// at its word, and looks at a record only when somebody asks for it: a damaged one then stops a stream, or keeps the server
// busy for ever. Without the index it goes through the records by itself, and keeps those that are good; what is missing then
// is noticed, and made good, by those who read the log. So the index of a damaged stream is removed.
func verifyBlocks(ctx context.Context, store string, log zerolog.Logger) error {
	blocks, err := filepath.Glob(filepath.Join(store, "jetstream", "*", "streams", "*", "msgs", "*.blk"))
	if err != nil {
		return fmt.Errorf("the log's files: %w", err)
	}
	for _, path := range blocks {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		msgs := filepath.Dir(path)
		stream := filepath.Base(filepath.Dir(msgs))
		offset, err := verifyBlock(stream, path)
		if err == nil {
			continue
		}
		index := filepath.Join(msgs, "index.db")
		removed := os.Remove(index)
		if errors.Is(err, errTorn) && os.IsNotExist(removed) {
			continue // the server was killed while it wrote, and acknowledged nothing of it
		}
		if removed != nil && !os.IsNotExist(removed) {
			return fmt.Errorf("stream %s: %w", stream, removed)
		}
		log.Error().Err(err).Str("stream", stream).Str("file", path).Int("offset", offset).
			Msg("a file of the log is damaged: what can be read of it stays, and the rest is made good")
	}
	return nil
}

// verifyBlock gives the place of the first record that is not as it was written.
func verifyBlock(stream, path string) (offset int, err error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
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
