package pce_test

import (
	"bytes"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/ringfence/ringfence/libs/eventlog"
	api "github.com/ringfence/ringfence/libs/pce"
	ringfencev1 "github.com/ringfence/ringfence/proto/ringfence/v1"
)

var update = flag.Bool("update", false, "write the recorded exchanges anew")

// recorder notes what the bridge says to the console and what it is answered.
type recorder struct {
	mu    sync.Mutex
	lines map[string]bool
}

// names of what is another in every run, in the order in which they are looked for.
var volatile = []struct {
	pattern *regexp.Regexp
	name    string
}{
	{regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`), "UUID"},
	{regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z`), "TIME"},
	{regexp.MustCompile(`[0-9a-f]{64}`), "SECRET"},
	{regexp.MustCompile(`since=\d*&wait=\d+`), "since=CURSOR&wait=SECONDS"},
	{regexp.MustCompile(`"cursor":"\d+"`), `"cursor":"CURSOR"`},
	{regexp.MustCompile(`"id":"[^"]*"`), `"id":"ID"`},
	{regexp.MustCompile(`"(pce-bridge)":"[^"]*"`), `"$1":"VERSION"`},
}

func normal(text string) string {
	for _, v := range volatile {
		text = v.pattern.ReplaceAllString(text, v.name)
	}
	return text
}

func (r *recorder) answer(console http.Handler) func(http.ResponseWriter, *http.Request) bool {
	return func(w http.ResponseWriter, req *http.Request) bool {
		if user, _, _ := req.BasicAuth(); user == userKey || strings.HasSuffix(req.URL.Path, "/changes") {
			return false
		}
		body, err := io.ReadAll(req.Body)
		if err != nil {
			return false
		}
		req.Body = io.NopCloser(bytes.NewReader(body))
		answer := httptest.NewRecorder()
		console.ServeHTTP(answer, req)
		line := fmt.Sprintf("%s %s", req.Method, strings.TrimPrefix(req.URL.RequestURI(), "/api/v2"))
		if len(body) > 0 {
			line += " " + string(body)
		}
		line += fmt.Sprintf(" -> %d", answer.Code)
		if req.Method != http.MethodGet && answer.Body.Len() > 0 {
			line += " " + answer.Body.String()
		}
		r.mu.Lock()
		r.lines[normal(line)] = true
		r.mu.Unlock()
		for key, values := range answer.Header() {
			w.Header()[key] = values
		}
		w.WriteHeader(answer.Code)
		_, _ = w.Write(answer.Body.Bytes()) // the bridge hung up: nothing to do
		return true
	}
}

// The exchange of a bridge that meets a console for the first time, as it was recorded: what is said of a small cluster, word for
// word. A change of the protocol shows here, and is to be made on purpose.
func TestRecordedExchange(t *testing.T) {
	s := newScene(t)
	s.manage()
	code, _ := s.pairingKey()
	r := &recorder{lines: map[string]bool{}}
	s.wire.mu.Lock()
	s.wire.answer = r.answer(s.console)
	s.wire.mu.Unlock()
	b := s.startBridge("--cluster-code", code)
	s.stock(s.log.Producer("watcher"))
	s.must(eventlog.PublishStatus(s.server.Conn("enforcer"), &ringfencev1.NodeStatus{Node: "n1", ProvisionedVersion: 1, EnforcerVersion: "v9", ReportedAt: timestamppb.Now(), Pods: []*ringfencev1.PodStatus{
		{Uid: "uid-web-1", Namespace: "shop", Name: "web-1", State: ringfencev1.PodState_POD_STATE_ENFORCED},
		{Uid: "uid-web-2", Namespace: "shop", Name: "web-2", State: ringfencev1.PodState_POD_STATE_ENFORCED}}}))
	s.eventuallyWithin(30*time.Second, "all is told", func() bool {
		label, found, err := s.user.FindLabel(t.Context(), "role", "front")
		s.must(err)
		workloads, err := s.user.KubernetesWorkloads(t.Context())
		s.must(err)
		return found && s.applied() == "1" && slices.ContainsFunc(workloads, func(w api.KubernetesWorkload) bool {
			return w.Name == "web" && w.SecurityPolicySyncState == api.SyncApplied && slices.ContainsFunc(w.Labels, func(l api.Label) bool { return l.Href == label.Href })
		})
	})
	s.must(b.Process.Kill())
	r.mu.Lock()
	defer r.mu.Unlock()
	var got []string
	for line := range r.lines {
		// Whether a state between is seen, and whether a list was asked for once more, is a matter of time.
		if !strings.Contains(line, "/heartbeat ") && !strings.Contains(line, "traffic_flows") {
			got = append(got, line)
		}
	}
	slices.Sort(got)
	const file = "testdata/exchange.golden"
	if *update {
		s.must(os.MkdirAll("testdata", 0o755))
		s.must(os.WriteFile(file, []byte(strings.Join(got, "\n")+"\n"), 0o644))
	}
	want, err := os.ReadFile(file)
	s.must(err)
	if diff := cmp.Diff(strings.Split(strings.TrimSpace(string(want)), "\n"), got); diff != "" {
		t.Errorf("the exchange is another (-want +got); go test -update writes it anew:\n%s", diff)
	}
}
