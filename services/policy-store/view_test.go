package policystore

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"google.golang.org/protobuf/proto"

	"github.com/ringfence/ringfence/libs/access"
	"github.com/ringfence/ringfence/libs/eventlog"
	ringfencev1 "github.com/ringfence/ringfence/proto/ringfence/v1"
)

// What producers compare with is what policy-store holds, also where the facts were trimmed below a snapshot. They see it with
// no more rights than theirs.
func TestProducersSeeWhatWasTrimmed(t *testing.T) {
	s := startSecured(t)
	inSync(s)
	server := s.host.current.Load()
	nc, err := eventlog.Dialer{
		Name: access.PolicyStore, InProcess: server.nats, Credentials: eventlog.Credentials{Token: server.gate.secret}, Log: zerolog.Nop(),
	}.Dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	own, err := eventlog.Open(t.Context(), nc)
	if err != nil {
		t.Fatal(err)
	}
	var snapshots []*ringfencev1.SnapshotInfo
	eventually(t, func() error {
		if snapshots, err = own.Snapshots(t.Context()); err == nil && len(snapshots) == 0 {
			err = errors.New("no snapshot yet")
		}
		return err
	})
	oldest := snapshots[len(snapshots)-1].GetVersion().GetSequence()
	if err := own.Trim(t.Context(), oldest+1); err != nil {
		t.Fatal(err)
	}
	usage, err := own.Usage(t.Context())
	if err != nil || usage.First <= own.Base() {
		t.Fatalf("nothing was trimmed: %+v, %v", usage, err)
	}
	for name, knows := range map[string][]eventlog.Draft{access.Watcher: kubernetes(), access.PceBridge: console(t)} {
		c := s.service(name)
		held := map[string]bool{}
		filters := map[string][]string{access.Watcher: {"facts.k8s.>"}, access.PceBridge: {"facts.pce.>", eventlog.LinkSubject}}
		for _, e := range collect(t, name, s.open(c).Latest(t.Context(), filters[name]...)) {
			held[e.Subject] = e.Fact.GetBody() != nil
		}
		for _, d := range knows {
			if !held[d.Subject] {
				t.Errorf("%s does not see %s", name, d.Subject)
			}
		}
		if said := c.violations(); len(said) > 0 {
			t.Errorf("%s: %q", name, said)
		}
	}
}

// A fact that is stored otherwise than it was written is a loss while policy-store runs, too: a new incarnation begins, in which
// the producers write everything again.
func TestADamagedFactIsWrittenAgain(t *testing.T) {
	t.Parallel()
	p := startProcess(t, t.TempDir())
	ctx, cancel := context.WithCancel(zerolog.Nop().WithContext(t.Context()))
	done := make(chan struct{}, 2)
	for name, drafts := range map[string][]eventlog.Draft{"watcher": kubernetes(), "pce-bridge": console(t)} {
		nc := p.conn(name)
		go func() { diligent(ctx, nc, name, drafts); done <- struct{}{} }()
	}
	t.Cleanup(func() { cancel(); <-done; <-done })
	f := follow(t, p.conn("enforcer"))
	before := f.holds(2)
	nc := p.conn("operator")
	digest := p.status(nc).Digest

	damaged := pod(1).Fact
	damaged.GetPod().Addresses = []string{"192.0.2.66"}
	data, err := proto.Marshal(damaged)
	if err != nil {
		t.Fatal(err)
	}
	data = append(data, 0x21, 1, 0, 0, 0, 0, 0, 0, 0) // the checksum is the last field of what is stored: field 4, fixed64
	if _, err := nc.Request(pod(1).Subject, data, 5*time.Second); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() error {
		if s := p.status(nc); s.Incarnation == before.Version.GetIncarnation() || s.Window == 0 || s.Digest != digest {
			return fmt.Errorf("status %+v, want digest %s in another incarnation", s, digest)
		}
		return nil
	})
	eventually(t, func() error {
		if after := f.holds(2); after.Version.GetIncarnation() == before.Version.GetIncarnation() {
			return errors.New("the enforcer is still in the old incarnation")
		}
		return nil
	})
	if len(p.lines("facts were lost", pod(1).Subject)) != 1 {
		t.Error("no line names the damaged fact")
	}
}
