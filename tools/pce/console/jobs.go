package console

import (
	"net/http"
	"slices"
	"sync"
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
	items  []rendered
}

func newJobs() *jobs { return &jobs{done: map[string]result{}} }

func (j *jobs) start(r request, items []rendered) (response, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	id := newUUID()
	j.done[id] = result{author: r.who.href, items: items}
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
		return result{}, notFound("job " + r.PathValue("id"))
	}
	return found, nil
}

func (j *jobs) status(r request) (response, error) {
	if _, err := j.get(r); err != nil {
		return response{}, err
	}
	id := r.PathValue("id")
	return ok(map[string]any{
		"href": org + "/jobs/" + id, "job_type": "collection", "status": "done",
		"result": map[string]string{"href": org + "/datafiles/" + id},
	}), nil
}

func (j *jobs) fetch(r request) (response, error) {
	found, err := j.get(r)
	return ok(found.items), err
}
