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
	// text is the subject as the log has it; key is the same for all spellings of the subject.
	text, key string
	// group is k8s, pce or ctl.
	group string
	// kind is the third token: pod, object, synced and so on.
	kind string
	// rest holds the tokens after the kind, decoded.
	rest []string
}

// depth is how many tokens follow the kind, by group; a kind listed by itself differs from its group.
var depth = map[string]int{"k8s": 2, "pce": 1, "ctl": 0, "ctl.synced": 1}

// parseSubject takes a subject of the log apart. Tokens are percent-encoded where they hold what NATS reserves.
func parseSubject(text string) (subject, error) {
	tokens := strings.Split(text, ".")
	if len(tokens) < 3 || tokens[0] != "facts" {
		return subject{}, fmt.Errorf("subject %q: not facts.<group>.<kind>…", text)
	}
	s := subject{text: text, group: tokens[1], kind: tokens[2]}
	want, known := depth[s.group+"."+s.kind]
	if !known {
		want, known = depth[s.group]
	}
	if !known {
		return subject{}, fmt.Errorf("subject %q: group %q is not k8s, pce or ctl", text, s.group)
	}
	if len(tokens)-3 != want {
		return subject{}, fmt.Errorf("subject %q: %d tokens after the kind, want %d", text, len(tokens)-3, want)
	}
	for _, token := range tokens[2:] {
		decoded, err := decodeToken(token)
		if err != nil {
			return subject{}, fmt.Errorf("subject %q: %w", text, err)
		}
		s.rest = append(s.rest, decoded)
	}
	s.key = s.group + "\x00" + strings.Join(s.rest, "\x00")
	s.kind, s.rest = s.rest[0], s.rest[1:]
	return s, nil
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
func (s subject) id() string { return s.rest[len(s.rest)-1] }

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
