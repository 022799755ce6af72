package clas_test

import (
	"fmt"
	"iter"
	"testing"
	"time"

	pb "github.com/ringfence/ringfence/proto/ringfence/v1"

	"github.com/ringfence/ringfence/libs/clas"
	"github.com/ringfence/ringfence/libs/internal/soak"
)

// trial is one random log, applied to an engine that is looked at all the time.
type trial struct {
	*testing.T
	g      *generator
	engine *clas.Engine
	reader *readerState
	log    []logged
	counts map[string]int
}

// TestRandomLogsAgreeWithTheOracle compares, over random logs, the engine with the oracle, its deltas with its policy, and
// itself with engines that took other ways to the same place.
func TestRandomLogsAgreeWithTheOracle(t *testing.T) {
	seed, deadline := soak.Seed(t), time.Now().Add(soak.Time(t))
	counts := map[string]int{}
	run := uint64(0)
	for ; run == 0 || time.Now().Before(deadline); run++ {
		x := &trial{T: t, g: newGenerator(seed, run), engine: clas.New(), reader: newReader(), counts: counts}
		if err := x.run(); err != nil {
			t.Fatalf("RINGFENCE_SEED=%d, run %d, after %d facts: %v", seed, run, len(x.log), err)
		}
	}
	t.Logf("seed %d: %d runs, %v", seed, run, counts)
	for _, must := range []string{"outbound allowed", "outbound closed", "inbound allowed", "inbound closed",
		string(clas.Allowed), string(clas.Blocked), string(clas.PotentiallyBlocked)} {
		if counts[must] == 0 {
			t.Errorf("nothing was ever %q: the generator tests too little", must)
		}
	}
}

const stepsPerRun = 60

func (x *trial) run() error {
	if err := x.apply(x.g.start()); err != nil {
		return err
	}
	for range stepsPerRun {
		if err := x.apply(x.g.step()); err != nil {
			return err
		}
		if err := x.look(); err != nil {
			return err
		}
	}
	return x.check()
}

// look does one of the things that somebody may do at any time.
func (x *trial) look() error {
	switch x.g.IntN(8) {
	case 0:
		return x.flush()
	case 1:
		return x.check()
	case 2:
		return x.restart()
	case 3:
		return x.refuse()
	case 4:
		x.engine.Digest()
	}
	return nil
}

func (x *trial) apply(entries []entry) error {
	for _, e := range entries {
		x.log = append(x.log, logged{e, x.engine.Sequence() + 1})
		if err := x.engine.Apply(e.subject, x.engine.Sequence()+1, e.fact); err != nil {
			return fmt.Errorf("apply %s: %w", e.subject, err)
		}
	}
	return nil
}

func (x *trial) flush() error {
	x.counts["flush"]++
	if err := x.reader.apply(x.engine.Flush()); err != nil {
		return fmt.Errorf("flush: %w", err)
	}
	if err := x.reader.equal(x.engine.Policy()); err != nil {
		return fmt.Errorf("deltas and policy differ: %w", err)
	}
	if d := x.engine.Flush(); !d.Empty() {
		return fmt.Errorf("two flushes in a row, and the second is not empty: %+v", d)
	}
	return nil
}

// refuse applies a malformed fact, which must change nothing.
func (x *trial) refuse() error {
	before, e := x.engine.Digest(), x.g.malformed()
	if x.engine.Apply(e.subject, x.engine.Sequence()+1, e.fact) == nil {
		return fmt.Errorf("%s was not refused: %v", e.subject, e.fact)
	}
	if x.engine.Digest() != before {
		return fmt.Errorf("%s was refused and changed the policy: %v", e.subject, e.fact)
	}
	return nil
}

// restart goes on with an engine restored from a snapshot. Its reader starts anew.
func (x *trial) restart() error {
	x.counts["restart"]++
	restored, err := clas.Restore(withoutErrors(x.engine.Snapshot()))
	if err != nil {
		return err
	}
	if restored.Sequence() != x.engine.Sequence() {
		return fmt.Errorf("restored at %d, want %d", restored.Sequence(), x.engine.Sequence())
	}
	if got, want := restored.Digest(), x.engine.Digest(); got != want {
		return fmt.Errorf("restored:\n%+v\nwant\n%+v", restored.Policy(), x.engine.Policy())
	}
	x.engine, x.reader = restored, newReader()
	return x.flush()
}

func withoutErrors(entries iter.Seq[*pb.SnapshotEntry]) iter.Seq2[*pb.SnapshotEntry, error] {
	return func(yield func(*pb.SnapshotEntry, error) bool) {
		for e := range entries {
			if !yield(e, nil) {
				return
			}
		}
	}
}

// check compares the engine with one built in one go, and with the oracle.
func (x *trial) check() error {
	x.counts["check"]++
	rebuilt := clas.New()
	for _, f := range x.log {
		if err := rebuilt.Apply(f.subject, f.sequence, f.fact); err != nil {
			return fmt.Errorf("rebuild: %w", err)
		}
	}
	if rebuilt.Digest() != x.engine.Digest() {
		return fmt.Errorf("rebuilt:\n%+v\nhave\n%+v", rebuilt.Policy(), x.engine.Policy())
	}
	if err := x.flush(); err != nil {
		return err
	}
	return x.consult(newOracle(x.log))
}

