package policystore

import (
	"errors"
	"fmt"
	"time"

	"github.com/ringfence/ringfence/libs/eventlog"
	"github.com/ringfence/ringfence/libs/service"
)

// Config is what policy-store can be told.
type Config struct {
	service.Config `embed:""`
	Security       `embed:""`
	External       `embed:""`
	Mirror         Mirror `embed:"" prefix:"mirror-"`

	Listen            string        `help:"Address on which the log is served (NATS)." default:":4222"`
	StoreDir          string        `help:"Folder of the log's files. One server uses it at a time." default:"/var/lib/ringfence/log"`
	StagingDir        string        `help:"Folder in memory in which batches of facts are put together; beside the log where empty, which is several times slower." default:"/dev/shm"`
	StorageGi         int           `help:"Size of the volume under the folder, in GiB." default:"1"`
	SnapshotFacts     uint64        `help:"Take a snapshot every so many facts." default:"100000"`
	SnapshotInterval  time.Duration `help:"Take a snapshot at least this often, if there are new facts." default:"6h"`
	BridgeSilentAfter time.Duration `help:"Count the console as away where pce-bridge has not been heard of for so long; 0 for never." default:"90s"`
	ScrubInterval     time.Duration `help:"Read the log's files this often, and start the log anew where one is damaged; 0 for never." default:"1h"`

	storage int64 // bytes, instead of StorageGi, in tests
}

func (c Config) bytes() int64 {
	if c.storage > 0 {
		return c.storage
	}
	return int64(c.StorageGi) << 30
}

func (c Config) sizes() eventlog.Sizes {
	s := eventlog.Sizes{Bytes: c.bytes()}
	if c.NATSMode == external {
		s.Replicas = c.Replicas
	}
	return s
}

func (c Config) check() error {
	switch {
	case c.StoreDir == "":
		return errors.New("store-dir: the log needs a folder")
	case c.bytes() <= 0:
		return fmt.Errorf("storage-gi: %d is no size; use 1 or more", c.StorageGi)
	case c.SnapshotFacts == 0:
		return errors.New("snapshot-facts: 0 would never take a snapshot; use 100000")
	case c.SnapshotInterval <= 0:
		return errors.New("snapshot-interval: use a duration such as 6h")
	case c.BridgeSilentAfter != 0 && c.BridgeSilentAfter < 15*time.Second:
		return fmt.Errorf("bridge-silent-after: %s; pce-bridge is heard every %s: use 15s or more, or 0 for never", c.BridgeSilentAfter, eventlog.HeartbeatInterval)
	case c.ScrubInterval < 0:
		return errors.New("scrub-interval: use a duration such as 1h, or 0 for never")
	}
	return errors.Join(c.Security.check(), c.External.check(), c.asks(), c.checkMove(), c.Mirror.check(c.NATSMode))
}
