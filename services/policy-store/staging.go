package policystore

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
)

// stageIn has the server put batches of facts together in a folder of dir, which is in memory. By itself it makes a store of
// its own on the disk for every batch, syncs that five times, and only then writes and syncs the facts: most of what a batch
// costs. An acknowledgement waits for the last of these syncs wherever the batch was put together, so that nothing
// acknowledged is lost; what a power cut in the middle of it leaves is a part of a batch of which nothing was
// acknowledged. Where dir cannot be used, or the server keeps its batches elsewhere one day, all goes on more slowly.
//
// The server forgets the way to the folder at every start: call it then, before clients are let in.
func (s *logServer) stageIn(dir string) {
	if dir == "" {
		return
	}
	if err := s.linkStaging(dir); err != nil {
		s.log.Warn().Err(err).Msg("batches of facts are put together on the log's disk, which is slower; staging-dir names a folder in memory")
	}
}

func (s *logServer) linkStaging(dir string) error {
	if _, err := os.ReadDir(dir); err != nil {
		return fmt.Errorf("staging folder: %w", err)
	}
	store, err := filepath.Abs(s.dir)
	if err != nil {
		return fmt.Errorf("staging folder: %w", err)
	}
	link, err := stagingLink(store)
	if err != nil {
		return err
	}
	// The name is of the store, so that the one of a process that was killed is used again.
	name := sha256.Sum256([]byte(store))
	staging := filepath.Join(dir, "ringfence-staging-"+hex.EncodeToString(name[:6]))
	if err := os.RemoveAll(staging); err != nil {
		return fmt.Errorf("staging folder: %w", err)
	}
	if err := os.MkdirAll(staging, 0o700); err != nil {
		return fmt.Errorf("staging folder: %w", err)
	}
	s.staging = staging
	if err := os.Symlink(staging, link); err != nil {
		return fmt.Errorf("staging folder: %w", err)
	}
	return nil
}

// stagingLink is where the server looks for the batches of the facts' stream. It is not there, or empty.
func stagingLink(store string) (string, error) {
	streams, err := filepath.Glob(filepath.Join(store, "jetstream", "*", "streams", "FACTS"))
	if err != nil || len(streams) != 1 {
		return "", fmt.Errorf("staging folder: %d folders of the stream FACTS under %s, want one", len(streams), store)
	}
	link := filepath.Join(streams[0], "batches")
	if err := os.Remove(link); err != nil && !os.IsNotExist(err) {
		return "", fmt.Errorf("staging folder: %w", err)
	}
	return link, nil
}
