package decode

import (
	"fmt"
	"math"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/timestamppb"

	ringfencev1 "github.com/ringfence/ringfence/proto/ringfence/v1"
)

// aPod is a fact of about 500 bytes, as clusters have them.
func aPod() *ringfencev1.Fact {
	return &ringfencev1.Fact{Producer: "watcher", Counter: 123456, ObservedAt: timestamppb.New(timestamppb.Now().AsTime()), Checksum: math.MaxUint64,
		Body: &ringfencev1.Fact_Pod{Pod: &ringfencev1.Pod{
			Namespace: "shop", Name: "web-7d9f8b6c5d-x2x9z", Uid: "0b0ae2a1-7c0f-4f0d-8d84-2a1f7c9a7d11", ResourceVersion: "1000001", Node: "node-17",
			Addresses: []string{"10.1.2.3"}, Phase: ringfencev1.PodPhase_POD_PHASE_RUNNING, Ready: true,
			Controller: &ringfencev1.ObjectRef{Kind: "Deployment", Name: "web", Uid: "1b0ae2a1-7c0f-4f0d-8d84-2a1f7c9a7d11"},
			Labels: map[string]string{"app": "shop", "role": "web", "env": "production", "pod-template-hash": "7d9f8b6c5d", "app.kubernetes.io/name": "web",
				"app.kubernetes.io/instance": "shop-production", "app.kubernetes.io/managed-by": "Helm", "helm.sh/chart": "shop-4.18.2"},
		}}}
}

func encoded(t testing.TB, m proto.Message) []byte {
	data, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// same compares what is decoded here with what proto.Unmarshal gives.
func same(t *testing.T, data []byte, got, want proto.Message, gotErr error) {
	t.Helper()
	wantErr := proto.Unmarshal(data, want)
	if (gotErr == nil) != (wantErr == nil) {
		t.Fatalf("%x: error %v, want %v", data, gotErr, wantErr)
	}
	if gotErr == nil && (!proto.Equal(got, want) || string(encoded(t, got)) != string(encoded(t, want))) {
		t.Fatalf("%x: decoded as\n%v, want\n%v", data, got, want)
	}
}

// checkFact decodes data by itself, and in the room of a fact that was something else and of one that had a lot in it.
func checkFact(t *testing.T, data []byte) {
	t.Helper()
	before := string(data)
	var facts Facts
	for _, earlier := range []*ringfencev1.Fact{nil, {Body: &ringfencev1.Fact_Pod{Pod: &ringfencev1.Pod{}}}, full()} {
		if earlier != nil {
			facts.Release(earlier)
		}
		got, err := facts.Decode(data)
		same(t, data, got, &ringfencev1.Fact{}, err)
		if string(data) != before {
			t.Fatal("decoding changed the data")
		}
		clear(data)
		if err == nil {
			same(t, []byte(before), got, &ringfencev1.Fact{}, nil)
			facts.Release(got)
		}
		copy(data, before)
	}
}

// full is a fact of a pod in which every field is set.
func full() *ringfencev1.Fact {
	fact := &ringfencev1.Fact{Body: &ringfencev1.Fact_Pod{Pod: &ringfencev1.Pod{}}}
	fill(fact.ProtoReflect())
	fill(fact.GetPod().ProtoReflect())
	fact.GetPod().ProtoReflect().SetUnknown(protowire.AppendVarint(protowire.AppendTag(nil, 999, protowire.VarintType), 1))
	return fact
}

// fill gives every field of a message, and of those in it, a value that is not its zero.
func fill(m protoreflect.Message) {
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		f := fields.Get(i)
		switch {
		case f.ContainingOneof() != nil:
		case f.IsMap():
			m.Mutable(f).Map().Set(protoreflect.ValueOfString("key").MapKey(), protoreflect.ValueOfString("value"))
		case f.IsList():
			list := m.Mutable(f).List()
			for range 2 {
				v := list.NewElement()
				if f.Message() != nil {
					fill(v.Message())
				} else {
					v = scalar(f)
				}
				list.Append(v)
			}
		case f.Message() != nil:
			fill(m.Mutable(f).Message())
		default:
			m.Set(f, scalar(f))
		}
	}
}

