package policystore

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"

	"github.com/ringfence/ringfence/libs/access"
	"github.com/ringfence/ringfence/libs/eventlog"
)

// elsewhere says for people where the log is in a mode.
func (c Config) elsewhere(mode string, cluster *nats.Conn) string {
	if mode == external {
		return "the NATS cluster at " + cluster.ConnectedUrlRedacted()
	}
	return "the folder " + c.StoreDir
}

// checkMove says whether both ends of a move are named.
func (c Config) checkMove() error {
	if c.Move && c.NATSMode != external && (c.LogURL == "" || c.LogURL == ownURL) {
		return errors.New("nats-move: set --log-url to the NATS cluster that the log is to come from")
	}
	return nil
}

// ownURL is where clients of an embedded server find it by default: not where its log could come from.
const ownURL = "nats://policy-store:4222"

// moveLog moves the log between the folder and the cluster, to where the mode says.
func (c Config) moveLog(ctx context.Context, folder, cluster *nats.Conn, check bool, step func(eventlog.MoveStep)) (eventlog.Moved, error) {
	m := eventlog.Move{From: folder, To: cluster, Sizes: c.sizes(), Destination: c.elsewhere(c.NATSMode, cluster), Check: check, Step: step}
	if c.NATSMode != external {
		m.From, m.To = cluster, folder
	}
	return m.Run(ctx)
}

// openFolder starts a server on the folder that lets nobody in, for as long as the log is moved. It fails with ErrNotFound
// where there is no log in the folder and it should come from there.
func (h *host) openFolder(ctx context.Context) (nc *nats.Conn, leave func(), err error) {
	if _, err := os.Stat(filepath.Join(h.cfg.StoreDir, "jetstream")); err != nil && h.cfg.NATSMode == external {
		return nil, nil, fmt.Errorf("%w: there is no log in %s", eventlog.ErrNotFound, h.cfg.StoreDir)
	}
	s, err := startServer(ctx, h.cfg, nil, nil, h.log.Level(zerolog.WarnLevel))
	if err != nil {
		return nil, nil, err
	}
	nc, err = eventlog.Dialer{URL: "in-process", Name: access.PolicyStore, InProcess: s.nats, Log: h.log.Level(zerolog.ErrorLevel)}.Dial(ctx)
	if err != nil {
		s.stop()
		return nil, nil, err
	}
	return nc, func() { nc.Close(); s.stop() }, nil
}

// fetch moves the log here, if that is asked for and it is not here yet. The log's clients are let in afterwards.
func (h *host) fetch(ctx context.Context, here *nats.Conn) error {
	if !h.cfg.Move {
		return nil
	}
	done, err := h.fetchFrom(ctx, here)
	switch {
	case errors.Is(err, eventlog.ErrNotFound):
		h.log.Info().Err(err).Msg("no log is moved")
		return nil
	case err != nil:
		return err
	case done.Already:
		h.log.Debug().Msg("the log had moved here before")
		return nil
	}
	h.log.Info().Str("incarnation", done.Incarnation).Uint64("first", done.First).Uint64("last", done.Last).
		Msg("the log has moved here, every fact of it was compared, and where it was nobody can write it any more")
	return nil
}

func (h *host) fetchFrom(ctx context.Context, here *nats.Conn) (eventlog.Moved, error) {
	if h.cfg.NATSMode == external {
		folder, leave, err := h.openFolder(ctx)
		if err != nil {
			return eventlog.Moved{}, err
		}
		defer leave()
		return h.cfg.moveLog(ctx, folder, here, false, h.tell())
	}
	cluster, err := h.dialer(access.PolicyStore, keyStore).Dial(ctx)
	if err != nil {
		return eventlog.Moved{}, err
	}
	defer cluster.Close()
	return h.cfg.moveLog(ctx, here, cluster, false, h.tell())
}

// tellEvery is how often a step that takes its time says how far it is.
const tellEvery = 5 * time.Second

// tell says what is being moved, in the log and as why policy-store is not ready.
func (h *host) tell() func(eventlog.MoveStep) {
	var last eventlog.MoveStep
	var at time.Time
	return func(s eventlog.MoveStep) {
		if s.Doing == last.Doing && s.Stream == last.Stream && time.Since(at) < tellEvery {
			return
		}
		last, at = s, time.Now()
		h.svc.Ready(component, fmt.Errorf("the log is being moved: %s", words(s)))
		h.log.Info().Str("doing", s.Doing).Str("stream", s.Stream).Uint64("done", s.Done).Uint64("total", s.Total).Msg("moving the log")
	}
}

