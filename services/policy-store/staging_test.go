package policystore

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/ringfence/ringfence/libs/eventlog"
)

// staged gives the folders of a process's batches.
func staged(t *testing.T, dir string) []string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(dir, "ringfence-staging-*"))
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func TestBatchesArePutTogetherInMemory(t *testing.T) {
	memory := t.TempDir()
	p := startProcess(t, t.TempDir(), func(c *childConfig) { c.StagingDir = memory })
	l := p.open("test")
	watcher := produce(t, l, "watcher", kubernetes())
	found := staged(t, memory)
	if len(found) != 1 {
		t.Fatalf("folders for batches: %v", found)
	}
	before, err := os.Stat(found[0])
	if err != nil {
		t.Fatal(err)
	}
	many := func(from int) (out []eventlog.Draft) {
		for i := range 300 {
			out = append(out, pod(from+i))
		}
		return out
	}
	if err := watcher.PublishAll(t.Context(), many(1000)); err != nil {
		t.Fatal(err)
	}
	// A folder was made in there for the batch, and is gone again.
	eventually(t, func() error {
		after, err := os.Stat(found[0])
		if err != nil {
			return err
		}
		left, err := os.ReadDir(found[0])
		if err != nil || len(left) > 0 || !after.ModTime().After(before.ModTime()) {
			return fmt.Errorf("the folder is as it was, or full: %v, %v, %w", after.ModTime(), left, err)
		}
		return nil
	})

	// After a kill the same folder is used again, also when batches were left in it.
	p.kill()
	if err := os.Mkdir(filepath.Join(found[0], "left"), 0o700); err != nil {
		t.Fatal(err)
	}
	p.start()
	eventually(t, func() error { return watcher.PublishAll(t.Context(), many(2000)) })
	if again := staged(t, memory); len(again) != 1 || again[0] != found[0] {
		t.Errorf("folders for batches after a kill: %v", again)
	}
	count := 0
	for _, err := range l.Read(t.Context(), 1, 0) {
		if err != nil {
			t.Fatal(err)
		}
		count++
	}
	if count < 600 {
		t.Errorf("%d facts", count)
	}

	p.stop()
	if again := staged(t, memory); len(again) != 0 {
		t.Errorf("folders for batches after a clean stop: %v", again)
	}
}

// Without the folder all goes on.
func TestAStagingFolderThatIsMissingIsDoneWithout(t *testing.T) {
	p := startProcess(t, t.TempDir(), func(c *childConfig) { c.StagingDir = "/nowhere/at/all" })
	watcher := produce(t, p.open("test"), "watcher", kubernetes())
	var facts []eventlog.Draft
	for i := range 100 {
		facts = append(facts, pod(1000+i))
	}
	if err := watcher.PublishAll(t.Context(), facts); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() error {
		if len(p.lines("staging-dir names a folder in memory")) != 1 {
			return errors.New("no line about it")
		}
		return nil
	})
}
