package console

import (
	"bytes"
	"context"
	"maps"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/ringfence/ringfence/libs/pce"
)

// event is what the events API shows: an edit, or what was noted that is no edit (notes.go).
type event struct {
	// ID is a UUID, the same after every restart.
	ID   string    `json:"id"`
	Kind string    `json:"event"`
	At   time.Time `json:"at"`
	// Author is who caused it, "" for the console itself; Node the node of that cluster, if it was one.
	Author string `json:"author,omitempty"`
	Node   string `json:"node,omitempty"`

	Severity string           `json:"severity"`
	Status   string           `json:"status"`
	Message  string           `json:"message,omitempty"`
	Action   *action          `json:"action,omitempty"`
	Changes  []resourceChange `json:"-"`
}

const (
	success = "success"
	failure = "failure"
	info    = "info"
	warning = "warning"
)

// action is the request behind an event.
type action struct {
	Method   string `json:"api_method"`
	Endpoint string `json:"api_endpoint"`
	Address  string `json:"src_ip,omitempty"`
	// Key is the API key that was used.
	Key string `json:"api_key,omitempty"`
}

type actionKey struct{}

// withAction lets the edits of a request say what it was.
func withAction(r *http.Request, key string) *http.Request {
	return r.WithContext(context.WithValue(r.Context(), actionKey{}, actionFrom(r, key)))
}

func actionFrom(r *http.Request, key string) *action {
	return &action{Method: r.Method, Endpoint: r.URL.Path, Address: addressOf(r), Key: key}
}

func actionOf(ctx context.Context) *action {
	a, _ := ctx.Value(actionKey{}).(*action)
	return a
}

func addressOf(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return host
}

// eventsKept bounds how many of the newest edits can be had as events, and how many notes.
const eventsKept = 1000

// keepNewest drops the older half once there are twice as many as are kept.
func keepNewest(events []event) []event {
	if len(events) > 2*eventsKept {
		return slices.Clone(events[eventsKept:])
	}
	return events
}

// eventSpace is where the UUIDs of edits come from.
var eventSpace = uuid.MustParse("5d1d7e4b-6f0a-4c3e-9a53-0f6b2c9b7a10")

func eventID(edit uint64) string {
	return uuid.NewSHA1(eventSpace, strconv.AppendUint(nil, edit, 10)).String()
}

func eventHref(id string) string { return org + "/events/" + id }

// resourceChange is what an edit did to one object.
type resourceChange struct {
	table, id, owner string
	kind             string // create, update or delete
	fields           map[string]beforeAfter
}

type beforeAfter struct {
	Before rawValue `json:"before"`
	After  rawValue `json:"after"`
}

// rawValue is a field's JSON, null where it is absent.
type rawValue []byte

// MarshalJSON gives the value as it is.
func (v rawValue) MarshalJSON() ([]byte, error) { return normal(v), nil }

const (
	// changesShown bounds how many objects an event names, of the thousand that a bulk call may touch.
	changesShown = 20
	// valueShown bounds what an event keeps of a field, valuesShown of all its fields.
	valueShown  = 2 << 10
	valuesShown = 8 << 10
)

// describe gives the event of an edit that is about to be applied.
func (s *state) describe(number uint64, e *edit) event {
	out := event{ID: eventID(number), Kind: e.Event, At: e.At, Author: e.Author, Severity: info, Status: success, Action: e.Action}
	room := valuesShown
	for _, p := range e.Put[:min(len(e.Put), changesShown)] {
		made := resourceChange{table: p.Table, id: p.ID, owner: p.Record.Owner, kind: "create"}
		var before document
		if r := s.get(p.Table, p.ID); r != nil {
			made.kind, before = "update", r.Doc
		}
		if p.Record.Deleted {
			made.kind = "delete"
		}
		made.fields = differences(before, p.Record.Doc, &room)
		out.Changes = append(out.Changes, made)
	}
	for _, k := range e.Remove[:min(len(e.Remove), changesShown-len(out.Changes))] {
		gone := resourceChange{table: k.Table, id: k.ID, kind: "delete"}
		if r := s.get(k.Table, k.ID); r != nil {
			gone.owner, gone.fields = r.Owner, differences(r.Doc, nil, &room)
		}
		out.Changes = append(out.Changes, gone)
	}
	return out
}

// differences gives the fields that differ, without those that are not served, and takes what it keeps of their values from room.
func differences(before, after document, room *int) map[string]beforeAfter {
	found := map[string]beforeAfter{}
	for _, d := range []document{before, after} {
		for _, field := range slices.Sorted(maps.Keys(d)) {
			if _, seen := found[field]; !seen && !strings.HasPrefix(field, privatePrefix) && !bytes.Equal(before[field], after[field]) {
				found[field] = beforeAfter{Before: shown(before[field], room), After: shown(after[field], room)}
			}
		}
	}
	return found
}

func shown(value []byte, room *int) rawValue {
	if len(value) > min(valueShown, *room) {
		return rawValue(`"…"`)
	}
	*room -= len(value)
	return value
}

// renderEvent gives an event in the shape of the public API.
func (s *state) renderEvent(e event, host string) rendered {
	out := rendered{
		"href": eventHref(e.ID), "event_type": e.Kind, "timestamp": e.At, "status": e.Status, "severity": e.Severity,
		"created_by": s.actor(e), "pce_fqdn": host, "version": 2, "action": nil,
		"resource_changes": s.resourceChanges(e), "notifications": notifications(e),
	}
	if e.Action != nil {
		out["action"] = rendered{
			"uuid": e.ID, "api_endpoint": e.Action.Endpoint, "api_method": e.Action.Method, "src_ip": orNull(e.Action.Address),
			"api_key": orNull(e.Action.Key), "http_status_code": statusShown(e),
		}
	}
	return out
}

