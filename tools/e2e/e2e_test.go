//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/nats-io/nats.go"
	"google.golang.org/protobuf/proto"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/ringfence/ringfence/libs/eventlog"
	"github.com/ringfence/ringfence/tools/demo"
	"github.com/ringfence/ringfence/tools/ringfence"
)

const root = "../.."

// TestMain takes the lab down again where these tests are what started it.
func TestMain(m *testing.M) {
	started := os.Getenv("KUBECONFIG") == "" && exec.Command(filepath.Join(root, "out", "bin", "lab"), "status").Run() != nil
	code := m.Run()
	if started {
		down := exec.Command(filepath.Join(root, "out", "bin", "lab"), "down")
		down.Stdout, down.Stderr = os.Stdout, os.Stderr
		if err := down.Run(); err != nil {
			fmt.Fprintln(os.Stderr, "the lab was not taken down:", err)
			code = 1
		}
	}
	os.Exit(code)
}

func options(t *testing.T) demo.Options {
	t.Helper()
	abs, err := filepath.Abs(root)
	if err != nil {
		t.Fatal(err)
	}
	return demo.Options{Root: abs, Kubeconfig: os.Getenv("KUBECONFIG"), Registry: os.Getenv("IMAGE_REGISTRY"), Out: os.Stdout}
}

// TestWithoutEnforcement runs the same story with the programming of tables switched off: every packet then gets
// through, so the story must fail. It shows that the packets are real and the tables are what stops them.
func TestWithoutEnforcement(t *testing.T) {
	o := options(t)
	o.Unenforced = true
	d, err := demo.Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.Close)
	result, err := d.Run(t.Context())
	if err == nil || result.OK {
		t.Fatal("the demo succeeds although nothing is enforced")
	}
	t.Logf("the demo fails as it must: %.200s", err)
	observed := 0
	for _, observation := range result.Matrix {
		if observation.Phase == demo.PhaseAfter {
			observed++
			if observation.Observed != demo.Connects {
				t.Errorf("%s to %s port %d via %s is blocked without enforcement: %s", observation.From, observation.To, observation.Port, observation.Via, observation.Detail)
			}
		}
	}
	if observed == 0 {
		t.Fatalf("the story ended before the probes of phase %s: %v", demo.PhaseAfter, err)
	}
}

// TestStory installs once, tells the demo's story, and then breaks things one after the other. The parts rest on each
// other in this order, as in a cluster's life.
func TestStory(t *testing.T) {
	ctx := t.Context()
	o := options(t)
	d, err := demo.Open(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.Close)
	result, err := d.Run(ctx)
	result.WriteTable(os.Stdout)
	if err != nil {
		t.Fatal(err)
	}
	if !result.OK {
		t.Fatal("the demo's result is not ok")
	}
	if err := result.Write(filepath.Join(o.Root, "out", "demo.json")); err != nil {
		t.Fatal(err)
	}
	file := demo.ExportFile(o.Root)
	t.Run("an edited fact changes the digest", func(t *testing.T) { editedFact(t, d, file) })
	t.Run("an independent checker agrees with the packets", func(t *testing.T) { checker(t, d, file, result.Matrix) })
	t.Run("nobody without a token or TLS gets into the log", func(t *testing.T) { strangers(t, d) })
	for _, service := range []string{"watcher", "pce-bridge", "enforcer", "policy-store"} {
		t.Run("restart of "+service, func(t *testing.T) { restart(t, d, service) })
	}
	t.Run("the log's disk is lost while the console is stopped", func(t *testing.T) { lostLog(t, d) })
	t.Run("the console knows the workloads and their labels", func(t *testing.T) { reported(t, d) })
	t.Run("degraded mode", func(t *testing.T) { degraded(t, d) })
	t.Run("cluster modes", func(t *testing.T) { clusterModes(t, d) })
}

