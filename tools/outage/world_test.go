//go:build e2e

package outage

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/ringfence/ringfence/libs/eventlog"
	api "github.com/ringfence/ringfence/libs/pce"
	ringfencev1 "github.com/ringfence/ringfence/proto/ringfence/v1"
	"github.com/ringfence/ringfence/tools/pce"
	"github.com/ringfence/ringfence/tools/pce/console"
)

// world is everything but a cluster: the commands in processes of their own, and a console.
type world struct {
	t          *testing.T
	bin        string
	listen     string
	dir        string // the log's folder
	data       string // the console's
	consoleAt  string
	console    *pce.Console
	http       *http.Server
	cluster    api.ContainerCluster
	version    int64 // that was provisioned
	store      *exec.Cmd
	output     map[string]*output
	connection *nats.Conn

	mu      sync.Mutex
	knows   map[string]*ringfencev1.Fact // of the cluster, by subject
	changed chan struct{}
	round   int
}

// output keeps what a process says.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

const userKey, userSecret = "api_outage", "0123456789abcdef"

// newWorld builds the commands and starts a console that lets everybody reach everybody on one port, in full.
func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{
		t: t, bin: t.TempDir(), listen: freeAddress(t), dir: filepath.Join(t.TempDir(), "log"), data: t.TempDir(), consoleAt: freeAddress(t),
		output: map[string]*output{}, knows: cluster(), changed: make(chan struct{}, 1),
	}
	t.Cleanup(func() {
		for name, o := range w.output {
			if t.Failed() {
				t.Logf("%s said:\n%s", name, o)
			}
		}
	})
	for _, command := range []string{"services/policy-store/cmd/policy-store", "services/pce-bridge/cmd/pce-bridge", "tools/ringfence/cmd/ringfence"} {
		out, err := exec.CommandContext(t.Context(), "go", "build", "-o", filepath.Join(w.bin, path.Base(command)), "github.com/ringfence/ringfence/"+command).CombinedOutput()
		if err != nil {
			t.Fatalf("build %s: %v\n%s", command, err, out)
		}
	}
	w.startConsole()
	t.Cleanup(w.stopConsole)
	w.writePolicy()
	return w
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func (w *world) startConsole() {
	w.t.Helper()
	var err error
	if w.console, err = pce.Open(w.t.Context(), pce.Data{Data: w.data, StoreMiB: 64}, zerolog.Nop()); err != nil {
		w.t.Fatal(err)
	}
	if _, err := w.console.EnsureKey(w.t.Context(), console.APIKey{ID: userKey, Secret: userSecret}); err != nil {
		w.t.Fatal(err)
	}
	listener, err := net.Listen("tcp", w.consoleAt)
	if err != nil {
		w.t.Fatal(err)
	}
	server := &http.Server{Handler: w.console, ReadHeaderTimeout: time.Minute}
	w.http = server
	go func() { _ = server.Serve(listener) }() // it ends with Close
}

func (w *world) stopConsole() {
	_ = w.http.Close() // long polls are cut, which is what is wanted
	w.console.Close()
}

// writePolicy provisions one rule, and manages all namespaces in full.
func (w *world) writePolicy() {
	w.t.Helper()
	ctx := w.t.Context()
	must := func(err error) {
		w.t.Helper()
		if err != nil {
			w.t.Fatal(err)
		}
	}
	user, err := api.New(api.Config{URL: "http://" + w.consoleAt, OrgID: 1, User: userKey, Secret: userSecret})
	must(err)
	w.cluster, err = user.CreateContainerCluster(ctx, api.ContainerCluster{Name: "outage"})
	must(err)
	profiles, err := user.Profiles(ctx, w.cluster.Href)
	must(err)
	must(user.Update(ctx, profiles[0].Href, map[string]any{"managed": true, "enforcement_mode": "full"}))
	tcp, port := 6, 443
	_, err = user.CreateRuleSet(ctx, api.RuleSet{Name: "all", Scopes: [][]api.Actor{{}}, Rules: []api.Rule{{
		Consumers: []api.Actor{{Actors: "ams"}}, Providers: []api.Actor{{Actors: "ams"}},
		IngressServices: []api.IngressService{{ServicePort: api.ServicePort{Proto: &tcp, Port: &port}}},
	}}})
	must(err)
	provisioned, err := user.Provision(ctx, api.Provisioning{})
	must(err)
	w.version = provisioned.Version
}

// start starts a command that ends with the test.
func (w *world) start(name string, args ...string) *exec.Cmd {
	w.t.Helper()
	if w.output[name] == nil {
		w.output[name] = &output{}
	}
	cmd := exec.Command(filepath.Join(w.bin, name), args...)
	cmd.Stdout, cmd.Stderr = w.output[name], w.output[name]
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { end(cmd) })
	return cmd
}

func end(cmd *exec.Cmd) {
	if cmd.ProcessState == nil {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // says that it was killed
	}
}

