package pce_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/ringfence/ringfence/libs/clas"
	"github.com/ringfence/ringfence/libs/eventlog"
	"github.com/ringfence/ringfence/libs/eventlog/eventlogtest"
	api "github.com/ringfence/ringfence/libs/pce"
	"github.com/ringfence/ringfence/libs/service"
	ringfencev1 "github.com/ringfence/ringfence/proto/ringfence/v1"
	pcebridge "github.com/ringfence/ringfence/services/pce-bridge"
	"github.com/ringfence/ringfence/tools/pce"
	"github.com/ringfence/ringfence/tools/pce/console"
)

// scene is a log, a console and, between console and bridge, a wire that can be made to misbehave.
type scene struct {
	*testing.T
	server  *eventlogtest.Server
	log     *eventlog.Log
	data    string
	console *pce.Console
	wire    *wire
	http    *http.Server
	address string
	user    *api.Client
	cluster api.ContainerCluster
}

// wire passes requests on to the console, unless it is told to answer by itself.
type wire struct {
	mu      sync.Mutex
	answer  func(w http.ResponseWriter, r *http.Request) bool
	console http.Handler
	open    map[*http.Request]context.CancelFunc
}

func (w *wire) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	r = r.WithContext(ctx)
	w.mu.Lock()
	answer, console := w.answer, w.console
	if w.open == nil {
		w.open = map[*http.Request]context.CancelFunc{}
	}
	w.open[r] = cancel
	w.mu.Unlock()
	if answer == nil || !answer(rw, r) {
		console.ServeHTTP(rw, r)
	}
	w.mu.Lock()
	delete(w.open, r)
	w.mu.Unlock()
	if ctx.Err() != nil {
		panic(http.ErrAbortHandler) // it was cut: nothing of an answer may arrive
	}
}

// breaks makes the wire answer requests of the bridge with a path that ends so, and cuts those that are open, such as a
// long poll; nil heals it.
func (w *wire) breaks(suffix string, answer http.HandlerFunc) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if answer != nil {
		for r, cut := range w.open {
			if strings.HasSuffix(r.URL.Path, suffix) {
				cut()
			}
		}
	}
	w.answer = nil
	if answer != nil {
		w.answer = func(rw http.ResponseWriter, r *http.Request) bool {
			user, _, _ := r.BasicAuth()
			if user == userKey || !strings.HasSuffix(r.URL.Path, suffix) {
				return false
			}
			answer(rw, r)
			return true
		}
	}
}

const userKey, userSecret = "api_scene", "0123456789abcdef"

func newScene(t *testing.T) *scene {
	t.Parallel()
	s := &scene{T: t, data: t.TempDir(), wire: &wire{}}
	s.server, s.log = eventlogtest.StartLog(t)
	s.startConsole("127.0.0.1:0")
	t.Cleanup(func() { s.stopConsole() })
	var err error
	if s.user, err = api.New(api.Config{URL: "http://" + s.address, OrgID: 1, User: userKey, Secret: userSecret}); err != nil {
		t.Fatal(err)
	}
	if s.cluster, err = s.user.CreateContainerCluster(t.Context(), api.ContainerCluster{Name: "lab"}); err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *scene) startConsole(address string) {
	s.Helper()
	var err error
	if s.console, err = pce.Open(s.Context(), pce.Data{Data: s.data, StoreMiB: 64}, zerolog.Nop()); err != nil {
		s.Fatal(err)
	}
	if _, err := s.console.EnsureKey(s.Context(), console.APIKey{ID: userKey, Secret: userSecret}); err != nil {
		s.Fatal(err)
	}
	s.wire.mu.Lock()
	s.wire.console = s.console
	s.wire.mu.Unlock()
	listener, err := net.Listen("tcp", address)
	if err != nil {
		s.Fatal(err)
	}
	s.address = listener.Addr().String()
	server := &http.Server{Handler: s.wire, ReadHeaderTimeout: time.Minute}
	s.http = server
	go func() { _ = server.Serve(listener) }()
}

func (s *scene) stopConsole() {
	_ = s.http.Close()
	s.console.Close()
}

// bridge is a running pce-bridge with what it logs.
type bridge struct {
	*exec.Cmd
	mu    sync.Mutex
	lines []string
}

// bridgeVariable makes a process of the tests a pce-bridge.
const bridgeVariable = "PCE_TEST_BRIDGE"

// runBridge is pce-bridge as its command runs it, but that it does not wait a minute and more after a failure, unless it is told to.
func runBridge() int {
	var config pcebridge.Config
	return service.Execute(context.Background(), "pce-bridge", "", &config, func(ctx context.Context) error {
		if config.PceAPIMinBackoff == time.Minute {
			config.PceAPIMinBackoff, config.PceAPIMaxBackoff = time.Second, 2*time.Second
		}
		return pcebridge.Run(ctx, config)
	}, os.Args[1:])
}

