package pce

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// Kind says what went wrong with a call, for metrics and for decisions on retrying.
type Kind string

// The kinds of failure.
const (
	// Unreachable: no answer came (refused, timed out, unknown host, TLS).
	Unreachable Kind = "unreachable"
	// Unauthorized: 401 or 403, the console does not accept the credentials for this.
	Unauthorized Kind = "unauthorized"
	// Missing: 404, the console knows neither the object nor, perhaps, the path.
	Missing Kind = "missing"
	// Refused: any other 4xx; the console understood and declined.
	Refused Kind = "refused"
	// Busy: 429 or 5xx after all retries.
	Busy Kind = "busy"
	// NotJSON: the answer is something else, such as a proxy's HTML page.
	NotJSON Kind = "not_json"
	// Truncated: the JSON ends early.
	Truncated Kind = "truncated"
	// Malformed: valid JSON with a field of a wrong type or an impossible value.
	Malformed Kind = "malformed"
)

// Error is a failed call.
type Error struct {
	Kind   Kind
	Method string
	// Path is relative to /api/v2, without its query.
	Path string
	// Status is the HTTP status, 0 where no answer came.
	Status int
	// Object is the href or name of the object at fault, where the path does not name it.
	Object string
	// Messages are what the console said.
	Messages []Message
	// RetryAfter is how long the console asked to wait, 0 where it did not say.
	RetryAfter time.Duration
	// Detail is the rest of the sentence.
	Detail string
	// Err is the cause below, if any.
	Err error
}

// Message is one entry of the console's error array.
type Message struct {
	Token   string `json:"token"`
	Message string `json:"message"`
}

// Error is one sentence: what was being done to what, and what went wrong.
func (e *Error) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s: ", e.Method, e.Path)
	if e.Status != 0 && e.Kind != NotJSON && e.Kind != Truncated && e.Kind != Malformed {
		fmt.Fprintf(&b, "%d: ", e.Status)
	}
	if e.Object != "" {
		fmt.Fprintf(&b, "%s: ", e.Object)
	}
	b.WriteString(e.Detail)
	for i, m := range e.Messages {
		if i > 0 || e.Detail != "" {
			b.WriteString("; ")
		}
		fmt.Fprintf(&b, "%s (%s)", m.Message, m.Token)
	}
	if e.Err != nil {
		fmt.Fprintf(&b, ": %v", e.Err)
	}
	return b.String()
}

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Err }

// KindOf returns the kind of the first [Error] in err's chain, or "" where there is none.
func KindOf(err error) Kind {
	var e *Error
	if errors.As(err, &e) {
		return e.Kind
	}
	return ""
}

// StatusOf returns the HTTP status of the first [Error] in err's chain, 0 where no answer came.
func StatusOf(err error) int {
	var e *Error
	if errors.As(err, &e) {
		return e.Status
	}
	return 0
}

// RetryAfter returns how long the console asked to wait before the next call, 0 where it did not say.
func RetryAfter(err error) time.Duration {
	var e *Error
	if errors.As(err, &e) {
		return e.RetryAfter
	}
	return 0
}

// HasToken reports whether the console gave token as a reason, such as "label_in_use".
func HasToken(err error, token string) bool {
	var e *Error
	if !errors.As(err, &e) {
		return false
	}
	for _, m := range e.Messages {
		if m.Token == token {
			return true
		}
	}
	return false
}

func kindOfStatus(status int) Kind {
	switch {
	case status == http.StatusUnauthorized || status == http.StatusForbidden:
		return Unauthorized
	case status == http.StatusNotFound:
		return Missing
	case status == http.StatusTooManyRequests || status >= 500:
		return Busy
	default:
		return Refused
	}
}

// malformed describes a decoding failure of object in words that name the field.
func malformed(object string, err error) *Error {
	e := &Error{Kind: Malformed, Object: object, Detail: "malformed JSON", Err: err}
	var mismatch *json.UnmarshalTypeError
	if errors.As(err, &mismatch) {
		e.Detail = fmt.Sprintf("field %s holds a JSON %s, want %s", fieldName(mismatch.Field), mismatch.Value, mismatch.Type)
		e.Err = nil
	}
	return e
}

func fieldName(path string) string {
	if path == "" {
		return "(the object itself)"
	}
	return path
}