func scalar(f protoreflect.FieldDescriptor) protoreflect.Value {
	switch f.Kind() {
	case protoreflect.StringKind:
		return protoreflect.ValueOfString("text")
	case protoreflect.BytesKind:
		return protoreflect.ValueOfBytes([]byte{1, 2})
	case protoreflect.BoolKind:
		return protoreflect.ValueOfBool(true)
	case protoreflect.EnumKind:
		return protoreflect.ValueOfEnum(2)
	case protoreflect.Uint32Kind:
		return protoreflect.ValueOfUint32(300)
	case protoreflect.Int32Kind:
		return protoreflect.ValueOfInt32(300)
	case protoreflect.Int64Kind:
		return protoreflect.ValueOfInt64(1 << 40)
	case protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		return protoreflect.ValueOfUint64(1 << 40)
	}
	panic(fmt.Sprintf("%s: fill knows no %s", f.FullName(), f.Kind()))
}

// TestEveryFieldOfAPodIsPlain notices a field that the protocol has and this package does not.
func TestEveryFieldOfAPodIsPlain(t *testing.T) {
	fact := full()
	fact.GetPod().ProtoReflect().SetUnknown(nil)
	data := encoded(t, fact)
	if !podFact(string(data), newRoom()) {
		t.Fatal("a fact with every field of a pod is not plain")
	}
	checkFact(t, data)
}

// TestFactIsWhatProtobufSays goes through encodings in which decoders differ.
func TestFactIsWhatProtobufSays(t *testing.T) {
	plain := encoded(t, aPod())
	inPod := func(fields ...byte) []byte {
		return protowire.AppendBytes(protowire.AppendTag(nil, 22, protowire.BytesType), fields)
	}
	for name, data := range encodings(t, plain, inPod) {
		t.Run(name, func(t *testing.T) { checkFact(t, data) })
	}
}

func encodings(t testing.TB, plain []byte, inPod func(...byte) []byte) map[string][]byte {
	all := map[string][]byte{
		"a pod":                      plain,
		"nothing":                    {},
		"a pod without fields":       inPod(),
		"two pods":                   append(append([]byte{}, plain...), plain...),
		"another body after a pod":   append(append([]byte{}, plain...), encoded(t, &ringfencev1.Fact{Body: &ringfencev1.Fact_Gone{Gone: &ringfencev1.Gone{}}})...),
		"another body":               encoded(t, &ringfencev1.Fact{Body: &ringfencev1.Fact_Node{Node: &ringfencev1.Node{Name: "n"}}}),
		"not UTF-8":                  inPod(2<<3|2, 1, 0xff),
		"not UTF-8 in a label":       inPod(10<<3|2, 3, 1<<3|2, 1, 0xff),
		"unknown field":              inPod(0xf8, 0x7f, 1),
		"unknown field of a pair":    inPod(10<<3|2, 5, 1<<3|2, 1, 'k', 3<<3, 1),
		"pair without key":           inPod(10<<3|2, 3, 2<<3|2, 1, 'v'),
		"pair without anything":      inPod(10<<3|2, 0),
		"pair of two keys":           inPod(10<<3|2, 6, 1<<3|2, 1, 'k', 1<<3|2, 1, 'l'),
		"label twice":                inPod(10<<3|2, 6, 1<<3|2, 1, 'k', 2<<3|2, 1, 'v', 10<<3|2, 6, 1<<3|2, 1, 'k', 2<<3|2, 1, 'w'),
		"controller twice":           inPod(12<<3|2, 3, 1<<3|2, 1, 'k', 12<<3|2, 3, 2<<3|2, 1, 'n'),
		"truth of two":               inPod(8<<3, 2),
		"long truth":                 inPod(8<<3, 0x80, 0x80, 0),
		"negative phase":             inPod(7<<3, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1),
		"phase above 32 bits":        inPod(7<<3, 0x81, 0x80, 0x80, 0x80, 0x80, 1),
		"port above 32 bits":         inPod(13<<3|2, 7, 2<<3, 0x81, 0x80, 0x80, 0x80, 0x80, 1),
		"number of eleven bytes":     inPod(8<<3, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1),
		"long tag":                   inPod(0x90|2, 0, 1, 'n'),
		"tag above 32 bits":          inPod(0x92, 0x80, 0x80, 0x80, 0x80, 1, 1, 'n'),
		"field number zero":          inPod(2, 1, 'n'),
		"name as a number":           inPod(2<<3, 1),
		"length beyond the end":      inPod(2<<3|2, 100, 'n'),
		"length of nine bytes":       inPod(2<<3|2, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f),
		"group":                      inPod(3, 4),
		"observed before 1970":       encoded(t, &ringfencev1.Fact{ObservedAt: &timestamppb.Timestamp{Seconds: -5, Nanos: -5}, Body: aPod().GetBody()}),
		"many labels, many pairs":    encoded(t, manyLabels()),
		"empty address and no label": inPod(6<<3|2, 0, 6<<3|2, 0),
		"bytes instead of checksum":  {4<<3 | 2, 0},
		"half a checksum":            {4<<3 | 1, 1, 2, 3},
	}
	for cut := range plain {
		all[fmt.Sprintf("cut after %d", cut)] = append([]byte{}, plain[:cut]...)
	}
	return all
}

