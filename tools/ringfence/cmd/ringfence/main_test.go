package main

import (
	"bytes"
	"context"
	"errors"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/ringfence/ringfence/libs/clas"
	"github.com/ringfence/ringfence/libs/eventlog"
	"github.com/ringfence/ringfence/libs/eventlog/eventlogtest"
	ringfencev1 "github.com/ringfence/ringfence/proto/ringfence/v1"
	"github.com/ringfence/ringfence/tools/ringfence"
)

// shopFile is the log of which the stories tell; shop_test.go of the library says what is in it.
const (
	shopFile  = "../../testdata/shop.rflog"
	shopLines = "../../testdata/shop.jsonl"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"ringfence": main})
}

// commands are what the stories use beside the command line itself.
var commands = map[string]func(*testscript.TestScript, bool, []string){"exit": exitCode}

// TestStories tells stories of exported files.
func TestStories(t *testing.T) {
	testscript.Run(t, testscript.Params{Dir: "testdata/script", Cmds: commands, Setup: shopIn})
}

// TestLiveStories tells stories of a running log that holds the shop's facts and what a small cluster reported.
func TestLiveStories(t *testing.T) {
	server, log := eventlogtest.StartLog(t)
	fill(t, server, log)
	testscript.Run(t, testscript.Params{Dir: "testdata/live", Cmds: commands, Setup: func(env *testscript.Env) error {
		env.Setenv("RINGFENCE_SERVER", server.URL())
		env.Setenv("INCARNATION", log.Incarnation())
		return shopIn(env)
	}})
}

// TestReplayOfAnotherPolicy tells of a live policy that is not what the log means.
func TestReplayOfAnotherPolicy(t *testing.T) {
	for story, head := range map[string]*ringfencev1.PolicyHead{
		"differs": {Digest: strings.Repeat("0", 64), Engine: clas.Version},
		"version": {Digest: strings.Repeat("0", 64), Engine: "clas/0"},
	} {
		t.Run(story, func(t *testing.T) {
			server, log := eventlogtest.StartLog(t)
			last := publish(t, log, clas.New())
			head.Version = &ringfencev1.Version{Incarnation: log.Incarnation(), Sequence: last}
			window := &ringfencev1.Window{Number: 1, Version: head.GetVersion()}
			if err := log.PublishWindow(t.Context(), window, eventlog.Objects{}, head, nil); err != nil {
				t.Fatal(err)
			}
			testscript.Run(t, testscript.Params{Files: []string{"testdata/another/" + story + ".txtar"}, Cmds: commands, Setup: func(env *testscript.Env) error {
				env.Setenv("RINGFENCE_SERVER", server.URL())
				return nil
			}})
		})
	}
}

