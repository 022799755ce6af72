package conform

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

const label = `{"href":"/orgs/1/labels/1","key":"app","value":"web","created_at":"2026-01-02T03:04:05Z","from_the_future":[1]}`

// What is as described passes; everything else is reported, with the place.
func TestHandler(t *testing.T) {
	for name, test := range map[string]struct {
		request string
		status  int
		header  string
		body    string
		want    string
	}{
		"one":                 {"GET /orgs/1/labels/1", 200, "", label, ""},
		"list":                {"GET /orgs/1/labels?key=app", 200, "X-Total-Count", "[" + label + "]", ""},
		"nothing":             {"PUT /orgs/1/labels/1", 204, "", "", ""},
		"refusal":             {"POST /orgs/1/labels", 406, "", `[{"token":"t","message":"m"}]`, ""},
		"unknown path":        {"GET /orgs/1/nothing", 404, "", `[{"token":"t","message":"m"}]`, ""},
		"literal before name": {"GET /orgs/1/sec_policy/pending", 200, "", `{"rule_sets":[]}`, ""},
		"undescribed path":    {"GET /orgs/1/nothing", 200, "", `[]`, "the path is not described"},
		"undescribed status":  {"GET /orgs/1/labels/1", 418, "", `[]`, "the status is not described"},
		"missing header":      {"GET /orgs/1/labels", 200, "", `[]`, "header X-Total-Count is missing"},
		"body where none is":  {"PUT /orgs/1/labels/1", 204, "", "{}", "no body is described"},
		"wrong type":          {"GET /orgs/1/labels/1", 200, "", strings.Replace(label, `"web"`, "7", 1), "at '/value': got number, want string"},
		"wrong type in list":  {"GET /orgs/1/labels", 200, "X-Total-Count", `[` + label + `,{"href":7,"key":"k","value":"v"}]`, "at '/1/href': got number, want string"},
		"missing field":       {"GET /orgs/1/labels/1", 200, "", `{"href":"/orgs/1/labels/1","key":"app"}`, "missing property 'value'"},
		"not a time":          {"GET /orgs/1/labels/1", 200, "", strings.Replace(label, "2026-01-02T", "yesterday ", 1), "is not valid date-time"},
		"unknown kind":        {"GET /orgs/1/sec_policy/pending", 200, "", `{"unheard_of":[]}`, "additional properties 'unheard_of' not allowed"},
		"HTML":                {"GET /orgs/1/labels/1", 200, "", `<html>`, "the body is not JSON"},
		"bad refusal":         {"POST /orgs/1/labels", 406, "", `{"error":"x"}`, "got object, want array"},
	} {
		t.Run(name, func(t *testing.T) {
			var got []string
			handler := Handler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				if test.header != "" {
					w.Header().Set(test.header, "1")
				}
				if test.body != "" {
					w.Header().Set("Content-Type", "application/json")
				}
				w.WriteHeader(test.status)
				_, _ = io.WriteString(w, test.body)
			}), func(err error) { got = append(got, err.Error()) })
			method, path, _ := strings.Cut(test.request, " ")
			handler.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(method, "/api/v2"+path, nil))
			switch {
			case test.want == "" && len(got) > 0:
				t.Fatal(got)
			case test.want != "" && (len(got) != 1 || !strings.Contains(got[0], test.want)):
				t.Fatalf("got %q, want %q", got, test.want)
			}
		})
	}
}