// reported wants the console to know the sample's workloads, with the labels that the policy gives them.
func reported(t *testing.T, d *demo.Demo) {
	workloads, err := d.Reported(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	found := map[string][]string{}
	for _, w := range workloads {
		var labels []string
		for _, l := range w.Labels {
			labels = append(labels, l.Key+"="+l.Value)
		}
		slices.Sort(labels)
		found[w.Kind+" "+w.Namespace+"/"+w.Name] = labels
	}
	for workload, want := range map[string][]string{
		"Deployment shop/web":        {"app=shop", "env=production", "role=web"},
		"Deployment shop/database":   {"app=shop", "env=production", "role=database"},
		"Deployment payments/ledger": {"app=payments", "env=production", "role=ledger"},
	} {
		if !slices.Equal(found[workload], want) {
			t.Errorf("the console has %s with labels %v, want %v", workload, found[workload], want)
		}
	}
}

// editedFact changes the address of one pod in the exported log and replays it.
func editedFact(t *testing.T, d *demo.Demo, file string) {
	log, err := ringfence.OpenFile(file)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	var facts []eventlog.Entry
	for e, err := range log.Read(t.Context(), 0, 0) {
		if err != nil {
			t.Fatal(err)
		}
		facts = append(facts, e)
	}
	edited := lastPodFact(t, facts, "facts.k8s.pod.shop.api-")
	facts[edited].Fact = proto.CloneOf(facts[edited].Fact)
	facts[edited].Fact.GetPod().Addresses = []string{"203.0.113.99"}
	var forged bytes.Buffer
	write := func(yield func(eventlog.Entry, error) bool) {
		for _, e := range facts {
			if !yield(e, nil) {
				return
			}
		}
	}
	if _, err := ringfence.Write(&forged, log.Header, write); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(t.TempDir(), "forged.rflog")
	if err := os.WriteFile(name, forged.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	honest, err := d.Replay(t.Context(), file, 0)
	if err != nil {
		t.Fatal(err)
	}
	other, err := d.Replay(t.Context(), name, 0)
	if err != nil {
		t.Fatal(err)
	}
	if honest == other {
		t.Errorf("the digest is %s whether or not a pod has another address", honest)
	}
}

// lastPodFact finds the newest fact of a pod that has an address and was not gone later.
func lastPodFact(t *testing.T, facts []eventlog.Entry, prefix string) int {
	t.Helper()
	seen := map[string]bool{}
	for i, e := range slices.Backward(facts) {
		if !strings.HasPrefix(e.Subject, prefix) || seen[e.Subject] {
			continue
		}
		seen[e.Subject] = true
		if len(e.Fact.GetPod().GetAddresses()) > 0 {
			return i
		}
	}
	t.Fatalf("the exported log has no pod %s with an address", prefix)
	return 0
}

// checker asks a program that shares no code with the engine for the reachability that the exported facts mean, and
// compares it with what the packets did at the end of the story.
func checker(t *testing.T, d *demo.Demo, file string, matrix []demo.Observation) {
	type pair struct {
		From    string `json:"from"`
		To      string `json:"to"`
		Port    int    `json:"port"`
		Allowed bool   `json:"allowed"`
	}
	var asked []pair
	var observed []demo.Outcome
	for _, o := range matrix {
		if o.Phase == demo.PhaseStopped && o.Via != demo.ViaService {
			asked = append(asked, pair{From: demo.Key(o.From), To: demo.Key(o.To), Port: o.Port})
			observed = append(observed, o.Observed)
		}
	}
	if len(asked) == 0 {
		t.Fatal("no observations to compare")
	}
	question, err := json.Marshal(asked)
	if err != nil {
		t.Fatal(err)
	}
	facts, err := d.Ringfence(t.Context(), 0, "facts", "--file", file)
	if err != nil {
		t.Fatal(err)
	}
	command := exec.CommandContext(t.Context(), "go", "run", "./tools/reachability", string(question))
	command.Dir, command.Stdin, command.Stderr = root, bytes.NewReader(facts), os.Stderr
	answer, err := command.Output()
	if err != nil {
		t.Fatalf("checker: %v", err)
	}
	var answered []pair
	if err := json.Unmarshal(answer, &answered); err != nil || len(answered) != len(asked) {
		t.Fatalf("checker answered %d of %d: %v", len(answered), len(asked), err)
	}
	for i, p := range answered {
		want := demo.Blocked
		if p.Allowed {
			want = demo.Connects
		}
		if observed[i] != want {
			t.Errorf("%s to %s port %d: the checker says %s, the packets %s", p.From, p.To, p.Port, want, observed[i])
		}
	}
	t.Logf("%d verdicts agree", len(answered))
}

// strangers tries the log of an installation with the chart's own values: in the clear, without proof of who asks, and with a
// forged token.
func strangers(t *testing.T, d *demo.Demo) {
	address, err := d.Cluster.Forward(t.Context(), demo.Namespace, demo.Selector("policy-store"), ringfence.StorePort)
	if err != nil {
		t.Fatal(err)
	}
	if said := inTheClear(t, address); strings.Contains(said, "PONG") || !strings.Contains(said, `"tls_required":true`) {
		t.Errorf("in the clear the log says %q", said)
	}
	unverified := nats.Secure(&tls.Config{InsecureSkipVerify: true}) //nolint:gosec // it is the stranger who does not care
	for name, token := range map[string]string{"without a token": "", "with a forged token": "eyJhbGciOiJub25lIn0.e30."} {
		refusal := ask(t, func(context.Context) (error, error) {
			nc, err := nats.Connect("nats://"+address, unverified, nats.Token(token))
			if err == nil {
				nc.Close()
			}
			if errors.Is(err, io.EOF) { // the port-forward ended before it brought the answer
				return nil, err
			}
			return err, nil
		})
		if !errors.Is(refusal, nats.ErrAuthorization) {
			t.Errorf("%s: %v, want %v", name, refusal, nats.ErrAuthorization)
		}
	}
}

// inTheClear gives what the log says to who asks without TLS.
func inTheClear(t *testing.T, address string) string {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if _, err := conn.Write([]byte("CONNECT {\"verbose\":false}\r\nPING\r\n")); err != nil {
		t.Fatal(err)
	}
	_ = conn.SetReadDeadline(time.Now().Add(5 * time.Second))
	said, _ := io.ReadAll(conn) // until it hangs up
	return string(said)
}

// restart kills a service and wants nothing lost and no verdict changed, while it is away and after.
func restart(t *testing.T, d *demo.Demo, service string) {
	ctx := t.Context()
	incarnation, before := d.Log.Incarnation(), lastSequence(t, d)
	kill(t, d, service)
	probe(t, d, "while "+service+" restarts")
	waitReady(t, d, service)
	probe(t, d, "after the restart of "+service)
	if after := lastSequence(t, d); after < before {
		t.Errorf("the log ended at %d and now ends at %d", before, after)
	}
	head := ask(t, d.Log.Head)
	if head.GetVersion().GetIncarnation() != incarnation {
		t.Errorf("the log is a new incarnation: its disk was lost with a mere restart")
	}
	if err := d.WaitEnforced(ctx, head.GetVersion().GetSequence()); err != nil {
		t.Error(err)
	}
}

// kill ends a service's process: the policy store's container, which keeps its volume, or the pods of the others.
func kill(t *testing.T, d *demo.Demo, service string) {
	t.Helper()
	if service == "policy-store" {
		if err := d.KillProcess(t.Context(), "/policy-store"); err != nil {
			t.Fatal(err)
		}
		return
	}
	deletePods(t, d, service)
}

func deletePods(t *testing.T, d *demo.Demo, service string) {
	t.Helper()
	now := int64(0)
	err := d.Cluster.Client.CoreV1().Pods(demo.Namespace).DeleteCollection(t.Context(),
		metav1.DeleteOptions{GracePeriodSeconds: &now}, metav1.ListOptions{LabelSelector: demo.Selector(service)})
	if err != nil {
		t.Fatal(err)
	}
}

func waitReady(t *testing.T, d *demo.Demo, service string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	count := 1
	if service == "enforcer" {
		count = d.NodeCount()
	}
	if _, err := d.Cluster.WaitPods(ctx, demo.Namespace, demo.Selector(service), count); err != nil {
		t.Fatal(err)
	}
}

func lastSequence(t *testing.T, d *demo.Demo) uint64 {
	t.Helper()
	return ask(t, d.Log.LastSequence)
}

// ask puts a question, and again for a minute where it is not answered as it should be: a killed policy-store's pod is called
// ready until the kubelet has seen that the process is gone, the way to it through the API server is found again a little
// later still, and rights take a moment to hold, or not to.
func ask[T any](t *testing.T, question func(context.Context) (T, error)) T {
	t.Helper()
	answer, err := backoff.Retry(t.Context(), func() (T, error) { return question(t.Context()) },
		backoff.WithBackOff(backoff.NewConstantBackOff(200*time.Millisecond)), backoff.WithMaxElapsedTime(time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	return answer
}

// probe tries every pair and wants what the sample's rules say.
func probe(t *testing.T, d *demo.Demo, phase string) {
	t.Helper()
	observations, err := d.Probe(t.Context(), phase, demo.ByTheRules)
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range observations {
		if !o.OK() {
			t.Errorf("%s: %s to %s port %d via %s: expected %s, observed %s (%s)", phase, o.From, o.To, o.Port, o.Via, o.Expected, o.Observed, o.Detail)
		}
	}
}

// lostLog deletes the policy store with its volume while the console is away: for two minutes no verdict changes. With
// the console back the new incarnation becomes complete.
func lostLog(t *testing.T, d *demo.Demo) {
	ctx := t.Context()
	old := d.Log.Incarnation()
	deletePods(t, d, "policy-store")
	rounds := 0
	for end := time.Now().Add(2 * time.Minute); time.Now().Before(end); rounds++ {
		probe(t, d, fmt.Sprintf("%d rounds after the loss", rounds))
		if t.Failed() {
			return
		}
	}
	t.Logf("%d rounds of probes in two minutes, no verdict changed", rounds)
	waitReady(t, d, "policy-store")
	if err := d.StartConsole(ctx); err != nil {
		t.Fatal(err)
	}
	if err := d.Reopen(ctx); err != nil {
		t.Fatal(err)
	}
	if d.Log.Incarnation() == old {
		t.Fatal("the log has its old incarnation: its disk was not lost, and this test tested nothing")
	}
	head, err := d.Log.Head(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := d.WaitEnforced(ctx, head.GetVersion().GetSequence()); err != nil {
		t.Error(err)
	}
	probe(t, d, "after the recovery")
}
