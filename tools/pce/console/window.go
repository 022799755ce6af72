package console

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/ringfence/ringfence/libs/pce"
)

const unpairsAMinute = 10

// LimitRequests refuses requests of an API key or a session beyond so many a minute, and beyond 10 that unpair. Clusters are
// not limited. Without it, or with 0, nobody is.
func LimitRequests(aMinute int) Option {
	return func(c *Console) {
		c.requests, c.unpairs = newWindow(aMinute), newWindow(min(aMinute, unpairsAMinute))
	}
}

// window counts by name within the minute of the clock, and starts anew with the next.
type window struct {
	now   func() time.Time
	limit int

	mu     sync.Mutex
	minute time.Time
	counts map[string]int
}

func newWindow(limit int) *window {
	return &window{now: time.Now, limit: limit, counts: map[string]int{}}
}

// take counts one more and tells whether it is within the limit; if not, how long to wait.
func (w *window) take(name string) (wait time.Duration, within bool) { return w.count(name, 1) }

// left tells whether one more would be within the limit.
func (w *window) left(name string) (wait time.Duration, within bool) { return w.count(name, 0) }

func (w *window) count(name string, more int) (time.Duration, bool) {
	if w.limit <= 0 {
		return 0, true
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	now := w.now()
	if minute := now.Truncate(time.Minute); !minute.Equal(w.minute) {
		w.minute = minute
		clear(w.counts)
	}
	if w.counts[name] >= w.limit {
		return w.minute.Add(time.Minute).Sub(now), false
	}
	if more > 0 {
		w.counts[name] += more
	}
	return 0, true
}

// limit refuses what is beyond a user's requests of a minute.
func (c *Console) limit(r *http.Request, who identity) error {
	if who.cluster != "" {
		return nil
	}
	name := who.key + who.session
	if wait, within := c.requests.take(name); !within {
		return tooMany(wait, "more than %d requests a minute", c.requests.limit)
	}
	if !strings.HasSuffix(r.URL.Path, "/unpair") {
		return nil
	}
	if wait, within := c.unpairs.take(name); !within {
		return tooMany(wait, "more than %d requests a minute that unpair", c.unpairs.limit)
	}
	return nil
}

func tooMany(wait time.Duration, format string, args ...any) error {
	seconds := int(wait.Seconds()) + 1
	return &refusal{
		status: http.StatusTooManyRequests, header: map[string]string{"Retry-After": strconv.Itoa(seconds)},
		messages: []pce.Message{{
			Token: "too_many_requests_error", Message: fmt.Sprintf(format, args...) + fmt.Sprintf("; try again in %d s", seconds),
		}},
	}
}
