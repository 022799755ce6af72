package rounds

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/ringfence/ringfence/tools/bench/load"
	"github.com/ringfence/ringfence/tools/bench/process"
)

// Figures of the state. Those of the second listing are with all revisions.
const (
	fillFigure   = "fill"
	listFigure   = "list"
	reviseFigure = "revise"
	relistFigure = "relist"
	replayFigure = "replay"
	fileFigure   = "replay-file"
	diskFigure   = "disk"
)

// stored is a state on the disk: a folder for each side.
type stored struct {
	bench *Bench
	dirs  [2]string
	sides []side
}

// state writes the keys, lists them, writes them again until all revisions are there, measures the disk, lists, and replays.
// The writing is once on each side; the reading in rounds, each from a server that has just started and is quiet.
func (b *Bench) state(ctx context.Context, parent string) error {
	st := stored{bench: b}
	if b.wants(State) {
		st.sides = []side{ours, theirs}
	} else {
		st.sides = []side{ours}
	}
	for _, of := range st.sides {
		dir, err := emptyDir(parent)
		if err != nil {
			return err
		}
		st.dirs[of] = dir
	}
	if err := st.fill(ctx, fillFigure, 0, 1); err != nil {
		return err
	}
	if b.wants(State) {
		if err := st.list(ctx, listFigure); err != nil {
			return err
		}
	}
	if err := st.fill(ctx, reviseFigure, 1, b.Revisions); err != nil {
		return err
	}
	if b.wants(State) {
		if err := st.measureDisk(); err != nil {
			return err
		}
		if err := st.list(ctx, relistFigure); err != nil {
			return err
		}
	}
	if b.wants(Replay) {
		if err := st.replay(ctx, parent); err != nil {
			return err
		}
	}
	if b.wants(Restart) {
		return st.restart(ctx)
	}
	return nil
}

// with runs a server on the folder of a side for as long as do does.
func (st stored) with(ctx context.Context, of side, do func(*server) error) error {
	s, err := st.bench.system(of).start(ctx, st.dirs[of])
	if err != nil {
		return err
	}
	defer s.Stop()
	if err := s.Rest(ctx); err != nil {
		return err
	}
	return do(s)
}

// fill writes revisions. Ours come first and say how many keys and how large values theirs have.
func (st stored) fill(ctx context.Context, figure string, from, to int) error {
	b := st.bench
	for _, of := range st.sides {
		work := []string{"fill", "--from", fmt.Sprint(from), "--to", fmt.Sprint(to)}
		if of == ours {
			work = append(work, "--pods", fmt.Sprint(b.Pods))
		} else {
			like := b.seen[figure][ours][0]
			work = append(work, "--keys", fmt.Sprint(like.Operations/(to-from)), "--bytes", fmt.Sprint(valueSize(like.Result)))
		}
		b.say("%s: write revisions %d to %d", b.system(of).Name, from, to-1)
		err := st.with(ctx, of, func(s *server) error {
			if err := b.sample(ctx, s, of, figure, work...); err != nil {
				return err
			}
			return s.Rest(ctx)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// valueSize is the mean size of a fact as it is stored: what was counted with its key, for what the producer adds to a fact
// (its name, a counter, the time) is as long as the key.
func valueSize(r load.Result) int { return int(r.Bytes) / r.Operations }

// list lists every key, in rounds.
func (st stored) list(ctx context.Context, figure string) error {
	b := st.bench
	for round := range b.Rounds {
		for i := range st.sides {
			of := st.sides[(i+round)%len(st.sides)]
			b.say("round %d of %d: %s: list", round+1, b.Rounds, b.system(of).Name)
			err := st.with(ctx, of, func(s *server) error { return b.sample(ctx, s, of, figure, "list") })
			if err != nil {
				return err
			}
			if got, want := last(b.seen[figure][of]).Keys, b.seen[fillFigure][of][0].Keys; got != want {
				return fmt.Errorf("%s: %d keys were listed, %d were written", b.system(of).Name, got, want)
			}
		}
	}
	return nil
}

// measureDisk looks at the folders of servers that have stopped.
func (st stored) measureDisk() error {
	for _, of := range st.sides {
		bytes, err := process.DiskUsage(st.dirs[of])
		if err != nil {
			return err
		}
		w := Work{}
		w.Bytes = bytes
		st.bench.seen.add(diskFigure, of, w)
	}
	return nil
}

// replay folds all facts, in rounds, out of the log and out of an exported file. All must agree on the policy.
func (st stored) replay(ctx context.Context, parent string) error {
	b, file := st.bench, filepath.Join(parent, "replay"+exported)
	works := map[string][]string{replayFigure: {"replay"}, fileFigure: {"replay", "--file", file}}
	for round := range b.Rounds {
		for _, figure := range []string{replayFigure, fileFigure} {
			b.say("round %d of %d: %s", round+1, b.Rounds, figure)
			if err := st.with(ctx, ours, func(s *server) error { return b.sample(ctx, s, ours, figure, works[figure]...) }); err != nil {
				return err
			}
		}
	}
	if err := os.Remove(file); err != nil {
		return fmt.Errorf("exported log: %w", err)
	}
	all := slices.Concat(b.seen[replayFigure][ours], b.seen[fileFigure][ours])
	facts := st.facts()
	for _, w := range all {
		if w.Digest != all[0].Digest || w.Digest == "" {
			return fmt.Errorf("replays give the policies %q and %q", all[0].Digest, w.Digest)
		}
		if w.Operations != facts {
			return fmt.Errorf("%d facts were replayed, %d were written", w.Operations, facts)
		}
	}
	return nil
}

// exported ends the name of an exported log.
const exported = ".rflog"

// facts is how many were written.
func (st stored) facts() int {
	seen := st.bench.seen
	return seen[fillFigure][ours][0].Operations + seen[reviseFigure][ours][0].Operations
}

func last(all []Work) Work { return all[len(all)-1] }
