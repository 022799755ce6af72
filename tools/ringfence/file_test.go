package ringfence_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"
	"google.golang.org/protobuf/encoding/protodelim"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/ringfence/ringfence/libs/eventlog"
	"github.com/ringfence/ringfence/libs/eventlog/eventlogtest"
	ringfencev1 "github.com/ringfence/ringfence/proto/ringfence/v1"
	"github.com/ringfence/ringfence/tools/ringfence"
)

// export exports a part of a log and opens the file.
func export(t *testing.T, source ringfence.Source, from, to ringfence.Place) (*ringfence.File, []byte) {
	t.Helper()
	var out bytes.Buffer
	if _, err := ringfence.Export(t.Context(), source, from, to, &out, nil); err != nil {
		t.Fatal(err)
	}
	return memory(t, out.Bytes()), out.Bytes()
}

func TestAnExportIsTheLogThatItWasTakenFrom(t *testing.T) {
	_, log := eventlogtest.StartLog(t)
	publish(t, log)
	whole, _ := export(t, log, ringfence.Place{}, ringfence.Place{})
	if diff := cmp.Diff(collect(t, log.Read(t.Context(), 0, 0)), collect(t, whole.Read(t.Context(), 0, 0)), protocmp.Transform(), utc); diff != "" {
		t.Errorf("facts differ: %s", diff)
	}
	part, _ := export(t, log, ringfence.Place{Sequence: 20}, ringfence.Place{Sequence: 32})
	again, _ := export(t, part, ringfence.Place{Sequence: 25}, ringfence.Place{})
	for _, c := range []struct {
		name              string
		file              *ringfence.File
		start, last, from uint64
	}{{"whole", whole, 0, 34, 1}, {"part", part, 20, 32, 20}, {"part of a part", again, 25, 32, 25}} {
		if c.file.Header.Start != c.start || c.file.Header.Last != c.last || c.file.Incarnation() != log.Incarnation() {
			t.Errorf("%s: %+v", c.name, c.file.Header)
		}
		if want := engineAt(t, c.last).Digest(); c.file.Trailer.Digest != want {
			t.Errorf("%s: digest %s, want %s", c.name, c.file.Trailer.Digest, want)
		}
		for sequence := c.from; sequence <= c.last; sequence++ {
			inFile, inLog := at(t, c.file, ringfence.Place{Sequence: sequence}), at(t, log, ringfence.Place{Sequence: sequence})
			if inFile.Engine.Digest() != inLog.Engine.Digest() || !inFile.StoredAt.Equal(inLog.StoredAt) {
				t.Errorf("%s at %d: the digest or the time is another than in the log", c.name, sequence)
			}
			if byTime := at(t, c.file, ringfence.Place{Time: inLog.StoredAt}); byTime.Sequence < sequence {
				t.Errorf("%s at %s: sequence %d, want %d", c.name, inLog.StoredAt, byTime.Sequence, sequence)
			}
		}
		if _, err := ringfence.At(t.Context(), c.file, ringfence.Place{Sequence: c.last + 1}, nil); !errors.Is(err, ringfence.ErrOutOfRange) {
			t.Errorf("%s beyond its end: %v", c.name, err)
		}
	}
	if _, err := ringfence.At(t.Context(), part, ringfence.Place{Sequence: 19}, nil); !errors.Is(err, ringfence.ErrOutOfRange) || !strings.Contains(err.Error(), "from sequence 20 on") {
		t.Errorf("before its start: %v", err)
	}
	early := at(t, log, ringfence.Place{Sequence: 19}).StoredAt
	if _, err := ringfence.At(t.Context(), part, ringfence.Place{Time: early}, nil); !errors.Is(err, ringfence.ErrOutOfRange) {
		t.Errorf("before its start, by time: %v", err)
	}
}

var utc = cmp.Transformer("UTC", func(t time.Time) time.Time { return t.UTC().Round(0) })

