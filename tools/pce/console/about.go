package console

import (
	"strconv"

	"github.com/ringfence/ringfence/libs/pce"
)

// health never says that something is wrong by its status: that is how the public API does it.
func (c *Console) health(request) (response, error) {
	return ok(map[string]string{"status": "normal"}), nil
}

// Version is the console's own, set at build time.
var Version = "0.1.0"

func (c *Console) productVersion(request) (response, error) {
	return ok(map[string]string{
		"version": Version, "build": "ringfence", "short_display": Version, "long_display": Version + "-ringfence",
	}), nil
}

func (c *Console) events(r request) (response, error) {
	items := []rendered{}
	c.store.view(func(s *state) {
		for i := len(s.events) - 1; i >= 0 && len(items) < eventsKept; i-- {
			e := s.events[i]
			if kind := r.URL.Query().Get("event_type"); kind != "" && kind != e.kind {
				continue
			}
			items = append(items, rendered{
				"href": org + "/events/" + strconv.FormatUint(e.number, 10), "event_type": e.kind, "timestamp": e.at,
				"status": "success", "severity": "info", "created_by": pce.Ref{Href: e.author},
			})
		}
	})
	return c.answerList(r, items)
}
