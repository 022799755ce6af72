package pce

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/go-retryablehttp"
)

// maxAnswer bounds what one answer may hold; a larger one is refused, not read to the end.
const maxAnswer = 256 << 20

// Config says how to reach one organisation on one console.
type Config struct {
	// URL is host:port (then https) or a URL; /api/v2 is appended.
	URL string
	// OrgID is the organisation's number.
	OrgID int
	// User and Secret are an API key with its secret, or a cluster's UUID with its token.
	User, Secret string
	// Cluster is the UUID of the cluster whose token Secret is, or empty. It makes a 401 say what to check.
	Cluster string
	// RootCAs verify the console instead of the system's authorities where not nil.
	RootCAs *x509.CertPool
	// RootCADir is a folder of PEM files with authorities to trust beside the system's; it is read again when it changes. It
	// need not exist. It is for where RootCAs is nil.
	RootCADir string
	// IgnoreCert turns verification of the console's certificate off.
	IgnoreCert bool
	// Proxy is the address of the HTTP proxy on the way to the console; that of the environment where empty.
	Proxy string
	// Timeout bounds one call with its retries; 60 s where zero. A connection on which nothing is heard is given up sooner.
	Timeout time.Duration
	// Retries is how often a call is tried again; RetryWait the first wait (500 ms where zero), which doubles. A console that
	// asks for a longer wait than patience is not asked again: the error says how long.
	Retries   int
	RetryWait time.Duration
}

// Client talks to one organisation of a console.
type Client struct {
	config Config
	base   string
	http   *retryablehttp.Client
	// roots says what is wrong with the authorities that were to be read last.
	roots func() error
}

// New makes a client. It does not connect.
func New(config Config) (*Client, error) {
	base, err := baseURL(config.URL)
	if err != nil {
		return nil, err
	}
	if config.OrgID <= 0 {
		return nil, fmt.Errorf("PCE %s: organisation %d: want a positive number", config.URL, config.OrgID)
	}
	if config.Timeout == 0 {
		config.Timeout = time.Minute
	}
	transport, err := newTransport(config)
	if err != nil {
		return nil, err
	}
	return &Client{config: config, base: base, http: retrying(config, transport), roots: transport.problem}, nil
}

// With gives a client of the same console, over the same connections, with other credentials. A cluster's UUID is given
// where they are its token.
func (c *Client) With(user, secret, cluster string) *Client {
	other := *c
	other.config.User, other.config.Secret, other.config.Cluster = user, secret, cluster
	return &other
}

func baseURL(address string) (string, error) {
	if !strings.Contains(address, "://") {
		address = "https://" + address
	}
	u, err := url.Parse(address)
	if err != nil {
		return "", fmt.Errorf("PCE address %q: %w", address, err)
	}
	if u.Host == "" || (u.Scheme != "https" && u.Scheme != "http") {
		return "", fmt.Errorf("PCE address %q: want host:port or an https URL", address)
	}
	return u.Scheme + "://" + u.Host + strings.TrimRight(u.Path, "/") + "/api/v2", nil
}

// patience is the longest wait between two tries of one call.
const patience = 30 * time.Second

func retrying(config Config, transport http.RoundTripper) *retryablehttp.Client {
	c := retryablehttp.NewClient()
	c.HTTPClient = &http.Client{Transport: transport}
	c.Logger = nil
	c.RetryMax = config.Retries
	c.RetryWaitMin = 500 * time.Millisecond
	if config.RetryWait > 0 {
		c.RetryWaitMin = config.RetryWait
	}
	c.RetryWaitMax = max(10*time.Second, c.RetryWaitMin)
	c.CheckRetry = retry
	c.Backoff = backoff
	c.ErrorHandler = retryablehttp.PassthroughErrorHandler
	return c
}

