package ringfence

import (
	"fmt"
	"slices"
	"strings"
)

// Matches tells whether any of the filters, subjects with NATS wildcards, matches a subject. No filters match everything.
func Matches(subject string, filters []string) bool {
	if len(filters) == 0 {
		return true
	}
	tokens := strings.Split(subject, ".")
	return slices.ContainsFunc(filters, func(filter string) bool { return matchesTokens(tokens, strings.Split(filter, ".")) })
}

func matchesTokens(tokens, filter []string) bool {
	for i, want := range filter {
		switch {
		case i >= len(tokens):
			return false
		case want == ">":
			return true
		case want != "*" && want != tokens[i]:
			return false
		}
	}
	return len(filter) == len(tokens)
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
