// Package journal keeps the console's edits: one totally ordered stream of opaque records in an embedded JetStream store
// on the local disk.
//
//  1. Append returns without error only once the record is on disk and synced: neither kill -9 nor a power cut loses it.
//  2. Records are never changed, removed or reordered. Replay gives all of them, in order, or an error: a store with a
//     hole is refused, not served in part.
//  3. One process at a time uses a folder; a second one is refused.
//
// It knows nothing of what the records mean. A full store refuses appends ([ErrFull]) and goes on being read.
package journal

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	stream  = "EDITS"
	subject = "edits"
	// MaxRecord is how long a record may be.
	MaxRecord = 7 << 20
	// readyWithin bounds the start of the store, recovery included.
	readyWithin = 2 * time.Minute
)

// ErrFull says that the store has reached its size; what is in it stays.
var ErrFull = errors.New("the console's store is full; give it more room with --store-mib")

// ErrInUse says that another console has the folder.
var ErrInUse = errors.New("another console uses it")

// codes of the JetStream API that mean "no room".
var fullCodes = []jetstream.ErrorCode{10077, 10047, 10023, 10002}

// Journal is an open store. It is safe for concurrent use.
type Journal struct {
	server *server.Server
	conn   *nats.Conn
	stream jetstream.Stream
	js     jetstream.JetStream
	lock   *os.File
}

// Open opens the store in dir, making it where there is none, with room for mib MiB.
func Open(ctx context.Context, dir string, mib int64) (*Journal, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("console store: %w", err)
	}
	lock, err := acquire(filepath.Join(dir, "lock"))
	if err != nil {
		return nil, err
	}
	j := &Journal{lock: lock}
	if err := j.start(ctx, filepath.Join(dir, "edits"), mib<<20); err != nil {
		j.Close()
		return nil, fmt.Errorf("console store %s: %w", dir, err)
	}
	return j, nil
}

func acquire(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("console store: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("console store %s: %w", filepath.Dir(path), ErrInUse)
	}
	return f, nil
}

func (j *Journal) start(ctx context.Context, dir string, size int64) error {
	var err error
	if j.server, err = server.NewServer(options(dir)); err != nil {
		return err
	}
	j.server.Start()
	if !j.server.ReadyForConnections(readyWithin) {
		return errors.New("the embedded server did not start in time")
	}
	if j.conn, err = nats.Connect("", nats.InProcessServer(j.server)); err != nil {
		return err
	}
	if j.js, err = jetstream.New(j.conn, jetstream.WithDefaultTimeout(30*time.Second)); err != nil {
		return err
	}
	j.stream, err = j.js.CreateOrUpdateStream(ctx, jetstream.StreamConfig{
		Name: stream, Subjects: []string{subject}, Storage: jetstream.FileStorage, Retention: jetstream.LimitsPolicy,
		Discard: jetstream.DiscardNew, MaxBytes: size, DenyDelete: true, DenyPurge: true, AllowDirect: true,
	})
	return err
}

func options(dir string) *server.Options {
	return &server.Options{
		ServerName: "pce", DontListen: true, NoSigs: true, NoLog: true,
		JetStream: true, StoreDir: dir, SyncAlways: true, MaxPayload: MaxRecord + 1<<20,
		// The streams have limits of their own: it is they who say when there is no more room.
		JetStreamMaxStore: 1 << 50, JetStreamMaxMemory: 16 << 20,
	}
}

// Append stores record as number last+1 and gives that number. It fails where the newest record is another than last:
// then somebody's view of the store is stale, or an append before failed without saying whether it took effect.
func (j *Journal) Append(ctx context.Context, record []byte, last uint64) (uint64, error) {
	if len(record) > MaxRecord {
		return 0, fmt.Errorf("an edit of %d bytes is larger than the %d that the store takes at once", len(record), MaxRecord)
	}
	ack, err := j.js.Publish(ctx, subject, record, jetstream.WithExpectLastSequence(last), jetstream.WithRetryAttempts(0))
	if err == nil {
		return ack.Sequence, nil
	}
	var api *jetstream.APIError
	if errors.As(err, &api) {
		for _, code := range fullCodes {
			if api.ErrorCode == code {
				return 0, fmt.Errorf("%w (%w)", ErrFull, err)
			}
		}
	}
	return 0, fmt.Errorf("store an edit: %w", err)
}

// Replay calls fold with every record after number from, in order, up to the newest.
func (j *Journal) Replay(ctx context.Context, from uint64, fold func(number uint64, record []byte) error) error {
	info, err := j.stream.Info(ctx)
	if err != nil {
		return fmt.Errorf("read the console's edits: %w", err)
	}
	for number := from + 1; number <= info.State.LastSeq; number++ {
		msg, err := j.stream.GetMsg(ctx, number)
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			return fmt.Errorf("edit %d of %d is missing: the console's store is damaged; restore it from a copy", number, info.State.LastSeq)
		}
		if err != nil {
			return fmt.Errorf("read edit %d: %w", number, err)
		}
		if err := fold(number, msg.Data); err != nil {
			return fmt.Errorf("edit %d: %w", number, err)
		}
	}
	return nil
}

// Close stops the store.
func (j *Journal) Close() {
	if j.conn != nil {
		j.conn.Close()
	}
	if j.server != nil {
		j.server.Shutdown()
		j.server.WaitForShutdown()
	}
	if j.lock != nil {
		_ = j.lock.Close() // releases the lock; nothing was written through it
	}
}
