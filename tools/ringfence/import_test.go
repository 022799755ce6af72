package ringfence_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/rs/zerolog"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/ringfence/ringfence/libs/eventlog"
	"github.com/ringfence/ringfence/libs/eventlog/eventlogtest"
	"github.com/ringfence/ringfence/tools/ringfence"
)

// room is what policy-store has by default.
const room = 1 << 30

// serve opens the log of a store folder, as policy-store does.
func serve(t *testing.T, folder string) *eventlog.Log {
	t.Helper()
	nats, err := server.NewServer(&server.Options{DontListen: true, NoSigs: true, NoLog: true, JetStream: true, StoreDir: folder, JetStreamMaxStore: room, SyncAlways: true})
	if err != nil {
		t.Fatal(err)
	}
	nats.Start()
	t.Cleanup(func() { nats.Shutdown(); nats.WaitForShutdown() })
	if !nats.ReadyForConnections(10 * time.Second) {
		t.Fatal("not ready within 10 s")
	}
	nc, err := eventlog.Dialer{Name: "policy-store", InProcess: nats, Log: zerolog.Nop()}.Dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	log, err := eventlog.Create(t.Context(), nc, eventlog.Sizes{Bytes: room})
	if err != nil {
		t.Fatal(err)
	}
	return log
}

func TestAnImportedLogIsTheOneThatWasExported(t *testing.T) {
	_, log := eventlogtest.StartLog(t)
	publish(t, log)
	for name, from := range map[string]ringfence.Place{"whole": {}, "from 20": {Sequence: 20}, "nothing but a state": {Sequence: 34}} {
		t.Run(name, func(t *testing.T) {
			file, _ := export(t, log, from, ringfence.Place{})
			folder := filepath.Join(t.TempDir(), "log")
			if _, err := ringfence.Import(t.Context(), file, folder, nil); err != nil {
				t.Fatal(err)
			}
			copied := serve(t, folder)
			if copied.Incarnation() != log.Incarnation() || copied.Base() != log.Base() {
				t.Errorf("incarnation %s from %d, want %s from %d", copied.Incarnation(), copied.Base(), log.Incarnation(), log.Base())
			}
			ignoreTime := cmp.Transformer("NoTime", func(time.Time) bool { return true })
			if diff := cmp.Diff(collect(t, file.Read(t.Context(), 0, 0)), collect(t, copied.Read(t.Context(), 0, 0)), protocmp.Transform(), ignoreTime); diff != "" {
				t.Errorf("facts differ: %s", diff)
			}
			for sequence := max(file.Header.Start, 1); sequence <= 34; sequence++ {
				if got := at(t, copied, ringfence.Place{Sequence: sequence}); got.Engine.Digest() != engineAt(t, sequence).Digest() || got.Start.Snapshot != file.Header.Start {
					t.Errorf("at %d: by %+v another digest", sequence, got.Start)
				}
			}
			// The next fact goes where it would have gone in the original.
			next := shop(t)[0]
			stored, err := copied.Producer("pce-bridge").Publish(t.Context(), eventlog.Draft{Subject: next.Subject, Fact: next.Fact})
			if err != nil || stored != 35 {
				t.Errorf("the next fact is at %d: %v", stored, err)
			}
		})
	}
}

// TestWhatCannotBeReadKeepsItsPlace copies a file that lacks a sequence.
func TestWhatCannotBeReadKeepsItsPlace(t *testing.T) {
	facts := shop(t)
	facts = append(facts[:9:9], facts[10:]...) // inert by itself
	data := sealedFacts(t, ringfence.Header{Format: ringfence.Format, Incarnation: "shop", Base: 1, Last: 40}, facts)
	folder := filepath.Join(t.TempDir(), "log")
	if _, err := ringfence.Import(t.Context(), memory(t, data), folder, nil); err != nil {
		t.Fatal(err)
	}
	copied := serve(t, folder)
	if got := collect(t, copied.Read(t.Context(), 0, 0)); len(got) != 33 || got[9].Sequence != 11 {
		t.Errorf("%d facts, the tenth at %d", len(got), got[9].Sequence)
	}
	if last, err := copied.LastSequence(t.Context()); err != nil || last != 40 {
		t.Errorf("it ends at %d: %v", last, err)
	}
}

func TestAnImportIntoWhatIsThereIsRefused(t *testing.T) {
	file := memory(t, exportShop(t))
	folder := t.TempDir()
	if _, err := ringfence.Import(t.Context(), file, filepath.Join(folder, "log"), nil); err != nil {
		t.Fatal(err)
	}
	_, err := ringfence.Import(t.Context(), file, filepath.Join(folder, "log"), nil)
	if !errors.Is(err, ringfence.ErrNotEmpty) || !strings.Contains(err.Error(), "name a folder that is new") {
		t.Errorf("a second time: %v", err)
	}
	if err := os.Mkdir(filepath.Join(folder, "empty"), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := ringfence.Import(t.Context(), file, filepath.Join(folder, "empty"), nil); err != nil {
		t.Errorf("an empty folder: %v", err)
	}
	if _, err := ringfence.Import(t.Context(), file, filepath.Join(folder, "no", "where"), nil); err == nil {
		t.Error("a folder in one that does not exist")
	}
	wrong := sealedFacts(t, ringfence.Header{Format: ringfence.Format, Incarnation: "shop", Base: 1, Last: 34, Engine: file.Header.Engine}, shop(t))
	_, err = ringfence.Import(t.Context(), memory(t, wrong), filepath.Join(folder, "wrong"), nil)
	if err == nil || !strings.Contains(err.Error(), "the file promises") {
		t.Errorf("a file that promises another policy: %v", err)
	}
	left, err := os.ReadDir(folder)
	if err != nil || len(left) != 2 {
		t.Errorf("left: %v %v", left, err)
	}
}