func words(s eventlog.MoveStep) string {
	text := s.Doing
	if s.Stream != "" {
		text += " " + s.Stream
	}
	if s.Total > 0 {
		text += fmt.Sprintf(", %d of %d", s.Done, s.Total)
	}
	return text
}

// MoveLog is the command that moves the log while policy-store is stopped, or says whether it can be moved. It takes the
// flags of the service: --nats-mode is where the log goes.
type MoveLog struct {
	Config `embed:""`

	Check  bool   `help:"Look whether the log can be moved, and change nothing."`
	Output string `short:"o" enum:"text,json" default:"text" help:"Print text or json."`
}

// movedAnswer is what the command prints as JSON.
type movedAnswer struct {
	eventlog.Moved
	Destination string `json:"destination"`
	Checked     bool   `json:"checked"` // and not moved
	Next        string `json:"next"`
}

// Write moves the log, says on progress how far it is, and on out what was moved and what to do next.
func (c MoveLog) Write(ctx context.Context, out, progress io.Writer) error {
	c.Move = true
	if err := c.check(); err != nil {
		return err
	}
	h := &host{cfg: c.Config, log: zerolog.New(zerolog.ConsoleWriter{Out: progress, TimeFormat: time.TimeOnly}).Level(zerolog.WarnLevel).With().Timestamp().Logger()}
	if err := h.readKeys(); err != nil {
		return err
	}
	folder, leave, err := h.openFolder(ctx)
	if err != nil {
		return err
	}
	defer leave()
	cluster, err := h.dialer(access.PolicyStore, keyStore).Dial(ctx)
	if err != nil {
		return err
	}
	defer cluster.Close()
	said := ""
	done, err := retried(ctx, func() (eventlog.Moved, error) {
		return c.moveLog(ctx, folder, cluster, c.Check, func(s eventlog.MoveStep) {
			if now := s.Doing + " " + s.Stream; now != said {
				said = now
				fmt.Fprintln(progress, words(s))
			}
		})
	}, func(err error, wait time.Duration) {
		fmt.Fprintf(progress, "%v; it goes on in %s\n", err, wait.Round(time.Second))
	})
	if err != nil {
		return err
	}
	return c.print(out, movedAnswer{Moved: done, Destination: c.elsewhere(c.NATSMode, cluster), Checked: c.Check && !done.Already, Next: c.next(done)})
}

// moveAgain is for how long a move is tried again that a server or a connection cut off.
const moveAgain = 5 * time.Minute

// retried moves until it is done, or something stands in the way that does not go by itself. A move that was cut off goes on.
func retried(ctx context.Context, move func() (eventlog.Moved, error), say func(error, time.Duration)) (eventlog.Moved, error) {
	return backoff.Retry(ctx, func() (eventlog.Moved, error) {
		done, err := move()
		for _, stands := range []error{eventlog.ErrNotFound, eventlog.ErrExists, eventlog.ErrMoved, eventlog.ErrUnfinished, eventlog.ErrFull, eventlog.ErrGap} {
			if errors.Is(err, stands) {
				return done, backoff.Permanent(err)
			}
		}
		return done, err
	}, backoff.WithBackOff(backoff.NewExponentialBackOff()), backoff.WithMaxElapsedTime(moveAgain), backoff.WithNotify(say))
}

// next says what to do after it.
func (c MoveLog) next(done eventlog.Moved) string {
	switch {
	case c.Check && !done.Already:
		return "run it again without --check, while policy-store is stopped"
	case c.NATSMode == external:
		return "start policy-store with --nats-mode external, and all services with --log-url " + redacted(c.LogURL)
	}
	return "start policy-store with --nats-mode embedded, and all services with the --log-url that they had for it"
}

func (c MoveLog) print(out io.Writer, a movedAnswer) error {
	if c.Output == "json" {
		encoder := json.NewEncoder(out)
		encoder.SetIndent("", "  ")
		return encoder.Encode(a)
	}
	verb := "moved"
	switch {
	case a.Already:
		verb = "had moved before"
	case a.Checked:
		verb = "can move"
	}
	text := fmt.Sprintf("the log %s to %s\nincarnation %s, facts %d to %d\n", verb, a.Destination, a.Incarnation, a.First, a.Last)
	for _, s := range a.Streams {
		text += fmt.Sprintf("%-8s %9d messages %12d bytes\n", s.Stream, s.Messages, s.Bytes)
	}
	_, err := io.WriteString(out, text+"next: "+a.Next+"\n")
	return err
}

// redacted leaves passwords out of the addresses of servers.
func redacted(urls string) string {
	var out []string
	for _, text := range strings.Split(urls, ",") {
		u, err := url.Parse(strings.TrimSpace(text))
		if err != nil {
			continue
		}
		out = append(out, u.Redacted())
	}
	return strings.Join(out, ",")
}
