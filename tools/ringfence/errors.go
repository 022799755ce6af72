package ringfence

import "errors"

var (
	// ErrOutOfRange says that the facts that were asked for are not in the log: not yet, or no longer.
	ErrOutOfRange = errors.New("not in the log")
	// ErrNotALog says that a file does not start as an exported log does.
	ErrNotALog = errors.New("not an exported log")
)
