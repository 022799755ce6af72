package console

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/ringfence/ringfence/libs/pce"
	"github.com/ringfence/ringfence/tools/pce/traffic"
)

const (
	// queriesKept bounds the queries of all users together; resultsKept what their results may take, compressed.
	queriesKept = 64
	resultsKept = 128 << 20
	// queriesAtOnce run while others wait: each may hold a lot.
	queriesAtOnce = 1
	queryWithin   = 10 * time.Minute
)

// trafficQueries are the asynchronous queries. They are kept in memory only.
type trafficQueries struct {
	turns chan struct{}

	mu    sync.Mutex
	order []*trafficQuery
}

type trafficQuery struct {
	id, author string
	made       time.Time
	body       json.RawMessage
	cancel     context.CancelFunc

	// what follows is guarded by trafficQueries.mu
	status string
	ended  time.Time
	result flowRows
}

// States of a query.
const (
	queryQueued    = "queued"
	queryWorking   = "working"
	queryCompleted = "completed"
	queryFailed    = "failed"
	queryCancelled = "cancelled"
)

func newTrafficQueries() *trafficQueries {
	return &trafficQueries{turns: make(chan struct{}, queriesAtOnce)}
}

func (c *Console) trafficRoutes(orgs string) {
	const one = "/traffic_flows/async_queries/{id}"
	c.route(users, "POST "+orgs+"/traffic_flows/traffic_analysis_queries", c.analyse)
	c.route(users, "POST "+orgs+"/traffic_flows/async_queries", c.startQuery)
	c.route(users, "GET "+orgs+"/traffic_flows/async_queries", c.listQueries)
	c.route(users, "GET "+orgs+one, c.readQuery)
	c.route(users, "GET "+orgs+one+"/download", c.downloadQuery)
	c.route(users, "PUT "+orgs+one, c.cancelQuery)
	c.route(users, "DELETE "+orgs+one, c.deleteQuery)
	c.route(users, "POST "+orgs+"/agents/bulk_traffic_flows", c.uploadFlows)
}

// queryOf reads a query and checks that it can be answered.
func (c *Console) queryOf(r request) (q traffic.Query, body json.RawMessage, err error) {
	if body, err = io.ReadAll(r.Body); err != nil {
		return q, nil, err
	}
	err = json.Unmarshal(body, &q)
	var wrong *traffic.Invalid
	if errors.As(err, &wrong) {
		return q, nil, invalid(wrong.Field, "%s", wrong.Reason)
	}
	if err := decodeInto(body, &q); err != nil {
		return q, nil, err
	}
	if err := q.Check(c.trafficWorld()); errors.As(err, &wrong) {
		return q, nil, invalid(wrong.Field, "%s", wrong.Reason)
	}
	return q, body, nil
}

// analyse answers a query at once, as the public API did before it had the others.
func (c *Console) analyse(r request) (response, error) {
	q, _, err := c.queryOf(r)
	if err != nil {
		return response{}, err
	}
	result, err := c.answer(r.Context(), q, func() {})
	if err != nil {
		return response{}, err
	}
	return ok(result.stream()), nil
}

// flowRows are what a query gave: rows as a compressed JSON array.
type flowRows struct {
	rows, matches int
	body          []byte
}

// answer answers a query in its turn; it calls begun when that has come.
func (c *Console) answer(ctx context.Context, q traffic.Query, begun func()) (flowRows, error) {
	select {
	case c.queries.turns <- struct{}{}:
		defer func() { <-c.queries.turns }()
	case <-ctx.Done():
		return flowRows{}, ctx.Err()
	}
	begun()
	answer, err := c.traffic.Ask(ctx, q, c.trafficWorld())
	if err != nil {
		return flowRows{}, err
	}
	body, err := compressed(answer)
	return flowRows{answer.Len(), answer.Matches, body}, err
}

// writeRows writes a JSON array row by row: as a whole it could be larger than is good to hold.
func writeRows(w io.Writer, answer traffic.Answer) error {
	separator := []byte{'['}
	for row := range answer.Rows() {
		encoded, err := json.Marshal(row)
		if err != nil {
			return err
		}
		if _, err := w.Write(append(separator, encoded...)); err != nil {
			return err
		}
		separator = []byte{','}
	}
	end := []byte{']'}
	if answer.Len() == 0 {
		end = []byte("[]")
	}
	_, err := w.Write(end)
	return err
}

func (c *Console) startQuery(r request) (response, error) {
	q, body, err := c.queryOf(r)
	if err != nil {
		return response{}, err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), queryWithin)
	query := &trafficQuery{id: newUUID(), author: r.who.href, made: c.store.now(), body: body, status: queryQueued, cancel: cancel}
	c.queries.add(query)
	go c.run(ctx, query, q)
	out := c.queries.render(query)
	return response{status: http.StatusAccepted, header: map[string]string{"Location": queryHref(query.id)}, body: out}, nil
}

func queryHref(id string) string { return org + "/traffic_flows/async_queries/" + id }

