package eventlog

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	ringfencev1 "github.com/ringfence/ringfence/proto/ringfence/v1"
)

// Draft is a fact to publish.
type Draft struct {
	Subject string
	// Fact must have its body. The producer's fields are filled in by publishing.
	Fact *ringfencev1.Fact
}

// Fields of a fact that are written when its place among the producer's facts is known.
const (
	fieldCounter  protowire.Number = 2
	fieldChecksum protowire.Number = 4
)

// sealBytes is the most that counter and checksum add to a fact; headerRoom is what the headers of a message may take.
const (
	sealBytes  = 1 + 10 + checksumBytes
	headerRoom = 1024

	checksumBytes = 1 + 8
)

// encodeDraft encodes what is known of a fact before its turn comes, leaving the caller's fact as it is.
func encodeDraft(producer string, d Draft, maxPayload int64) ([]byte, error) {
	if err := validSubject(d.Subject); err != nil {
		return nil, err
	}
	if d.Fact.GetBody() == nil {
		return nil, fmt.Errorf("%s: %w", d.Subject, errors.New("a fact needs a body"))
	}
	fact := &ringfencev1.Fact{Producer: producer, ObservedAt: d.Fact.GetObservedAt(), Body: d.Fact.GetBody()}
	if fact.ObservedAt == nil {
		fact.ObservedAt = timestamppb.New(time.Now())
	}
	data, err := proto.Marshal(fact)
	if err != nil {
		return nil, fmt.Errorf("%s: encode: %w", d.Subject, err)
	}
	if limit := maxPayload - headerRoom - sealBytes; maxPayload > 0 && int64(len(data)) > limit {
		return nil, fmt.Errorf("%s: %w: %d bytes, the limit is %d", d.Subject, ErrTooLarge, len(data), limit)
	}
	return data, nil
}

// seal completes an encoded fact with its counter and its checksum. What it was given stays as it is.
func seal(encoded []byte, counter uint64) []byte {
	out := make([]byte, 0, len(encoded)+sealBytes)
	out = append(out, encoded...)
	out = protowire.AppendTag(out, fieldCounter, protowire.VarintType)
	out = protowire.AppendVarint(out, counter)
	sum := checksum(out)
	out = protowire.AppendTag(out, fieldChecksum, protowire.Fixed64Type)
	return protowire.AppendFixed64(out, sum)
}

func checksum(data []byte) uint64 {
	sum := sha256.Sum256(data)
	return binary.BigEndian.Uint64(sum[:8])
}

// errDamaged says that a fact is not what its producer wrote.
var errDamaged = errors.New("the fact's checksum does not fit: it was damaged after it was written")

// verifyChecksum compares a fact with its checksum. Facts of releases that wrote none, or of programs that write it
// elsewhere, have none that could be compared.
func verifyChecksum(data []byte, fact *ringfencev1.Fact) error {
	content := len(data) - checksumBytes
	if fact.GetChecksum() == 0 || content < 0 {
		return nil
	}
	number, kind, n := protowire.ConsumeTag(data[content:])
	if n != 1 || number != fieldChecksum || kind != protowire.Fixed64Type {
		return nil
	}
	if checksum(data[:content]) != fact.GetChecksum() {
		return errDamaged
	}
	return nil
}