// consult asks the oracle about everything between everybody.
func (x *trial) consult(o *oracle) error {
	planned := map[string]string{}
	for node, plan := range x.reader.plans {
		for _, p := range plan.GetPods() {
			planned[p.GetUid()] = node
		}
	}
	if x.reader.version != o.version {
		return fmt.Errorf("version %d in force, the oracle says %d", x.reader.version, o.version)
	}
	for _, pod := range o.pods() {
		labels := o.carries(pod)
		want := ""
		if labels != nil {
			want = pod.GetNode()
		}
		if planned[pod.GetUid()] != want {
			return fmt.Errorf("pod %s/%s is planned for %q, the oracle says %q", pod.GetNamespace(), pod.GetName(), planned[pod.GetUid()], want)
		}
		delete(planned, pod.GetUid())
		if want == "" {
			continue
		}
		if err := x.consultPod(o, pod, labels); err != nil {
			return fmt.Errorf("pod %s/%s: %w", pod.GetNamespace(), pod.GetName(), err)
		}
	}
	if len(planned) > 0 {
		return fmt.Errorf("planned and not there: %v", planned)
	}
	return x.consultExplain(o)
}

type probe struct{ protocol, port uint32 }

var probes = []probe{{6, 80}, {6, 81}, {6, 443}, {6, 8080}, {6, 22}, {17, 9000}, {1, 8}, {47, 0}}

func worldAddresses() []string {
	var out []string
	for _, pool := range [][]string{worldV4, worldV6, worldVIPs[:5], worldOther} {
		out = append(out, pool...)
	}
	return out
}

func (x *trial) consultPod(o *oracle, pod *pb.Pod, labels map[string]string) error {
	policy := x.policyOf(pod)
	mode := o.profile(pod.GetNamespace()).GetEnforcementMode()
	if policy.GetMode() != mode {
		return fmt.Errorf("mode %s, the oracle says %s", policy.GetMode(), mode)
	}
	if len(policy.GetLabels()) != len(labels) {
		return fmt.Errorf("labels %v, the oracle says %v", policy.GetLabels(), labels)
	}
	if mode == pb.EnforcementMode_ENFORCEMENT_MODE_IDLE {
		if len(policy.GetInbound())+len(policy.GetOutbound()) > 0 {
			return fmt.Errorf("idle with rules: %v", policy)
		}
		return nil
	}
	for _, peer := range worldAddresses() {
		for _, p := range probes {
			got, want := x.reader.allows(policy.GetOutbound(), peer, p.protocol, p.port), o.outbound(labels, peer, p.protocol, p.port)
			x.count("outbound", got)
			if got != want {
				return fmt.Errorf("outbound to %s on %v: %v, the oracle says %v", peer, p, got, want)
			}
			got, want = x.reader.allows(policy.GetInbound(), peer, p.protocol, p.port), o.inbound(labels, peer, p.protocol, p.port)
			x.count("inbound", got)
			if got != want {
				return fmt.Errorf("inbound from %s on %v: %v, the oracle says %v", peer, p, got, want)
			}
		}
	}
	return nil
}

func (x *trial) count(direction string, allowed bool) {
	if allowed {
		x.counts[direction+" allowed"]++
		return
	}
	x.counts[direction+" closed"]++
}

func (x *trial) policyOf(pod *pb.Pod) *pb.WorkloadPolicy {
	for _, p := range x.reader.plans[pod.GetNode()].GetPods() {
		if p.GetUid() == pod.GetUid() {
			return x.reader.policies[p.GetPolicy()]
		}
	}
	return nil
}

// consultExplain compares the verdicts of explain between single addresses.
func (x *trial) consultExplain(o *oracle) error {
	for range 20 {
		from, to, p := pick(x.g, worldAddresses()), pick(x.g, worldAddresses()), pick(x.g, probes)
		_, isService := o.owner(to)
		if isService != nil || (len(from) > 3 && from[:2] == "fd" || from[:4] == "2001") != (to[:2] == "fd" || to[:4] == "2001") {
			continue
		}
		got, err := x.engine.Explain(clas.Query{Source: from, Destination: to, Port: uint16(p.port), Protocol: uint8(p.protocol)})
		if err != nil {
			return fmt.Errorf("explain: %w", err)
		}
		x.counts[string(got.Verdict)]++
		if want := o.verdict(from, to, p); got.Verdict != want {
			return fmt.Errorf("explain: %s, the oracle says %s", got.Text(), want)
		}
	}
	return nil
}

// verdict puts both ends together, each by its own mode.
func (o *oracle) verdict(from, to string, p probe) clas.Verdict {
	source, _ := o.owner(from)
	destination, _ := o.owner(to)
	out := o.decision(source, func(labels map[string]string) bool { return o.outbound(labels, to, p.protocol, p.port) })
	in := o.decision(destination, func(labels map[string]string) bool { return o.inbound(labels, from, p.protocol, p.port) })
	switch {
	case out == clas.Blocked || in == clas.Blocked:
		return clas.Blocked
	case out == clas.PotentiallyBlocked || in == clas.PotentiallyBlocked:
		return clas.PotentiallyBlocked
	}
	return clas.Allowed
}

func (o *oracle) decision(pod *pb.Pod, allows func(map[string]string) bool) clas.Verdict {
	if pod == nil || pod.GetNode() == "" || o.carries(pod) == nil || allows(o.carries(pod)) {
		return clas.Allowed
	}
	switch o.profile(pod.GetNamespace()).GetEnforcementMode() {
	case pb.EnforcementMode_ENFORCEMENT_MODE_FULL:
		return clas.Blocked
	case pb.EnforcementMode_ENFORCEMENT_MODE_VISIBILITY_ONLY:
		return clas.PotentiallyBlocked
	}
	return clas.Allowed
}
