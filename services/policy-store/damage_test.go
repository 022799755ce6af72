package policystore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"

	"github.com/ringfence/ringfence/libs/eventlog"
	ringfencev1 "github.com/ringfence/ringfence/proto/ringfence/v1"
)

// diligent is a producer as the services are: in every incarnation of the log, and after every failure, it compares what the
// log holds with what it knows, writes the difference, and says that it is in sync.
func diligent(ctx context.Context, nc *nats.Conn, name string, knows []eventlog.Draft) {
	for ; ctx.Err() == nil; pause(ctx, 50*time.Millisecond) {
		log, err := eventlog.Open(ctx, nc)
		if err != nil {
			continue
		}
		if err := compare(ctx, log, name, knows); err == nil {
			_ = log.Watch(ctx) // until it is another one
		}
	}
}

func compare(ctx context.Context, log *eventlog.Log, name string, knows []eventlog.Draft) error {
	p, err := log.Lead(ctx, name, "test")
	if err != nil {
		return err
	}
	held := map[string]bool{}
	for e, err := range log.Latest(ctx, "facts.k8s.>", "facts.pce.>") {
		if err != nil {
			return err
		}
		held[e.Subject] = true
	}
	missing := slices.DeleteFunc(slices.Clone(knows), func(d eventlog.Draft) bool { return held[d.Subject] })
	if err := p.PublishAll(ctx, missing); err != nil {
		return err
	}
	return p.Synced(ctx)
}

// flip changes one bit in the middle of the biggest block of a stream.
func flip(t *testing.T, store, stream string) {
	t.Helper()
	blocks, err := filepath.Glob(filepath.Join(store, "jetstream", "*", "streams", stream, "msgs", "*.blk"))
	if err != nil || len(blocks) == 0 {
		t.Fatalf("stream %s has no blocks: %v", stream, err)
	}
	size := func(path string) int64 {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		return info.Size()
	}
	flipIn(t, slices.MaxFunc(blocks, func(a, b string) int { return int(size(a) - size(b)) }))
}