// command runs a command to its end.
func (w *world) command(name string, args ...string) []byte {
	w.t.Helper()
	var said bytes.Buffer
	cmd := exec.CommandContext(w.t.Context(), filepath.Join(w.bin, name), args...)
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		w.t.Fatalf("%s %v: %v: %s", name, args, err, &said)
	}
	return out
}

func (w *world) startStore() {
	w.store = w.start("policy-store", "--listen", w.listen, "--store-dir", w.dir, "--storage-gi", "1", "--http-address", "")
}

func (w *world) killStore() { end(w.store) }

func (w *world) startBridge() {
	w.start("pce-bridge", "--log-url", w.url(), "--http-address", "", "--pce-url", "http://"+w.consoleAt, "--root-ca-dir", w.t.TempDir(),
		"--cluster-id", api.ID(w.cluster.Href), "--cluster-token", w.cluster.Token)
}

func (w *world) url() string { return "nats://" + w.listen }

func (w *world) connect(name string) *nats.Conn {
	w.t.Helper()
	nc, err := eventlog.Dialer{URL: w.url(), Name: name, Log: zerolog.Nop()}.Dial(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(nc.Close)
	return nc
}

// log opens the log as it is now.
func (w *world) log() *eventlog.Log {
	w.t.Helper()
	if w.connection == nil {
		w.connection = w.connect("operator")
	}
	l, err := eventlog.Open(w.t.Context(), w.connection)
	if err != nil {
		w.t.Fatal(err)
	}
	return l
}

func (w *world) incarnation() string { w.t.Helper(); return w.log().Incarnation() }

func nodeName(n int) string { return fmt.Sprintf("node-%d", n) }

// cluster is what a watcher would see.
func cluster() map[string]*ringfencev1.Fact {
	facts := map[string]*ringfencev1.Fact{
		eventlog.KubernetesSubject("namespace", "", "shop"): {Body: &ringfencev1.Fact_Namespace{Namespace: &ringfencev1.Namespace{Name: "shop", Uid: "uid-shop"}}},
	}
	for n := range nodes {
		facts[eventlog.KubernetesSubject("node", "", nodeName(n))] = &ringfencev1.Fact{Body: &ringfencev1.Fact_Node{
			Node: &ringfencev1.Node{Name: nodeName(n), Uid: "uid-" + nodeName(n), Addresses: []string{fmt.Sprintf("192.0.2.%d", n+1)}},
		}}
		for i := range pods {
			subject, fact := podOf(n, i, 0)
			facts[subject] = fact
		}
	}
	return facts
}

// podOf is a pod of a node, whose fact differs from round to round in what policy does not need.
func podOf(n, i, round int) (subject string, fact *ringfencev1.Fact) {
	name := fmt.Sprintf("web-%d-%d", n, i)
	return eventlog.KubernetesSubject("pod", "shop", name), &ringfencev1.Fact{Body: &ringfencev1.Fact_Pod{Pod: &ringfencev1.Pod{
		Namespace: "shop", Name: name, Uid: "uid-" + name, Node: nodeName(n), Phase: ringfencev1.PodPhase_POD_PHASE_RUNNING, Ready: round%2 == 0,
		Addresses: []string{fmt.Sprintf("10.0.%d.%d", n, i+1)}, ResourceVersion: fmt.Sprint(round),
	}}}
}

// changeAPod is what a cluster does all the time.
func (w *world) changeAPod() {
	w.mu.Lock()
	w.round++
	subject, fact := podOf(w.round%nodes, w.round%pods, w.round)
	w.knows[subject] = fact
	w.mu.Unlock()
	select {
	case w.changed <- struct{}{}:
	default:
	}
}

// startWatcher writes what the cluster is, as the watcher does: the difference to what the log holds, in each incarnation, and then
// that it is in sync. The watcher itself needs a cluster.
func (w *world) startWatcher() {
	nc := w.connect("watcher")
	w.background(func(ctx context.Context) {
		for ctx.Err() == nil {
			if log, err := eventlog.Open(ctx, nc); err == nil {
				_ = w.watch(ctx, log) // it is opened again
			}
			pause(ctx, 100*time.Millisecond)
		}
	})
}

// background runs f until the test ends.
func (w *world) background(f func(context.Context)) {
	ctx, cancel := context.WithCancel(zerolog.Nop().WithContext(w.t.Context()))
	done := make(chan struct{})
	go func() { defer close(done); f(ctx) }()
	w.t.Cleanup(func() { cancel(); <-done })
}

func (w *world) watch(ctx context.Context, log *eventlog.Log) error {
	ctx, cancel := context.WithCancelCause(ctx)
	go func() { cancel(log.Watch(ctx)) }()
	defer cancel(nil)
	producer, err := log.Lead(ctx, "watcher", "outage")
	if err != nil {
		return err
	}
	held := map[string]*ringfencev1.Fact{}
	for e, err := range log.Latest(ctx, "facts.k8s.>") {
		if err != nil {
			return err
		}
		held[e.Subject] = &ringfencev1.Fact{Body: e.Fact.GetBody()}
	}
	for said := false; ; {
		var drafts []eventlog.Draft
		w.mu.Lock()
		for subject, fact := range w.knows {
			if !proto.Equal(held[subject], fact) {
				drafts = append(drafts, eventlog.Draft{Subject: subject, Fact: fact})
				held[subject] = fact
			}
		}
		w.mu.Unlock()
		if err := producer.PublishAll(ctx, drafts); err != nil {
			return err
		}
		if !said {
			if err := producer.Synced(ctx); err != nil {
				return err
			}
			said = true
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-w.changed:
		}
	}
}

// state is what an enforcer was given, in short.
type state struct {
	content     string // a digest of everything that becomes rules
	incarnation string
	sequence    uint64
}

// enforcer follows policy as the enforcers do, and reports as they do what it was given.
type enforcer struct {
	t  *testing.T
	mu sync.Mutex
	is []state
}

func (w *world) startEnforcers(n int) []*enforcer {
	w.t.Helper()
	all := make([]*enforcer, n)
	for i := range all {
		e, nc, given := &enforcer{t: w.t}, w.connect(eventlog.EnforcerName(nodeName(i))), make(chan eventlog.NodePolicy, 1)
		all[i] = e
		w.background(func(ctx context.Context) {
			_ = eventlog.Follow(ctx, nc, nodeName(i), func(ctx context.Context, p eventlog.NodePolicy) error {
				e.take(p)
				select {
				case given <- p:
				case <-ctx.Done():
				}
				return nil
			})
		})
		w.background(func(ctx context.Context) { report(ctx, nc, nodeName(i), given) })
	}
	return all
}

// report sends what is in force after every change, and from time to time.
func report(ctx context.Context, nc *nats.Conn, node string, given <-chan eventlog.NodePolicy) {
	var now eventlog.NodePolicy
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
			return
		case now = <-given:
		case <-time.After(2 * time.Second):
		}
		_ = eventlog.PublishStatus(nc, &ringfencev1.NodeStatus{ // the next one says it all again
			Node: node, Version: now.Version, Window: now.Window, ProvisionedVersion: now.ProvisionedVersion, ReportedAt: timestamppb.Now(),
		})
	}
}

