package main

import (
	"cmp"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/ringfence/ringfence/libs/eventlog"
	ringfencev1 "github.com/ringfence/ringfence/proto/ringfence/v1"
	"github.com/ringfence/ringfence/tools/ringfence"
)

type statusCommand struct {
	output `embed:""`
}

// Help gives the example.
func (statusCommand) Help() string {
	return "Example:\n\n    ringfence status -o json | jq .nodes"
}

// status is what the command prints as JSON.
type status struct {
	Incarnation string     `json:"incarnation"`
	First       uint64     `json:"first"`
	Last        uint64     `json:"last"`
	Policy      *headState `json:"policy"` // null before the first policy of the incarnation
	// Frozen is null unless nodes enforce a policy that this incarnation has not published yet.
	Frozen *frozenState `json:"frozen"`
	// Console is null while nothing is known of it in this log.
	Console *consoleState `json:"console"`
	Nodes   []nodeLine    `json:"nodes"`
}

// consoleState says how pce-bridge and the console get on, and in which mode the cluster is there.
type consoleState struct {
	// State is reachable, degraded or resynchronising.
	State       string `json:"state"`
	Reason      string `json:"reason"`
	ClusterMode string `json:"cluster_mode"`
}

// frozenState says how a policy stays that the log does not vouch for now.
type frozenState struct {
	// Nodes is how many keep what they had.
	Nodes int `json:"nodes"`
	// Missing are the producers that have not said in this incarnation that everything is written.
	Missing []string `json:"missing"`
}

type headState struct {
	Sequence           uint64   `json:"sequence"`
	Window             uint64   `json:"window"`
	ProvisionedVersion int64    `json:"provisioned_version"`
	Digest             string   `json:"digest"`
	Engine             string   `json:"engine"`
	Synced             []string `json:"synced"`
}

type nodeLine struct {
	Node               string    `json:"node"`
	Sequence           uint64    `json:"sequence"`
	Window             uint64    `json:"window"`
	ProvisionedVersion int64     `json:"provisioned_version"`
	Enforced           int       `json:"enforced"`
	Pending            int       `json:"pending"`
	Failed             int       `json:"failed"`
	ReportedAt         time.Time `json:"reported_at"`
	Problems           []string  `json:"problems"`
}

// Run prints the status.
func (c *statusCommand) Run(s *session) error {
	store, err := s.address.Connect(s.ctx)
	if err != nil {
		return err
	}
	defer store.Close()
	now, err := s.status(store)
	if err != nil {
		return fmt.Errorf("status: %w", err)
	}
	if c.json() {
		return s.printJSON(now)
	}
	s.printStatus(now)
	return nil
}

func (s *session) status(store *ringfence.Store) (status, error) {
	usage, err := store.Log.Usage(s.ctx)
	if err != nil {
		return status{}, err
	}
	now := status{Incarnation: store.Log.Incarnation(), First: usage.First, Last: usage.Last, Nodes: []nodeLine{}}
	head, err := store.Log.Head(s.ctx)
	switch {
	case err == nil:
		now.Policy = &headState{
			Sequence: head.GetVersion().GetSequence(), Window: head.GetWindow(), ProvisionedVersion: head.GetProvisionedVersion(),
			Digest: head.GetDigest(), Engine: head.GetEngine(), Synced: head.GetSynced(),
		}
	case !errors.Is(err, eventlog.ErrNotFound):
		return status{}, err
	}
	if now.Console, err = s.console(store); err != nil {
		return status{}, err
	}
	nodes, err := store.Log.NodeStatuses(s.ctx)
	if err != nil {
		return status{}, err
	}
	for _, node := range nodes {
		now.Nodes = append(now.Nodes, lineOf(node))
	}
	if now.Policy == nil {
		now.Frozen, err = s.frozen(store, nodes)
	}
	return now, err
}

// console reads what the log says of the link to the console.
func (s *session) console(store *ringfence.Store) (*consoleState, error) {
	var state *consoleState
	mode := ""
	for e, err := range store.Log.Latest(s.ctx, eventlog.LinkSubject, eventlog.SettingsSubject) {
		if err != nil {
			return nil, err
		}
		mode = cmp.Or(e.Fact.GetSettings().GetClusterMode(), mode)
		link := e.Fact.GetPceLink()
		if link == nil {
			continue
		}
		state = &consoleState{State: strings.ToLower(strings.TrimPrefix(link.GetState().String(), "LINK_STATE_")), Reason: link.GetReason()}
		if link.GetState() == ringfencev1.LinkState_LINK_STATE_UNSPECIFIED { // of a bridge of an earlier release
			state.State = map[bool]string{true: "reachable", false: "degraded"}[link.GetUp()]
		}
	}
	if state != nil {
		state.ClusterMode = mode
	}
	return state, nil
}