func manyLabels() *ringfencev1.Fact {
	fact := aPod()
	fact.GetPod().Annotations = map[string]string{}
	for i := range 50 {
		fact.GetPod().Labels[strings.Repeat("k", i)] = fmt.Sprint(i)
		fact.GetPod().Annotations[strings.Repeat("a", i)] = fmt.Sprint(i)
	}
	return fact
}

func FuzzFact(f *testing.F) {
	inPod := func(fields ...byte) []byte { return append([]byte{0xb2, 1, byte(len(fields))}, fields...) }
	for _, data := range encodings(f, encoded(f, aPod()), inPod) {
		f.Add(data)
	}
	f.Fuzz(checkFact)
}

// TestAReleasedFactIsUsedAgain holds that nothing is allocated for a fact but its text, where one was released before.
func TestAReleasedFactIsUsedAgain(t *testing.T) {
	var facts Facts
	data := encoded(t, aPod())
	got := testing.AllocsPerRun(1000, func() {
		fact, err := facts.Decode(data)
		if err != nil {
			t.Fatal(err)
		}
		facts.Release(fact)
	})
	if got != 1 {
		t.Errorf("%.0f allocations, want 1", got)
	}
}

// TestWhatIsNotReleasedIsNotUsedAgain holds that facts share nothing but text.
func TestWhatIsNotReleasedIsNotUsedAgain(t *testing.T) {
	var facts Facts
	data := encoded(t, full())
	kept, err := facts.Decode(data)
	if err != nil {
		t.Fatal(err)
	}
	for range 10 {
		released, err := facts.Decode(encoded(t, aPod()))
		if err != nil {
			t.Fatal(err)
		}
		facts.Release(released)
	}
	same(t, data, kept, &ringfencev1.Fact{}, nil)
}

func BenchmarkFact(b *testing.B) {
	var facts Facts
	data := encoded(b, aPod())
	b.Run("kept", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := facts.Decode(data); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("released", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			fact, err := facts.Decode(data)
			if err != nil {
				b.Fatal(err)
			}
			facts.Release(fact)
		}
	})
	b.Run("proto.Unmarshal", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if err := proto.Unmarshal(data, &ringfencev1.Fact{}); err != nil {
				b.Fatal(err)
			}
		}
	})
}
