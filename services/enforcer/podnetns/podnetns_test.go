package podnetns_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/ringfence/ringfence/services/enforcer/internal/netnstest"
	"github.com/ringfence/ringfence/services/enforcer/podnetns"
)

func TestOpen(t *testing.T) {
	pod := netnstest.New(t, "pod")
	hosts, err := podnetns.FindHosts()
	if err != nil {
		t.Fatal(err)
	}
	missing := filepath.Join(t.TempDir(), "missing")
	empty := filepath.Join(t.TempDir(), "empty") // what a bind mount's target looks like where the mount is not visible
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	h, err := podnetns.Open(hosts, missing, empty, pod.Path)
	if err != nil {
		t.Fatal(err)
	}
	if h.Inode != pod.Inode(t) || h.Path() != pod.Path {
		t.Errorf("opened %s, inode %d", h.Path(), h.Inode)
	}
	second, err := h.Dup()
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(h.Close(), second.Close()); err != nil {
		t.Error(err)
	}
	for name, c := range map[string]struct {
		want  error
		paths []string
	}{
		"missing":           {os.ErrNotExist, []string{missing}},
		"file":              {podnetns.ErrNotNetns, []string{missing, empty}},
		"another namespace": {podnetns.ErrNotNetns, []string{"/proc/self/ns/uts"}},
		"host":              {podnetns.ErrHost, []string{"/proc/self/ns/net", pod.Path}},
	} {
		if h, err := podnetns.Open(hosts, c.paths...); !errors.Is(err, c.want) {
			t.Errorf("%s: opened %v, error %v", name, h, err)
		}
	}
	if _, err := podnetns.Open(hosts); err == nil {
		t.Error("opened a namespace without a path")
	}
}
