package policystore

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nkeys"
)

// mirrorPair makes the key and certificate of a log and its mirror, and gives what each is told.
func mirrorPair(t *testing.T) (log, held Mirror, cert, key, address string) {
	t.Helper()
	dir := t.TempDir()
	a := newAuthority(t, "mirrors")
	a.server(dir, 1, net.IPv4(127, 0, 0, 1)) // servers of a cluster know a mirror by the address that they dial
	file := filepath.Join(dir, "seed")
	var public bytes.Buffer
	for range 2 { // the second time it is there
		public.Reset()
		if err := (MirrorKey{File: file}).Write(&public); err != nil {
			t.Fatal(err)
		}
	}
	address = freeAddress(t)
	log = Mirror{URL: "tls://" + address, KeyFile: file, CAFile: filepath.Join(dir, "ca.crt"), ServerName: "policy-store"}
	write(t, log.CAFile, a.pem)
	return log, Mirror{Of: strings.TrimSpace(public.String())}, filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key"), address
}

// metric reads one figure from a process.
func (p *process) metric(name string) (float64, error) {
	response, err := http.Get("http://" + p.config.HTTPAddress + "/metrics")
	if err != nil {
		return 0, err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, "ringfence_policy_store_"+name+" "); ok {
			return strconv.ParseFloat(strings.TrimSpace(value), 64)
		}
	}
	return 0, fmt.Errorf("no metric %s", name)
}

// mirrors waits until a mirror holds a sequence.
func (p *process) mirrors(sequence uint64) {
	p.t.Helper()
	eventually(p.t, func() error {
		have, err := p.metric("facts_sequence")
		if err == nil && have < float64(sequence) {
			err = fmt.Errorf("the mirror is at %.0f, want %d", have, sequence)
		}
		return err
	})
}

