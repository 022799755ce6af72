package clas_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	pb "github.com/ringfence/ringfence/proto/ringfence/v1"

	"github.com/ringfence/ringfence/libs/clas"
	"github.com/ringfence/ringfence/libs/internal/soak"
)

// trial is one random log, applied to an engine that is looked at all the time.
type trial struct {
	g      *generator
	engine *clas.Engine
	reader *readerState
	log    []logged
	tally  tally
	// thorough asks all questions.
	thorough bool
}

func newTrial(source rand.Source, counts tally) *trial {
	return &trial{g: newGenerator(source), engine: clas.New(), reader: newReader(), tally: counts}
}

// decisionsWanted is how many decisions of the oracle the engine must agree with: RINGFENCE_ORACLE_DECISIONS, or 300,000.
func decisionsWanted(t *testing.T) int {
	t.Helper()
	text := os.Getenv("RINGFENCE_ORACLE_DECISIONS")
	if text == "" {
		return 300_000
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatalf("RINGFENCE_ORACLE_DECISIONS: %v", err)
	}
	return n
}

// TestRandomLogsAgreeWithTheOracle compares, over random logs, the engine with the oracle, its deltas with its policy, and
// itself with engines that took other ways to the same place: until as many decisions as wanted agree, at least for the time that
// random tests are given, and until every construct was met, which takes a few hundred thousand decisions.
func TestRandomLogsAgreeWithTheOracle(t *testing.T) {
	seed, wanted, began := soak.Seed(t), decisionsWanted(t), time.Now()
	deadline := began.Add(soak.Time(t))
	counts := tally{}
	run := uint64(0)
	for ; counts.decisions() < wanted || time.Now().Before(deadline) || counts.decisions() < enough && len(counts.missing()) > 0; run++ {
		x := newTrial(rand.NewPCG(seed, run), counts)
		if err := x.run(stepsPerRun); err != nil {
			t.Fatalf("RINGFENCE_SEED=%d, run %d, after %d facts: %v\n%s", seed, run, len(x.log), err, reproduction(x.log))
		}
	}
	took := time.Since(began)
	t.Logf("seed %d: %d runs, %d decisions of the oracle in %s (%.0f a second)\n%s", seed, run, counts.decisions(), took.Round(time.Second),
		float64(counts.decisions())/took.Seconds(), counts)
	for _, missing := range counts.missing() {
		t.Errorf("%s never happened: the generator tests too little", missing)
	}
}

const (
	stepsPerRun = 60
	// enough decisions have met every construct, or never will.
	enough = 5_000_000
)

func (x *trial) run(steps int) error {
	if err := x.apply(x.g.start()); err != nil {
		return err
	}
	for range steps {
		if err := x.step(); err != nil {
			return err
		}
	}
	return x.check()
}

// step writes the next facts, and lets somebody look, or not.
func (x *trial) step() error {
	if err := x.apply(x.g.step()); err != nil {
		return err
	}
	return x.look(pick(x.g, []look{nothing, nothing, nothing, asking, flushing, flushing, checking, restarting, refusing, repeating}))
}

// look is one of the things that somebody may do at any time.
type look uint8

const (
	nothing look = iota
	asking
	flushing
	checking
	restarting
	refusing
	repeating
)

func (x *trial) look(what look) error {
	if len(x.log) > 0 {
		x.log[len(x.log)-1].then = what
	}
	switch what {
	case asking:
		x.engine.Digest()
	case flushing:
		return x.flush()
	case checking:
		return x.check()
	case restarting:
		return x.restart()
	case refusing:
		return x.refuse()
	case repeating:
		return x.repeat()
	}
	return nil
}

func (x *trial) apply(entries []entry) error {
	for _, e := range entries {
		x.log = append(x.log, logged{entry: e, sequence: x.engine.Sequence() + 1})
		if err := x.engine.Apply(e.subject, x.engine.Sequence()+1, e.fact); err != nil {
			return fmt.Errorf("apply %s: %w", e.subject, err)
		}
	}
	return nil
}

// flush lets the reader have what changed. What is asked in between must not show in what comes next.
func (x *trial) flush() error {
	x.tally.add("happenings", "flush")
	if err := x.reader.apply(x.engine.Flush()); err != nil {
		return fmt.Errorf("flush: %w", err)
	}
	whole := x.engine.Policy()
	if err := x.reader.equal(whole); err != nil {
		return fmt.Errorf("deltas and policy differ: %w", err)
	}
	if err := x.sameParts(whole); err != nil {
		return err
	}
	if d := x.engine.Flush(); !d.Empty() {
		return fmt.Errorf("two flushes in a row, and the second is not empty: %+v", d)
	}
	return nil
}

