package console

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"github.com/ringfence/ringfence/libs/pce"
)

// refusal is an answer other than success: a status and the API's array of reasons.
type refusal struct {
	status   int
	messages []pce.Message
	header   map[string]string
}

func (r *refusal) Error() string {
	text := http.StatusText(r.status)
	for _, m := range r.messages {
		text += "; " + m.Message + " (" + m.Token + ")"
	}
	return text
}

func refuse(status int, token, format string, args ...any) error {
	return &refusal{status: status, messages: []pce.Message{{Token: token, Message: fmt.Sprintf(format, args...)}}}
}

// invalid refuses the value of a field.
func invalid(field, format string, args ...any) error {
	return refuse(http.StatusNotAcceptable, "input_validation_error", "%s: %s", field, fmt.Sprintf(format, args...))
}

func notFound(what string) error {
	return refuse(http.StatusNotFound, "not_found", "%s does not exist", what)
}

// decodeInto decodes JSON into out; the refusal names the field of a wrong type.
func decodeInto(body []byte, out any) error {
	err := json.Unmarshal(body, out)
	var mismatch *json.UnmarshalTypeError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &mismatch) && mismatch.Field != "":
		return invalid(mismatch.Field, "holds a JSON %s, want %s", mismatch.Value, mismatch.Type)
	default:
		return invalid("the body", "%v", err)
	}
}
