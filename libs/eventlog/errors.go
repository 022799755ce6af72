package eventlog

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

var (
	// ErrIncarnation says that the log is another one than the one that was opened: its disk was lost or replaced.
	// Open it again, write everything that is known, then Synced.
	ErrIncarnation = errors.New("the log is a new incarnation")
	// ErrGap says that facts between two others, or at the end, are no longer there though they should be, or not as they
	// were written. Policy-store repairs it by Renew; a producer that is told of it opens the log anew and writes what is
	// missing.
	ErrGap = errors.New("the log has a gap")
	// ErrFull says that the log refused to store because its limit or its disk is full. What was acknowledged stays.
	// Publish again, with back-off, once space was made.
	ErrFull = errors.New("the log is full")
	// ErrNoAnswer says that the log did not say whether it stored: its disk failed, or it is overloaded. It may be stored.
	// Publish again, with back-off.
	ErrNoAnswer = errors.New("no answer from the log, whose disk may be full or failing")
	// ErrTooLarge says that a message exceeds what the log takes; it never will.
	ErrTooLarge = errors.New("too large for the log")
	// ErrNotFound says that nothing is stored under that name.
	ErrNotFound = errors.New("not found")
)

// Error codes of the JetStream API that nats.go has no name for.
const (
	codeAccountResources     jetstream.ErrorCode = 10002
	codeInsufficient         jetstream.ErrorCode = 10023
	codeStorageExceeded      jetstream.ErrorCode = 10047
	codeStoreFailed          jetstream.ErrorCode = 10077
	codeBatchTooManyInflight jetstream.ErrorCode = 10210
	codeBatchDuplicate       jetstream.ErrorCode = 10201
)

// refusal puts a publish error into this package's terms, naming the subject.
func refusal(subject string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", subject, verdict(err))
}

// verdict puts a publish error into this package's terms.
func verdict(err error) error {
	var api *jetstream.APIError
	switch {
	case errors.Is(err, nats.ErrMaxPayload):
		return fmt.Errorf("%w: %w", ErrTooLarge, err)
	case errors.Is(err, context.DeadlineExceeded) || errors.Is(err, nats.ErrTimeout):
		return fmt.Errorf("%w: %w", ErrNoAnswer, err)
	case !errors.As(err, &api):
		return fmt.Errorf("not stored: %w", err)
	}
	switch api.ErrorCode {
	case codeAccountResources, codeInsufficient, codeStorageExceeded, codeStoreFailed:
		return fmt.Errorf("%w: %w", ErrFull, err)
	case jetstream.JSErrCodeStreamMessageExceedsMaximum:
		return fmt.Errorf("%w: %w", ErrTooLarge, err)
	}
	return fmt.Errorf("not stored: %w", err)
}