func TestATrimmedLogIsExportedFromItsOldestSnapshot(t *testing.T) {
	_, log := eventlogtest.StartLog(t)
	publish(t, log)
	snapshot(t, log, 20, computedAt(t, 20))
	snapshot(t, log, 29, computedAt(t, 29))
	if err := log.Trim(t.Context(), 21); err != nil {
		t.Fatal(err)
	}
	file, _ := export(t, log, ringfence.Place{}, ringfence.Place{})
	if file.Header.Start != 20 || file.Trailer.Facts != 14 || at(t, file, ringfence.Place{Sequence: 22}).Engine.Digest() != engineAt(t, 22).Digest() {
		t.Errorf("%+v %+v", file.Header, file.Trailer)
	}
	if _, err := ringfence.Export(t.Context(), log, ringfence.Place{Sequence: 30}, ringfence.Place{Sequence: 25}, &bytes.Buffer{}, nil); err == nil || !strings.Contains(err.Error(), "comes after the end") {
		t.Errorf("an end before the start: %v", err)
	}
	if _, err := ringfence.Export(t.Context(), log, ringfence.Place{Sequence: 12}, ringfence.Place{}, &bytes.Buffer{}, nil); !errors.Is(err, ringfence.ErrOutOfRange) {
		t.Errorf("a start that was trimmed: %v", err)
	}
}

func TestWhatThisVersionDoesNotKnowOfAFactIsKept(t *testing.T) {
	facts := shop(t)
	unknown := []byte{0xfa, 0x3e, 0x03, 'n', 'e', 'w'} // field 1007
	facts[20].Fact = proto.CloneOf(facts[20].Fact)
	facts[20].Fact.ProtoReflect().SetUnknown(unknown)
	var out bytes.Buffer
	if _, err := ringfence.Write(&out, ringfence.Header{Incarnation: "shop", Last: 34}, sequence(facts)); err != nil {
		t.Fatal(err)
	}
	read := collect(t, memory(t, out.Bytes()).Read(t.Context(), 21, 21))
	if len(read) != 1 || !bytes.Equal(read[0].Fact.ProtoReflect().GetUnknown(), unknown) {
		t.Errorf("read %v", read)
	}
}

func TestFilesAreFiltered(t *testing.T) {
	file := memory(t, exportShop(t))
	for filter, want := range map[string]int{
		"facts.>": 34, "facts.pce.label.*": 6, "facts.k8s.pod.shop.>": 5, "facts.k8s.*.*.web-3": 1, "facts.k8s.pod": 0, "facts.k8s.pod.shop.web-3.x": 0,
	} {
		if got := len(collect(t, file.Read(t.Context(), 0, 0, filter))); got != want {
			t.Errorf("%s: %d facts, want %d", filter, got, want)
		}
	}
	if got := len(collect(t, file.Read(t.Context(), 5, 9, "facts.pce.profile.*", "facts.pce.label.*"))); got != 5 {
		t.Errorf("two filters in a range: %d facts, want 5", got)
	}
	for _, bad := range []string{"", "facts", "facts..x", "facts.>.x", "facts.a b", "facts.po*", "plan.*"} {
		if ringfence.CheckFilter(bad) == nil {
			t.Errorf("filter %q is taken", bad)
		}
	}
}

// TestADamagedFileIsRefused damages a good file in every way that one comes by.
func TestADamagedFileIsRefused(t *testing.T) {
	good := exportShop(t)
	flipped := func(i int) []byte {
		data := bytes.Clone(good)
		data[i] ^= 4
		return data
	}
	for _, c := range []struct {
		name string
		data []byte
		err  error
		want string
	}{
		{"empty", nil, ringfence.ErrNotALog, "it is empty"},
		{"a letter", []byte("Dear operator,\n"), ringfence.ErrNotALog, "does not begin with a line that says so"},
		{"of before", []byte(`{"format":"ringfence-log/1","incarnation":"shop"}` + "\n{}\n"), ringfence.ErrNotALog, "it is ringfence-log/1, this reads ringfence-log/2"},
		{"cut within the first line", good[:40], ringfence.ErrDamaged, "truncated: it ends within its first line"},
		{"cut in the middle", good[:len(good)/2], ringfence.ErrDamaged, "truncated: it has no end line after its"},
		{"cut within the end line", good[:len(good)-10], ringfence.ErrDamaged, "truncated: it has no end line"},
		{"cut before the end line", good[:bytes.LastIndex(good, []byte(`{"sha256"`))], ringfence.ErrDamaged, "truncated: it has no end line"},
		{"a bit in the middle", flipped(len(good) / 2), ringfence.ErrDamaged, "altered: its content has SHA-256"},
		{"a bit in the first line", flipped(50), ringfence.ErrDamaged, ""},
		{"a bit in the digest", flipped(bytes.LastIndex(good, []byte(`"digest":"`)) + 20), ringfence.ErrDamaged, "altered"},
		{"a bit in the checksum", flipped(len(good) - 20), ringfence.ErrDamaged, "altered"},
		{"more after the end", append(bytes.Clone(good), "more\n"...), ringfence.ErrDamaged, "truncated: it has no end line"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := ringfence.NewFile(bytes.NewReader(c.data), int64(len(c.data)))
			if !errors.Is(err, c.err) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want %v with %q", err, c.err, c.want)
			}
		})
	}
	for i := range good { // no bit is without a say
		if _, err := ringfence.NewFile(bytes.NewReader(flipped(i)), int64(len(good))); err == nil {
			t.Fatalf("a bit of byte %d of %d flipped, and nothing is wrong", i, len(good))
		}
	}
}

