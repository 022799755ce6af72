package ringfence

import (
	"iter"

	"github.com/ringfence/ringfence/libs/eventlog"
)

// readAtOnce is how many facts are handed over together; readBatches such batches wait to be folded.
const readAtOnce, readBatches = 128, 8

// read is a fact, or what came in place of it.
type read struct {
	entry eventlog.Entry
	err   error
}

// ahead reads and decodes facts in another goroutine while those before are folded. The goroutine ends with the iteration.
func ahead(facts iter.Seq2[eventlog.Entry, error]) iter.Seq2[eventlog.Entry, error] {
	return func(yield func(eventlog.Entry, error) bool) {
		batches, enough := make(chan []read, readBatches), make(chan struct{})
		go readInto(batches, enough, facts)
		defer func() {
			close(enough)
			for range batches { // until the goroutine has ended
			}
		}()
		for batch := range batches {
			for _, r := range batch {
				if !yield(r.entry, r.err) {
					return
				}
			}
		}
	}
}

func readInto(batches chan<- []read, enough <-chan struct{}, facts iter.Seq2[eventlog.Entry, error]) {
	defer close(batches)
	batch := make([]read, 0, readAtOnce)
	for e, err := range facts {
		if batch = append(batch, read{e, err}); len(batch) < readAtOnce && err == nil {
			continue
		}
		select {
		case batches <- batch:
		case <-enough:
			return
		}
		batch = make([]read, 0, readAtOnce)
	}
	select {
	case batches <- batch:
	case <-enough:
	}
}

// counted tells step of every fact that passes.
func counted(facts iter.Seq2[eventlog.Entry, error], last uint64, step Step) iter.Seq2[eventlog.Entry, error] {
	return func(yield func(eventlog.Entry, error) bool) {
		for e, err := range facts {
			if !yield(e, err) {
				return
			}
			step.tell("writing facts", e.Sequence, last)
		}
	}
}
