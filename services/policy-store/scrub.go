package policystore

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"
)

const (
	// scrubShare is how many times as long as reading a block took the scrubbing rests: it is never in the way.
	scrubShare = 19
	// secondLook is how long a damaged block is left before it is read again: the server rewrites blocks while it runs.
	secondLook = 2 * time.Second
)

// scrub reads the files of the log that is served, one round each interval, until ctx ends. The server looks at a record only
// when somebody asks for it, and stumbles over a damaged one then: a producer that starts would wait for ever. So where one is
// found the log is started anew, which makes good what was lost while those who know it are there.
func (h *host) scrub(ctx context.Context, replace context.CancelCauseFunc) {
	for pause(ctx, h.cfg.ScrubInterval) {
		damaged, err := h.scrubRound(ctx)
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			h.log.Error().Err(err).Msg("the log's files cannot be scrubbed; the next round tries again")
			continue
		}
		if damaged {
			h.metrics.damage.Inc()
			replace(errRestart)
			return
		}
		h.metrics.scrubbed.SetToCurrentTime()
	}
}

// scrubRound reads every block but the newest of each stream, which is being written, and ends at the first that is damaged.
func (h *host) scrubRound(ctx context.Context) (damaged bool, err error) {
	streams, err := filepath.Glob(filepath.Join(h.cfg.StoreDir, "jetstream", "*", "streams", "*", "msgs"))
	if err != nil {
		return false, fmt.Errorf("the log's files: %w", err)
	}
	for _, msgs := range streams {
		blocks, err := finished(msgs)
		if err != nil {
			return false, err
		}
		for _, path := range blocks {
			began := time.Now()
			err := stillDamaged(ctx, path)
			if err != nil && ctx.Err() == nil {
				h.log.Error().Err(err).Str("stream", filepath.Base(filepath.Dir(msgs))).Str("file", path).
					Msg("a file of the log was damaged while it was served: the log is started anew to make it good")
				return true, nil
			}
			if !pause(ctx, scrubShare*time.Since(began)) {
				return false, ctx.Err()
			}
		}
	}
	return false, nil
}

// finished gives the blocks of a stream that the server has finished, which are all but the one that it made last.
func finished(msgs string) ([]string, error) {
	entries, err := os.ReadDir(msgs)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil // the stream was removed
	}
	if err != nil {
		return nil, fmt.Errorf("the log's files: %w", err)
	}
	var numbers []int
	for _, e := range entries {
		var number int
		if _, err := fmt.Sscanf(e.Name(), "%d.blk", &number); err == nil && e.Name() == fmt.Sprintf("%d.blk", number) {
			numbers = append(numbers, number)
		}
	}
	slices.Sort(numbers)
	var blocks []string
	for _, number := range numbers[:max(0, len(numbers)-1)] {
		blocks = append(blocks, filepath.Join(msgs, fmt.Sprintf("%d.blk", number)))
	}
	return blocks, nil
}

// stillDamaged gives what is wrong with a block, if the same is wrong with it a moment later.
func stillDamaged(ctx context.Context, path string) error {
	look := func() (at time.Time, damage error) {
		_, _, damage = verifyBlock(filepath.Base(filepath.Dir(filepath.Dir(path))), path)
		info, err := os.Stat(path)
		if err != nil || errors.Is(damage, fs.ErrNotExist) { // the server has removed it
			return time.Time{}, nil
		}
		return info.ModTime(), damage
	}
	at, damage := look()
	if damage == nil || !pause(ctx, secondLook) {
		return nil
	}
	then, again := look()
	if again == nil || again.Error() != damage.Error() || !then.Equal(at) {
		return nil // it was being written
	}
	return damage
}