// sealed makes a file by hand, with a checksum that is right.
func sealed(t testing.TB, header ringfence.Header, trailer ringfence.Trailer, entries ...*ringfencev1.SnapshotEntry) []byte {
	t.Helper()
	var frames bytes.Buffer
	packer, err := zstd.NewWriter(&frames)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		if _, err := protodelim.MarshalTo(packer, entry); err != nil {
			t.Fatal(err)
		}
	}
	if err := packer.Close(); err != nil {
		t.Fatal(err)
	}
	return seal(t, header, trailer, frames.Bytes())
}

func seal(t testing.TB, header ringfence.Header, trailer ringfence.Trailer, frames []byte) []byte {
	t.Helper()
	first, err := json.Marshal(header)
	if err != nil {
		t.Fatal(err)
	}
	last, err := json.Marshal(trailer)
	if err != nil {
		t.Fatal(err)
	}
	data := bytes.Join([][]byte{first, append(frames, append([]byte("\n"), append(last, '\n')...)...)}, []byte("\n"))
	sum := sha256.Sum256(data)
	return append(data, `{"sha256":"`+hex.EncodeToString(sum[:])+"\"}\n"...)
}

// TestAFileThatWasWrittenWrongIsRefused has files whose checksum is right.
func TestAFileThatWasWrittenWrongIsRefused(t *testing.T) {
	fact := func(sequence uint64, subject string) *ringfencev1.SnapshotEntry {
		data, err := proto.Marshal(&ringfencev1.Fact{Body: &ringfencev1.Fact_Gone{Gone: &ringfencev1.Gone{}}})
		if err != nil {
			t.Fatal(err)
		}
		return &ringfencev1.SnapshotEntry{Subject: subject, Sequence: sequence, Fact: data}
	}
	header := ringfence.Header{Format: ringfence.Format, Incarnation: "x", Base: 1, Last: 5}
	const subject = "facts.k8s.pod.a.b"
	for _, c := range []struct {
		name string
		data []byte
		want string
	}{
		{"no base", sealed(t, ringfence.Header{Format: ringfence.Format}, ringfence.Trailer{}), "names no range of facts"},
		{"a start after the end", sealed(t, ringfence.Header{Format: ringfence.Format, Base: 1, Start: 6, Last: 5}, ringfence.Trailer{}), "names no range of facts"},
		{"fewer facts", sealed(t, header, ringfence.Trailer{Facts: 2}, fact(1, subject)), "fact 2 of 2, after sequence 1"},
		{"more facts", sealed(t, header, ringfence.Trailer{Facts: 1}, fact(1, subject), fact(2, subject)), "more than the promised 1 facts"},
		{"a sequence again", sealed(t, header, ringfence.Trailer{Facts: 2}, fact(2, subject), fact(2, subject)), "sequence 2 (" + subject + ") does not follow 2"},
		{"a sequence beyond the end", sealed(t, header, ringfence.Trailer{Facts: 1}, fact(6, subject)), "does not follow 0, up to 5"},
		{"another stream's subject", sealed(t, header, ringfence.Trailer{Facts: 1}, fact(1, "plan.n")), `subject "plan.n" is not one of facts`},
		{"no fact", sealed(t, header, ringfence.Trailer{Facts: 1}, &ringfencev1.SnapshotEntry{Subject: subject, Sequence: 1, Fact: []byte{0xff}}), "sequence 1 (" + subject + "): fact:"},
		{"no body", sealed(t, header, ringfence.Trailer{Facts: 1}, &ringfencev1.SnapshotEntry{Subject: subject, Sequence: 1}), "no body that this version knows"},
		{"no frames", seal(t, header, ringfence.Trailer{Facts: 1}, []byte("not zstd")), "fact 1 of 1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			file, err := ringfence.NewFile(bytes.NewReader(c.data), int64(len(c.data)))
			if err == nil {
				_, err = ringfence.At(t.Context(), file, ringfence.Place{}, nil)
			}
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want %q", err, c.want)
			}
		})
	}
}

