package console

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/rs/zerolog"

	"github.com/ringfence/ringfence/tools/pce/journal"
	"github.com/ringfence/ringfence/tools/pce/traffic"
)

// Console is the policy console as an HTTP handler over a journal. It is safe for concurrent use.
type Console struct {
	store    *store
	jobs     *jobs
	agents   *agents
	notes    *notes
	sessions *sessions
	requests *window
	unpairs  *window
	traffic  *traffic.Store
	queries  *trafficQueries
	log      zerolog.Logger
	mux      *http.ServeMux
	// mounted are the patterns of route, which the description has to have.
	mounted []string

	trafficMiB int64
}

// Option changes how a console serves.
type Option func(*Console)

// Open folds the journal and gives the console, which stays valid as long as the journal is open. A new journal gets
// the built-in objects, provisioned as version 1.
func Open(ctx context.Context, j *journal.Journal, log zerolog.Logger, options ...Option) (*Console, error) {
	s, err := openStore(ctx, j)
	if err != nil {
		return nil, err
	}
	c := &Console{
		store: s, jobs: newJobs(), agents: newAgents(), sessions: newSessions(),
		requests: newWindow(0), unpairs: newWindow(0), queries: newTrafficQueries(),
		log: log, mux: http.NewServeMux(),
	}
	for _, option := range options {
		option(c)
	}
	if c.notes, err = openNotes(ctx, j); err != nil {
		return nil, err
	}
	flows, err := j.Ring(ctx, flowsRing, c.trafficMiB)
	if err != nil {
		return nil, err
	}
	if c.traffic, err = traffic.Open(ctx, flows); err != nil {
		return nil, err
	}
	if err := c.bootstrap(ctx); err != nil {
		return nil, err
	}
	c.routes()
	return c, nil
}

// ServeHTTP answers the API under /api/v2.
func (c *Console) ServeHTTP(w http.ResponseWriter, r *http.Request) { c.mux.ServeHTTP(w, r) }

// maxBody bounds a request's body.
const maxBody = 4 << 20

// request is an authenticated request.
type request struct {
	*http.Request
	who identity
}

// response is a successful answer; a nil body is sent as no body.
type response struct {
	status int
	header map[string]string
	body   any
}

// stream is a body that writes itself, as JSON.
type stream func(io.Writer) error

var noContent = response{status: http.StatusNoContent}

func ok(body any) response { return response{status: http.StatusOK, body: body} }

type handler func(request) (response, error)

// route serves pattern ("GET /orgs/{org}/labels") for those whom allow lets in.
func (c *Console) route(allow access, pattern string, handle handler) {
	method, path := splitPattern(pattern)
	c.mounted = append(c.mounted, pattern)
	c.mux.HandleFunc(method+" /api/v2"+path, func(w http.ResponseWriter, r *http.Request) {
		r.Body = http.MaxBytesReader(w, r.Body, maxBody)
		answer, err := c.serve(r, allow, strings.Contains(path, "{org}"), handle)
		if err != nil {
			answer = c.failure(r, err)
		}
		c.write(w, r, answer)
	})
}

func splitPattern(pattern string) (method, path string) {
	for i := range len(pattern) {
		if pattern[i] == ' ' {
			return pattern[:i], pattern[i+1:]
		}
	}
	panic("console: pattern without a method: " + pattern)
}

// serve lets a request through to its handler: credentials first, then how often they were used, then the organisation.
func (c *Console) serve(r *http.Request, allow access, inOrg bool, handle handler) (response, error) {
	if allow == anyone {
		return handle(request{Request: withAction(r, "")})
	}
	who, err := c.authenticate(r, allow)
	if err != nil {
		return response{}, err
	}
	if err := c.limit(r, who); err != nil {
		return response{}, err
	}
	if at := r.PathValue("org"); inOrg && at != "1" {
		return response{}, notFound("organisation " + at)
	}
	return handle(request{Request: withAction(r, who.key), who: who})
}

func (c *Console) failure(r *http.Request, err error) response {
	var refused *refusal
	var tooLong *http.MaxBytesError
	switch {
	case errors.As(err, &refused):
	case errors.As(err, &tooLong):
		refused = &refusal{status: http.StatusRequestEntityTooLarge}
	case errors.Is(err, journal.ErrFull):
		c.log.Error().Err(err).Str("method", r.Method).Str("path", r.URL.Path).Msg("the edit was refused")
		errors.As(refuse(http.StatusInsufficientStorage, "store_full", "%v", journal.ErrFull), &refused)
	default:
		c.log.Error().Err(err).Str("method", r.Method).Str("path", r.URL.Path).Msg("the request failed")
		errors.As(refuse(http.StatusInternalServerError, "internal_error", "%v", err), &refused)
	}
	answer := response{status: refused.status, header: refused.header, body: refused.messages}
	if refused.messages == nil {
		answer.body = []struct{}{}
	}
	if refused.status == http.StatusUnauthorized {
		answer.header = map[string]string{"WWW-Authenticate": `Basic realm="pce"`}
	}
	return answer
}

func (c *Console) write(w http.ResponseWriter, r *http.Request, answer response) {
	for name, value := range answer.header {
		w.Header().Set(name, value)
	}
	if answer.body == nil {
		w.WriteHeader(answer.status)
		return
	}
	if large, isLarge := answer.body.(stream); isLarge {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(answer.status)
		if err := large(w); err != nil { // the client sees an answer that ends early
			c.log.Warn().Err(err).Str("path", r.URL.Path).Msg("an answer broke off")
		}
		return
	}
	encoded, err := json.Marshal(answer.body)
	if err != nil {
		c.log.Error().Err(err).Str("path", r.URL.Path).Msg("an answer does not encode")
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(encoded)))
	w.WriteHeader(answer.status)
	_, _ = w.Write(encoded) // the client hung up: nothing to do
}

// body reads the request's body.
func (r request) body() ([]byte, error) { return io.ReadAll(r.Body) }

// document reads the request's body as an object.
func (r request) document() (document, error) {
	body, err := r.body()
	if err != nil {
		return nil, err
	}
	return decodeDocument(body)
}

// decode reads the request's body into out.
func (r request) decode(out any) error {
	body, err := r.body()
	if err != nil {
		return err
	}
	return decodeInto(body, out)
}
