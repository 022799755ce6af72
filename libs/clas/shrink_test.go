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
func judge(log []logged) error {
	for _, way := range []struct {
		name string
		then func(look) look
	}{
		{"in one go", func(look) look { return nothing }},
		{"asked after every fact", func(look) look { return asking }},
		{"flushed after every fact", func(look) look { return flushing }},
		{"restored after every fact", func(look) look { return restarting }},
		{"looked at as written", func(was look) look { return was }},
	} {
		if err := judgeWay(log, way.then); err != nil {
			return fmt.Errorf("%s: %w", way.name, err)
		}
	}
	return nil
}

func judgeWay(log []logged, then func(look) look) error {
	x := newTrial(newByteSource(nil), tally{})
	x.thorough = true
	for _, f := range log {
		f.sequence = x.engine.Sequence() + 1
		if x.engine.Apply(f.subject, f.sequence, f.fact) != nil {
			continue
		}
		x.log = append(x.log, f)
		if err := x.look(then(f.then)); err != nil {
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
func shrink(log []logged) ([]logged, error) {
	why := judge(log)
	if why == nil {
		return nil, nil
	}
	s := &shrinking{log: log, why: why, gist: gist(why)}
	for before := -1; before != s.judged && s.judged < maxJudgements; {
		s.improved = false
		s.facts()
		s.looks()
		s.fields()
		if before = s.judged; s.improved {
			before = -1
		}
	}
	return s.log, s.why
}

type shrinking struct {
	log      []logged
	why      error
	gist     string
	judged   int
	improved bool
}

// try keeps a smaller log if it fails still.
func (s *shrinking) try(smaller []logged) bool {
	if s.judged++; s.judged > maxJudgements {
		return false
	}
	err := judge(smaller)
	if err == nil || gist(err) != s.gist {
		return false
	}
	s.log, s.why, s.improved = smaller, err, true
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
	for size := len(s.log) / 2; size > 0; size /= 2 {
		for at := len(s.log) - size; at >= 0; at -= size {
			s.try(slices.Delete(slices.Clone(s.log), at, at+size))
			at = min(at, len(s.log))
		}
	}
}

// looks leaves out what somebody did in between.
func (s *shrinking) looks() {
	for i := range s.log {
		if s.log[i].then != nothing {
			smaller := slices.Clone(s.log)
			smaller[i].then = nothing
			s.try(smaller)
		}
	}
}

// fields leaves out fields, and elements of lists and maps, of every fact.
func (s *shrinking) fields() {
	for i := range s.log {
		for n := 0; ; {
			f := proto.CloneOf(s.log[i].fact)
			left := n
			if !clearField(f.ProtoReflect(), &left) {
				break
			}
			if !s.try(replaced(s.log, i, f)) {
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
func replaced(log []logged, at int, f *pb.Fact) []logged {
	out := slices.Clone(log)
	out[at].fact = f
	object := f.GetPceObject()
	if object == nil {
		return out
	}
	was := strings.TrimPrefix(log[at].subject, "facts.pce.object.")
	now := objectFact(object)
	for i, e := range out {
		switch {
		case e.subject == log[at].subject && e.fact.GetPceObject() != nil:
			out[i].entry = now
		case e.subject == log[at].subject:
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

var lookNames = map[look]string{asking: "(then asked) ", flushing: "(then flushed) ", checking: "(then checked) ", restarting: "(then restored) ",
	refusing: "(then gave a malformed fact) ", repeating: "(then repeated) "}

// reproduction says in words how a log fails, shrunk if shrinking it still fails.
func reproduction(log []logged) string {
	smallest, why := shrink(log)
	if why == nil {
		return "the log alone, without what happened in between, does not fail"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "shrunk to %d facts: %v", len(smallest), why)
	for _, e := range smallest {
		fmt.Fprintf(&b, "\n  %s %s%s", e.subject, lookNames[e.then], strings.ReplaceAll(prototext.MarshalOptions{}.Format(e.fact), "  ", " "))
	}
	fmt.Fprintf(&b, "\n(engine %s)", clas.Version)
	return b.String()
}