func (e *enforcer) take(p eventlog.NodePolicy) {
	s := state{incarnation: p.Version.GetIncarnation(), sequence: p.Version.GetSequence()}
	hash := sha256.New()
	add := func(m proto.Message) {
		data, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
		if err != nil {
			e.t.Error(err)
		}
		hash.Write(data)
	}
	for _, pod := range p.Plan.GetPods() {
		add(pod)
		add(p.Policies[pod.GetPolicy()])
		for _, rule := range append(p.Policies[pod.GetPolicy()].GetInbound(), p.Policies[pod.GetPolicy()].GetOutbound()...) {
			for _, term := range rule.GetTerms() {
				add(p.Sets[term.GetAddressSet()])
			}
		}
	}
	add(p.Namespaces)
	s.content = hex.EncodeToString(hash.Sum(nil))
	e.mu.Lock()
	defer e.mu.Unlock()
	e.is = append(e.is, s)
}

// states are all that were delivered.
func (e *enforcer) states() []state {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.is)
}

// reaches waits for a state as of a fact or a later one, and gives its content.
func (e *enforcer) reaches(sequence uint64) (content string) {
	e.t.Helper()
	within(e.t, time.Minute, func() error {
		states := e.states()
		if len(states) == 0 || states[len(states)-1].sequence < sequence {
			return fmt.Errorf("%d states, the last is not as of fact %d", len(states), sequence)
		}
		content = states[len(states)-1].content
		return nil
	})
	return content
}

// first waits for the first state of an incarnation.
func (e *enforcer) first(incarnation string) (s state) {
	e.t.Helper()
	within(e.t, 2*time.Minute, func() error {
		states := e.states()
		at := slices.IndexFunc(states, func(s state) bool { return s.incarnation == incarnation })
		if at < 0 {
			return errors.New("nothing of the new incarnation was delivered")
		}
		s = states[at]
		return nil
	})
	return s
}

// published waits until a policy is published that all of the cluster, and the version that was provisioned, are in, and gives the
// fact that it follows.
func (w *world) published() (sequence uint64) {
	w.t.Helper()
	within(w.t, time.Minute, func() error {
		head, err := w.log().Head(w.t.Context())
		if err != nil {
			return err
		}
		if !eventlog.InSync(head.GetSynced()) || head.GetProvisionedVersion() != w.version {
			return fmt.Errorf("in sync are %v, version %d of %d is provisioned", head.GetSynced(), head.GetProvisionedVersion(), w.version)
		}
		sequence = head.GetVersion().GetSequence()
		return nil
	})
	return sequence
}
