package demo

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/ringfence/ringfence/libs/eventlog"
	"github.com/ringfence/ringfence/libs/pce"
	ringfencev1 "github.com/ringfence/ringfence/proto/ringfence/v1"
)

// Result is what a demo found; out/demo.json holds it.
type Result struct {
	Matrix []Observation `json:"matrix"`
	// ProvisionToEnforcedMS is the time from the request to provision until every node enforced that version.
	ProvisionToEnforcedMS int64 `json:"provision_to_enforced_ms"`
	// PodReadyToEnforcedMS is the longest time from a new pod's readiness to its policy in the kernel; 0 where that was earlier.
	PodReadyToEnforcedMS int64 `json:"pod_ready_to_enforced_ms"`
	ReplayDigestEqual    bool  `json:"replay_digest_equal"`
	OK                   bool  `json:"ok"`
}

// Phases of the story.
const (
	PhaseBefore  = "before"
	PhaseAfter   = "after"
	PhaseScaled  = "scaled"
	PhaseStopped = "pce-stopped"
)

// Run tells the whole story and returns what it found. The error says which expectation did not hold; the result is
// returned with it as far as it came.
func (d *Demo) Run(ctx context.Context) (Result, error) {
	var r Result
	var before uint64
	for _, step := range []func(context.Context) error{
		func(ctx context.Context) error { return d.showVisibility(ctx, &r) },
		func(ctx context.Context) (err error) { before, err = d.Log.LastSequence(ctx); return err },
		func(ctx context.Context) error { return d.showEnforcement(ctx, &r) },
		func(ctx context.Context) error { return d.showScaleOut(ctx, &r) },
		func(ctx context.Context) error { return d.showConsoleStopped(ctx, &r) },
		func(ctx context.Context) error { return d.showReplay(ctx, &r, before) },
	} {
		if err := step(ctx); err != nil {
			return r, err
		}
	}
	r.OK = len(wrong(r.Matrix)) == 0 && r.ReplayDigestEqual
	return r, nil
}

// show probes, keeps what was seen, and fails where it differs from the expectation.
func (d *Demo) show(ctx context.Context, r *Result, phase string, expect func(from, to string) Outcome, prefer ...string) error {
	observations, err := d.Probe(ctx, phase, expect, prefer...)
	if err != nil {
		return err
	}
	r.Matrix = append(r.Matrix, observations...)
	connected := 0
	for _, o := range observations {
		if o.Observed == Connects {
			connected++
		}
	}
	d.say("  %d connections tried between real pods: %d opened, %d were blocked, %d differ from the expectation",
		len(observations), connected, len(observations)-connected, len(wrong(observations)))
	return explainWrong(observations)
}

func (d *Demo) showVisibility(ctx context.Context, r *Result) error {
	d.say("1. The namespaces are managed in visibility_only: nothing is blocked, everything is seen.")
	if err := d.console.writeLabels(ctx); err != nil {
		return err
	}
	started := time.Now()
	if err := d.setMode(ctx, pce.ModeVisibilityOnly); err != nil {
		return err
	}
	if err := d.waitUntilServed(ctx); err != nil {
		return err
	}
	if err := d.show(ctx, r, PhaseBefore, Everything); err != nil {
		return err
	}
	if d.options.Unenforced {
		return nil
	}
	return d.wait(ctx, 30*time.Second, "flows that the policy would block", func(ctx context.Context) (string, bool) {
		flows := 0
		for batch, err := range d.Log.Flows(ctx, started) {
			if err != nil {
				return err.Error(), false
			}
			for _, flow := range batch.GetFlows() {
				if flow.GetDecision() == ringfencev1.FlowDecision_FLOW_DECISION_POTENTIALLY_BLOCKED && flow.GetPodName() == "intruder" {
					flows++
				}
			}
		}
		if flows == 0 {
			return "none reported for the intruder yet", false
		}
		d.say("  %d kinds of flows of the intruder are reported as potentially blocked", flows)
		return "", true
	})
}

