package eventlog

import "time"

// pace decides when facts that wait go together. Alone, each waits for a sync of the disk; a batch costs about the same
// however many are in it, and several times as much as one fact: what it costs depends on the disk, and on where the server
// puts batches together, so it is measured. Its zero value knows nothing.
type pace struct {
	alone, batch time.Duration // smoothed
}

// What is assumed before anything was measured.
const (
	aloneAtFirst = time.Millisecond
	batchAtFirst = 8 * time.Millisecond
)

// batches tells whether n facts that wait are stored sooner together than one by one.
func (p *pace) batches(n int) bool {
	alone, batch := p.alone, p.batch
	if alone == 0 {
		alone = aloneAtFirst
	}
	if batch == 0 {
		batch = batchAtFirst
	}
	return n > 1 && time.Duration(n)*alone >= batch
}

// took takes in how long facts took that were stored together. Large batches tell little of what a small one costs.
func (p *pace) took(facts int, d time.Duration) {
	switch {
	case facts == 1:
		p.alone = smoothed(p.alone, d)
	case facts <= batchSize/4:
		p.batch = smoothed(p.batch, d)
	}
}

func smoothed(before, now time.Duration) time.Duration {
	if before == 0 {
		return now
	}
	return before + (now-before)/8
}
