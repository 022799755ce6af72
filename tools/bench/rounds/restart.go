package rounds

import (
	"context"
	"fmt"
	"time"
)

// Figures of restarts: after a stop in order, and after a kill.
const (
	restartFigure = "restart"
	killFigure    = "restart-after-kill"
)

// restart starts policy-store on all facts, in rounds, after it was stopped in order, and after it was killed, and measures until
// it has published its first window.
func (st stored) restart(ctx context.Context) error {
	b := st.bench
	var window uint64
	err := st.with(ctx, ours, func(s *server) error {
		w, err := s.run(ctx, "complete")
		window = w.Window
		return err
	})
	if err != nil {
		return err
	}
	if err := b.waitUntilIDsAreForgotten(ctx); err != nil {
		return err
	}
	for round := range b.Rounds {
		for _, figure := range []string{restartFigure, killFigure} {
			b.say("round %d of %d: %s", round+1, b.Rounds, figure)
			w, err := st.first(ctx, window, figure == restartFigure)
			if err != nil {
				return err
			}
			window = w.Window
			b.say("  %s: %.2f s", figure, w.Seconds)
			b.seen.add(figure, ours, w)
		}
	}
	return nil
}

// idsRemembered is for how long the log keeps the ids of facts, which it reads anew at its start. Nobody writes a million facts in
// that time but this measurement.
const idsRemembered = 2 * time.Minute

func (b *Bench) waitUntilIDsAreForgotten(ctx context.Context) error {
	if b.Pods*b.Revisions < 100_000 { // a look at whether everything works
		return nil
	}
	b.say("wait for %s: a start reads the ids of the facts that were written within that time", idsRemembered)
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(idsRemembered):
		return nil
	}
}

// first starts a server and measures until it has published a window after one. It kills the server at the end where the next
// start is to be after that.
func (st stored) first(ctx context.Context, window uint64, kill bool) (Work, error) {
	start := time.Now()
	s, err := st.bench.Ours.start(ctx, st.dirs[ours])
	if err != nil {
		return Work{}, err
	}
	defer s.Stop()
	w, err := s.run(ctx, "await", "--window", fmt.Sprint(window))
	if err != nil {
		return w, err
	}
	w.Seconds = time.Since(start).Seconds()
	if err := s.Rest(ctx); err != nil {
		return w, err
	}
	if kill {
		s.Kill()
	}
	return w, nil
}