// FuzzFile reads anything, as it is and with a right checksum: header, frames and trailer then are whatever they are. What
// reads without error is exported again and must be the same.
func FuzzFile(f *testing.F) {
	good := exportShop(f)
	f.Add(good)
	f.Add(good[:len(good)/2])
	f.Add([]byte(`{"format":"ringfence-log/1"}` + "\n"))
	f.Add(seal(f, ringfence.Header{Format: ringfence.Format, Base: 1, Last: 3}, ringfence.Trailer{Facts: 3}, []byte("junk")))
	f.Add(sealed(f, ringfence.Header{Format: ringfence.Format, Base: 1, Start: 2, Last: 3}, ringfence.Trailer{State: 1},
		&ringfencev1.SnapshotEntry{Subject: "facts.ctl.position", Sequence: 2}))
	f.Fuzz(func(t *testing.T, data []byte) {
		if i := bytes.LastIndex(data, []byte(`{"sha256":"`)); i >= 0 {
			sum := sha256.Sum256(data[:i])
			tryFile(t, append(bytes.Clone(data[:i]), `{"sha256":"`+hex.EncodeToString(sum[:])+"\"}\n"...))
		}
		tryFile(t, data)
	})
}

func tryFile(t *testing.T, data []byte) {
	file, err := ringfence.NewFile(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		if err.Error() == "" {
			t.Fatal("an error without words")
		}
		return
	}
	state, err := ringfence.At(t.Context(), file, ringfence.Place{}, nil)
	if err != nil {
		return
	}
	var again bytes.Buffer
	if _, err := ringfence.Export(t.Context(), file, ringfence.Place{}, ringfence.Place{}, &again, nil); err != nil {
		t.Fatalf("what was read cannot be exported: %v", err)
	}
	copied := memory(t, again.Bytes())
	if copied.Trailer.Digest != state.Engine.Digest() || copied.Header.Last != file.Header.Last {
		t.Fatalf("exported again it is %+v %+v, want digest %s", copied.Header, copied.Trailer, state.Engine.Digest())
	}
}

func TestExportLeavesNoHalfFileBehind(t *testing.T) {
	_, log := eventlogtest.StartLog(t)
	publish(t, log)
	ctx, cancel := context.WithCancel(t.Context())
	dir := t.TempDir()
	_, err := ringfence.ExportFile(ctx, log, ringfence.Place{}, ringfence.Place{}, filepath.Join(dir, "shop.rflog"), func(string, uint64, uint64) { cancel() })
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("error %v, want that of the context", err)
	}
	left, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// TestAFileIsReadWhileOthersAre reads one file from several goroutines.
func TestAFileIsReadWhileOthersAre(t *testing.T) {
	file := memory(t, exportShop(t))
	want := engineAt(t, 34).Digest()
	done := make(chan string)
	for range 4 {
		go func() {
			state, err := ringfence.At(context.Background(), file, ringfence.Place{}, nil)
			if err != nil {
				done <- err.Error()
				return
			}
			done <- state.Engine.Digest()
		}()
	}
	for range 4 {
		if got := <-done; got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

// sealedFacts makes a file of facts by hand; its digest is empty.
func sealedFacts(t testing.TB, header ringfence.Header, facts []eventlog.Entry) []byte {
	t.Helper()
	var entries []*ringfencev1.SnapshotEntry
	for _, e := range facts {
		data, err := proto.Marshal(e.Fact)
		if err != nil {
			t.Fatal(err)
		}
		entries = append(entries, &ringfencev1.SnapshotEntry{Subject: e.Subject, Sequence: e.Sequence, StoredAt: e.StoredAt.UnixNano(), Fact: data})
	}
	return sealed(t, header, ringfence.Trailer{Facts: uint64(len(entries))}, entries...)
}