// startBridge runs a process of its own; args come after those that connect it.
func (s *scene) startBridge(args ...string) *bridge {
	s.Helper()
	b := &bridge{Cmd: exec.Command(os.Args[0], append([]string{
		"--log-url", s.server.URL(), "--http-address", "", "--pce-url", "http://" + s.address, "--root-ca-dir", s.TempDir(),
		"--cluster-id", api.ID(s.cluster.Href), "--cluster-token", s.cluster.Token, "--last-applied-policy-update-interval", "5s",
	}, args...)...)}
	b.Env = append(os.Environ(), bridgeVariable+"=1")
	stderr, err := b.StderrPipe()
	if err != nil {
		s.Fatal(err)
	}
	if err := b.Start(); err != nil {
		s.Fatal(err)
	}
	read := make(chan struct{})
	go func() {
		defer close(read)
		for lines := bufio.NewScanner(stderr); lines.Scan(); {
			b.mu.Lock()
			b.lines = append(b.lines, lines.Text())
			b.mu.Unlock()
		}
	}()
	s.Cleanup(func() {
		_ = b.Process.Kill()
		<-read
		_ = b.Wait()
		if s.Failed() {
			s.Logf("the bridge logged:\n%s", strings.Join(b.lines, "\n"))
		}
	})
	return b
}

// logged counts the lines that hold all of the texts.
func (b *bridge) logged(texts ...string) (n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, line := range b.lines {
		if !slices.ContainsFunc(texts, func(text string) bool { return !strings.Contains(line, text) }) {
			n++
		}
	}
	return n
}

// fold gives the engine over the whole log: what it refuses fails the test.
func (s *scene) fold() *clas.Engine {
	s.Helper()
	engine := clas.New()
	for entry, err := range s.log.Read(s.Context(), 0, 0) {
		if err == nil {
			err = engine.Apply(entry.Subject, entry.Sequence, entry.Fact)
		}
		if err != nil {
			s.Fatal(err)
		}
	}
	return engine
}

// inForce waits until a provisioned version is in force in the log.
func (s *scene) inForce(version int64) *clas.Engine {
	s.Helper()
	var engine *clas.Engine
	eventlogtest.Eventually(s, func() error {
		engine = s.fold()
		if got := engine.Policy().ProvisionedVersion; got != version {
			return fmt.Errorf("version %d is in force, want %d", got, version)
		}
		return nil
	})
	return engine
}

// latest gives the newest fact on a subject, nil for none or a tombstone.
func (s *scene) latest(subject string) *ringfencev1.Fact {
	s.Helper()
	var found *ringfencev1.Fact
	for entry, err := range s.log.Latest(s.Context(), subject) {
		if err != nil {
			s.Fatal(err)
		}
		if found = entry.Fact; entry.Fact.GetGone() != nil {
			found = nil
		}
	}
	return found
}

func (s *scene) eventually(what string, check func() bool) {
	s.Helper()
	eventlogtest.Eventually(s, func() error {
		if !check() {
			return errors.New(what)
		}
		return nil
	})
}