// The log's disk is lost under load. Its mirror becomes the log: the past is the same up to the last fact that was mirrored, and
// everybody goes on.
func TestAMirrorTakesTheLogsPlace(t *testing.T) {
	t.Parallel()
	asLog, asMirror, cert, key, address := mirrorPair(t)
	dir, held := filepath.Join(t.TempDir(), "log"), filepath.Join(t.TempDir(), "mirror")
	hold := func(c *childConfig) {
		c.Listen, c.Mode, c.Mirror, c.Cert, c.Key, c.HTTPAddress = address, mirror, asMirror, cert, key, freeAddress(t)
	}
	p := startProcess(t, dir, func(c *childConfig) { c.Mirror, c.SnapshotFacts, c.HTTPAddress = asLog, 300, freeAddress(t) })
	log := p.open("test")
	produce(t, log, "watcher", kubernetes())
	produce(t, log, "pce-bridge", console(t))
	follow(t, p.conn("enforcer")).holds(2)
	w := startWriters(t, "nats://"+p.config.Listen)
	w.awaits(500) // there is something before the mirror comes
	m := startProcess(t, held, hold)
	w.awaits(500)
	past := p.status(p.conn("operator"))
	m.mirrors(past.Sequence)

	// A mirror that was away catches up, and says so on both sides.
	m.kill()
	eventually(t, func() error {
		if linked, err := p.metric("mirror_linked"); err != nil || linked != 0 {
			return fmt.Errorf("linked %f, %w", linked, err)
		}
		return nil
	})
	w.awaits(300)
	behind := p.status(p.conn("operator"))
	m.start()
	m.mirrors(behind.Sequence)
	eventually(t, func() error {
		if linked, err := p.metric("mirror_linked"); err != nil || linked != 1 {
			return fmt.Errorf("linked %f, %w", linked, err)
		}
		return nil
	})

	// Nobody takes a mirror for a log by mistake.
	m.stop()
	n := startProcess(t, held)
	eventually(t, func() error {
		if len(n.lines("--mirror-promote")) == 0 {
			return errors.New("nothing is said")
		}
		return nil
	})
	n.kill()
	m.start()
	w.awaits(300)

	// The disk is lost, and policy-store comes back with an empty log before anybody looks: the mirror keeps what it has.
	w.stop()
	p.kill()
	held1, err := m.metric("facts_sequence")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	p.start()
	produce(t, p.open("test"), "watcher", kubernetes())
	eventually(t, func() error {
		if len(m.lines("another log", "this mirror stays what it is")) == 0 {
			return errors.New("the mirror does not notice that the log is another")
		}
		return nil
	})
	p.kill()
	m.stop()
	w = startWriters(t, "nats://"+p.config.Listen)
	q := startProcess(t, held, func(c *childConfig) {
		c.Listen, c.Mirror, c.SnapshotFacts = p.config.Listen, Mirror{Promote: true}, 300
	})
	promoted := q.open("test")
	if usage, err := promoted.Usage(t.Context()); err != nil || usage.First != 1 || float64(usage.Last) < held1 {
		t.Errorf("the mirror held %.0f and is promoted with %+v: %v", held1, usage, err)
	}
	if promoted.Incarnation() != log.Incarnation() {
		t.Errorf("the incarnation was %s and is %s", log.Incarnation(), promoted.Incarnation())
	}
	if got := replayedTo(t, promoted, past.Sequence); got != past.Digest {
		t.Errorf("sequence %d gave %s, and gives %s in the mirror", past.Sequence, past.Digest, got)
	}
	if got := replayedTo(t, promoted, behind.Sequence); got != behind.Digest {
		t.Errorf("sequence %d gave %s, and gives %s in the mirror", behind.Sequence, behind.Digest, got)
	}
	verifySnapshots(t, promoted, past.Sequence)
	w.awaits(300) // the producers go on by themselves
	w.stop()
	follow(t, q.conn("enforcer")).holds(2)
	last, err := promoted.LastSequence(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	operator := q.conn("operator")
	eventually(t, func() error {
		if s := q.status(operator); s.Sequence != last {
			return fmt.Errorf("status %+v, want sequence %d", s, last)
		}
		return nil
	})
	if got, want := q.status(operator).Digest, replayed(t, promoted); got != want {
		t.Errorf("the digest is %s, a replay of the log gives %s", got, want)
	}
	// It stays the log when the flag stays, and may have a mirror of its own.
	q.stop()
	q.start()
	if again := q.open("test"); again.Incarnation() != log.Incarnation() {
		t.Errorf("the incarnation was %s and is %s", log.Incarnation(), again.Incarnation())
	}
}

// A mirror that was emptied is fed from the beginning.
func TestAMirrorThatLostItsDiskBeginsAnew(t *testing.T) {
	t.Parallel()
	asLog, asMirror, cert, key, address := mirrorPair(t)
	p := startProcess(t, t.TempDir(), func(c *childConfig) { c.Mirror, c.HTTPAddress = asLog, freeAddress(t) })
	log := p.open("test")
	produce(t, log, "watcher", kubernetes())
	last, err := log.LastSequence(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	held := filepath.Join(t.TempDir(), "mirror")
	hold := func(c *childConfig) {
		c.Listen, c.Mode, c.Mirror, c.Cert, c.Key, c.HTTPAddress = address, mirror, asMirror, cert, key, freeAddress(t)
	}
	m := startProcess(t, held, hold)
	m.mirrors(last)
	m.kill()
	if err := os.RemoveAll(held); err != nil {
		t.Fatal(err)
	}
	m.start()
	m.mirrors(last)
	m.stop()
	q := startProcess(t, held, func(c *childConfig) { c.Mirror = Mirror{Promote: true} })
	usage, err := q.open("test").Usage(t.Context())
	if err != nil || usage.First != 1 || usage.Last < last {
		t.Errorf("the mirror holds %+v, want 1 to %d: %v", usage, last, err)
	}
}

// Whoever has the mirror's server has the facts. They cannot write a fact or policy, nor end or change anything.
func TestAMirrorCanDoNothingToItsLog(t *testing.T) {
	t.Parallel()
	asLog, asMirror, _, _, address := mirrorPair(t)
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	number, err := strconv.Atoi(port)
	if err != nil {
		t.Fatal(err)
	}
	hub, err := server.NewServer(&server.Options{
		Host: "127.0.0.1", Port: server.RANDOM_PORT, NoSigs: true, NoLog: true,
		LeafNode: server.LeafNodeOpts{Host: host, Port: number, Nkey: asMirror.Of},
	})
	if err != nil {
		t.Fatal(err)
	}
	hub.Start()
	t.Cleanup(func() { hub.Shutdown(); hub.WaitForShutdown() })
	asLog.URL = "nats://" + address
	p := startProcess(t, t.TempDir(), func(c *childConfig) { c.Mirror = asLog })
	log := p.open("test")
	produce(t, log, "watcher", kubernetes())
	produce(t, log, "pce-bridge", console(t))
	before := follow(t, p.conn("enforcer")).holds(2)
	usage, err := log.Usage(t.Context())
	if err != nil {
		t.Fatal(err)
	}

	evil, err := nats.Connect(hub.ClientURL(), nats.NoEcho(), nats.CustomInboxPrefix("evil"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(evil.Close)
	allowed := func(subject string) error {
		_, err := evil.Request(subject, nil, time.Second)
		return err
	}
	const info = "ringfence.mirror.api.STREAM.INFO.FACTS"
	var facts jetstream.StreamInfo
	eventually(t, func() error { // the link works
		msg, err := evil.Request(info, nil, time.Second)
		if err != nil {
			return err
		}
		return json.Unmarshal(msg.Data, &facts)
	})
	name := facts.Config.Metadata["ringfence.mirror"]
	reset := "ringfence.mirror.api.CONSUMER.RESET.FACTS.MIRROR-" + name
	if err := allowed(reset); err != nil {
		t.Fatal(err)
	}
	heard := make(chan *nats.Msg, 10_000)
	for _, subject := range []string{"facts.>", "policy.>", "plan.>", "status.>", "_INBOX.>", "query.>"} {
		if _, err := evil.ChanSubscribe(subject, heard); err != nil {
			t.Fatal(err)
		}
	}
	seen := make(chan *nats.Msg, 10_000)
	if _, err := p.conn("witness").ChanSubscribe(">", seen); err != nil {
		t.Fatal(err)
	}
	mark := "forbidden"
	for _, subject := range []string{
		"facts.k8s.pod.shop.evil", "facts.ctl.epoch.watcher", "policy.window", "policy.head", "plan.node-1", "snap.1.0", "status.node-1", "flows.node-1",
		"query.status", "ringfence.mirror.FACTS." + name, "$JS.API.STREAM.DELETE.FACTS", "$JS.API.STREAM.PURGE.FACTS", "$JS.API.STREAM.UPDATE.FACTS",
		"$JS.API.STREAM.SNAPSHOT.FACTS", "$JS.API.CONSUMER.CREATE.FACTS", "$JS.API.CONSUMER.CREATE.FACTS.evil", "$JS.API.CONSUMER.DELETE.FACTS.MIRROR-" + name,
		"$JS.API.CONSUMER.RESET.FACTS.MIRROR-" + name, "$JS.API.DIRECT.GET.POLICY", "$JS.API.INFO", "ringfence.mirror.api.STREAM.DELETE.FACTS",
		"ringfence.mirror.api.CONSUMER.CREATE.FACTS.evil", "ringfence.mirror.api.CONSUMER.DELETE.FACTS.MIRROR-" + name, "ringfence.mirror.api.STREAM.INFO.POLICY",
	} {
		if answer, err := evil.Request(subject, []byte(mark), 100*time.Millisecond); err == nil {
			t.Errorf("%s was answered: %s", subject, answer.Data)
		}
	}
	if err := errors.Join(allowed(reset), allowed(info)); err != nil { // what was sent before has come by now
		t.Error(err)
	}
	produce(t, log, "watcher", nil)
	for range len(seen) {
		if msg := <-seen; bytes.Contains(msg.Data, []byte(mark)) {
			t.Errorf("%s came to the log", msg.Subject)
		}
	}
	for range len(heard) {
		t.Errorf("the mirror hears %s", (<-heard).Subject)
	}
	now, err := log.Usage(t.Context())
	if err != nil || now.Facts != usage.Facts+1 {
		t.Errorf("the log had %d facts and has %d, want one more: %v", usage.Facts, now.Facts, err)
	}
	if after := follow(t, p.conn("enforcer")).holds(2); after.Version.GetIncarnation() != before.Version.GetIncarnation() {
		t.Errorf("%v follows %v", after.Version, before.Version)
	}
}

func TestAMirrorIsNamedWhole(t *testing.T) {
	key, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	public, err := key.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		mode string
		told Mirror
		fine bool
	}{
		{embedded, Mirror{}, true},
		{external, Mirror{}, true},
		{mirror, Mirror{}, false},
		{mirror, Mirror{Of: "UX"}, false},
		{mirror, Mirror{Of: public}, true},
		{mirror, Mirror{Of: public, Promote: true}, false},
		{embedded, Mirror{URL: "tls://mirror:7422"}, false},
		{embedded, Mirror{URL: "tls://mirror:7422", KeyFile: "seed"}, false},
		{embedded, Mirror{URL: "tls://mirror:7422", KeyFile: "seed", CAFile: "ca.crt"}, true},
		{embedded, Mirror{URL: "nats://mirror:7422", KeyFile: "seed"}, true},
		{external, Mirror{Offer: true}, true},
		{embedded, Mirror{Offer: true}, false},
		{embedded, Mirror{URL: "mirror:7422", KeyFile: "seed", CAFile: "ca.crt"}, false},
		{external, Mirror{URL: "tls://mirror:7422", KeyFile: "seed", CAFile: "ca.crt"}, false},
	} {
		if err := c.told.check(c.mode); (err == nil) != c.fine {
			t.Errorf("%s %+v: %v", c.mode, c.told, err)
		}
	}
	file := filepath.Join(t.TempDir(), "seed")
	write(t, file, []byte("SUnone\n"))
	if _, _, err := mirrorKey(file); err == nil || strings.Contains(err.Error(), "SUnone") {
		t.Errorf("what is no seed: %v", err)
	}
}

// The link to a mirror and the rights of clients do not get in each other's way.
func TestASecuredLogIsMirrored(t *testing.T) {
	t.Parallel()
	asLog, asMirror, cert, key, address := mirrorPair(t)
	m := startProcess(t, filepath.Join(t.TempDir(), "mirror"), func(c *childConfig) {
		c.Listen, c.Mode, c.Mirror, c.Cert, c.Key, c.HTTPAddress = address, mirror, asMirror, cert, key, freeAddress(t)
	})
	s := startSecured(t, func(c *Config) { c.Mirror = asLog })
	produce(t, s.open(s.service("pce-bridge")), "pce-bridge", console(t))
	log := s.open(s.service("watcher"))
	produce(t, log, "watcher", kubernetes())
	follow(t, s.enforcer(node).Conn).holds(2)
	last, err := log.LastSequence(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	m.mirrors(last)
}

// The servers of an external cluster link a mirror each. One of them goes, and then all: the mirror becomes the log.
func TestAClustersLogIsMirrored(t *testing.T) {
	t.Parallel()
	asLog, asMirror, cert, key, address := mirrorPair(t)
	s, c := startSecuredCluster(t, func(c *Config) { c.Mirror = Mirror{Offer: true} })
	watcher := s.service("watcher")
	log := s.open(watcher)
	produce(t, s.open(s.service("pce-bridge")), "pce-bridge", console(t))
	produce(t, log, "watcher", kubernetes())
	var name string
	eventually(t, func() error {
		_, after, found := strings.Cut(s.said.String(), `"name":"`)
		if name, _, _ = strings.Cut(after, `"`); !found {
			return errors.New("policy-store does not say the name of the log")
		}
		return nil
	})
	held := filepath.Join(t.TempDir(), "mirror")
	m := startProcess(t, held, func(c *childConfig) {
		c.Listen, c.Mode, c.Mirror, c.Cert, c.Key, c.HTTPAddress = address, mirror, asMirror, cert, key, freeAddress(t)
	})
	var before, after strings.Builder
	if err := errors.Join(NATSConfig{Dir: s.host.cfg.KeysDir}.Write(&before), NATSConfig{Dir: s.host.cfg.KeysDir, Mirror: name}.Write(&after)); err != nil {
		t.Fatal(err)
	}
	if err := (NATSConfig{Dir: s.host.cfg.KeysDir, Mirror: "a.>"}).Write(io.Discard); err == nil {
		t.Error("a name with wildcards is taken")
	}
	seed, _, err := mirrorKey(asLog.KeyFile)
	if err != nil {
		t.Fatal(err)
	}
	for i := range c.configs { // one after the other, each when the one before is whole, as an operator does
		c.kill(i)
		c.configs[i] = strings.Replace(c.configs[i], before.String(), after.String(), 1) +
			fmt.Sprintf("\nleafnodes { remotes: [ { url: %q, account: MIRROR, nkey: %q, tls { ca_file: %q } } ] }", "tls://"+address, seed, asLog.CAFile)
		c.start(i)
		c.leader(watcher.Conn)
	}
	p := log.Producer("watcher")
	for n := range 50 {
		eventually(t, func() error { _, err := p.Publish(t.Context(), pod(10+n)); return err })
	}
	last, err := log.LastSequence(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	m.mirrors(last)
	want := replayedTo(t, s.open(s.service("pce-bridge")), last)
	s.stop()
	for i := range c.configs {
		c.kill(i)
	}
	m.stop()
	q := startProcess(t, held, func(c *childConfig) { c.Mirror = Mirror{Promote: true} })
	promoted := q.open("test")
	usage, err := promoted.Usage(t.Context())
	if err != nil || usage.First != 1 || usage.Last != last || usage.Facts != last || promoted.Incarnation() != log.Incarnation() {
		t.Errorf("promoted with %+v, incarnation %s, %v; want %d facts of %s", usage, promoted.Incarnation(), err, last, log.Incarnation())
	}
	if got := replayedTo(t, promoted, last); got != want {
		t.Errorf("the digest was %s and is %s", want, got)
	}
}
