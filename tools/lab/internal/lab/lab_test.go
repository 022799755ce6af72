package lab

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ringfence/ringfence/tools/lab/internal/control"
)

func TestCheckMachine(t *testing.T) {
	for _, c := range []struct {
		goos string
		uid  int
		want string
	}{
		{"linux", 0, ""},
		{"linux", 1000, "takes root: run this with sudo, or set KUBECONFIG"},
		{"darwin", 0, "run it on a Linux machine or in a Linux virtual machine"},
	} {
		err := CheckMachine(c.goos, c.uid)
		if c.want == "" {
			if err != nil {
				t.Errorf("root on Linux: %v", err)
			}
			continue
		}
		if !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s, user %d: %v; want a refusal with %q", c.goos, c.uid, err, c.want)
		}
		if strings.Count(err.Error(), "\n") != 0 || !strings.HasSuffix(err.Error(), ".") {
			t.Errorf("not one sentence: %q", err)
		}
	}
}

func TestCheckDir(t *testing.T) {
	shadowed := []string{"/run", "/var/lib"}
	empty, lab, other := t.TempDir(), t.TempDir(), t.TempDir()
	for _, file := range []string{filepath.Join(lab, "lab.json"), filepath.Join(lab, "etcd"), filepath.Join(other, "thesis.tex")} {
		if err := os.WriteFile(file, nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for dir, want := range map[string]string{
		empty:                        "",
		lab:                          "",
		filepath.Join(empty, "new"):  "",
		"/running/lab":               "",
		other:                        "is not empty and not a lab's",
		"/run/lab":                   "lies in /run, of which every node has its own version",
		"/run":                       "lies in /run",
		"/var/lib/jenkins/workspace": "lies in /var/lib",
		"/srv/a:b":                   "colon",
		"/srv/my lab":                "space",
	} {
		err := CheckDir(dir, shadowed)
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "--dir")) {
			t.Errorf("%s: %v, want %q", dir, err, want)
		}
	}
}

func TestTable(t *testing.T) {
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	status := control.Status{
		State: control.Degraded, Dir: "/srv/lab", Server: "https://127.0.0.1:40000", Kubeconfig: "/srv/lab/kubeconfig", Problem: "kubelet node1 is not running",
		Components: []control.Component{
			{Name: "etcd", State: control.Running, PID: 12, Started: now.Add(-90 * time.Second)},
			{Name: "kubelet", Node: "node1", State: control.Failed, Restarts: 2},
		},
		Nodes: []control.Node{{Name: "node1", State: control.NotReady, Addresses: []string{"10.200.0.11", "fd00:10:200::11"}, PodCIDRs: []string{"10.244.1.0/24"}}},
	}
	var out strings.Builder
	if err := Table(&out, status, now); err != nil {
		t.Fatal(err)
	}
	want := `The lab in /srv/lab is degraded: kubelet node1 is not running
API server https://127.0.0.1:40000
kubeconfig /srv/lab/kubeconfig

COMPONENT  NODE   STATE    PID  AGE    RESTARTS
etcd       -      running  12   1m30s  0
kubelet    node1  failed   0    -      2

NODE   STATE      ADDRESSES                    PODS
node1  not-ready  10.200.0.11 fd00:10:200::11  10.244.1.0/24
`
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	out.Reset()
	if err := Table(&out, control.Status{State: control.Down, Dir: "/srv/lab"}, now); err != nil || out.String() != "The lab in /srv/lab is down.\n" {
		t.Errorf("a lab that is down: %q, %v", out.String(), err)
	}
}