// waitUntilServed waits until the cluster's own part is done: a Service answers some time after its pods are ready.
func (d *Demo) waitUntilServed(ctx context.Context) error {
	return d.wait(ctx, 30*time.Second, "the sample's Services to answer", func(ctx context.Context) (string, bool) {
		observations, err := d.Probe(ctx, PhaseBefore, Everything)
		if err == nil {
			err = explainWrong(observations)
		}
		if err != nil {
			return err.Error(), false
		}
		return "", true
	})
}

// setMode puts the sample's namespaces into an enforcement mode and waits until every node enforces it.
func (d *Demo) setMode(ctx context.Context, mode string) error {
	last, err := d.Log.LastSequence(ctx)
	if err != nil {
		return err
	}
	if err := d.console.setMode(ctx, mode); err != nil {
		return err
	}
	want := map[string]ringfencev1.EnforcementMode{
		pce.ModeVisibilityOnly: ringfencev1.EnforcementMode_ENFORCEMENT_MODE_VISIBILITY_ONLY,
		pce.ModeFull:           ringfencev1.EnforcementMode_ENFORCEMENT_MODE_FULL,
	}[mode]
	err = d.wait(ctx, time.Minute, "the profiles in mode "+mode+" to be in the log", func(ctx context.Context) (string, bool) {
		profiles := map[string]bool{}
		for entry, err := range d.Log.Latest(ctx, "facts.pce.profile.>") {
			if err != nil {
				return err.Error(), false
			}
			p := entry.Fact.GetContainerWorkloadProfile()
			if slices.Contains(sampleNamespaces, p.GetNamespace()) && p.GetManaged() && p.GetEnforcementMode() == want {
				profiles[p.GetNamespace()] = true
				last = max(last, entry.Sequence)
			}
		}
		return fmt.Sprintf("%d of %d are", len(profiles), len(sampleNamespaces)), len(profiles) == len(sampleNamespaces)
	})
	if err != nil {
		return err
	}
	return d.waitUntilEnforced(ctx, func(r reached) bool { return r.GetVersion().GetSequence() >= last })
}

// waitUntilPlanned waits for the policy store to publish: watcher and bridge are synced.
func (d *Demo) waitUntilPlanned(ctx context.Context) error {
	err := d.wait(ctx, 2*time.Minute, "the first policy to be published", func(ctx context.Context) (string, bool) {
		head, err := d.Log.Head(ctx)
		if err != nil {
			return err.Error(), false
		}
		return "", head.GetVersion().GetIncarnation() == d.Log.Incarnation()
	})
	if err == nil {
		d.say("everything is up: watcher and pce-bridge are synced, policy is published")
	}
	return err
}

// waitUntilEnforced waits until every node reports what enough asks for and no pod that is not enforced.
func (d *Demo) waitUntilEnforced(ctx context.Context, enough func(reached) bool) error {
	if d.options.Unenforced {
		return d.waitUntilPublished(ctx, enough)
	}
	return d.wait(ctx, time.Minute, "every node to enforce the policy", func(ctx context.Context) (string, bool) {
		statuses, err := d.Log.NodeStatuses(ctx)
		if err != nil {
			return err.Error(), false
		}
		var lacking []string
		for _, node := range d.nodes {
			i := slices.IndexFunc(statuses, func(s *ringfencev1.NodeStatus) bool { return s.GetNode() == node })
			if i < 0 {
				lacking = append(lacking, node+" has not reported")
				continue
			}
			if why := d.lacks(statuses[i], enough); why != "" {
				lacking = append(lacking, node+": "+why)
			}
		}
		return strings.Join(lacking, "; "), len(lacking) == 0
	})
}

// WaitEnforced waits until every node enforces the policy of a sequence or a later one.
func (d *Demo) WaitEnforced(ctx context.Context, sequence uint64) error {
	return d.waitUntilEnforced(ctx, func(r reached) bool { return r.GetVersion().GetSequence() >= sequence })
}

