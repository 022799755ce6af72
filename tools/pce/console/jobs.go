package console

import (
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/ringfence/ringfence/libs/pce"
)

// jobsKept bounds the results of asynchronous requests that wait to be fetched. They are kept in memory only.
const jobsKept = 64

// jobs are asynchronous list requests. Theirs is a list that is made at once and fetched later: what is asynchronous is
// only the protocol, which clients use for lists beyond the cap.
type jobs struct {
	mu    sync.Mutex
	order []string
	done  map[string]result
}

type result struct {
	author string
	path   string
	at     time.Time
	items  []rendered
}

func newJobs() *jobs { return &jobs{done: map[string]result{}} }

func (j *jobs) start(r request, items []rendered) (response, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	id := newUUID()
	j.done[id] = result{author: r.who.href, path: r.URL.Path, at: time.Now().UTC(), items: items}
	j.order = append(j.order, id)
	if len(j.order) > jobsKept {
		delete(j.done, j.order[0])
		j.order = slices.Delete(j.order, 0, 1)
	}
	return response{
		status: http.StatusAccepted,
		header: map[string]string{"Location": org + "/jobs/" + id, "Retry-After": "0"},
	}, nil
}

func (j *jobs) get(r request) (result, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	found, ok := j.done[r.PathValue("id")]
	if !ok || found.author != r.who.href {
		return result{}, notFound(org + "/jobs/" + r.PathValue("id"))
	}
	return found, nil
}

func (j *jobs) status(r request) (response, error) {
	found, err := j.get(r)
	if err != nil {
		return response{}, err
	}
	return ok(found.render(r.PathValue("id"))), nil
}

func (f result) render(id string) rendered {
	return rendered{
		"href": org + "/jobs/" + id, "job_type": "collection", "description": "GET " + f.path, "status": "done",
		"result":       pce.Ref{Href: org + "/datafiles/" + id},
		"requested_at": stamp(f.at), "terminated_at": stamp(f.at), "requested_by": pce.Ref{Href: f.author},
	}
}

// list gives the asker's own jobs.
func (j *jobs) list(r request) (response, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	items := []rendered{}
	for _, id := range j.order {
		if j.done[id].author == r.who.href {
			items = append(items, j.done[id].render(id))
		}
	}
	return listed(items, len(items)), nil
}

func (j *jobs) remove(r request) (response, error) {
	if _, err := j.get(r); err != nil {
		return response{}, err
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	delete(j.done, r.PathValue("id"))
	j.order = slices.DeleteFunc(j.order, func(id string) bool { return id == r.PathValue("id") })
	return noContent, nil
}

func (j *jobs) fetch(r request) (response, error) {
	found, err := j.get(r)
	return ok(found.items), err
}
