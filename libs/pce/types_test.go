package pce

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestActorKeepsUnknownKinds(t *testing.T) {
	var a Actor
	if err := json.Unmarshal([]byte(`{"user_group":{"href":"x"},"exclusion":true,"label":{"href":"l"}}`), &a); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(Actor{Label: &Ref{"l"}, Exclusion: true, Unknown: []string{"user_group"}}, a); diff != "" {
		t.Fatal(diff)
	}
}

// An empty restriction allows no annotation; none at all leaves them free. Encoding must keep the two apart.
func TestRestrictionRoundTrip(t *testing.T) {
	for _, text := range []string{`{"key":"app","restriction":[]}`, `{"key":"app"}`, `{"key":"app","assignment":{"href":"l"}}`} {
		var l ProfileLabel
		if err := json.Unmarshal([]byte(text), &l); err != nil {
			t.Fatal(err)
		}
		got, err := json.Marshal(l)
		if err != nil || string(got) != text {
			t.Errorf("%s became %s (%v)", text, got, err)
		}
	}
}