// flipIn changes one bit in the middle of a file.
func flipIn(t *testing.T, block string) {
	t.Helper()
	data, err := os.ReadFile(block)
	if err != nil {
		t.Fatal(err)
	}
	if len(data) == 0 {
		t.Fatalf("%s is empty", block)
	}
	data[len(data)/2] ^= 0x10
	if err := os.WriteFile(block, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestLostFactsBeginANewIncarnation(t *testing.T) {
	p := startProcess(t, t.TempDir())
	l := p.open("test")
	f := follow(t, p.conn("enforcer"))
	watched := make(chan error, 1)
	go func() { watched <- l.Watch(t.Context()) }()
	produce(t, l, "watcher", kubernetes())
	produce(t, l, "pce-bridge", console(t))
	f.holds(2)
	if err := l.Trim(t.Context(), 5); err != nil { // no snapshot covers these
		t.Fatal(err)
	}
	p.kill()
	p.start()
	select {
	case err := <-watched:
		if !errors.Is(err, eventlog.ErrIncarnation) {
			t.Fatal(err)
		}
	case <-time.After(30 * time.Second):
		t.Fatal("no new incarnation within 30 s")
	}
	if len(p.lines("facts were lost", `"level":"error"`)) != 1 {
		t.Error("no line about it")
	}
	var fresh *eventlog.Log
	eventually(t, func() error {
		fresh = p.open("test")
		if fresh.Incarnation() == l.Incarnation() {
			return errors.New("the old incarnation")
		}
		return nil
	})
	states := f.all()
	if got := states[len(states)-1]; got.Version.GetIncarnation() != l.Incarnation() || len(got.Plan.GetPods()) != 2 {
		t.Errorf("the follower went to %+v", got)
	}
	nc := p.conn("operator")
	eventually(t, func() error {
		if s := p.status(nc); s.Incarnation != fresh.Incarnation() || len(s.Synced) != 0 {
			return fmt.Errorf("status %+v", s)
		}
		return nil
	})
	produce(t, fresh, "watcher", append(kubernetes(), pod(3)))
	produce(t, fresh, "pce-bridge", console(t))
	f.holds(3)
}

// One bit that flips in the files of any stream, over a clean stop or a crash, is noticed and made good: in the end policy and
// digest are what they would have been.
func TestAFlippedBitIsNoticedAndMadeGood(t *testing.T) {
	for _, stream := range []string{"FACTS", "SNAP", "POLICY", "PLAN", "FLOWS", "STATUS"} {
		for _, how := range []string{"clean stop", "crash"} {
			t.Run(stream+" after a "+how, func(t *testing.T) {
				t.Parallel()
				p := startProcess(t, t.TempDir(), func(c *childConfig) { c.SnapshotFacts = 100 })
				ctx, cancel := context.WithCancel(zerolog.Nop().WithContext(t.Context()))
				knows := kubernetes()
				for n := 3; n < 300; n++ {
					knows = append(knows, pod(n))
				}
				done := make(chan struct{}, 2)
				for name, drafts := range map[string][]eventlog.Draft{"watcher": knows, "pce-bridge": console(t)} {
					nc := p.conn(name)
					go func() { diligent(ctx, nc, name, drafts); done <- struct{}{} }()
				}
				t.Cleanup(func() { cancel(); <-done; <-done })
				f := follow(t, p.conn("enforcer"))
				f.holds(299)
				operator := p.conn("operator")
				report(t, operator)
				digest := p.status(operator).Digest
				eventually(t, func() error { // a snapshot is there
					l := p.open("test")
					infos, err := l.Snapshots(t.Context())
					if err == nil && len(infos) == 0 {
						err = errors.New("no snapshot")
					}
					return err
				})
				if how == "crash" {
					p.kill()
				} else {
					p.stop()
				}
				flip(t, p.config.StoreDir, stream)
				p.start()

				eventually(t, func() error {
					if s := p.status(operator); s.Digest != digest || s.Window == 0 || len(s.Synced) != 2 {
						return fmt.Errorf("status %+v, want digest %s", s, digest)
					}
					return nil
				})
				// Who followed all the time and who joins now have the whole policy.
				f.holds(299)
				follow(t, p.conn("late")).holds(299)
				published, err := p.open("test").Published(t.Context())
				if err != nil || published.Damaged > 0 || len(published.Plans) != 1 || len(published.Policies) != 1 {
					t.Errorf("published are %d plans and %d policies, %d damaged, %v", len(published.Plans), len(published.Policies), published.Damaged, err)
				}
				// What is reported goes on, too.
				report(t, operator)
				eventually(t, func() error {
					statuses, err := p.open("test").NodeStatuses(t.Context())
					if err == nil && len(statuses) != 40 {
						err = fmt.Errorf("%d nodes report", len(statuses))
					}
					return err
				})
				if log := p.output.String(); stream == "FACTS" && !strings.Contains(log, "facts were lost") {
					t.Error("the loss of facts is not named")
				}
			})
		}
	}
}

// Facts that were lost below a snapshot do not change the policy, and the log does not claim a history that it cannot replay.
func TestAHoleBelowASnapshotEndsTheHistoryThere(t *testing.T) {
	p := startProcess(t, t.TempDir(), func(c *childConfig) { c.SnapshotFacts = 1500 })
	log := p.open("test")
	watcher := produce(t, log, "watcher", kubernetes())
	produce(t, log, "pce-bridge", console(t))
	for n := range 10 { // of two blocks
		var facts []eventlog.Draft
		for i := range 400 {
			d := pod(3 + i)
			d.Fact.GetPod().Annotations = map[string]string{"com.illumio.pad": strings.Repeat("x", 4000+n)}
			facts = append(facts, d)
		}
		if err := watcher.PublishAll(t.Context(), facts); err != nil {
			t.Fatal(err)
		}
		time.Sleep(100 * time.Millisecond) // for the snapshots
	}
	operator := p.conn("operator")
	eventually(t, func() error {
		infos, err := log.Snapshots(t.Context())
		if err == nil && (len(infos) < 2 || infos[0].GetVersion().GetSequence() < 3000) {
			err = fmt.Errorf("snapshots %v", infos)
		}
		return err
	})
	digest := p.status(operator).Digest
	p.kill()
	blocks, err := filepath.Glob(filepath.Join(p.config.StoreDir, "jetstream", "*", "streams", "FACTS", "msgs", "*.blk"))
	if err != nil || len(blocks) < 2 {
		t.Fatalf("blocks %v, %v", blocks, err)
	}
	flipIn(t, blocks[0])
	p.start()
	eventually(t, func() error {
		if s := p.status(operator); s.Digest != digest || s.Window == 0 {
			return fmt.Errorf("status %+v, want digest %s", s, digest)
		}
		return nil
	})
	if len(p.lines("facts were lost that a snapshot covers", `"level":"error"`)) != 1 {
		t.Error("the loss is not named")
	}
	after := p.open("test")
	usage, err := after.Usage(t.Context())
	if err != nil || usage.Facts != usage.Last-usage.First+1 || usage.First < 100 || after.Incarnation() != log.Incarnation() {
		t.Errorf("the log holds %+v of incarnation %s, was %s: %v", usage, after.Incarnation(), log.Incarnation(), err)
	}
	infos, err := after.Snapshots(t.Context())
	if err != nil || len(infos) == 0 {
		t.Fatal(err)
	}
	for _, info := range infos {
		if sequence := info.GetVersion().GetSequence(); sequence+1 < usage.First {
			t.Errorf("the snapshot at %d cannot be replayed forward: the facts begin at %d", sequence, usage.First)
		}
	}
}

// A bit that flips while the log is served, in a block that nobody asks for, is found, and what it cost is made good before anybody
// who asks stumbles over it. Only one line and one start tell of it.
func TestABlockThatIsDamagedWhileServedIsMadeGood(t *testing.T) {
	p := startProcess(t, t.TempDir(), func(c *childConfig) { c.SnapshotFacts, c.Scrub = 1<<20, 500*time.Millisecond })
	f, block := severalBlocks(t, p)
	operator := p.conn("operator")
	digest := p.status(operator).Digest
	time.Sleep(2 * time.Second) // rounds in which nothing is damaged
	if found := p.lines("damaged"); len(found) > 0 {
		t.Fatalf("without damage: %v", found)
	}
	flipIn(t, block)
	eventually(t, func() error {
		if len(p.lines("damaged while it was served", `"stream":"FACTS"`)) == 0 {
			return errors.New("the damage is not found")
		}
		if s := p.status(operator); s.Digest != digest || s.Window == 0 || len(s.Synced) != 2 {
			return fmt.Errorf("status %+v, want digest %s", s, digest)
		}
		return nil
	})
	f.holds(2999)
	follow(t, p.conn("late")).holds(2999)
	time.Sleep(4 * time.Second) // rounds after
	if found := p.lines("damaged while it was served"); len(found) != 1 {
		t.Errorf("started anew %d times: %v", len(found), found)
	}
}

// report sends status and flows of forty nodes.
func report(t *testing.T, nc *nats.Conn) {
	t.Helper()
	for i := range 40 {
		name := fmt.Sprintf("node-%d", i)
		if err := eventlog.PublishStatus(nc, &ringfencev1.NodeStatus{Node: name}); err != nil {
			t.Fatal(err)
		}
		if err := eventlog.PublishFlows(nc, &ringfencev1.FlowBatch{Node: name}); err != nil {
			t.Fatal(err)
		}
	}
	if err := nc.FlushTimeout(10 * time.Second); err != nil {
		t.Fatal(err)
	}
}

func TestEveryFlippedBitOfABlockIsSeen(t *testing.T) {
	data := someBlock(t)
	path := filepath.Join(t.TempDir(), "1.blk")
	write := func(data []byte) {
		t.Helper()
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for i := range data {
		data[i] ^= 1 << (i % 8)
		write(data)
		if _, _, err := verifyBlock("FACTS", path); err == nil {
			t.Errorf("bit %d of byte %d flipped unseen", i%8, i)
		}
		data[i] ^= 1 << (i % 8)
	}
	for cut := 1; cut < 60; cut++ {
		write(data[:len(data)-cut])
		if _, _, err := verifyBlock("FACTS", path); !errors.Is(err, errTorn) {
			t.Errorf("%d bytes short: %v", cut, err)
		}
	}
}

// A bit that flips in a compressed block is seen where it changes a record, and what is kept of the block are records as they
// were written, all that are before it as far as its part of the block can be read.
func TestEveryFlippedBitOfACompressedBlockIsSeen(t *testing.T) {
	records := someBlock(t)
	data := compressed(t, records)
	path := filepath.Join(t.TempDir(), "1.blk")
	check := func(data []byte, name string) {
		t.Helper()
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		b, offset, err := verifyBlock("FACTS", path)
		if !bytes.HasPrefix(records, b.records[:offset]) && b.compressed {
			t.Errorf("%s: what is kept is not what was written", name)
		}
		if err == nil && !bytes.Equal(b.records, records) {
			t.Errorf("%s unseen", name)
		}
	}
	for i := range data {
		data[i] ^= 1 << (i % 8)
		check(data, fmt.Sprintf("bit %d of byte %d", i%8, i))
		data[i] ^= 1 << (i % 8)
	}
	for length := 1; length < len(data); length++ {
		check(data[:length], fmt.Sprintf("%d bytes short", len(data)-length))
	}
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, offset, err := verifyBlock("FACTS", path); err != nil || offset != len(records) {
		t.Errorf("a good block: at %d of %d: %v", offset, len(records), err)
	}
}

// someBlock gives a block of facts that the server wrote.
func someBlock(t *testing.T) []byte {
	t.Helper()
	p := startProcess(t, t.TempDir())
	watcher := produce(t, p.open("test"), "watcher", kubernetes())
	for n := range 10 {
		if _, err := watcher.Publish(t.Context(), pod(3+n)); err != nil {
			t.Fatal(err)
		}
	}
	p.stop()
	good := filepath.Join(p.config.StoreDir, "jetstream", "$G", "streams", "FACTS", "msgs", "1.blk")
	data, err := os.ReadFile(good)
	if err != nil {
		t.Fatal(err)
	}
	if _, offset, err := verifyBlock("FACTS", good); err != nil || offset != len(data) {
		t.Fatalf("a good block: at %d of %d: %v", offset, len(data), err)
	}
	return data
}

// compressed is a block as the server writes it when it is full.
func compressed(t testing.TB, records []byte) []byte {
	t.Helper()
	packed, err := server.S2Compression.Compress(records)
	if err != nil {
		t.Fatal(err)
	}
	info := server.CompressionInfo{Algorithm: server.S2Compression, OriginalSize: uint64(len(records))}
	return append(info.MarshalMetadata(), packed...)
}

// severalBlocks has diligent producers write facts of more than a block, which lasts until the test ends, and gives who follows,
// and the first block once the server has compressed it, which it does when it has begun the next.
func severalBlocks(t *testing.T, p *process) (f *follower, block string) {
	t.Helper()
	ctx, cancel := context.WithCancel(zerolog.Nop().WithContext(t.Context()))
	knows := kubernetes()
	for n := 3; n < 3000; n++ {
		d := pod(n)
		d.Fact.GetPod().Annotations = map[string]string{"com.illumio.pad": strings.Repeat(fmt.Sprintf("%d ", n), 1500)}
		knows = append(knows, d)
	}
	var producing sync.WaitGroup
	for name, drafts := range map[string][]eventlog.Draft{"watcher": knows, "pce-bridge": console(t)} {
		nc := p.conn(name)
		producing.Go(func() { diligent(ctx, nc, name, drafts) })
	}
	t.Cleanup(func() { cancel(); producing.Wait() })
	f = follow(t, p.conn("enforcer"))
	f.holds(2999)
	block = filepath.Join(p.config.StoreDir, "jetstream", "$G", "streams", "FACTS", "msgs", "1.blk")
	eventually(t, func() error {
		b, _, err := verifyBlock("FACTS", block)
		if err == nil && !b.compressed {
			err = errors.New("the first block is not compressed")
		}
		return err
	})
	return f, block
}

// The server compresses a block once it is full. One bit that flips in it, over a clean stop or a crash, costs no more than the
// facts of that block, which is said, and policy becomes what it was.
func TestADamagedCompressedBlockIsMadeGood(t *testing.T) {
	for _, how := range []string{"clean stop", "crash"} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			p := startProcess(t, t.TempDir(), func(c *childConfig) { c.SnapshotFacts = 1 << 20 })
			f, block := severalBlocks(t, p)
			operator := p.conn("operator")
			digest := p.status(operator).Digest
			first := p.open("test").Incarnation()
			if how == "crash" {
				p.kill()
			} else {
				p.stop()
			}
			flipIn(t, block)
			p.start()
			eventually(t, func() error {
				if s := p.status(operator); s.Digest != digest || s.Window == 0 || len(s.Synced) != 2 {
					return fmt.Errorf("status %+v, want digest %s", s, digest)
				}
				return nil
			})
			f.holds(2999)
			if len(p.lines("a file of the log is damaged", `"stream":"FACTS"`)) != 1 || !strings.Contains(p.output.String(), "facts were lost") {
				t.Error("the damage is not named")
			}
			if stays := p.open("test").Incarnation() == first; stays != (how == "clean stop") { // which leaves a snapshot
				t.Errorf("the log is the one that it was: %v", stays)
			}
			if b, _, err := verifyBlock("FACTS", block); err == nil && b.compressed {
				t.Error("the damaged block is as it was: this test damaged nothing")
			}
		})
	}
}

func FuzzVerifyBlock(f *testing.F) {
	f.Add([]byte{})
	f.Add(make([]byte, 64))
	f.Add([]byte("\x22\x00\x00\x80aaaaaaaabbbbbbbb\xff\xff"))
	f.Add([]byte("\x00\x00\x00\x04aaaaaaaabbbbbbbb\x00\x00cccccccc"))
	f.Add(compressed(f, []byte("\x22\x00\x00\x80aaaaaaaabbbbbbbb\xff\xff01234567")))
	f.Add([]byte("cmp\x01\xff\xff\xff\xff\xff\x0f01234567"))
	f.Add([]byte("cmp\x01\x0401234567"))
	path := filepath.Join(f.TempDir(), "1.blk")
	f.Fuzz(func(t *testing.T, data []byte) {
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		b, offset, err := verifyBlock("FACTS", path)
		if offset > len(b.records) || err == nil && offset != len(b.records) || !b.compressed && len(b.records) != len(data) {
			t.Errorf("at %d of %d, compressed %v: %v", offset, len(b.records), b.compressed, err)
		}
	})
}