// backoff waits as long as the console asks for, else with jitter, so that clusters that were refused together do not come
// back together.
func backoff(least, most time.Duration, attempt int, resp *http.Response) time.Duration {
	if resp != nil {
		if asked, ok := retryAfter(resp.Header); ok {
			return asked
		}
	}
	return retryablehttp.LinearJitterBackoff(least<<attempt, min(2*least<<attempt, most), 0, nil)
}

// retryAfter reads how long the console asks to wait: seconds, or a date.
func retryAfter(header http.Header) (time.Duration, bool) {
	text := header.Get("Retry-After")
	if seconds, err := strconv.Atoi(text); err == nil && seconds >= 0 {
		return min(time.Duration(seconds), 24*3600) * time.Second, true
	}
	at, err := http.ParseTime(text)
	if err != nil {
		return 0, false
	}
	// The console's own clock says when now is, where it says so: its date would mean another wait by ours.
	now, err := http.ParseTime(header.Get("Date"))
	if err != nil {
		now = time.Now()
	}
	return min(max(at.Sub(now), 0), 24*time.Hour), true
}

// retry tries again what cannot have taken effect. A connection that failed before an answer is retried too, but for
// POST only where the console said that it did nothing: creating twice is worse than reporting a failure.
func retry(ctx context.Context, resp *http.Response, err error) (bool, error) {
	if ctx.Err() != nil {
		return false, ctx.Err()
	}
	if err != nil {
		var failed *url.Error
		if errors.As(err, &failed) && failed.Op == "Post" {
			return false, nil
		}
		return retryablehttp.DefaultRetryPolicy(ctx, resp, err)
	}
	if asked, ok := retryAfter(resp.Header); ok && asked > patience {
		return false, nil
	}
	switch resp.StatusCode {
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		return true, nil
	case http.StatusBadGateway, http.StatusGatewayTimeout:
		return resp.Request.Method != http.MethodPost, nil
	default:
		return false, nil
	}
}

// Org is the href of the client's organisation.
func (c *Client) Org() string { return fmt.Sprintf("/orgs/%d", c.config.OrgID) }

// OrgID is the number of the client's organisation.
func (c *Client) OrgID() int { return c.config.OrgID }

// answer is what came back, read whole.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// do sends one request and reads its answer; any status but 2xx is an error.
func (c *Client) do(ctx context.Context, method, path string, in any, prepare func(http.Header)) (*answer, error) {
	body, err := encode(in)
	if err != nil {
		return nil, fmt.Errorf("%s %s: encode the request: %w", method, path, err)
	}
	req, err := retryablehttp.NewRequestWithContext(ctx, method, c.base+path, body)
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", method, path, err)
	}
	req.SetBasicAuth(c.config.User, c.config.Secret)
	req.Header.Set("Accept", "application/json")
	if in != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if prepare != nil {
		prepare(req.Header)
	}
	path = withoutQuery(path) // a sentence that changes with every cursor would look like news
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, c.silence(method, path, err)
	}
	defer func() { _ = resp.Body.Close() }()
	a, err := read(resp)
	if err != nil {
		return nil, &Error{Kind: Truncated, Method: method, Path: path, Status: resp.StatusCode, Detail: "the answer broke off", Err: err}
	}
	if a.status < 200 || a.status > 299 {
		return nil, c.refusal(method, path, a)
	}
	return a, nil
}

func withoutQuery(path string) string {
	path, _, _ = strings.Cut(path, "?")
	return path
}

func encode(in any) ([]byte, error) {
	if in == nil {
		return nil, nil
	}
	return json.Marshal(in)
}

// silence describes a request that got no answer.
func (c *Client) silence(method, path string, err error) error {
	e := &Error{Kind: Unreachable, Method: method, Path: path, Detail: "the PCE does not answer", Err: withoutURL(err)}
	var distrust *tls.CertificateVerificationError
	if errors.As(err, &distrust) {
		e.Detail = "the certificate at the PCE's address is not trusted; give its authority"
		if broken := c.roots(); broken != nil {
			e.Detail += fmt.Sprintf(" (%v)", broken)
		}
	}
	return e
}

