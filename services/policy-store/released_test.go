package policystore

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"

	"github.com/ringfence/ringfence/libs/clas"
	"github.com/ringfence/ringfence/libs/eventlog"
	ringfencev1 "github.com/ringfence/ringfence/proto/ringfence/v1"
)

// keepRelease names a release whose format is kept: go test -run TestEarlierReleasesReadWhatIsWritten -keep 0.1.0 writes
// testdata/released/0.1.0.tar.gz.
var keepRelease = flag.String("keep", "", "keep the format of this release in testdata/released")

// release is a kept archive: a log's folder as that release left it, the descriptors of its messages, and what is in it.
type release struct {
	name        string
	dir         string // of the log, unpacked
	descriptors []byte
	// ignored are the fields, as message.number, that later releases write and this one may ignore; the value says why it may.
	ignored map[string]string

	Incarnation    string `json:"incarnation"`
	Engine         string `json:"engine"`
	Digest         string `json:"digest"`
	Facts          int    `json:"facts"`
	Nodes          int    `json:"nodes"`
	SnapshotFormat uint32 `json:"snapshot_format"`
}

const releasedStorage = 64 << 20

// releases unpacks what is kept.
func releases(t *testing.T) (all []*release) {
	t.Helper()
	archives, err := filepath.Glob("testdata/released/*.tar.gz")
	if err != nil || len(archives) == 0 {
		t.Fatalf("no release is kept: %v", err)
	}
	for _, archive := range archives {
		name := strings.TrimSuffix(archive, ".tar.gz")
		r := &release{name: filepath.Base(name), dir: t.TempDir(), ignored: map[string]string{}}
		r.unpack(t, archive)
		text, err := os.ReadFile(name + ".ignored.json")
		if err == nil {
			err = json.Unmarshal(text, &r.ignored)
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
		all = append(all, r)
	}
	return all
}

func (r *release) unpack(t *testing.T, archive string) {
	t.Helper()
	f, err := os.Open(archive)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	plain, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	for files := tar.NewReader(plain); ; {
		header, err := files.Next()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(files)
		switch {
		case err != nil:
		case header.Name == "expected.json":
			err = json.Unmarshal(data, r)
		case header.Name == "descriptors.binpb":
			r.descriptors = data
		default:
			path := filepath.Join(r.dir, filepath.FromSlash(header.Name))
			if err = os.MkdirAll(filepath.Dir(path), 0o700); err == nil {
				err = os.WriteFile(path, data, 0o600)
			}
		}
		if err != nil {
			t.Fatalf("%s: %s: %v", archive, header.Name, err)
		}
	}
}

// pack keeps a log's folder as that of a release.
func (r *release) pack(t *testing.T, folder string) {
	t.Helper()
	expected, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	files := map[string][]byte{"expected.json": expected, "descriptors.binpb": descriptors(t)}
	err = filepath.WalkDir(folder, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		name, err := filepath.Rel(folder, path)
		if err == nil {
			files[filepath.ToSlash(name)], err = os.ReadFile(path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	var packed bytes.Buffer
	compressed := gzip.NewWriter(&packed)
	archive := tar.NewWriter(compressed)
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if err = archive.WriteHeader(&tar.Header{Name: name, Mode: 0o600, Size: int64(len(files[name]))}); err == nil {
			_, err = archive.Write(files[name])
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	err = errors.Join(archive.Close(), compressed.Close(), os.WriteFile("testdata/released/"+r.name+".tar.gz", packed.Bytes(), 0o600))
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("kept %d bytes of release %s", packed.Len(), r.name)
}

// descriptors describes every message as this version knows it.
func descriptors(t *testing.T) []byte {
	t.Helper()
	set := &descriptorpb.FileDescriptorSet{}
	seen := map[string]bool{}
	var add func(protoreflect.FileDescriptor)
	add = func(f protoreflect.FileDescriptor) {
		if seen[f.Path()] {
			return
		}
		seen[f.Path()] = true
		for i := range f.Imports().Len() {
			add(f.Imports().Get(i).FileDescriptor)
		}
		set.File = append(set.File, protodesc.ToFileDescriptorProto(f))
	}
	protoregistry.GlobalFiles.RangeFilesByPackage("ringfence.v1", func(f protoreflect.FileDescriptor) bool { add(f); return true })
	data, err := proto.MarshalOptions{Deterministic: true}.Marshal(set)
	if err != nil || len(seen) < 4 {
		t.Fatalf("%d files, %v", len(seen), err)
	}
	return data
}

// everyKind are facts of every kind, beside those of kubernetes and console.
func everyKind() []eventlog.Draft {
	fact := func(subject string, f *ringfencev1.Fact) eventlog.Draft {
		return eventlog.Draft{Subject: subject, Fact: f}
	}
	return []eventlog.Draft{
		fact(eventlog.KubernetesSubject("deployment", "shop", "web"), &ringfencev1.Fact{Body: &ringfencev1.Fact_KubernetesWorkload{
			KubernetesWorkload: &ringfencev1.KubernetesWorkload{Namespace: "shop", Kind: "Deployment", Name: "web", Uid: "uid-web", Labels: map[string]string{"a": "b"}},
		}}),
		fact(eventlog.KubernetesSubject("service", "shop", "web"), &ringfencev1.Fact{Body: &ringfencev1.Fact_Service{Service: &ringfencev1.Service{
			Namespace: "shop", Name: "web", Uid: "uid-service", ClusterIps: []string{"10.96.0.1"}, Ports: []*ringfencev1.ServicePort{{Name: "http", Port: 80, Protocol: 6}},
		}}}),
		fact(eventlog.KubernetesSubject("endpointslice", "shop", "web-1"), &ringfencev1.Fact{Body: &ringfencev1.Fact_EndpointSlice{EndpointSlice: &ringfencev1.EndpointSlice{
			Namespace: "shop", Name: "web-1", Uid: "uid-slice", Service: "web", Addresses: []string{"198.51.100.1"},
		}}}),
		fact(eventlog.KubernetesSubject("labelmap", "", "default"), &ringfencev1.Fact{Body: &ringfencev1.Fact_LabelMap{LabelMap: &ringfencev1.LabelMap{
			Name: "default", Uid: "uid-map", WorkloadLabelMap: []*ringfencev1.LabelMapping{{FromKey: "app", ToKey: "app"}},
		}}}),
		fact(eventlog.LabelSubject("1"), &ringfencev1.Fact{Body: &ringfencev1.Fact_Label{Label: &ringfencev1.Label{Href: "/orgs/1/labels/1", Key: "role", Value: "web"}}}),
		fact(eventlog.LabelDimensionSubject("d"), &ringfencev1.Fact{Body: &ringfencev1.Fact_LabelDimension{
			LabelDimension: &ringfencev1.LabelDimension{Href: "/orgs/1/label_dimensions/d", Key: "role", DisplayName: "Role"},
		}}),
		fact(eventlog.PceWorkloadSubject("w"), &ringfencev1.Fact{Body: &ringfencev1.Fact_PceWorkload{PceWorkload: &ringfencev1.PceWorkload{
			Href: "/orgs/1/workloads/w", Name: "vm", Addresses: []string{"203.0.113.7"}, Labels: []string{"/orgs/1/labels/1"}, Managed: true,
			EnforcementMode: ringfencev1.EnforcementMode_ENFORCEMENT_MODE_FULL,
		}}}),
		fact(eventlog.PairingProfileSubject("p"), &ringfencev1.Fact{Body: &ringfencev1.Fact_PairingProfile{PairingProfile: &ringfencev1.PairingProfile{
			Href: "/orgs/1/pairing_profiles/p", Name: "nodes", Enabled: true, EnforcementMode: ringfencev1.EnforcementMode_ENFORCEMENT_MODE_VISIBILITY_ONLY,
		}}}),
		fact(eventlog.AcknowledgedSubject("k"), &ringfencev1.Fact{Body: &ringfencev1.Fact_AcknowledgedWorkload{AcknowledgedWorkload: &ringfencev1.AcknowledgedWorkload{
			Href: "/orgs/1/kubernetes_workloads/k", Namespace: "shop", Kind: "Deployment", Name: "web",
		}}}),
		fact(eventlog.SettingsSubject, &ringfencev1.Fact{Body: &ringfencev1.Fact_Settings{Settings: &ringfencev1.Settings{ClusterId: "c", ClusterMode: "clas"}}}),
		fact(eventlog.LinkSubject, &ringfencev1.Fact{Body: &ringfencev1.Fact_PceLink{PceLink: &ringfencev1.PceLink{Up: true, Reason: "the PCE answers"}}}),
		fact(pod(3).Subject, &ringfencev1.Fact{Body: &ringfencev1.Fact_Gone{Gone: &ringfencev1.Gone{Uid: "uid-web-3"}}}),
	}
}

// written is a message as it is stored or sent.
type written struct {
	subject string
	message protoreflect.FullName
	data    []byte
}

// messages are what the subjects hold.
var messages = []struct{ subject, message string }{
	{"facts.>", "Fact"}, {"policy.set.>", "StoredAddressSet"}, {"policy.workload.*", "StoredWorkloadPolicy"}, {"policy.namespaces", "StoredNamespaces"},
	{"policy.head", "PolicyHead"}, {"policy.window", "Window"}, {"plan.*", "NodePlan"}, {"status.*", "NodeStatus"}, {"flows.*", "FlowBatch"},
	{"snap.*.done", "SnapshotInfo"},
}

// everythingWritten gives every message of every stream, the facts of snapshots, and what was sent.
func everythingWritten(t *testing.T, nc *nats.Conn, l *eventlog.Log, sent *nats.Subscription) (all []written) {
	t.Helper()
	add := func(subject string, data []byte) {
		for _, m := range messages {
			if eventlog.Matches(m.subject, subject) {
				all = append(all, written{subject, protoreflect.FullName("ringfence.v1." + m.message), data})
				return
			}
		}
		if !strings.HasPrefix(subject, "snap.") { // chunks are read as snapshots are
			t.Errorf("%s: nobody knows what is stored there", subject)
		}
	}
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	for _, stream := range []string{"FACTS", "SNAP", "POLICY", "PLAN", "STATUS", "FLOWS"} {
		s, err := js.Stream(t.Context(), stream)
		if err != nil || s.CachedInfo().State.Msgs == 0 {
			t.Fatalf("stream %s: %+v, %v", stream, s.CachedInfo().State, err)
		}
		for sequence := s.CachedInfo().State.FirstSeq; sequence <= s.CachedInfo().State.LastSeq; sequence++ {
			msg, err := s.GetMsg(t.Context(), sequence)
			if errors.Is(err, jetstream.ErrMsgNotFound) {
				continue
			}
			if err != nil {
				t.Fatal(err)
			}
			add(msg.Subject, msg.Data)
		}
	}
	infos, err := l.Snapshots(t.Context())
	if err != nil || len(infos) == 0 {
		t.Fatalf("%d snapshots, %v", len(infos), err)
	}
	for _, e := range collect(t, "snapshot", l.ReadSnapshot(t.Context(), infos[0])) {
		if len(e.GetFact()) > 0 {
			add(e.GetSubject(), e.GetFact())
		}
	}
	for {
		msg, err := sent.NextMsg(100 * time.Millisecond)
		if err != nil {
			return all
		}
		add(msg.Subject, msg.Data)
	}
}

// unknown lists the fields of a message, as message.number, that its descriptors do not have.
func unknown(m protoreflect.Message, found map[string]bool) {
	for rest := m.GetUnknown(); len(rest) > 0; {
		number, _, n := protowire.ConsumeField(rest)
		if n < 0 {
			return
		}
		found[fmt.Sprintf("%s.%d", m.Descriptor().Name(), number)] = true
		rest = rest[n:]
	}
	m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case f.IsMap() && f.MapValue().Message() != nil:
			v.Map().Range(func(_ protoreflect.MapKey, v protoreflect.Value) bool { unknown(v.Message(), found); return true })
		case f.IsList() && f.Message() != nil:
			for i := range v.List().Len() {
				unknown(v.List().Get(i).Message(), found)
			}
		case f.Message() != nil && !f.IsMap():
			unknown(v.Message(), found)
		}
		return true
	})
}

// A log that a release wrote is served by this version: the same incarnation and facts, its snapshot, and, by the same engine, the
// same policy; what it published is replaced, and what was reported is still there.
func TestLogsOfReleasesAreServed(t *testing.T) {
	for _, r := range releases(t) {
		t.Run(r.name, func(t *testing.T) {
			p := startProcess(t, r.dir, func(c *childConfig) { c.Storage = releasedStorage })
			l, nc := p.open("test"), p.conn("operator")
			eventually(t, func() error {
				if s := p.status(nc); s.Incarnation != r.Incarnation || s.Window == 0 || len(s.Synced) != 2 || s.Engine == r.Engine && s.Digest != r.Digest {
					return fmt.Errorf("status %+v, want %+v", s, r)
				}
				return nil
			})
			if facts := collect(t, "facts", l.Read(t.Context(), 1, 0)); len(facts) != r.Facts {
				t.Errorf("%d facts are read of %d", len(facts), r.Facts)
			}
			statuses, err := l.NodeStatuses(t.Context())
			if err != nil || len(statuses) != r.Nodes {
				t.Errorf("%d nodes of %d are reported, %v", len(statuses), r.Nodes, err)
			}
			if flows := collect(t, "flows", l.Flows(t.Context(), time.Time{})); len(flows) != r.Nodes {
				t.Errorf("%d batches of flows of %d", len(flows), r.Nodes)
			}
			if len(p.lines("restored from a snapshot")) != 1 {
				t.Error("its snapshot is of no use")
			}
			for _, words := range []string{"cannot be decoded", "is not taken", "is set aside", "is damaged"} {
				if said := p.lines(words); len(said) > 0 {
					t.Errorf("it said %q", said)
				}
			}
			if head, want := published(t, l), replayed(t, l); head.GetDigest() != want {
				t.Errorf("the digest is %s, a replay gives %s", head.GetDigest(), want)
			}
			f := follow(t, p.conn("enforcer"))
			eventually(t, func() error {
				if states := f.all(); len(states) == 0 || len(states[len(states)-1].Plan.GetPods()) != 2 {
					return fmt.Errorf("%d states, the last has not two pods", len(states))
				}
				return nil
			})
			watcher, err := l.Lead(t.Context(), "watcher", "this version")
			if err != nil {
				t.Fatal(err)
			}
			if sequence, err := watcher.Publish(t.Context(), pod(4)); err != nil || sequence <= uint64(r.Facts) {
				t.Errorf("the next fact is at %d, %v", sequence, err)
			}
		})
	}
}

// What this version writes, every kind of fact and everything that is published and reported, is read by the releases before it:
// all that they do not know is named in testdata/released/<release>.ignored.json, with the reason why they may ignore it.
func TestEarlierReleasesReadWhatIsWritten(t *testing.T) {
	t.Parallel()
	p := startProcess(t, t.TempDir(), func(c *childConfig) { c.Storage, c.SnapshotFacts = releasedStorage, 10 })
	l, nc := p.open("test"), p.conn("operator")
	sent, err := nc.SubscribeSync("policy.window")
	if err != nil {
		t.Fatal(err)
	}
	watcher, err := l.Lead(t.Context(), "watcher", "test")
	if err != nil {
		t.Fatal(err)
	}
	if err := watcher.PublishAll(t.Context(), slices.Concat(kubernetes(), []eventlog.Draft{pod(3)}, everyKind())); err != nil {
		t.Fatal(err)
	}
	if err := watcher.Synced(t.Context()); err != nil {
		t.Fatal(err)
	}
	produce(t, l, "pce-bridge", console(t))
	report(t, nc)
	last, err := l.LastSequence(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var s Status
	eventually(t, func() error {
		if s = p.status(nc); s.Sequence != last || s.Window == 0 {
			return fmt.Errorf("status %+v", s)
		}
		_, err := l.Head(t.Context())
		return err
	})
	if said := p.lines("is not taken"); len(said) > 0 {
		t.Fatalf("facts of this test are refused: %q", said)
	}
	all := everythingWritten(t, nc, l, sent)
	p.stop()
	if *keepRelease != "" {
		r := &release{
			name: *keepRelease, Incarnation: l.Incarnation(), Engine: clas.Version, Digest: s.Digest, Facts: int(last), Nodes: 40, SnapshotFormat: eventlog.SnapshotFormat,
		}
		r.pack(t, p.config.StoreDir)
	}
	bodies := map[string]bool{}
	for _, w := range all {
		fact := &ringfencev1.Fact{}
		if w.message == "ringfence.v1.Fact" && proto.Unmarshal(w.data, fact) == nil {
			m := fact.ProtoReflect()
			bodies[string(m.WhichOneof(m.Descriptor().Oneofs().ByName("body")).Name())] = true
		}
	}
	for fields, i := (&ringfencev1.Fact{}).ProtoReflect().Descriptor().Oneofs().ByName("body").Fields(), 0; i < fields.Len(); i++ {
		if name := string(fields.Get(i).Name()); !bodies[name] {
			t.Errorf("no fact of kind %s was written: add one to everyKind", name)
		}
	}
	for _, r := range releases(t) {
		t.Run(r.name, func(t *testing.T) { r.reads(t, all) })
	}
}

// reads decodes messages as a release does.
func (r *release) reads(t *testing.T, all []written) {
	t.Helper()
	set := &descriptorpb.FileDescriptorSet{}
	if err := proto.Unmarshal(r.descriptors, set); err != nil {
		t.Fatal(err)
	}
	files, err := protodesc.NewFiles(set)
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]bool{}
	for _, w := range all {
		d, err := files.FindDescriptorByName(w.message)
		if err != nil {
			t.Errorf("%s: it does not know %s", w.subject, w.message)
			continue
		}
		m := dynamicpb.NewMessage(d.(protoreflect.MessageDescriptor))
		if err := proto.Unmarshal(w.data, m); err != nil {
			t.Errorf("%s: %v", w.subject, err)
			continue
		}
		if oneof := m.Descriptor().Oneofs().ByName("body"); w.message == "ringfence.v1.Fact" && m.WhichOneof(oneof) == nil {
			t.Errorf("%s: a fact of a kind that it does not know", w.subject)
		}
		unknown(m, found)
	}
	for _, field := range slices.Sorted(maps.Keys(found)) {
		if r.ignored[field] == "" {
			t.Errorf("it does not know field %s and ignores it; where that is safe, say why in testdata/released/%s.ignored.json", field, r.name)
		}
	}
	if eventlog.SnapshotFormat > r.SnapshotFormat {
		t.Errorf("it reads snapshots up to format %d, and format %d is written: write that only once every release that may follow or precede reads it", r.SnapshotFormat, eventlog.SnapshotFormat)
	}
	t.Logf("%d messages, %d fields that it does not know", len(all), len(found))
}
