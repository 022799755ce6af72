package engine

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ringfence/ringfence/libs/clas"
	ringfencev1 "github.com/ringfence/ringfence/proto/ringfence/v1"
	"github.com/ringfence/ringfence/tools/bench/workload"
)

// tiny is a scale at which every workload keeps its shape.
const tiny = 0.001

func quick() *Bench { return &Bench{Runs: 1, Budget: time.Millisecond} }

// TestEveryWorkloadInEveryMode wants a plausible figure of each.
func TestEveryWorkloadInEveryMode(t *testing.T) {
	modes := slices.DeleteFunc(Modes(), func(m Mode) bool { return m == ModeGrowth })
	for _, kind := range workload.Catalogue() {
		t.Run(kind.ID, func(t *testing.T) {
			results, err := quick().Run(t.Context(), Suite{Workloads: []string{kind.ID}, Modes: modes, Scale: tiny})
			if err != nil {
				t.Fatal(err)
			}
			names := map[string]bool{}
			for _, r := range results {
				if r.Ours <= 0 && r.Unit != "B" {
					t.Errorf("%s is %v %s", r.Name, r.Ours, r.Unit)
				}
				if r.Theirs != nil || r.Met != nil {
					t.Errorf("%s has a peer or a target at a size that nobody measured", r.Name)
				}
				names[strings.TrimPrefix(r.Name, kind.ID+" ")] = true
			}
			if kind.ID == "C1-named" {
				names[workload.PodRelabelled] = true // none of its pods' labels is the console's
			}
			for _, want := range []string{"cold fold", "live heap", "cold fold from the log", "restart from snapshot and tail", "snapshot", workload.PodAdded,
				workload.PodRemoved, workload.PodRelabelled, workload.NamespaceRelabelled, workload.PolicyAdded, workload.PolicyEdited, "plan of one node"} {
				if !names[want] {
					t.Errorf("no figure of %q among %v", want, names)
				}
			}
		})
	}
}

// TestWorkloadsMeanSomething asks the engine for verdicts, so that no workload is fast because its policies match nothing.
func TestWorkloadsMeanSomething(t *testing.T) {
	for _, kind := range workload.Catalogue() {
		c := kind.Make(tiny)
		b := quick()
		e, err := b.warm(c.Log())
		if err != nil {
			t.Fatalf("%s: %v", kind.ID, err)
		}
		verdicts := map[clas.Verdict]bool{}
		for _, p := range c.Pairs {
			q := clas.Query{Source: name(c, p.From), Destination: p.Address, Port: p.Port, Protocol: 17}
			if p.Address == "" {
				q.Destination, q.Protocol = name(c, p.To), 6
			}
			x, err := e.Explain(q)
			if err != nil {
				t.Errorf("%s: %+v: %v", kind.ID, q, err)
				continue
			}
			if (x.Verdict == clas.Allowed) != p.Allowed {
				t.Errorf("%s: %+v is %s, want allowed: %v", kind.ID, q, x.Verdict, p.Allowed)
			}
			verdicts[x.Verdict] = true
		}
		// Everyone may talk to everyone in A3 and G, and none of a few pods to another of I's many selectors.
		if len(verdicts) < 2 && !slices.Contains([]string{"A3", "G", "I-10000", "I-100000"}, kind.ID) {
			t.Errorf("%s: %d pairs with the verdicts %v do not tell much", kind.ID, len(c.Pairs), verdicts)
		}
	}
}

func name(c *workload.Cluster, pod int) string {
	p := c.Pods[pod]
	return c.Namespaces[p.Namespace].Name + "/" + p.Name
}

