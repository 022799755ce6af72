package clas_test

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	pb "github.com/ringfence/ringfence/proto/ringfence/v1"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/ringfence/ringfence/libs/clas"
)

// A failing log of hundreds of facts says little. shrink leaves out what it can: facts, and then fields of facts, as long as
// judging what is left still fails in the same way.

// judge takes a log the ways that a trial may take it, and gives the first thing that is wrong.
func judge(entries []entry) error {
	var log []logged
	for i, e := range entries {
		log = append(log, logged{e, uint64(i + 1)})
	}
	for _, way := range []struct {
		name  string
		after func(*trial) error
	}{
		{"in one go", func(*trial) error { return nil }},
		{"asked after every fact", func(x *trial) error { x.engine.Digest(); return nil }},
		{"flushed after every fact", (*trial).flush},
		{"restored after every fact", (*trial).restart},
	} {
		if err := judgeWay(log, way.after); err != nil {
			return fmt.Errorf("%s: %w", way.name, err)
		}
	}
	return nil
}

func judgeWay(log []logged, after func(*trial) error) error {
	x := newTrial(newByteSource(nil), tally{})
	x.thorough = true
	for _, f := range log {
		if x.engine.Apply(f.subject, f.sequence, f.fact) != nil {
			continue
		}
		x.log = append(x.log, f)
		if err := after(x); err != nil {
			return err
		}
	}
	if len(x.log) == 0 {
		return nil
	}
	return x.check()
}

// maxJudgements bounds how long shrinking may take.
const maxJudgements = 5000

// shrink gives a log that fails still, and from which nothing can be left out.
func shrink(log []logged) ([]entry, error) {
	var entries []entry
	for _, f := range log {
		entries = append(entries, f.entry)
	}
	why := judge(entries)
	if why == nil {
		return nil, nil
	}
	s := &shrinking{entries: entries, why: why, gist: gist(why)}
	for before := -1; before != s.judged && s.judged < maxJudgements; {
		s.improved = false
		s.facts()
		s.fields()
		if before = s.judged; s.improved {
			before = -1
		}
	}
	return s.entries, s.why
}

type shrinking struct {
	entries  []entry
	why      error
	gist     string
	judged   int
	improved bool
}

// try keeps a smaller log if it fails still.
func (s *shrinking) try(smaller []entry) bool {
	if s.judged++; s.judged > maxJudgements {
		return false
	}
	err := judge(smaller)
	if err == nil || gist(err) != s.gist {
		return false
	}
	s.entries, s.why, s.improved = smaller, err, true
	return true
}

// particulars are what two failures of one kind differ in: names, numbers, messages.
var particulars = regexp.MustCompile(`[\w/.:*]*[\d/][\w/.:*]*|".*|\(.*|\{.*|\[.*`)

// gist is what two failures of one kind have in common.
func gist(err error) string {
	return strings.Join(strings.Fields(particulars.ReplaceAllString(err.Error(), "")), " ")
}

// facts leaves out ever smaller stretches of facts.
func (s *shrinking) facts() {
	for size := len(s.entries) / 2; size > 0; size /= 2 {
		for at := len(s.entries) - size; at >= 0; at -= size {
			s.try(slices.Delete(slices.Clone(s.entries), at, at+size))
			at = min(at, len(s.entries))
		}
	}
}

// fields leaves out fields, and elements of lists and maps, of every fact.
func (s *shrinking) fields() {
	for i := range s.entries {
		for n := 0; ; {
			f := proto.CloneOf(s.entries[i].fact)
			left := n
			if !clearField(f.ProtoReflect(), &left) {
				break
			}
			if !s.try(replaced(s.entries, i, f)) {
				n++
			}
		}
	}
}

// clearField clears the n-th thing in a message that is set, itself or within. It tells whether there are that many.
func clearField(m protoreflect.Message, n *int) bool {
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		f := fields.Get(i)
		if m.Has(f) && clearWithin(m, f, n) {
			return true
		}
	}
	return false
}

func clearWithin(m protoreflect.Message, f protoreflect.FieldDescriptor, n *int) bool {
	if f.IsMap() || !f.IsList() && f.Message() == nil {
		if *n--; *n < 0 {
			m.Clear(f)
			return true
		}
		return false
	}
	if !f.IsList() {
		return clearField(m.Mutable(f).Message(), n)
	}
	list := m.Mutable(f).List()
	for at := range list.Len() {
		if *n--; *n < 0 {
			for later := at + 1; later < list.Len(); later++ {
				list.Set(later-1, list.Get(later))
			}
			list.Truncate(list.Len() - 1)
			return true
		}
		if f.Message() != nil && clearField(list.Get(at).Message(), n) {
			return true
		}
	}
	return false
}

// replaced gives the log with another fact in a place. An object of the console changes its hash, wherever it is listed.
func replaced(entries []entry, at int, f *pb.Fact) []entry {
	out := slices.Clone(entries)
	out[at].fact = f
	object := f.GetPceObject()
	if object == nil {
		return out
	}
	was := strings.TrimPrefix(entries[at].subject, "facts.pce.object.")
	now := objectFact(object)
	for i, e := range out {
		switch {
		case e.subject == entries[at].subject && e.fact.GetPceObject() != nil:
			out[i] = now
		case e.subject == entries[at].subject:
			out[i].subject = now.subject
		case e.fact.GetProvisioned() != nil:
			out[i].fact = proto.CloneOf(e.fact)
			for _, m := range out[i].fact.GetProvisioned().GetEntries() {
				if m.GetSha256() == was {
					m.Sha256 = objectHash(object)
				}
			}
		}
	}
	return out
}

// reproduction says in words how a log fails, shrunk if shrinking it still fails.
func reproduction(log []logged) string {
	entries, why := shrink(log)
	if why == nil {
		return "the log alone, without what happened in between, does not fail"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "shrunk to %d facts: %v", len(entries), why)
	for _, e := range entries {
		fmt.Fprintf(&b, "\n  %s %s", e.subject, strings.ReplaceAll(prototext.MarshalOptions{}.Format(e.fact), "  ", " "))
	}
	fmt.Fprintf(&b, "\n(engine %s)", clas.Version)
	return b.String()
}
