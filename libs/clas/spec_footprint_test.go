package clas_test

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	pb "github.com/ringfence/ringfence/proto/ringfence/v1"

	"github.com/ringfence/ringfence/libs/clas"
)

// footprint counts what an engine holds on to, by type. Two engines that know the same hold the same, whatever they went
// through: else something that went left something behind.
type footprint struct {
	counts map[string]int
	seen   map[uintptr]bool
}

// rooms are fields that are used again and hold what they held last, tables that are bounded by themselves, and the chunks of
// versions, of which a snapshot has those that are in force alone.
var rooms = map[string]bool{"identity": true, "labelRoom": true, "compilation": true, "key": true, "ports": true, "slots": true}

// memos are made when they are first asked for, also of the one label set that always stays.
var memos = map[string]bool{"*clas.sum": true, "*clas.otherActors": true}

func footprintOf(e *clas.Engine) map[string]int {
	f := footprint{counts: map[string]int{}, seen: map[uintptr]bool{}}
	f.visit(reflect.ValueOf(e))
	return f.counts
}

func (f footprint) visit(v reflect.Value) {
	switch v.Kind() {
	case reflect.Pointer:
		if v.IsNil() || strings.Contains(v.Type().Elem().PkgPath(), "proto") || f.visited(v) {
			return
		}
		if !memos[v.Type().String()] {
			f.counts[v.Type().String()]++
		}
		f.visit(v.Elem())
	case reflect.Interface:
		if !v.IsNil() {
			f.visit(v.Elem())
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if !rooms[v.Type().Field(i).Name] {
				f.visit(v.Field(i))
			}
		}
	case reflect.Map:
		if v.IsNil() || f.visited(v) {
			return
		}
		f.counts[v.Type().String()] += v.Len()
		for entries := v.MapRange(); entries.Next(); {
			f.visit(entries.Key())
			f.visit(entries.Value())
		}
	case reflect.Slice, reflect.Array:
		if kind := v.Type().Elem().Kind(); kind == reflect.Uint8 || kind == reflect.String {
			return
		}
		for i := range v.Len() {
			f.visit(v.Index(i))
		}
	}
}

func (f footprint) visited(v reflect.Value) bool {
	was := f.seen[v.Pointer()]
	f.seen[v.Pointer()] = true
	return was
}

// compareFootprints says where the engine holds more or less than another, or nothing.
func compareFootprints(got, want map[string]int) string {
	var out []string
	for _, name := range slices.Sorted(maps.Keys(got)) {
		if got[name] != want[name] {
			out = append(out, fmt.Sprintf("%d of %s, not %d", got[name], name, want[name]))
		}
	}
	return strings.Join(out, ", ")
}

// tearDown takes everything out of the world again, and checks that nothing is left of it.
func (r *specRun) tearDown() {
	r.settle()
	r.checkFootprint()
	r.at = specLine{path: r.at.path, number: r.at.number, verb: "afterwards everything goes"}
	r.console.byHand = true
	r.apply(entry{"facts.pce.provisioned.0", &pb.Fact{Body: &pb.Fact_Provisioned{Provisioned: &pb.Provisioned{Version: 1 << 40, Chunks: 1}}}})
	subjects := map[string]bool{}
	for _, e := range r.log {
		subjects[e.subject] = e.subject != "facts.pce.provisioned.0" // the version that lists nothing stays in force
	}
	maps.DeleteFunc(subjects, func(_ string, goes bool) bool { return !goes })
	for _, subject := range slices.Sorted(maps.Keys(subjects)) {
		r.apply(gone(entry{subject: subject}, ""))
	}
	r.settle()
	if p := r.policy; len(p.Sets)+len(p.Policies)+len(p.Plans)+len(p.Namespaces.GetNamespaces())+len(p.Warnings) > 0 {
		r.stop("there is still %+v", p)
	}
	r.checkFootprint()
}

// checkFootprint compares with an engine that never saw what is gone.
func (r *specRun) checkFootprint() {
	restored, err := clas.Restore(withoutErrors(r.engine.Snapshot()))
	if err != nil {
		r.stop("restoring: %v", err)
	}
	restored.Flush()
	restored.Digest() // parts of it are kept
	if difference := compareFootprints(footprintOf(r.engine), footprintOf(restored)); difference != "" {
		r.Errorf("%s:%d: %s: something that is gone left something behind: %s", r.at.path, r.at.number, r.at, difference)
	}
}
