package eventlog

import (
	"fmt"

	ringfencev1 "github.com/ringfence/ringfence/proto/ringfence/v1"
)

// continuity notices when something is missing between the facts that a reader sees who asked for all. The log's sequence
// tells it unless a damaged log was put together anew; the counters of the producers tell it in any case. A reader who did not
// ask for all misses nothing.
type continuity struct {
	everything bool
	want       uint64            // sequence of the next message, 0 for any
	counters   map[string]uint64 // of the last fact of each producer
}

// sequence takes in the sequence that came, or says what is missing before it.
func (c *continuity) sequence(got uint64) error {
	want := c.want
	if c.everything && want != 0 && got != want {
		return fmt.Errorf("%w: after sequence %d comes %d", ErrGap, want-1, got)
	}
	c.want = got + 1
	return nil
}

// fact takes in the next fact, or says what is missing between its producer's last one and it. Counters begin anew with every
// process that writes, and one that was refused is given again: only a leap ahead is a loss.
func (c *continuity) fact(f *ringfencev1.Fact) error {
	if !c.everything || f.GetCounter() == 0 {
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
