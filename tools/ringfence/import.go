package ringfence

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/rs/zerolog"

	"github.com/ringfence/ringfence/libs/clas"
	"github.com/ringfence/ringfence/libs/eventlog"
	ringfencev1 "github.com/ringfence/ringfence/proto/ringfence/v1"
)

const (
	// importReady bounds the start of a server on an empty folder.
	importReady = 30 * time.Second
	// factsShare is the percentage of a log's room that its facts may fill before policy-store would trim them soon: three
	// fifths of their share.
	factsShare = 24
	// perFact is what the log's server adds to a message.
	perFact = 64
)

// Import makes of an exported log the store folder of a log, which policy-store then serves: the same incarnation, facts and
// sequences, and the state at the start as a snapshot. The folder must not exist, or be empty (ErrNotEmpty); it appears
// complete or not at all. It gives the room in GiB with which policy-store is to serve it, at least.
func Import(ctx context.Context, file *File, folder string, step Step) (gi int64, err error) {
	if entries, err := os.ReadDir(folder); err == nil && len(entries) > 0 {
		return 0, fmt.Errorf("import into %s: %w: name a folder that is new", folder, ErrNotEmpty)
	} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return 0, fmt.Errorf("import into %s: %w", folder, err)
	}
	if gi, err = file.room(ctx); err != nil {
		return 0, fmt.Errorf("import into %s: %w", folder, err)
	}
	folder = filepath.Clean(folder)
	building, err := os.MkdirTemp(filepath.Dir(folder), "."+filepath.Base(folder)+".*")
	if err != nil {
		return 0, fmt.Errorf("import into %s: %w", folder, err)
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("import into %s: %w", folder, errors.Join(err, os.RemoveAll(building)))
		}
	}()
	if err := importInto(ctx, file, building, gi<<30, step); err != nil {
		return 0, err
	}
	if err := syncAll(building); err != nil {
		return 0, err
	}
	if err := os.Remove(folder); err != nil && !errors.Is(err, fs.ErrNotExist) { // it is empty
		return 0, err
	}
	return gi, os.Rename(building, folder)
}

// room is how many GiB a log of the file's facts takes.
func (f *File) room(ctx context.Context) (gi int64, err error) {
	bytes := int64(0)
	err = f.entries(ctx, func(entry *ringfencev1.SnapshotEntry, _ bool) bool {
		bytes += int64(len(entry.GetSubject()) + len(entry.GetFact()) + perFact)
		return true
	})
	return bytes*100/factsShare>>30 + 1, err
}

// importInto runs a server on the folder for as long as it takes.
func importInto(ctx context.Context, file *File, folder string, bytes int64, step Step) error {
	nats, err := server.NewServer(&server.Options{
		ServerName: "import", DontListen: true, NoSigs: true, NoLog: true, MaxPayload: 1 << 20,
		JetStream: true, StoreDir: folder, JetStreamMaxStore: bytes, JetStreamMaxMemory: 64 << 20,
	})
	if err != nil {
		return err
	}
	nats.Start()
	defer func() {
		nats.Shutdown()
		nats.WaitForShutdown()
	}()
	if !nats.ReadyForConnections(importReady) {
		return fmt.Errorf("the server is not ready within %s", importReady)
	}
	nc, err := eventlog.Dialer{Name: "import", InProcess: nats, Log: zerolog.Nop()}.Dial(ctx)
	if err != nil {
		return err
	}
	defer nc.Close()
	original := eventlog.Original{Incarnation: file.Incarnation(), Base: file.Base(), First: file.first(), Last: max(file.Header.Last, file.first()-1)}
	facts := counted(ahead(file.Read(ctx, 0, 0)), file.Header.Last, step)
	log, err := eventlog.Copy(ctx, nc, eventlog.Sizes{Bytes: bytes}, original, facts)
	if err != nil {
		return err
	}
	return importState(ctx, file, log, step)
}

// importState writes the state at the start as a snapshot, and wants the log to give the policy that the file promises.
func importState(ctx context.Context, file *File, log *eventlog.Log, step Step) error {
	if start := file.Header.Start; start > 0 {
		var broken error
		computed := eventlog.Computed{Engine: file.Header.Engine, Digest: file.Header.StartDigest}
		_, err := log.WriteSnapshot(ctx, start, computed, func(yield func(*ringfencev1.SnapshotEntry) bool) {
			for entry, err := range file.ReadSnapshot(ctx, nil) {
				if broken = err; err != nil || !yield(entry) {
					return
				}
			}
		})
		if err := errors.Join(broken, err); err != nil {
			return err
		}
	}
	state, err := At(ctx, log, Place{}, step)
	if err == nil && file.Header.Engine == clas.Version && state.Engine.Digest() != file.Trailer.Digest {
		err = fmt.Errorf("the log gives policy %s, the file promises %s", state.Engine.Digest(), file.Trailer.Digest)
	}
	return err
}

// syncAll puts everything in a folder on disk.
func syncAll(folder string) error {
	return filepath.WalkDir(folder, func(name string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		file, err := os.Open(name)
		if err != nil {
			return err
		}
		return errors.Join(file.Sync(), file.Close())
	})
}