// reached is what a node's status and the head of the published policy both tell.
type reached interface {
	GetVersion() *ringfencev1.Version
	GetProvisionedVersion() int64
}

// waitUntilPublished waits for the policy alone, which enforcers that program nothing never report.
func (d *Demo) waitUntilPublished(ctx context.Context, enough func(reached) bool) error {
	return d.wait(ctx, time.Minute, "the policy to be published", func(ctx context.Context) (string, bool) {
		head, err := d.Log.Head(ctx)
		if err != nil {
			return err.Error(), false
		}
		return fmt.Sprintf("it is at sequence %d, PCE version %d", head.GetVersion().GetSequence(), head.GetProvisionedVersion()), enough(head)
	})
}

func (d *Demo) lacks(s *ringfencev1.NodeStatus, enough func(reached) bool) string {
	if s.GetVersion().GetIncarnation() != d.Log.Incarnation() || !enough(s) {
		return fmt.Sprintf("is at sequence %d, PCE version %d", s.GetVersion().GetSequence(), s.GetProvisionedVersion())
	}
	for _, pod := range s.GetPods() {
		if pod.GetState() != ringfencev1.PodState_POD_STATE_ENFORCED {
			return fmt.Sprintf("pod %s/%s is %s: %s", pod.GetNamespace(), pod.GetName(), pod.GetState(), pod.GetProblem())
		}
	}
	return ""
}

func (d *Demo) showEnforcement(ctx context.Context, r *Result) error {
	d.say("2. Rules are written through the console's REST API and provisioned; then the namespaces go to full.")
	if err := d.console.writeRules(ctx); err != nil {
		return err
	}
	start := time.Now()
	version, err := d.console.client.Provision(ctx, pce.Provisioning{UpdateDescription: "web to api to database, and the shop's api to the ledger"})
	if err != nil {
		return err
	}
	if err := d.waitUntilEnforced(ctx, func(r reached) bool { return r.GetProvisionedVersion() >= version.Version }); err != nil {
		return err
	}
	r.ProvisionToEnforcedMS = time.Since(start).Milliseconds()
	d.say("  version %d was in every node's kernels %d ms after the request to provision it", version.Version, r.ProvisionToEnforcedMS)
	if err := d.setMode(ctx, pce.ModeFull); err != nil {
		return err
	}
	return d.show(ctx, r, PhaseAfter, ByTheRules)
}

// grow adds pods to a Deployment and returns the new ones, once they are ready and, where tables are programmed,
// enforced, with the longest time from ready to enforced.
func (d *Demo) grow(ctx context.Context, w Workload, replicas int32) ([]corev1.Pod, time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	old, err := d.Cluster.Pods(ctx, w.Namespace, w.Selector())
	if err != nil {
		return nil, 0, err
	}
	if err := d.Cluster.Scale(ctx, w.Namespace, w.Name, replicas); err != nil {
		return nil, 0, err
	}
	pods, err := d.Cluster.WaitPods(ctx, w.Namespace, w.Selector(), int(replicas))
	if err != nil {
		return nil, 0, err
	}
	ready := time.Now()
	added := slices.DeleteFunc(pods, func(p corev1.Pod) bool {
		return slices.ContainsFunc(old, func(o corev1.Pod) bool { return o.UID == p.UID })
	})
	longest := time.Duration(0)
	for i := range added {
		enforced, err := d.waitUntilPodEnforced(ctx, &added[i])
		if err != nil {
			return nil, 0, err
		}
		longest = max(longest, enforced.Sub(ready))
		if err := d.waitUntilKnown(ctx, &added[i]); err != nil {
			return nil, 0, err
		}
	}
	return added, longest, nil
}

