package ringfence

import (
	"fmt"
	"slices"
	"strings"

	"github.com/ringfence/ringfence/libs/eventlog"
)

// Matches tells whether any of the filters, subjects with NATS wildcards, matches a subject. No filters match everything.
func Matches(subject string, filters []string) bool {
	return len(filters) == 0 || slices.ContainsFunc(filters, func(filter string) bool { return eventlog.Matches(filter, subject) })
}

// CheckFilter says what is wrong with a filter. The log would not say so.
func CheckFilter(filter string) error {
	tokens := strings.Split(filter, ".")
	for i, token := range tokens {
		switch {
		case token == "" || strings.ContainsAny(token, " \t\r\n"):
			return fmt.Errorf("%q: a subject has no empty token and no blank", filter)
		case token == ">" && i < len(tokens)-1:
			return fmt.Errorf("%q: > stands at the end alone", filter)
		case len(token) > 1 && strings.ContainsAny(token, "*>"):
			return fmt.Errorf("%q: a wildcard is a whole token", filter)
		}
	}
	if tokens[0] != "facts" || len(tokens) < 2 {
		return fmt.Errorf("%q: subjects of facts begin with facts and a point", filter)
	}
	return nil
}
