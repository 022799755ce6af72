package eventlog

import (
	"fmt"

	ringfencev1 "github.com/ringfence/ringfence/proto/ringfence/v1"
)

// continuity notices when something is missing between the facts that a reader of all facts sees. The log's sequence tells
// it unless a damaged log was put together anew; the counters of the producers tell it in any case. Its zero value has seen
// nothing.
type continuity struct {
	counters map[string]uint64 // of the last fact of each producer
}

// sequence says what is missing between the sequence that was wanted, 0 for any, and the one that came.
func (c *continuity) sequence(want, got uint64) error {
	if want == 0 || got == want {
		return nil
	}
	return fmt.Errorf("%w: after sequence %d comes %d", ErrGap, want-1, got)
}

// fact says what is missing between the last fact of a producer and its next. Counters begin anew with every process that
// writes, and one that was refused is given again: only a leap ahead is a loss.
func (c *continuity) fact(f *ringfencev1.Fact) error {
	if f.GetCounter() == 0 {
		return nil
	}
	if c.counters == nil {
		c.counters = map[string]uint64{}
	}
	last, known := c.counters[f.GetProducer()]
	c.counters[f.GetProducer()] = f.GetCounter()
	if !known || f.GetCounter() <= last+1 {
		return nil
	}
	return fmt.Errorf("%w: after fact %d of %s comes its fact %d", ErrGap, last, f.GetProducer(), f.GetCounter())
}
