package supervisor

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ringfence/ringfence/tools/lab/internal/config"
	"github.com/ringfence/ringfence/tools/lab/internal/control"
	"github.com/ringfence/ringfence/tools/lab/internal/topology"
)

const nodeList = `{"items":[
 {"metadata":{"name":"node1"},"spec":{"podCIDRs":["10.244.1.0/24","fd00:10:244:1::/64"]},
  "status":{"addresses":[{"type":"InternalIP","address":"10.200.0.11"},{"type":"Hostname","address":"node1"}],
            "conditions":[{"type":"MemoryPressure","status":"False"},{"type":"Ready","status":"True"}]}},
 {"metadata":{"name":"node2"},"status":{"conditions":[{"type":"Ready","status":"Unknown"}]}}]}`

func TestParseNodes(t *testing.T) {
	got, err := parseNodes([]byte(nodeList))
	if err != nil {
		t.Fatal(err)
	}
	want := []control.Node{
		{Name: "node1", State: control.Ready, Addresses: []string{"10.200.0.11"}, PodCIDRs: []string{"10.244.1.0/24", "fd00:10:244:1::/64"}},
		{Name: "node2", State: control.NotReady},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if _, err := parseNodes([]byte("<html>")); err == nil {
		t.Error("HTML was read as a list of nodes")
	}
}

func FuzzParseNodes(f *testing.F) {
	for _, seed := range []string{nodeList, `{}`, `{"items":[{}]}`, `{"items":null}`, `[]`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, answer []byte) {
		nodes, err := parseNodes(answer)
		for _, n := range nodes {
			if err != nil || n.State != control.Ready && n.State != control.NotReady {
				t.Errorf("node %v with error %v", n, err)
			}
		}
	})
}

func TestAllReady(t *testing.T) {
	nodes, err := topology.Nodes(2)
	if err != nil {
		t.Fatal(err)
	}
	s := &Supervisor{cluster: config.Cluster{Nodes: nodes}}
	ready := func(name string) control.Node { return control.Node{Name: name, State: control.Ready} }
	for _, c := range []struct {
		nodes []control.Node
		want  string
	}{
		{[]control.Node{ready("node2"), ready("node1")}, ""},
		{[]control.Node{ready("node1"), ready("kwok-1")}, "node2 has not registered"},
		{[]control.Node{ready("node1"), {Name: "node2", State: control.NotReady}}, "node2 is not Ready"},
	} {
		got := ""
		if err := s.allReady(c.nodes); err != nil {
			got = err.Error()
		}
		if got != c.want {
			t.Errorf("%v: %q, want %q", c.nodes, got, c.want)
		}
	}
}

// TestKube checks what the API server is asked, and that its refusals keep its own words.
func TestKube(t *testing.T) {
	var asked []string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		asked = append(asked, r.Method+" "+r.URL.String()+" "+r.Header.Get("Content-Type")+" "+string(body))
		switch r.URL.Path {
		case "/api/v1/nodes":
			w.WriteHeader(http.StatusConflict)
		case "/api/v1/refused":
			w.WriteHeader(http.StatusForbidden)
			_, _ = io.WriteString(w, `{"kind":"Status","message":"not you"}`)
		}
	}))
	defer server.Close()
	k := &kube{server: server.URL, client: server.Client()}
	if err := k.apply(t.Context(), config.Object{Path: "/api/v1/x", YAML: "kind: X"}); err != nil {
		t.Error(err)
	}
	if err := k.createNode(t.Context(), `{"kind":"Node"}`); err != nil {
		t.Errorf("a node that is there already: %v", err)
	}
	_, err := k.get(t.Context(), "/api/v1/refused")
	if err == nil || err.Error() != "GET /api/v1/refused: 403 not you" {
		t.Errorf("a refusal: %v", err)
	}
	want := []string{
		"PATCH /api/v1/x?fieldManager=ringfence-lab&force=true application/apply-patch+yaml kind: X",
		`POST /api/v1/nodes application/json {"kind":"Node"}`,
		"GET /api/v1/refused application/json ",
	}
	if diff := cmp.Diff(want, asked); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestUntil(t *testing.T) {
	calls := 0
	err := until(t.Context(), "third time", time.Minute, func(context.Context) error {
		if calls++; calls < 3 {
			return errors.New("not yet")
		}
		return nil
	})
	if err != nil || calls != 3 {
		t.Errorf("%v after %d calls", err, calls)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err = until(ctx, "etcd", time.Minute, func(context.Context) error { return errors.New("connection refused") })
	if err == nil || !strings.Contains(err.Error(), "etcd") || !strings.Contains(err.Error(), "connection refused") {
		t.Errorf("error %v; want one that says what was waited for and what was wrong", err)
	}
}

// TestComponentRestarts runs a program that ends at once: it must come back, be counted, and keep its log.
func TestComponentRestarts(t *testing.T) {
	c := &component{name: "kubelet", node: "node1", argv: []string{"/bin/echo", "last words"}, log: filepath.Join(t.TempDir(), "log")}
	if err := c.start(t.Context()); err != nil {
		t.Fatal(err)
	}
	err := until(t.Context(), "restart", time.Minute, func(context.Context) error {
		log, err := os.ReadFile(c.log)
		if err == nil && strings.Count(string(log), "last words\n") < 2 {
			return errors.New("one start")
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if s := c.status(); s.Restarts < 1 || s.Name != "kubelet" || s.Node != "node1" {
		t.Errorf("status %+v", s)
	}
	if got := c.lastWords(); got != "last words" {
		t.Errorf("last words %q", got)
	}
	missing := &component{name: "etcd", argv: []string{"/no/such/program"}, log: filepath.Join(t.TempDir(), "log")}
	if err := missing.start(t.Context()); err == nil || !strings.Contains(err.Error(), "start etcd") {
		t.Errorf("a program that is not there: %v", err)
	}
}
