package console

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"sync"
	"time"

	"github.com/ringfence/ringfence/libs/pce"
	"github.com/ringfence/ringfence/tools/pce/journal"
)

const (
	notesRing = "EVENTS"
	notesMiB  = 16
)

// Events that are no edits.
const (
	signedIn             = "user.sign_in"
	signedOut            = "user.sign_out"
	authenticationFailed = "request.authentication_failed"
	authorizationFailed  = "request.authorization_failed"
)

// notes are events that are no edits: sign-ins, refusals, and what clusters say happened in them. Strangers can cause them, so
// they have a ring of their own: they can neither fill the journal nor slow it.
type notes struct {
	ring *journal.Ring
	now  func() time.Time

	adding sync.Mutex // one after the other, so that none is stored twice; readers do not wait for the disk

	mu   sync.Mutex
	kept []event // oldest first
	// taken are the ids of kept events.
	taken map[string]bool
	// lately counts refusals of this minute by what they are about.
	lately map[string]bool
	minute time.Time
}

func openNotes(ctx context.Context, j *journal.Journal) (*notes, error) {
	ring, err := j.Ring(ctx, notesRing, notesMiB)
	if err != nil {
		return nil, err
	}
	n := &notes{ring: ring, now: time.Now, taken: map[string]bool{}, lately: map[string]bool{}}
	return n, ring.Replay(ctx, func(_ uint64, record []byte) {
		var events []event
		if json.Unmarshal(record, &events) == nil { // one that is damaged is not worth the others
			n.keep(events)
		}
	})
}

func (n *notes) all() []event {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.kept)
}

// add stores events that are not there yet.
func (n *notes) add(ctx context.Context, events ...event) error {
	n.adding.Lock()
	defer n.adding.Unlock()
	events = n.unknown(events)
	if len(events) == 0 {
		return nil
	}
	record, err := json.Marshal(events)
	if err != nil {
		return fmt.Errorf("encode events: %w", err)
	}
	if _, err := n.ring.Append(context.WithoutCancel(ctx), record); err != nil {
		return err
	}
	n.keep(events)
	return nil
}

// unknown leaves out what is kept already, or is there twice.
func (n *notes) unknown(events []event) []event {
	n.mu.Lock()
	defer n.mu.Unlock()
	twice := map[string]bool{}
	return slices.DeleteFunc(events, func(e event) bool {
		known := n.taken[e.ID] || twice[e.ID]
		twice[e.ID] = true
		return known
	})
}

func (n *notes) keep(events []event) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, e := range events {
		n.taken[e.ID] = true
	}
	before := n.kept
	n.kept = keepNewest(append(n.kept, events...))
	for _, e := range before[:max(0, len(before)+len(events)-len(n.kept))] {
		delete(n.taken, e.ID)
	}
}

// refusalsNoted bounds how many refusals a minute are written down, whoever causes them.
const refusalsNoted = 100

// worthNoting is true for the first refusal of a minute about the same.
func (n *notes) worthNoting(about string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if at := n.now().Truncate(time.Minute); !at.Equal(n.minute) {
		n.minute = at
		clear(n.lately)
	}
	if n.lately[about] || len(n.lately) >= refusalsNoted {
		return false
	}
	n.lately[about] = true
	return true
}

// noteRefusal writes down that a request was refused for who asked.
func (c *Console) noteRefusal(r *http.Request, kind, author, message string) {
	if !c.notes.worthNoting(kind + " " + addressOf(r) + " " + message) {
		return
	}
	c.note(r.Context(), event{
		Kind: kind, Author: author, Severity: warning, Status: failure, Message: message, Action: actionFrom(r, ""),
	})
}

// note writes an event down. One that cannot be written is only logged: what it tells of has happened all the same.
func (c *Console) note(ctx context.Context, e event) {
	e.ID, e.At = newUUID(), c.store.now()
	if err := c.notes.add(ctx, e); err != nil {
		c.log.Warn().Err(err).Str("event", e.Kind).Msg("an event was not stored")
	}
}

var (
	eventType  = regexp.MustCompile(`^[a-z][a-z0-9_]*(\.[a-z0-9_]+)+$`)
	severities = []string{info, warning, "err"}
	statuses   = []string{success, failure}
)

// reportEvents takes what happened in a cluster.
func (c *Console) reportEvents(r request) (response, error) {
	var items []pce.AgentEvent
	if err := r.decodeBulk(&items); err != nil {
		return response{}, err
	}
	results := make([]pce.BulkResult, len(items))
	var taken []event
	for i, item := range items {
		e, err := eventOf(r.who.cluster, c.store.now(), item)
		if err != nil {
			results[i] = refusedItem("", err)
			continue
		}
		taken = append(taken, e)
		results[i] = pce.BulkResult{Href: eventHref(e.ID), Status: "created"}
	}
	return ok(results), c.notes.add(r.Context(), taken...)
}

// eventOf checks a cluster's event. Its UUID follows from what the cluster calls it, so that a second report is known.
func eventOf(cluster string, now time.Time, a pce.AgentEvent) (event, error) {
	at, err := time.Parse(time.RFC3339, a.Timestamp)
	switch {
	case a.ID == "" || len(a.ID) > 200:
		return event{}, invalid("id", "want 1 to 200 characters")
	case len(a.Type) > 100 || !eventType.MatchString(a.Type):
		return event{}, invalid("event_type", "%q is not of the form object.verb", a.Type)
	case !slices.Contains(severities, a.Severity):
		return event{}, invalid("severity", "%q is not one of %v", a.Severity, severities)
	case !slices.Contains(statuses, a.Status):
		return event{}, invalid("status", "%q is not one of %v", a.Status, statuses)
	case err != nil:
		return event{}, invalid("timestamp", "%q is not a time of RFC 3339", a.Timestamp)
	case len(a.Message) > valueShown || len(a.Node) > 253:
		return event{}, invalid("message", "message or node is too long")
	}
	if at.After(now) { // a clock that is ahead must not pin its event to the top
		at = now
	}
	return event{
		ID: uuidFrom(cluster + "/" + a.ID), Kind: a.Type, At: at.UTC(), Author: hrefOf(tableClusters, cluster, ""), Node: a.Node,
		Severity: a.Severity, Status: a.Status, Message: a.Message,
	}, nil
}