func (s *scene) must(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

// provision makes everything pending active and gives the version.
func (s *scene) provision() int64 {
	s.Helper()
	v, err := s.user.Provision(s.Context(), api.Provisioning{})
	s.must(err)
	return v.Version
}

// draftRule writes a rule set with one rule of app web to app name and gives the label of name.
func (s *scene) draftRule(name string) (api.RuleSet, api.Label) {
	s.Helper()
	label, err := s.user.CreateLabel(s.Context(), api.Label{Key: "app", Value: name})
	s.must(err)
	tcp, port := 6, 443
	set, err := s.user.CreateRuleSet(s.Context(), api.RuleSet{Name: "to " + name, Scopes: [][]api.Actor{{}}, Rules: []api.Rule{{
		Consumers: []api.Actor{{Actors: "ams"}}, Providers: []api.Actor{{Label: &api.Ref{Href: label.Href}}},
		IngressServices: []api.IngressService{{ServicePort: api.ServicePort{Proto: &tcp, Port: &port}}},
	}}})
	s.must(err)
	return set, label
}

func (s *scene) provisionSomething() int64 {
	s.Helper()
	s.draftRule(fmt.Sprintf("app%d", time.Now().UnixNano()))
	return s.provision()
}

func (s *scene) count(filter string) (n int) {
	s.Helper()
	for _, err := range s.log.Read(s.Context(), 0, 0, filter) {
		if err != nil {
			s.Fatal(err)
		}
		n++
	}
	return n
}

func fact(producer *eventlog.Producer, t *testing.T, subject string, f *ringfencev1.Fact) {
	t.Helper()
	if _, err := producer.Publish(t.Context(), eventlog.Draft{Subject: subject, Fact: f}); err != nil {
		t.Fatal(err)
	}
}

func tombstone() *ringfencev1.Fact {
	return &ringfencev1.Fact{Body: &ringfencev1.Fact_Gone{Gone: &ringfencev1.Gone{}}}
}

func deployment(name string, annotations map[string]string) *ringfencev1.Fact {
	return &ringfencev1.Fact{Body: &ringfencev1.Fact_KubernetesWorkload{KubernetesWorkload: &ringfencev1.KubernetesWorkload{
		Namespace: "shop", Kind: "Deployment", Name: name, Uid: "uid-" + name, Annotations: annotations}}}
}

// known lists what the log says that the console knows, as namespace/kind/name, sorted.
func (s *scene) known() []string {
	s.Helper()
	names := []string{}
	for entry, err := range s.log.Latest(s.Context(), "facts.pce.kubernetes_workload.>") {
		s.must(err)
		if w := entry.Fact.GetAcknowledgedWorkload(); w != nil {
			if entry.Subject != eventlog.AcknowledgedSubject(api.ID(w.GetHref())) {
				s.Errorf("%s on %s", w.GetHref(), entry.Subject)
			}
			names = append(names, w.GetNamespace()+"/"+w.GetKind()+"/"+w.GetName())
		}
	}
	slices.Sort(names)
	return names
}

// standing gives the mode of every planned pod's policy, and whether it stands in for another one.
func (s *scene) standing() map[string]string {
	s.Helper()
	policy := s.fold().Policy()
	modes := map[string]string{}
	for _, p := range policy.Policies {
		modes[p.GetId()] = strings.ToLower(strings.TrimPrefix(p.GetMode().String(), "ENFORCEMENT_MODE_"))
		if p.GetDegraded() != ringfencev1.DegradedPolicy_DEGRADED_POLICY_UNSPECIFIED {
			modes[p.GetId()] += ", degraded"
		}
	}
	got := map[string]string{}
	for _, plan := range policy.Plans {
		for _, pod := range plan.GetPods() {
			got[pod.GetName()] = modes[pod.GetPolicy()]
		}
	}
	return got
}

// workloads lists what the console knows as kind/name and the app annotation, sorted.
func (s *scene) workloads() []string {
	s.Helper()
	listed, err := s.user.KubernetesWorkloads(s.Context())
	s.must(err)
	names := []string{}
	for _, w := range listed {
		names = append(names, w.Kind+"/"+w.Name+" "+w.Metadata.Annotations["com.illumio.app"])
	}
	slices.Sort(names)
	return names
}

// applied is the version that the console was told of.
func (s *scene) applied() string {
	s.Helper()
	_, after, found := strings.Cut(s.text(s.cluster.Href), `"security_policy_applied_version":`)
	if !found {
		return ""
	}
	return after[:strings.IndexAny(after, ",}")]
}

// text is what the console answers at a path, to a person.
func (s *scene) text(path string) string {
	s.Helper()
	return string(s.ask(http.MethodGet, path, nil))
}

// post sends in and decodes the answer into out.
func (s *scene) post(path string, in, out any) {
	s.Helper()
	body, err := json.Marshal(in)
	s.must(err)
	s.must(json.Unmarshal(s.ask(http.MethodPost, path, bytes.NewReader(body)), out))
}

func (s *scene) ask(method, path string, body io.Reader) []byte {
	s.Helper()
	req, err := http.NewRequestWithContext(s.Context(), method, "http://"+s.address+"/api/v2"+path, body)
	s.must(err)
	req.SetBasicAuth(userKey, userSecret)
	resp, err := http.DefaultClient.Do(req)
	s.must(err)
	defer func() { _ = resp.Body.Close() }()
	answer, err := io.ReadAll(resp.Body)
	s.must(err)
	if resp.StatusCode > 299 {
		s.Fatalf("%s %s: %s: %s", method, path, resp.Status, answer)
	}
	return answer
}

// eventuallyWithin is for what takes longer by its nature.
func (s *scene) eventuallyWithin(patience time.Duration, what string, check func() bool) {
	s.Helper()
	for deadline := time.Now().Add(patience); !check(); time.Sleep(100 * time.Millisecond) {
		if time.Now().After(deadline) {
			s.Fatalf("not within %s: %s", patience, what)
		}
	}
}