// run answers one asynchronous query.
func (c *Console) run(ctx context.Context, query *trafficQuery, q traffic.Query) {
	defer query.cancel()
	found, err := c.answer(ctx, q, func() {
		c.queries.update(query, func() { query.status = queryWorking })
	})
	c.queries.update(query, func() {
		query.ended, query.result = c.store.now(), found
		switch {
		case err == nil:
			query.status = queryCompleted
		case errors.Is(err, context.Canceled):
			query.status = queryCancelled
		default:
			query.status = queryFailed
			c.log.Error().Err(err).Str("query", query.id).Msg("a traffic query failed")
		}
	})
}

func compressed(answer traffic.Answer) ([]byte, error) {
	var buffer bytes.Buffer
	w, err := zstd.NewWriter(&buffer, zstd.WithEncoderConcurrency(1), zstd.WithLowerEncoderMem(true), zstd.WithWindowSize(1<<20))
	if err != nil {
		return nil, err
	}
	if err := errors.Join(writeRows(w, answer), w.Close()); err != nil {
		return nil, err
	}
	return buffer.Bytes(), nil
}

func (t *trafficQueries) add(q *trafficQuery) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.order = append(t.order, q)
	if len(t.order) > queriesKept {
		t.order[0].cancel()
		t.order = slices.Delete(t.order, 0, 1)
	}
}

// update changes a query, then drops the oldest results where together they are too large.
func (t *trafficQueries) update(q *trafficQuery, change func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	change()
	room := resultsKept
	for i := len(t.order) - 1; i >= 0; i-- {
		if room -= len(t.order[i].result.body); room < 0 && t.order[i] != q {
			t.order[i].cancel()
			t.order = slices.Delete(t.order, i, i+1)
		}
	}
}

// find gives the asker's own query.
func (t *trafficQueries) find(r request) (*trafficQuery, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, q := range t.order {
		if q.id == r.PathValue("id") && q.author == r.who.href {
			return q, nil
		}
	}
	return nil, notFound(queryHref(r.PathValue("id")))
}

func (t *trafficQueries) render(q *trafficQuery) rendered {
	t.mu.Lock()
	defer t.mu.Unlock()
	out := rendered{
		"href": queryHref(q.id), "status": q.status, "created_by": pce.Ref{Href: q.author}, "created_at": q.made, "updated_at": q.made,
		"query_parameters": q.body, "result": nil, "flows_count": nil, "matches_count": nil, "regions": []struct{}{},
	}
	if !q.ended.IsZero() {
		out["updated_at"] = q.ended
	}
	if q.status == queryCompleted {
		out["result"], out["flows_count"], out["matches_count"] = queryHref(q.id)+"/download", q.result.rows, q.result.matches
		out["regions"] = []rendered{{"responded": true, "flows_count": q.result.rows, "matches_count": q.result.matches}}
	}
	return out
}

func (c *Console) readQuery(r request) (response, error) {
	q, err := c.queries.find(r)
	if err != nil {
		return response{}, err
	}
	return ok(c.queries.render(q)), nil
}

func (c *Console) listQueries(r request) (response, error) {
	c.queries.mu.Lock()
	all := slices.Clone(c.queries.order)
	c.queries.mu.Unlock()
	items := []rendered{}
	for _, q := range all {
		if q.author == r.who.href {
			items = append(items, c.queries.render(q))
		}
	}
	return c.answerList(r, items)
}

func (c *Console) downloadQuery(r request) (response, error) {
	q, err := c.queries.find(r)
	if err != nil {
		return response{}, err
	}
	c.queries.mu.Lock()
	status, result := q.status, q.result
	c.queries.mu.Unlock()
	if status != queryCompleted {
		return response{}, refuse(http.StatusNotFound, "not_completed", "%s is %s, not completed", queryHref(q.id), status)
	}
	return ok(result.stream()), nil
}

// stream writes the rows to who asked for them.
func (r flowRows) stream() stream {
	return func(w io.Writer) error {
		expand, err := zstd.NewReader(bytes.NewReader(r.body), zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true))
		if err != nil {
			return err
		}
		defer expand.Close()
		_, err = expand.WriteTo(w)
		return err
	}
}

// cancelQuery ends a query that is not answered yet.
func (c *Console) cancelQuery(r request) (response, error) {
	var body struct {
		Status string `json:"status"`
	}
	if err := r.decode(&body); err != nil {
		return response{}, err
	}
	if body.Status != "cancel_requested" {
		return response{}, invalid("status", `want "cancel_requested"`)
	}
	q, err := c.queries.find(r)
	if err != nil {
		return response{}, err
	}
	q.cancel()
	return noContent, nil
}

func (c *Console) deleteQuery(r request) (response, error) {
	q, err := c.queries.find(r)
	if err != nil {
		return response{}, err
	}
	q.cancel()
	c.queries.mu.Lock()
	defer c.queries.mu.Unlock()
	c.queries.order = slices.DeleteFunc(c.queries.order, func(other *trafficQuery) bool { return other == q })
	return noContent, nil
}
