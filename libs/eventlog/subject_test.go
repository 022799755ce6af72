package eventlog

import (
	"strings"
	"testing"
)

func TestTokens(t *testing.T) {
	for s, want := range map[string]string{
		"shop": "shop", "node-1.example": "node-1%2Eexample", "": "%", "a b": "a%20b", "*": "%2A", ">": "%3E", "50%": "50%25",
		"a/b": "a%2Fb", "\x00\n": "%00%0A", "é": "%C3%A9", "_": "_",
	} {
		if got := Token(s); got != want {
			t.Errorf("Token(%q) = %q, want %q", s, got, want)
		}
	}
	for _, bad := range []string{"", "a.b", "%2", "%2e", "%zz", "%41", "a b", "%%", "*"} {
		if s, err := ParseToken(bad); err == nil {
			t.Errorf("ParseToken(%q) = %q", bad, s)
		}
	}
}

func TestSubjects(t *testing.T) {
	for got, want := range map[string]string{
		KubernetesSubject("Pod", "shop", "web.1"):  "facts.k8s.pod.shop.web%2E1",
		KubernetesSubject("Namespace", "", "shop"): "facts.k8s.namespace._.shop",
		ObjectSubject("ab12"):                      "facts.pce.object.ab12",
		ProvisionedSubject(3):                      "facts.pce.provisioned.3",
		LabelSubject("17"):                         "facts.pce.label.17",
		ProfileSubject("b2c3"):                     "facts.pce.profile.b2c3",
		SyncedSubject("pce-bridge"):                "facts.ctl.synced.pce-bridge",
	} {
		if got != want {
			t.Errorf("%s, want %s", got, want)
		}
		if err := validSubject(got); err != nil {
			t.Error(err)
		}
	}
}

func FuzzToken(f *testing.F) {
	for _, s := range []string{"", "shop", "a.b", "%2E", "x*>y", "\x00\xff", "é/ü"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		token := Token(s)
		if token == "" || strings.ContainsAny(token, ".*> \t\r\n/") {
			t.Fatalf("Token(%q) = %q", s, token)
		}
		if back, err := ParseToken(token); err != nil || back != s {
			t.Fatalf("ParseToken(%q) = %q, %v; want %q", token, back, err, s)
		}
		if parsed, err := ParseToken(s); err == nil && Token(parsed) != s {
			t.Fatalf("ParseToken(%q) = %q, whose token is %q", s, parsed, Token(parsed))
		}
	})
}

func TestMatches(t *testing.T) {
	for _, tt := range []struct {
		filter, subject string
		want            bool
	}{
		{"facts.k8s.pod.shop.web", "facts.k8s.pod.shop.web", true},
		{"facts.k8s.pod.shop.web", "facts.k8s.pod.shop", false},
		{"facts.k8s.pod.shop", "facts.k8s.pod.shop.web", false},
		{"facts.k8s.*.shop.*", "facts.k8s.pod.shop.web", true},
		{"facts.k8s.*.shop.*", "facts.k8s.pod.shop", false},
		{"facts.k8s.>", "facts.k8s.pod.shop.web", true},
		{"facts.k8s.>", "facts.k8s", false},
		{">", "facts", true},
		{"facts.*", "policy.head", false},
	} {
		if got := Matches(tt.filter, tt.subject); got != tt.want {
			t.Errorf("%s matches %s: %v, want %v", tt.filter, tt.subject, got, tt.want)
		}
	}
}
