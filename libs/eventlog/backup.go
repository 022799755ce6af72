package eventlog

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// backup makes a stream on one server of another's, by the requests with which NATS backs streams up and restores them
// (ADR-50 describes what of it; `nats stream backup` uses them): its messages keep sequence, time and headers. What the one
// sends goes to the other as it comes; no file is needed in between.
type backup struct {
	from, to *nats.Conn
	stream   string
	step     func(bytes uint64)
}

const (
	backupSubject  = "$JS.API.STREAM.SNAPSHOT."
	restoreSubject = "$JS.API.STREAM.RESTORE."
	// backupChunk is well below what servers take as one message by default.
	backupChunk = 256 << 10
	// backupWindow is how many bytes are under way at once.
	backupWindow = 8 << 20
)

// apiAnswer is what every answer of JetStream may hold.
type apiAnswer struct {
	Error *jetstream.APIError `json:"error"`
	// DeliverSubject is where a restoring server takes the chunks.
	DeliverSubject string `json:"deliver_subject"`
	// State is the stream's when the backup began.
	State json.RawMessage `json:"state"`
}

// run restores with the settings of cfg. The stream must not exist there. One that could not be restored whole is none.
func (b backup) run(ctx context.Context, cfg jetstream.StreamConfig) error {
	chunks := make(chan *nats.Msg, backupWindow/backupChunk+2)
	inbox := b.from.NewInbox()
	sub, err := b.from.ChanSubscribe(inbox, chunks)
	if err != nil {
		return fmt.Errorf("backup: %w", err)
	}
	defer func() { _ = sub.Unsubscribe() }() // it fails only with the connection, which ends it, too
	began, err := ask(ctx, b.from, backupSubject+b.stream, map[string]any{
		"deliver_subject": inbox, "no_consumers": true, "jsck": true, "chunk_size": backupChunk, "window_size": backupWindow,
	})
	if err != nil {
		return fmt.Errorf("backup: %w", err)
	}
	into, err := ask(ctx, b.to, restoreSubject+b.stream, map[string]any{"config": cfg, "state": began.State})
	if err != nil {
		return fmt.Errorf("restore: %w", err)
	}
	var bytes uint64
	for {
		chunk, err := next(ctx, chunks)
		if err != nil {
			return fmt.Errorf("backup: %w", err)
		}
		if len(chunk.Data) == 0 {
			if status := chunk.Header.Get("Status"); status != "" && status != "204" {
				return fmt.Errorf("backup: %w: %s %s", ErrGap, status, chunk.Header.Get("Description"))
			}
			break
		}
		if err := b.give(ctx, into.DeliverSubject, chunk.Data); err != nil {
			return err
		}
		if chunk.Reply != "" {
			if err := chunk.Respond(nil); err != nil {
				return fmt.Errorf("backup: %w", err)
			}
		}
		bytes += uint64(len(chunk.Data))
		b.step(bytes)
	}
	return b.give(ctx, into.DeliverSubject, nil)
}

// next gives the next chunk, or an error where none comes.
func next(ctx context.Context, chunks <-chan *nats.Msg) (*nats.Msg, error) {
	ctx, cancel := context.WithTimeout(ctx, backupTimeout)
	defer cancel()
	select {
	case chunk := <-chunks:
		return chunk, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// give hands a chunk to the restoring server; nothing is the end.
func (b backup) give(ctx context.Context, subject string, chunk []byte) error {
	ctx, cancel := context.WithTimeout(ctx, backupTimeout)
	defer cancel()
	msg, err := b.to.RequestWithContext(ctx, subject, chunk)
	if err != nil {
		return fmt.Errorf("restore: %w", err)
	}
	if len(msg.Data) == 0 && len(chunk) > 0 {
		return nil
	}
	var answer apiAnswer
	if err := json.Unmarshal(msg.Data, &answer); err != nil {
		return fmt.Errorf("restore: answer: %w", err)
	}
	if answer.Error != nil {
		return fmt.Errorf("restore: %w", answer.Error)
	}
	return nil
}

// ask makes a request of JetStream.
func ask(ctx context.Context, nc *nats.Conn, subject string, request any) (apiAnswer, error) {
	body, err := json.Marshal(request)
	if err != nil {
		return apiAnswer{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, backupTimeout)
	defer cancel()
	msg, err := nc.RequestWithContext(ctx, subject, body)
	if err != nil {
		return apiAnswer{}, err
	}
	var answer apiAnswer
	if err := json.Unmarshal(msg.Data, &answer); err != nil {
		return apiAnswer{}, fmt.Errorf("answer: %w", err)
	}
	if answer.Error != nil {
		return apiAnswer{}, answer.Error
	}
	if answer.DeliverSubject == "" && answer.State == nil {
		return apiAnswer{}, errors.New("the answer names neither state nor subject")
	}
	return answer, nil
}
