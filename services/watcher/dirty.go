package watcher

import (
	"sync"
	"time"

	"github.com/ringfence/ringfence/services/watcher/kubefact"
)

// mark is an object whose state must be compared with the log, since when.
type mark struct {
	key   kubefact.Key
	since time.Time
}

// dirtySet is the objects that wait to be compared, in the order in which they were first marked. Marking one that waits
// changes nothing: whoever takes it sees its newest state. It is safe for concurrent use.
type dirtySet struct {
	mu      sync.Mutex
	waiting map[kubefact.Key]struct{}
	order   []mark
	filled  chan struct{}
}

func newDirtySet() *dirtySet {
	return &dirtySet{waiting: map[kubefact.Key]struct{}{}, filled: make(chan struct{}, 1)}
}

// Mark adds objects.
func (d *dirtySet) Mark(keys ...kubefact.Key) {
	now := time.Now()
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, key := range keys {
		if _, ok := d.waiting[key]; !ok {
			d.waiting[key] = struct{}{}
			d.order = append(d.order, mark{key, now})
		}
	}
	if len(d.order) > 0 {
		d.signal()
	}
}

// Take removes and gives the first objects, at most limit.
func (d *dirtySet) Take(limit int) []mark {
	d.mu.Lock()
	defer d.mu.Unlock()
	n := min(limit, len(d.order))
	taken := d.order[:n:n]
	d.order = d.order[n:]
	for _, m := range taken {
		delete(d.waiting, m.key)
	}
	if len(d.order) > 0 {
		d.signal()
	} else {
		d.order = nil
	}
	return taken
}

// Filled receives when objects may wait.
func (d *dirtySet) Filled() <-chan struct{} { return d.filled }

// Len is how many wait.
func (d *dirtySet) Len() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.order)
}

func (d *dirtySet) signal() {
	select {
	case d.filled <- struct{}{}:
	default:
	}
}
