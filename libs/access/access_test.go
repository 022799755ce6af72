package access

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/ringfence/ringfence/libs/identity"
)

// everyone are identities of every part, and what of theirs must not be enough.
var everyone = []identity.Identity{
	{Service: Watcher, Pod: "w"}, {Service: PceBridge, Pod: "b"}, {Service: Enforcer, Pod: "e", Node: "node-1"},
	{Service: Enforcer, Pod: "e", Node: "a.b*c>d e"}, {Service: Viewer, Fingerprint: "0123456789abcdef"},
}

// TestNobodyMayDoEverything holds what no table may say, whoever changes it.
func TestNobodyMayDoEverything(t *testing.T) {
	for _, id := range everyone {
		rights, err := Of(id)
		if err != nil {
			t.Fatal(err)
		}
		if rights.Answers {
			t.Errorf("%s may answer anybody", id)
		}
		for _, subject := range slices.Concat(rights.Publish, rights.Subscribe) {
			tokens := strings.Split(subject, ".")
			// Its first two tokens say what a subject is about: neither may be a wildcard where it stands for everything.
			if tokens[0] == ">" || tokens[0] == "*" || len(tokens) < 2 || subject == "_INBOX.>" || subject == "facts.>" || strings.HasPrefix(subject, "$JS.API.>") {
				t.Errorf("%s: %q is everything", id, subject)
			}
			for i, token := range tokens {
				if token == "" || len(token) > 1 && strings.ContainsAny(token, "*> ") || token == ">" && i != len(tokens)-1 {
					t.Errorf("%s: %q is no subject", id, subject)
				}
			}
			if (id.Service == Enforcer || id.Service == Viewer) && (strings.Contains(subject, "CONSUMER") || strings.HasPrefix(subject, "facts.") || strings.Contains(subject, "STREAM.CREATE")) {
				t.Errorf("%s: %q", id, subject)
			}
		}
	}
}

// TestEveryRightLeadsSomewhere finds rights in an account that the account does not take over.
func TestEveryRightLeadsSomewhere(t *testing.T) {
	for _, id := range everyone {
		rights, err := Of(id)
		if err != nil {
			t.Fatal(err)
		}
		if rights.Account == "" {
			continue
		}
		for _, subject := range slices.Concat(rights.Publish, rights.Subscribe) {
			if strings.HasPrefix(subject, "_INBOX.") {
				continue
			}
			if !slices.ContainsFunc(Exports()[rights.Account], func(e Export) bool { return covers(e.Subject, subject) }) {
				t.Errorf("%s: account %s does not take over %q", id, rights.Account, subject)
			}
		}
	}
}

func covers(pattern, subject string) bool {
	p, s := strings.Split(pattern, "."), strings.Split(subject, ".")
	for i, token := range p {
		if token == ">" {
			return len(s) > i
		}
		if i >= len(s) || token != "*" && token != s[i] {
			return false
		}
	}
	return len(p) == len(s)
}

func TestWhoHasNoPart(t *testing.T) {
	for _, c := range []struct {
		id   identity.Identity
		want error
	}{
		{identity.Identity{}, ErrNoRights},
		{identity.Identity{Service: "default", Pod: "p", Node: "n"}, ErrNoRights},
		{identity.Identity{Service: PolicyStore, Pod: "p", Node: "n"}, ErrNoRights},
		{identity.Identity{Service: Enforcer, Pod: "p"}, ErrNotBound},
		{identity.Identity{Service: Enforcer, Node: "n"}, ErrNotBound},
		{identity.Identity{Service: Watcher}, ErrNotBound},
		{identity.Identity{Service: PceBridge, Node: "n"}, ErrNotBound},
	} {
		if rights, err := Of(c.id); !errors.Is(err, c.want) || len(rights.Publish)+len(rights.Subscribe) > 0 {
			t.Errorf("%+v: %+v %v", c.id, rights, err)
		}
	}
}
