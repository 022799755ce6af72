package pce

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// list reads a whole collection. Objects are decoded one by one, so that an error names the object at fault.
func list[T any](ctx context.Context, c *Client, path string) ([]T, error) {
	ctx, cancel := context.WithTimeout(ctx, c.config.Timeout)
	defer cancel()
	a, err := c.do(ctx, http.MethodGet, path, nil, nil)
	if err != nil {
		return nil, err
	}
	items, err := decodeList[T](path, a)
	if err != nil {
		return nil, err
	}
	total, err := strconv.Atoi(a.header.Get("X-Total-Count"))
	if err != nil || total <= len(items) {
		return items, nil
	}
	if a, err = c.collect(ctx, path, total); err != nil {
		return nil, err
	}
	return decodeList[T](path, a)
}

func decodeList[T any](path string, a *answer) ([]T, error) {
	path = withoutQuery(path)
	var raw []json.RawMessage
	if err := a.decode(http.MethodGet, path, &raw); err != nil {
		return nil, err
	}
	items := make([]T, len(raw))
	for i := range raw {
		if err := json.Unmarshal(raw[i], &items[i]); err != nil {
			e := malformed(nameOf(raw[i], i), err)
			e.Method, e.Path, e.Status = http.MethodGet, path, a.status
			return nil, e
		}
		if bytes.Equal(raw[i], []byte("null")) {
			return nil, &Error{Kind: Malformed, Method: http.MethodGet, Path: path, Status: a.status, Object: nameOf(raw[i], i), Detail: "is null"}
		}
	}
	return items, nil
}

// nameOf finds a name for an object that did not decode: its href, else its name, else its place in the list.
func nameOf(raw json.RawMessage, index int) string {
	var fields map[string]json.RawMessage
	_ = json.Unmarshal(raw, &fields)
	for _, key := range []string{"href", "name"} {
		var s string
		if json.Unmarshal(fields[key], &s) == nil && s != "" {
			return s
		}
	}
	return fmt.Sprintf("object %d of the list", index)
}

// job is the state of an asynchronous request.
type job struct {
	Status string `json:"status"`
	Result Ref    `json:"result"`
}

// collect reads a collection of any size: as an asynchronous job or, where the console does not do those, by asking for as
// many as there are. The context's deadline bounds the waiting.
func (c *Client) collect(ctx context.Context, path string, total int) (*answer, error) {
	a, err := c.do(ctx, http.MethodGet, path, nil, func(h http.Header) { h.Set("Prefer", "respond-async") })
	if err != nil {
		return nil, err
	}
	if a.status != http.StatusAccepted {
		return c.collectAtOnce(ctx, path, total)
	}
	at := orgPath(a.header.Get("Location"))
	for {
		if err := pause(ctx, a.header); err != nil {
			return nil, &Error{Kind: Busy, Method: http.MethodGet, Path: at, Object: path, Detail: "the job did not end in time", Err: err}
		}
		if a, err = c.do(ctx, http.MethodGet, at, nil, nil); err != nil {
			return nil, err
		}
		var j job
		if err := a.decode(http.MethodGet, at, &j); err != nil {
			return nil, err
		}
		switch j.Status {
		case "done", "completed":
			return c.do(ctx, http.MethodGet, j.Result.Href, nil, nil)
		case "failed":
			return nil, &Error{Kind: Busy, Method: http.MethodGet, Path: at, Object: path, Detail: "the PCE's job failed"}
		}
	}
}

// collectAtOnce reads a collection by its size.
func (c *Client) collectAtOnce(ctx context.Context, path string, total int) (*answer, error) {
	separator := "?"
	if strings.Contains(path, "?") {
		separator = "&"
	}
	a, err := c.do(ctx, http.MethodGet, path+separator+"max_results="+strconv.Itoa(total), nil, nil)
	if err != nil {
		return nil, err
	}
	got, err := decodeList[json.RawMessage](path, a)
	if err != nil {
		return nil, err
	}
	// The collection may have grown or shrunk since it was counted.
	if now, err := strconv.Atoi(a.header.Get("X-Total-Count")); err == nil && len(got) < now {
		return nil, &Error{Kind: Truncated, Method: http.MethodGet, Path: withoutQuery(path), Status: a.status,
			Detail: fmt.Sprintf("the PCE gives %d of %d objects, and neither takes jobs nor max_results", len(got), now)}
	}
	return a, nil
}

// orgPath reduces a Location to the path below /api/v2: consoles send either form.
func orgPath(location string) string {
	u, err := url.Parse(location)
	if err != nil {
		return location
	}
	if i := strings.Index(u.Path, "/orgs/"); i >= 0 {
		return u.Path[i:]
	}
	return u.Path
}

// pause waits as long as the console asked for, between 200 ms and patience.
func pause(ctx context.Context, header http.Header) error {
	wait := time.Second
	if asked, ok := retryAfter(header); ok {
		wait = min(max(asked, 200*time.Millisecond), patience)
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
