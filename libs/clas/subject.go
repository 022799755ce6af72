package clas

import (
	"fmt"
	"net/url"
	"strings"
)

// clusterScoped stands in a subject for the namespace of an object that has none.
const clusterScoped = "_"

// subject is the parsed name of a fact.
type subject struct {
	// text is the subject as the log has it.
	text string
	// group is k8s, pce or ctl.
	group string
	// kind is the third token: pod, object, synced and so on.
	kind string
	// rest holds the tokens after the kind, decoded, of which there are count.
	rest  [2]string
	count int
}

// tokensAfter is how many tokens follow the kind.
func tokensAfter(group, kind string) (count int, known bool) {
	switch group {
	case "k8s":
		return 2, true
	case "pce":
		return 1, true
	case "ctl":
		if kind == "synced" || kind == "epoch" {
			return 1, true
		}
		return 0, true
	}
	return 0, false
}

// parseSubject takes a subject of the log apart. Tokens are percent-encoded where they hold what NATS reserves.
func parseSubject(text string) (subject, error) {
	s := subject{text: text}
	first, rest, _ := strings.Cut(text, ".")
	group, rest, more := strings.Cut(rest, ".")
	if first != "facts" || !more {
		return subject{}, fmt.Errorf("subject %q: not facts.<group>.<kind>…", text)
	}
	kind, rest, more := strings.Cut(rest, ".")
	s.group = group
	want, known := tokensAfter(group, kind)
	if !known {
		return subject{}, fmt.Errorf("subject %q: group %q is not k8s, pce or ctl", text, s.group)
	}
	if have := tokens(rest, more); have != want {
		return subject{}, fmt.Errorf("subject %q: %d tokens after the kind, want %d", text, have, want)
	}
	var err error
	if s.kind, err = decodeToken(kind); err != nil {
		return subject{}, fmt.Errorf("subject %q: %w", text, err)
	}
	for s.count = 0; s.count < want; s.count++ {
		var token string
		token, rest, _ = strings.Cut(rest, ".")
		if s.rest[s.count], err = decodeToken(token); err != nil {
			return subject{}, fmt.Errorf("subject %q: %w", text, err)
		}
	}
	return s, nil
}

// tokens counts the tokens of what follows the kind.
func tokens(rest string, any bool) int {
	if !any {
		return 0
	}
	return 1 + strings.Count(rest, ".")
}

func decodeToken(token string) (string, error) {
	if token == "" {
		return "", fmt.Errorf("an empty token")
	}
	if !strings.Contains(token, "%") {
		return token, nil
	}
	decoded, err := url.PathUnescape(token)
	if err != nil {
		return "", fmt.Errorf("token %q: %w", token, err)
	}
	return decoded, nil
}

// id is the last token: what an object of the console is called.
func (s subject) id() string { return s.rest[max(s.count, 1)-1] }

// names checks that the subject is the one of the Kubernetes object.
func (s subject) names(kind, namespace, name string) error {
	if namespace == "" {
		namespace = clusterScoped
	}
	if name == "" {
		return fmt.Errorf("%s of subject %s: name: empty", kind, s.text)
	}
	if s.group != "k8s" || s.kind != strings.ToLower(kind) || s.rest[0] != namespace || s.rest[1] != name {
		return fmt.Errorf("%s %s/%s: name: the subject is %s", strings.ToLower(kind), namespace, name, s.text)
	}
	return nil
}

// identifies checks that the subject is the one of the console's object.
func (s subject) identifies(kind, href string) error {
	if href == "" {
		return fmt.Errorf("%s of subject %s: href: empty", kind, s.text)
	}
	if s.group != "pce" || s.kind != kind || s.rest[0] != href[strings.LastIndex(href, "/")+1:] {
		return fmt.Errorf("%s %s: href: the subject is %s", kind, href, s.text)
	}
	return nil
}

// is tells whether the subject is facts.<group>.<kind>.
func (s subject) is(group, kind string) error {
	if s.group != group || s.kind != kind {
		return fmt.Errorf("subject %s: the fact belongs under facts.%s.%s", s.text, group, kind)
	}
	return nil
}