// TestChangesKeepTheEngineRight makes changes of every kind, and compares with an engine that begins from the snapshot.
func TestChangesKeepTheEngineRight(t *testing.T) {
	for _, cluster := range []*workload.Cluster{workload.Small(20), workload.Scoped(20), workload.Customers(30, workload.EveryLabel), workload.Tags(50, 310, workload.NamedLabels)} {
		log := cluster.Log()
		e, err := quick().warm(log)
		if err != nil {
			t.Fatal(err)
		}
		before := count(wholeOf(t, e))
		changes := log.Changes()
		for _, next := range changes.Rounds() {
			for range 3 {
				for _, step := range next() {
					if err := apply(e, step.Facts); err != nil {
						t.Fatalf("%s: %s: %v", cluster.ID, step.Kind, err)
					}
					if e.Flush().Empty() {
						t.Errorf("%s: %s changed nothing", cluster.ID, step.Kind)
					}
				}
			}
		}
		if after := count(wholeOf(t, e)); after != before {
			t.Errorf("%s: %+v after the changes, %+v before", cluster.ID, after, before)
		}
		if restored := restored(t, e); restored.Digest() != e.Digest() {
			t.Errorf("%s: the digest is %s, from the snapshot it is %s", cluster.ID, e.Digest(), restored.Digest())
		}
	}
}

// wholeOf gives the whole policy of an engine as the first flush of one that begins from its snapshot.
func wholeOf(t *testing.T, e *clas.Engine) clas.Delta { return restored(t, e).Flush() }

func restored(t *testing.T, e *clas.Engine) *clas.Engine {
	t.Helper()
	out, err := clas.Restore(func(yield func(*ringfencev1.SnapshotEntry, error) bool) {
		for entry := range e.Snapshot() {
			if !yield(entry, nil) {
				return
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestProfiles(t *testing.T) {
	b := quick()
	b.Profiles = t.TempDir()
	if _, err := b.Fold(workload.One(20).Log()); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"A3-cold.cpu.pb.gz", "A3-cold.heap.pb.gz"} {
		if info, err := os.Stat(filepath.Join(b.Profiles, name)); err != nil || info.Size() == 0 {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestFoldsAreChecked: a log that lacks a pod is no measurement.
func TestFoldsAreChecked(t *testing.T) {
	log := workload.One(20).Log()
	for i, m := range log.Messages {
		if strings.HasPrefix(m.Subject, "facts.k8s.pod.") {
			log.Messages = slices.Delete(log.Messages, i, i+1)
			break
		}
	}
	if _, err := quick().Fold(log); err == nil || !strings.Contains(err.Error(), "19 planned pods") {
		t.Errorf("folding a log without one of its pods gives %v", err)
	}
}

// TestVariantsAreFoldedColdOnly unless someone asks for them, and extremes not at all.
func TestVariantsAreFoldedColdOnly(t *testing.T) {
	all, some := Suite{Modes: Modes()}, Suite{Modes: []Mode{ModeLog, ModeGrowth}, Workloads: []string{"C2-all"}}
	for rank, want := range map[workload.Rank][2]int{workload.Main: {5, 0}, workload.Variant: {1, 0}, workload.Extreme: {0, 1}} {
		kind := workload.Kind{ID: map[workload.Rank]string{workload.Extreme: "C2-all"}[rank], Rank: rank}
		if got := [2]int{len(all.modes(kind)), len(some.modes(kind))}; got != want {
			t.Errorf("rank %d: %v modes where all and where one is asked for, want %v", rank, got, want)
		}
	}
}

func TestGrowthIsDrawn(t *testing.T) {
	dir := t.TempDir()
	results, err := quick().Run(t.Context(), Suite{Workloads: []string{"none"}, Modes: []Mode{ModeGrowth}, Scale: tiny, Charts: dir})
	if err != nil {
		t.Fatal(err)
	}
	if pictures, _ := filepath.Glob(filepath.Join(dir, "*.png")); len(pictures) != 5 {
		t.Errorf("%d pictures, want one for each dimension: %v", len(pictures), pictures)
	}
	_ = results // at this scale the sizes of a dimension are all the same, and nothing grows
}
