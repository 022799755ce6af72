package supervisor

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestSettings(t *testing.T) {
	want := Settings{Dir: t.TempDir(), Bin: "/cache/bin", CNI: "/cache/cni", Images: []string{"/cache/pause.tar"}, Nodes: 3, Listen: "127.0.0.1:40000", NRIRequired: true}
	if err := want.Save(); err != nil {
		t.Fatal(err)
	}
	got, err := Load(want.Dir)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if _, err := Load(t.TempDir()); err == nil {
		t.Error("settings were read where none are")
	}
}

func TestReadProgress(t *testing.T) {
	for _, c := range []struct{ name, in, want, steps string }{
		{"ready", `{"step":"a"}{"step":"b"}{"ready":true}`, "", "a b"},
		{"failed", `{"step":"a"}{"error":"etcd: not after 2m0s"}`, "etcd: not after 2m0s", "a"},
		{"died", `{"step":"a"}`, "ended before the lab was up", "a"},
		{"died at once", ``, "ended before the lab was up", ""},
		{"garbage", `{"step":"a"}panic: x`, "read the supervisor's progress", "a"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var steps []string
			err := ReadProgress(strings.NewReader(c.in), func(s string) { steps = append(steps, s) })
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("error %v, want %q", err, c.want)
			}
			if got := strings.Join(steps, " "); got != c.steps {
				t.Errorf("steps %q, want %q", got, c.steps)
			}
		})
	}
}

func FuzzReadProgress(f *testing.F) {
	for _, seed := range []string{`{"step":"a"}{"ready":true}`, `{"error":"x"}`, `[]`, `{"step":1}`, `{`} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, in string) {
		err := ReadProgress(strings.NewReader(in), func(string) {})
		if err == nil && !strings.Contains(strings.ToLower(in), "ready") {
			t.Errorf("%q counts as ready", in)
		}
	})
}