// withoutURL drops the "Get https://…" that net/http puts in front: the sentence names method and path already.
func withoutURL(err error) error {
	var failed *url.Error
	if errors.As(err, &failed) {
		return failed.Err
	}
	return err
}

func read(resp *http.Response) (*answer, error) {
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err != nil {
		return nil, err
	}
	if len(body) > maxAnswer {
		return nil, fmt.Errorf("it is longer than %d MiB", maxAnswer>>20)
	}
	return &answer{status: resp.StatusCode, header: resp.Header, body: body}, nil
}

// refusal turns an answer of another status than 2xx into an Error.
func (c *Client) refusal(method, path string, a *answer) error {
	e := &Error{Kind: kindOfStatus(a.status), Method: method, Path: path, Status: a.status}
	e.RetryAfter, _ = retryAfter(a.header)
	// The array of token and message is best effort: a proxy in between answers with a page of its own.
	if json.Unmarshal(a.body, &e.Messages) != nil {
		e.Messages = nil
	}
	switch {
	case a.status == http.StatusUnauthorized && c.config.Cluster != "":
		e.Detail = fmt.Sprintf("the PCE refused cluster token of cluster %s; check cluster_id and cluster_token"+
			" (an Illumio console takes an API key in their place)", c.config.Cluster)
		e.Messages = nil
	case a.status == http.StatusUnauthorized:
		e.Detail = fmt.Sprintf("the PCE refused API key %s; check the key and its secret", c.config.User)
		e.Messages = nil
	case a.status == http.StatusTooManyRequests && e.RetryAfter > 0:
		e.Detail = fmt.Sprintf("the PCE has had too many requests and asks to wait %s", e.RetryAfter)
	case len(e.Messages) == 0:
		e.Detail = "the PCE refused: " + http.StatusText(a.status)
	}
	return e
}

// call sends in and decodes the answer into out, where out is not nil.
func (c *Client) call(ctx context.Context, method, path string, in, out any) error {
	ctx, cancel := context.WithTimeout(ctx, c.config.Timeout)
	defer cancel()
	a, err := c.do(ctx, method, path, in, nil)
	if err != nil || out == nil {
		return err
	}
	return a.decode(method, path, out)
}

// decode reads the answer's body into out. Its errors tell HTML from truncation from a wrong field.
func (a *answer) decode(method, path string, out any) error {
	path = withoutQuery(path)
	if e := a.examine(); e != nil {
		e.Method, e.Path, e.Status = method, path, a.status
		return e
	}
	if err := json.Unmarshal(a.body, out); err != nil {
		e := malformed("", err)
		e.Method, e.Path, e.Status = method, path, a.status
		return e
	}
	return nil
}

// examine reports a body that is not one JSON value.
func (a *answer) examine() *Error {
	body := bytes.TrimSpace(a.body)
	if len(body) == 0 {
		return &Error{Kind: Truncated, Detail: "the answer is empty, want JSON"}
	}
	if body[0] != '{' && body[0] != '[' {
		return &Error{Kind: NotJSON, Detail: fmt.Sprintf("the answer is not JSON (%s, begins %.40q); is a proxy or another server at this address?",
			a.contentType(), body)}
	}
	var whole json.RawMessage
	err := json.Unmarshal(body, &whole)
	var syntax *json.SyntaxError
	if !errors.As(err, &syntax) {
		return nil
	}
	if syntax.Offset >= int64(len(body)) {
		return &Error{Kind: Truncated, Detail: fmt.Sprintf("the JSON ends early, after %d bytes", len(a.body))}
	}
	return &Error{Kind: NotJSON, Detail: fmt.Sprintf("the answer is not JSON: %v at byte %d", err, syntax.Offset)}
}

func (a *answer) contentType() string {
	if t := a.header.Get("Content-Type"); t != "" {
		return t
	}
	return "no content type"
}