// waitUntilKnown waits until every node enforces a policy that knows the pod's addresses: its peers' as well as its own.
func (d *Demo) waitUntilKnown(ctx context.Context, pod *corev1.Pod) error {
	for entry, err := range d.Log.Read(ctx, 0, 0, eventlog.KubernetesSubject("pod", pod.Namespace, pod.Name)) {
		if err != nil {
			return err
		}
		if len(entry.Fact.GetPod().GetAddresses()) > 0 {
			return d.WaitEnforced(ctx, entry.Sequence)
		}
	}
	return fmt.Errorf("the log has no fact with an address of pod %s/%s", pod.Namespace, pod.Name)
}

// waitUntilPodEnforced waits until the pod's node reports it enforced, and returns when its table was programmed.
func (d *Demo) waitUntilPodEnforced(ctx context.Context, pod *corev1.Pod) (time.Time, error) {
	var at time.Time
	err := d.wait(ctx, time.Minute, "pod "+pod.Name+" to be enforced", func(ctx context.Context) (string, bool) {
		statuses, err := d.Log.NodeStatuses(ctx)
		if err != nil {
			return err.Error(), false
		}
		for _, s := range statuses {
			for _, p := range s.GetPods() {
				if p.GetUid() == string(pod.UID) {
					at = p.GetEnforcedAt().AsTime()
					return p.GetState().String() + " " + p.GetProblem(), p.GetState() == ringfencev1.PodState_POD_STATE_ENFORCED
				}
			}
		}
		return "its node has not reported it", false
	})
	return at, err
}

func podNames(pods []corev1.Pod) []string {
	var names []string
	for i := range pods {
		names = append(names, pods[i].Name)
	}
	return names
}

func (d *Demo) showScaleOut(ctx context.Context, r *Result) error {
	d.say("3. web grows from two pods to three: the new one is protected with no call to the console.")
	added, longest, err := d.grow(ctx, workload("web"), 3)
	if err != nil {
		return err
	}
	r.PodReadyToEnforcedMS = longest.Milliseconds()
	if longest == 0 {
		d.say("  its policy was in the kernel before it was ready")
	} else {
		d.say("  its policy was in the kernel %d ms after it was ready", r.PodReadyToEnforcedMS)
	}
	return d.show(ctx, r, PhaseScaled, ByTheRules, podNames(added)...)
}

func (d *Demo) showConsoleStopped(ctx context.Context, r *Result) error {
	d.say("4. The console is stopped, and api grows from two pods to three: the new one is protected all the same.")
	if err := d.StopConsole(ctx); err != nil {
		return err
	}
	added, _, err := d.grow(ctx, workload("api"), 3)
	if err != nil {
		return err
	}
	return d.show(ctx, r, PhaseStopped, ByTheRules, podNames(added)...)
}

// StopConsole stops the standalone PCE and waits until it is gone.
func (d *Demo) StopConsole(ctx context.Context) error {
	if err := d.Cluster.Scale(ctx, pceNamespace, "pce", 0); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	return d.Cluster.WaitGone(ctx, pceNamespace, consoleSelector)
}

// StartConsole starts it again. Where nothing keeps its objects it stays stopped: an empty console would know neither the
// cluster nor its policy.
func (d *Demo) StartConsole(ctx context.Context) error {
	if !d.consolePersists {
		d.say("the console stays stopped: the cluster has no default storage class that could have kept its objects")
		return nil
	}
	if err := d.Cluster.Scale(ctx, pceNamespace, "pce", 1); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	_, err := d.Cluster.WaitPods(ctx, pceNamespace, consoleSelector, 1)
	return err
}

// Reported lists the Kubernetes workloads that the console knows of the cluster.
func (d *Demo) Reported(ctx context.Context) ([]pce.KubernetesWorkload, error) {
	return d.console.client.KubernetesWorkloads(ctx)
}

// ExportFile is where the demo leaves the exported log.
func ExportFile(root string) string { return filepath.Join(root, "out", "demo-log.rflog") }