// sameParts compares the ways to ask for a part of the policy with the whole.
func (x *trial) sameParts(whole clas.Policy) error {
	if err := same(x.reader.namespaces, x.engine.Namespaces().GetNamespaces(), (*pb.NamespacePolicy).GetNamespace); err != nil {
		return fmt.Errorf("Namespaces: %w", err)
	}
	for _, node := range append(worldNodes, "nowhere") {
		plan, exists := x.engine.Plan(node)
		if held := x.reader.plans[node]; exists != (held != nil) {
			return fmt.Errorf("Plan(%s): %t, and Policy says otherwise", node, exists)
		} else if exists {
			if err := same(map[string]*pb.NodePlan{node: held}, []*pb.NodePlan{plan}, (*pb.NodePlan).GetNode); err != nil {
				return fmt.Errorf("Plan(%s): %w", node, err)
			}
		}
	}
	return nil
}

// refuse applies a malformed fact, which must change nothing.
func (x *trial) refuse() error {
	before, bad := x.engine.Digest(), x.g.malformed()
	x.tally.add("refused", bad.what)
	if x.engine.Apply(bad.subject, x.engine.Sequence()+1, bad.fact) == nil {
		return fmt.Errorf("%s: %s was not refused: %v", bad.subject, bad.what, bad.fact)
	}
	if x.engine.Digest() != before {
		return fmt.Errorf("%s: %s was refused and changed the policy: %v", bad.subject, bad.what, bad.fact)
	}
	return nil
}

// repeat applies some last stretch of the log once more, under the numbers that it had.
func (x *trial) repeat() error {
	x.tally.add("happenings", "repeat")
	before := x.engine.Digest()
	from := x.g.IntN(len(x.log))
	for _, f := range x.log[from:] {
		if err := x.engine.Apply(f.subject, f.sequence, f.fact); err != nil {
			return fmt.Errorf("repeat %s: %w", f.subject, err)
		}
	}
	if x.engine.Digest() == before {
		return nil
	}
	unrepeated, err := x.rebuild(0)
	if err != nil {
		return err
	}
	return fmt.Errorf("the log repeated from fact %d on: %s", from, difference(x.engine, unrepeated))
}

// restart goes on with an engine restored from a snapshot. Its reader starts anew.
func (x *trial) restart() error {
	x.tally.add("happenings", "restart")
	restored, err := clas.Restore(withoutErrors(x.engine.Snapshot()))
	if err != nil {
		return err
	}
	if restored.Sequence() != x.engine.Sequence() {
		return fmt.Errorf("restored at %d, want %d", restored.Sequence(), x.engine.Sequence())
	}
	if restored.Digest() != x.engine.Digest() {
		return fmt.Errorf("restored: %s", difference(restored, x.engine))
	}
	for _, incarnation := range worldIncarnations {
		if got, want := restored.Synced(incarnation), x.engine.Synced(incarnation); !slices.Equal(got, want) {
			return fmt.Errorf("restored: synced %v, want %v", got, want)
		}
	}
	x.engine, x.reader = restored, newReader()
	return x.flush()
}

// check compares the engine with one built in one go, with one restored in the middle, and with the oracle.
func (x *trial) check() error {
	x.tally.add("happenings", "check")
	rebuilt, err := x.rebuild(0)
	if err != nil {
		return err
	}
	if rebuilt.Digest() != x.engine.Digest() {
		return fmt.Errorf("rebuilt: %s", difference(rebuilt, x.engine))
	}
	restored, err := x.rebuild(x.g.IntN(len(x.log)))
	if err != nil {
		return err
	}
	if restored.Digest() != x.engine.Digest() {
		return fmt.Errorf("restored in the middle: %s", difference(restored, x.engine))
	}
	if err := x.flush(); err != nil {
		return err
	}
	return x.consult(newOracle(x.log))
}

// rebuild applies the whole log to a new engine. After some of it, it goes on with one restored from the first one's snapshot.
func (x *trial) rebuild(restoreAt int) (*clas.Engine, error) {
	e := clas.New()
	for i, f := range x.log {
		if i == restoreAt && i > 0 {
			var err error
			if e, err = clas.Restore(withoutErrors(e.Snapshot())); err != nil {
				return nil, err
			}
		}
		if err := e.Apply(f.subject, f.sequence, f.fact); err != nil {
			return nil, fmt.Errorf("rebuild: %w", err)
		}
	}
	return e, nil
}

// difference says where the policies of two engines part.
func difference(got, want *clas.Engine) string {
	have, p := newReader(), got.Policy()
	have.start, have.version = p.Namespaces.GetStartPolicy(), p.ProvisionedVersion
	have.sets = byID(p.Sets, (*pb.AddressSet).GetId)
	have.policies = byID(p.Policies, (*pb.WorkloadPolicy).GetId)
	have.plans = byID(p.Plans, (*pb.NodePlan).GetNode)
	have.namespaces = byID(p.Namespaces.GetNamespaces(), (*pb.NamespacePolicy).GetNamespace)
	if err := have.equal(want.Policy()); err != nil {
		return err.Error()
	}
	if warnings := want.Policy().Warnings; !slices.Equal(p.Warnings, warnings) {
		return fmt.Sprintf("warnings %q, want %q", p.Warnings, warnings)
	}
	return "another digest of an equal policy"
}

func byID[M any](messages []M, id func(M) string) map[string]M {
	out := map[string]M{}
	for _, m := range messages {
		out[id(m)] = m
	}
	return out
}
