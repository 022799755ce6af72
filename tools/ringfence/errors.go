package ringfence

import "errors"

var (
	// ErrOutOfRange says that the place that was asked for is not in the log: not yet, or no longer.
	ErrOutOfRange = errors.New("not in the log")
	// ErrNotALog says that a file does not start as an exported log does.
	ErrNotALog = errors.New("not an exported log")
	// ErrDamaged says that a file started as an exported log and is not what was written: get another copy of it.
	ErrDamaged = errors.New("damaged")
	// ErrNotEmpty says that a log was to be made where there is something already.
	ErrNotEmpty = errors.New("not empty")
	// ErrSameVerdict says that nothing can be found between two places, for both have the same verdict.
	ErrSameVerdict = errors.New("the verdict is the same at both places")
)