// TestFollowEndsWhenInterrupted interrupts the command once it printed what is there and what came later.
func TestFollowEndsWhenInterrupted(t *testing.T) {
	server, log := eventlogtest.StartLog(t)
	producer := log.Producer("watcher")
	write := func(node string) {
		draft := eventlog.Draft{Subject: eventlog.KubernetesSubject("node", "", node), Fact: &ringfencev1.Fact{
			Body: &ringfencev1.Fact_Node{Node: &ringfencev1.Node{Name: node}},
		}}
		if _, err := producer.Publish(t.Context(), draft); err != nil {
			t.Error(err)
		}
	}
	write("before")
	ctx, interrupt := context.WithCancel(t.Context())
	var lines []string
	out := writerFunc(func(line []byte) (int, error) {
		lines = append(lines, string(line))
		if len(lines) == 1 {
			write("after")
		} else {
			interrupt()
		}
		return len(line), nil
	})
	var problems bytes.Buffer
	if code := run(ctx, []string{"facts", "-f", "--server", server.URL()}, out, &problems); code != 0 || problems.Len() > 0 {
		t.Fatalf("exit code %d, said %q", code, problems.String())
	}
	if len(lines) != 2 || !strings.Contains(lines[0], `"before"`) || !strings.Contains(lines[1], `"after"`) {
		t.Errorf("printed %q", lines)
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(data []byte) (int, error) { return f(data) }

func shopIn(env *testscript.Env) error {
	for _, name := range []string{shopFile, shopLines} {
		data, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(env.WorkDir, filepath.Base(name)), data, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// exitCode runs: exit CODE COMMAND ARGS..., for codes that the negation of a command cannot tell apart.
func exitCode(ts *testscript.TestScript, _ bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	err = ts.Exec(args[1], args[2:]...)
	got := 0
	var failed *exec.ExitError
	if errors.As(err, &failed) {
		got = failed.ExitCode()
	} else {
		ts.Check(err)
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

// fill puts the shop's facts, its policy's head, the status of a node and a flow into the log.
func fill(t *testing.T, server *eventlogtest.Server, log *eventlog.Log) {
	t.Helper()
	engine := clas.New()
	last := publish(t, log, engine)
	version := &ringfencev1.Version{Incarnation: log.Incarnation(), Sequence: last}
	head := &ringfencev1.PolicyHead{
		Version: version, ProvisionedVersion: 2, Digest: engine.Digest(), Engine: clas.Version, Synced: []string{"pce-bridge", "watcher"},
	}
	window := &ringfencev1.Window{Number: 7, Version: version}
	if err := log.PublishWindow(t.Context(), window, eventlog.Objects{}, head, nil); err != nil {
		t.Fatal(err)
	}
	report(t, server, version)
}

// snapshots are taken while the shop's facts are published: one of this engine, and one of another.
var snapshots = map[uint64]eventlog.Computed{29: {Engine: clas.Version}, 31: {Engine: "clas/0", Digest: "another engine's"}}

// publish puts the shop's facts into the log and an engine, and gives the last sequence.
func publish(t *testing.T, log *eventlog.Log, engine *clas.Engine) (last uint64) {
	t.Helper()
	file, err := ringfence.OpenFile(shopFile)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	producer := log.Producer("watcher")
	for e, err := range file.Read(t.Context(), 0, 0) {
		if err != nil {
			t.Fatal(err)
		}
		if last, err = producer.Publish(t.Context(), eventlog.Draft{Subject: e.Subject, Fact: e.Fact}); err != nil {
			t.Fatal(err)
		}
		if err := engine.Apply(e.Subject, last, e.Fact); err != nil {
			t.Fatal(err)
		}
		if computed := snapshots[last]; computed.Engine != "" {
			if computed.Digest == "" {
				computed.Digest = engine.Digest()
			}
			if _, err := log.WriteSnapshot(t.Context(), last, computed, engine.Snapshot()); err != nil {
				t.Fatal(err)
			}
		}
	}
	return last
}

// report is what the enforcer of node-1 says.
func report(t *testing.T, server *eventlogtest.Server, version *ringfencev1.Version) {
	t.Helper()
	nc, err := eventlog.Dialer{URL: server.URL(), Name: "enforcer"}.Dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	err = eventlog.PublishStatus(nc, &ringfencev1.NodeStatus{
		Node: "node-1", Version: version, Window: 7, ProvisionedVersion: 2, ReportedAt: timestamppb.Now(), FlowsLost: 3,
		Pods: []*ringfencev1.PodStatus{
			{Namespace: "shop", Name: "web-1", State: ringfencev1.PodState_POD_STATE_ENFORCED},
			{Namespace: "shop", Name: "api-1", State: ringfencev1.PodState_POD_STATE_FAILED, Problem: "no memory for the set"},
			{Namespace: "shop", Name: "web-3", State: ringfencev1.PodState_POD_STATE_PENDING},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	err = eventlog.PublishFlows(nc, &ringfencev1.FlowBatch{Node: "node-1", To: timestamppb.Now(), Flows: []*ringfencev1.Flow{{
		PodNamespace: "ops", PodName: "intruder", Direction: ringfencev1.FlowDirection_FLOW_DIRECTION_OUTBOUND,
		Source: netip.MustParseAddr("10.0.1.9").AsSlice(), Destination: netip.MustParseAddr("10.96.0.11").AsSlice(),
		Protocol: 6, Port: 5432, Decision: ringfencev1.FlowDecision_FLOW_DECISION_POTENTIALLY_BLOCKED, Connections: 4,
	}}})
	if err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	waitForStatus(t, server)
}

// waitForStatus waits until what was only sent is stored.
func waitForStatus(t *testing.T, server *eventlogtest.Server) {
	t.Helper()
	store, err := ringfence.Address{Server: server.URL(), Patience: 10 * time.Second}.Connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		nodes, err := store.Log.NodeStatuses(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		flows := 0
		for _, err := range store.Log.Flows(t.Context(), time.Now().Add(-time.Hour)) {
			if err != nil {
				t.Fatal(err)
			}
			flows++
		}
		if len(nodes) == 1 && flows == 1 {
			return
		}
	}
	t.Fatal("status and flows are not stored within 10 s")
}
