package rounds

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// Row is a group of figures that are measured together.
type Row string

// The rows.
const (
	// Writes are durable writes of facts of 500 bytes by some writers at once.
	Writes Row = "write"
	// FanOut is one key, or the subject of windows, with many watchers.
	FanOut Row = "fan-out"
	// State is what a hundred thousand keys take: listing them, and ten revisions of them on the disk.
	State Row = "state"
	// Replay folds a million facts on one core, out of the log and out of a file. It is ours alone.
	Replay Row = "replay"
	// Restart is how long policy-store takes with a million facts from its start to the first window that it publishes. It is
	// ours alone.
	Restart Row = "restart"
)

// Rows lists all of them.
func Rows() []Row { return []Row{Writes, FanOut, State, Replay, Restart} }

// Bench is what is measured.
type Bench struct {
	Ours, Theirs System
	Rows         []Row
	// Rounds are how often each side has its turn; the side that begins alternates.
	Rounds int
	// Writers are the numbers of writers at once, During how long they write.
	Writers []int
	During  time.Duration
	// Watchers of one key get so many Windows, Rate a second.
	Watchers, Windows, Rate int
	// Pods is the size of the city whose facts are listed and replayed, Revisions how often each pod is written.
	Pods, Revisions int
	// Dir is where the servers have their folders.
	Dir string
	// Profiles, where set, is a folder for profiles of the processor in our clients, one for each kind of work.
	Profiles string
	// Say, where set, is told what is being done.
	Say func(line string)

	seen samples
}

func (b *Bench) say(format string, args ...any) {
	if b.Say != nil {
		b.Say(fmt.Sprintf(format, args...))
	}
}

// samples are what was seen, by figure and side, a sample a round.
type samples map[string]map[side][]Work

// side says whose a sample is.
type side int

const (
	ours side = iota
	theirs
)

func (s samples) add(figure string, of side, w Work) {
	if s[figure] == nil {
		s[figure] = map[side][]Work{}
	}
	s[figure][of] = append(s[figure][of], w)
}

// measure runs the rounds.
func (b *Bench) measure(ctx context.Context) (err error) {
	parent, err := os.MkdirTemp(b.Dir, "ringfence-bench-")
	if err != nil {
		return fmt.Errorf("folder for the servers: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(parent)) }()
	b.seen = samples{}
	for round := range b.Rounds {
		order := []side{ours, theirs}
		if round%2 == 1 {
			slices.Reverse(order)
		}
		for _, of := range order {
			for _, row := range []Row{Writes, FanOut} {
				if !b.wants(row) {
					continue
				}
				b.say("round %d of %d: %s: %s", round+1, b.Rounds, b.system(of).Name, row)
				if err := b.live(ctx, parent, of, row); err != nil {
					return err
				}
			}
		}
	}
	if b.wants(State) || b.wants(Replay) || b.wants(Restart) {
		return b.state(ctx, parent)
	}
	return nil
}

func (b *Bench) system(of side) System {
	if of == ours {
		return b.Ours
	}
	return b.Theirs
}

// live measures one row of one side on a new server.
func (b *Bench) live(ctx context.Context, parent string, of side, row Row) error {
	s, err := b.fresh(ctx, parent, of)
	if err != nil {
		return err
	}
	defer b.discard(s)
	if row == FanOut {
		work := []string{"fan-out", "--watchers", fmt.Sprint(b.Watchers), "--windows", fmt.Sprint(b.Windows), "--rate", fmt.Sprint(b.Rate)}
		err := b.sample(ctx, s, of, fanOutFigure, work...)
		if err == nil && of == ours {
			err = b.sample(ctx, s, of, followFigure, append(work, "--follow")...)
		}
		return err
	}
	for _, writers := range b.Writers {
		if err := b.sample(ctx, s, of, writeFigure(writers), "write", "--writers", fmt.Sprint(writers), "--during", b.During.String()); err != nil {
			return err
		}
	}
	return nil
}

// Figures of the fan-out: watchers that are given bytes and, ours alone, those that follow the policy.
const (
	fanOutFigure = "fan-out"
	followFigure = "follow"
)

func writeFigure(writers int) string { return fmt.Sprintf("write-%d", writers) }

// fresh starts a server on an empty folder.
func (b *Bench) fresh(ctx context.Context, parent string, of side) (*server, error) {
	dir, err := emptyDir(parent)
	if err != nil {
		return nil, err
	}
	return b.system(of).start(ctx, dir)
}

// discard stops a server and removes its folder.
func (b *Bench) discard(s *server) {
	s.Stop()
	if err := os.RemoveAll(s.dir); err != nil {
		b.say("the folder of a server stays until the end: %v", err)
	}
}

// sample has a client do some work, and keeps what was seen.
func (b *Bench) sample(ctx context.Context, s *server, of side, figure string, work ...string) error {
	if b.Profiles != "" && of == ours {
		work = append(work, "--profile", filepath.Join(b.Profiles, figure+".cpu.pb.gz"))
	}
	w, err := s.run(ctx, work...)
	if err != nil {
		return err
	}
	b.say("  %s: %s: %d in %.2f s, server %s, client %s of processors", s.system.Name, figure, w.Operations, w.Seconds,
		w.ServerCPU.Round(time.Millisecond), w.ClientCPU.Round(time.Millisecond))
	b.seen.add(figure, of, w)
	return nil
}

func (b *Bench) wants(row Row) bool { return slices.Contains(b.Rows, row) }