func statusShown(e event) int {
	switch {
	case e.Status == failure && e.Kind == authorizationFailed:
		return http.StatusForbidden
	case e.Status == failure:
		return http.StatusUnauthorized
	case e.Action.Method == http.MethodPost:
		return http.StatusCreated
	default:
		return http.StatusOK
	}
}

// actor says who caused an event.
func (s *state) actor(e event) rendered {
	switch {
	case strings.HasPrefix(e.Author, hrefOf(tableClusters, "", "")) && e.Node != "":
		return rendered{"agent": rendered{"href": nil, "hostname": e.Node, "container_cluster": s.named(tableClusters, e.Author)}}
	case strings.HasPrefix(e.Author, hrefOf(tableClusters, "", "")):
		return rendered{"container_cluster": s.named(tableClusters, e.Author)}
	case strings.HasPrefix(e.Author, org+"/"+tableKeys+"/"): // before there were users, keys were the authors
		return rendered{"user": s.named(tableUsers, builtinAuthor)}
	case strings.HasPrefix(e.Author, hrefOf(tableUsers, "", "")):
		return rendered{"user": s.named(tableUsers, e.Author)}
	default:
		return rendered{"system": rendered{}}
	}
}

// named gives a reference with the object's name, where the object is still there.
func (s *state) named(table, href string) rendered {
	out := rendered{"href": href}
	if r := s.get(table, pce.ID(href)); r != nil {
		for _, field := range []string{"name", "username"} {
			if name := r.Doc.text(field); name != "" {
				out[field] = name
			}
		}
	}
	return out
}

func (s *state) resourceChanges(e event) []rendered {
	out := []rendered{}
	for i, c := range e.Changes {
		resource := rendered{"href": hrefOf(c.table, c.id, c.owner)}
		if r := s.get(c.table, c.id); r != nil {
			for _, field := range []string{"name", "key", "value", "namespace", "username"} {
				if value := r.Doc[field]; value != nil {
					resource[field] = value
				}
			}
		}
		out = append(out, rendered{
			"uuid":     uuid.NewSHA1(eventSpace, []byte(e.ID+"/"+strconv.Itoa(i))).String(),
			"resource": rendered{singular(c.table): resource}, "changes": c.fields, "change_type": c.kind,
		})
	}
	return out
}

// singular names one object of a table.
func singular(table string) string {
	table = strings.TrimPrefix(strings.TrimPrefix(table, draftTables), activeTables)
	if stem, ok := strings.CutSuffix(table, "ies"); ok {
		return stem + "y"
	}
	return strings.TrimSuffix(table, "s")
}

func notifications(e event) []rendered {
	if e.Message == "" {
		return []rendered{}
	}
	return []rendered{{
		"uuid":              uuid.NewSHA1(eventSpace, []byte(e.ID+"/notification")).String(),
		"notification_type": e.Kind, "info": rendered{"message": e.Message, "node": orNull(e.Node)},
	}}
}

// listEvents answers with the newest first.
func (c *Console) listEvents(r request) (response, error) {
	selects, err := eventFilter(r.URL.Query())
	if err != nil {
		return response{}, err
	}
	items, notes := []rendered{}, c.notes.all()
	c.store.view(func(s *state) {
		for _, e := range newestFirst(s.events, notes) {
			if selects(e) {
				items = append(items, s.renderEvent(e, hostOf(r.Request)))
			}
		}
	})
	return c.answerList(r, items)
}

func newestFirst(edits, notes []event) []event {
	all := slices.Concat(edits, notes)
	slices.Reverse(all)
	slices.SortStableFunc(all, func(a, b event) int { return b.At.Compare(a.At) })
	return all
}

func (c *Console) readEvent(r request) (response, error) {
	var out rendered
	notes := c.notes.all()
	c.store.view(func(s *state) {
		for _, e := range slices.Concat(s.events, notes) {
			if e.ID == r.PathValue("id") {
				out = s.renderEvent(e, hostOf(r.Request))
			}
		}
	})
	if out == nil {
		return response{}, notFound(eventHref(r.PathValue("id")))
	}
	return ok(out), nil
}

// hostOf is the name under which the asker reached the console.
func hostOf(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.Host)
	if err != nil {
		return r.Host
	}
	return host
}

func eventFilter(query url.Values) (func(event) bool, error) {
	times := map[string]time.Time{}
	for _, bound := range []string{"timestamp[gte]", "timestamp[lte]"} {
		if text := query.Get(bound); text != "" {
			at, err := time.Parse(time.RFC3339, text)
			if err != nil {
				return nil, invalid(bound, "%q is not a time of RFC 3339", text)
			}
			times[bound] = at
		}
	}
	from, to := times["timestamp[gte]"], times["timestamp[lte]"]
	same := func(field, value string) bool { return query.Get(field) == "" || query.Get(field) == value }
	return func(e event) bool {
		return same("event_type", e.Kind) && same("severity", e.Severity) && same("status", e.Status) &&
			!e.At.Before(from) && (to.IsZero() || !e.At.After(to))
	}, nil
}