// frozen tells of nodes that keep a policy while none is published, nil where no node has one.
func (s *session) frozen(store *ringfence.Store, nodes []*ringfencev1.NodeStatus) (*frozenState, error) {
	f := &frozenState{Missing: []string{}}
	for _, node := range nodes {
		if node.GetVersion().GetIncarnation() != "" {
			f.Nodes++
		}
	}
	if f.Nodes == 0 {
		return nil, nil
	}
	synced := map[string]bool{}
	for e, err := range store.Log.Latest(s.ctx, "facts.ctl.synced.*") {
		if err != nil {
			return nil, err
		}
		mark := e.Fact.GetSynced()
		synced[mark.GetProducer()] = mark.GetIncarnation() == store.Log.Incarnation()
	}
	for _, producer := range eventlog.NeededProducers() {
		if !synced[producer] {
			f.Missing = append(f.Missing, producer)
		}
	}
	return f, nil
}

// words says what ends it.
func (f *frozenState) words() string {
	until := "policy-store has read the log"
	if len(f.Missing) > 0 {
		until = strings.Join(f.Missing, " and ") + " wrote everything again"
	}
	return fmt.Sprintf("frozen: %d nodes keep the policy that they have until %s", f.Nodes, until)
}

func lineOf(n *ringfencev1.NodeStatus) nodeLine {
	line := nodeLine{
		Node: n.GetNode(), Sequence: n.GetVersion().GetSequence(), Window: n.GetWindow(),
		ProvisionedVersion: n.GetProvisionedVersion(), ReportedAt: n.GetReportedAt().AsTime(), Problems: append([]string{}, n.GetProblems()...),
	}
	for _, pod := range n.GetPods() {
		switch pod.GetState() {
		case ringfencev1.PodState_POD_STATE_ENFORCED:
			line.Enforced++
		case ringfencev1.PodState_POD_STATE_FAILED:
			line.Failed++
		default:
			line.Pending++
		}
		if pod.GetProblem() != "" {
			line.Problems = append(line.Problems, pod.GetNamespace()+"/"+pod.GetName()+": "+pod.GetProblem())
		}
	}
	if n.GetFlowsLost() > 0 {
		line.Problems = append(line.Problems, fmt.Sprintf("%d flows lost", n.GetFlowsLost()))
	}
	return line
}

func (s *session) printStatus(now status) {
	fmt.Fprintf(s.stdout, "log        facts %d to %d, incarnation %s\n", now.First, now.Last, now.Incarnation)
	switch {
	case now.Frozen != nil:
		fmt.Fprintln(s.stdout, "policy     "+now.Frozen.words())
	case now.Policy == nil:
		fmt.Fprintln(s.stdout, "policy     none yet: it begins once watcher and pce-bridge are both in sync")
	default:
		p := now.Policy
		fmt.Fprintf(s.stdout, "policy     window %d follows fact %d, provisioned version %d\n", p.Window, p.Sequence, p.ProvisionedVersion)
		fmt.Fprintf(s.stdout, "digest     %s by %s\n", p.Digest, p.Engine)
		fmt.Fprintf(s.stdout, "in sync    %s\n", strings.Join(p.Synced, ", "))
	}
	if c := now.Console; c != nil {
		fmt.Fprintf(s.stdout, "console    %s: %s (cluster mode %s)\n", c.State, c.Reason, cmp.Or(c.ClusterMode, "unknown"))
	}
	t := newTable("node", "version", "window", "provisioned", "enforced", "pending", "failed", "reported", "problems")
	for _, n := range now.Nodes {
		t.AppendRow([]any{
			n.Node, n.Sequence, n.Window, n.ProvisionedVersion, n.Enforced, n.Pending, n.Failed,
			time.Since(n.ReportedAt).Round(time.Second).String() + " ago", strings.Join(n.Problems, "; "),
		})
	}
	printTable(s.stdout, t, "No node reported yet; look with: kubectl -n "+s.address.Namespace+" get pods")
}