func (d *Demo) showReplay(ctx context.Context, r *Result, before uint64) error {
	d.say("5. The log is exported to a file, and another program explains and replays the policy from that file alone.")
	file := ExportFile(d.options.Root)
	if _, err := d.Ringfence(ctx, 0, "export", file, "--kubeconfig", d.Kubeconfig()); err != nil {
		return err
	}
	at := fmt.Sprintf("--at=%d", before)
	for _, example := range []struct {
		args []string
		exit int
	}{
		{[]string{"explain", "shop/deployment/web", "shop/deployment/api", "8080/tcp", "--file", file}, 0},
		{[]string{"explain", "intruder/pod/intruder", "shop/deployment/database", "5432/tcp", "--file", file}, 3},
		{[]string{"explain", "intruder/pod/intruder", "shop/deployment/database", "5432/tcp", "--file", file, at}, 3},
	} {
		d.say("  $ ringfence %s", strings.ReplaceAll(strings.Join(example.args, " "), d.options.Root+string(filepath.Separator), ""))
		output, err := d.Ringfence(ctx, example.exit, example.args...)
		if err != nil {
			return err
		}
		fmt.Fprintln(d.options.Out, indent(output))
	}
	return d.compareDigests(ctx, r, file, before)
}

// compareDigests replays the file to the sequence of the live policy and compares, and once to the time before the
// rules, which must differ.
func (d *Demo) compareDigests(ctx context.Context, r *Result, file string, before uint64) error {
	head, err := d.Log.Head(ctx)
	if err != nil {
		return err
	}
	then, err := d.Replay(ctx, file, before)
	if err != nil {
		return err
	}
	now, err := d.Replay(ctx, file, head.GetVersion().GetSequence())
	if err != nil {
		return err
	}
	r.ReplayDigestEqual = now == head.GetDigest() && then != now
	d.say("  replayed to before step 2:  %s", then)
	d.say("  replayed to the end:        %s", now)
	d.say("  live in the cluster:        %s", head.GetDigest())
	if !r.ReplayDigestEqual {
		return fmt.Errorf("the replayed digest %s is not the live one %s at sequence %d", now, head.GetDigest(), head.GetVersion().GetSequence())
	}
	return nil
}

// Replay folds an exported log up to a sequence, or to its end where that is 0, in another process and returns the
// policy's digest.
func (d *Demo) Replay(ctx context.Context, file string, sequence uint64) (string, error) {
	args := []string{"replay", "--file", file, "-o", "json"}
	if sequence > 0 {
		args = append(args, fmt.Sprintf("--at=%d", sequence))
	}
	output, err := d.Ringfence(ctx, 0, args...)
	if err != nil {
		return "", err
	}
	var replayed struct {
		Digest string `json:"digest"`
	}
	if err := json.Unmarshal(output, &replayed); err != nil || replayed.Digest == "" {
		return "", fmt.Errorf("replay of %s to %d: no digest in %q: %w", file, sequence, output, err)
	}
	return replayed.Digest, nil
}

// Ringfence runs the command line as its own process and returns its standard output. An exit code other than exit is
// an error.
func (d *Demo) Ringfence(ctx context.Context, exit int, args ...string) ([]byte, error) {
	command := exec.CommandContext(ctx, filepath.Join(d.options.Root, "out", "bin", "ringfence"), args...)
	var stdout, stderr bytes.Buffer
	command.Stdout, command.Stderr = &stdout, &stderr
	if err := command.Run(); command.ProcessState == nil || command.ProcessState.ExitCode() != exit {
		return nil, fmt.Errorf("ringfence %s: %w, expected exit code %d: %s", strings.Join(args, " "), err, exit, strings.TrimSpace(stderr.String()))
	}
	return stdout.Bytes(), nil
}

func indent(text []byte) string {
	return "            " + strings.ReplaceAll(strings.TrimSpace(string(text)), "\n", "\n            ")
}

// Write writes the result as JSON.
func (r Result) Write(file string) error {
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fmt.Errorf("result: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return fmt.Errorf("result: %w", err)
	}
	return os.WriteFile(file, append(data, '\n'), 0o644)
}
