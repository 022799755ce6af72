package clas_test

import (
	"fmt"
	"testing"

	pb "github.com/ringfence/ringfence/proto/ringfence/v1"

	"github.com/ringfence/ringfence/libs/clas"
)

// What one event about a pod may allocate, from its fact to the delta that leaves: the pod, the delta of one address set, the delta of
// one plan. Time is for benchmarks; allocations are exact, and the same in a cluster of any size.
var allocationsPerPodEvent = map[string]float64{"comes": 23, "goes": 21, "has another address": 27, "says nothing new": 8}

func TestAPodEventAllocatesLittleInAnyCluster(t *testing.T) {
	for _, size := range []struct{ rules, pods int }{{100, 1000}, {1000, 5000}} {
		e := clas.New()
		apply(t, e, city(size.rules)...)
		for i := range size.pods {
			apply(t, e, podFact(cityPod(i)))
		}
		e.Flush()
		for what, limit := range allocationsPerPodEvent {
			got := testing.AllocsPerRun(200, podEvents(t, e, what))
			t.Logf("%d rules, %d pods: a pod %s: %.0f allocations", size.rules, size.pods, what, got)
			if got > limit {
				t.Errorf("%d rules, %d pods: a pod %s: %.0f allocations, stated are %.0f", size.rules, size.pods, what, got, limit)
			}
		}
	}
}

// podEvents gives a function that makes the next event. Facts are made before, for they are not the engine's.
func podEvents(t *testing.T, e *clas.Engine, what string) func() {
	var facts []entry
	for i := range 1000 {
		p := cityPod(7)
		p.Addresses = []string{"10.200.0.1"}
		switch what {
		case "comes", "goes":
			p.Name, p.Uid = fmt.Sprintf("new%d", i), fmt.Sprintf("5f0c1f3a-0b1d-4c7e-9a54-%012d", i)
			p.Addresses = []string{fmt.Sprintf("10.201.%d.%d", i>>8, i&0xff)}
		case "has another address":
			p.Addresses = []string{fmt.Sprintf("10.202.%d.%d", i>>8, i&0xff)}
		}
		x := podFact(p)
		if what == "goes" {
			apply(t, e, x)
			x.fact = &pb.Fact{Body: &pb.Fact_Gone{Gone: &pb.Gone{}}}
		}
		facts = append(facts, x)
	}
	e.Flush()
	next := 0
	return func() {
		x := facts[next]
		next++
		if err := e.Apply(x.subject, e.Sequence()+1, x.fact); err != nil {
			t.Error(err)
		}
		if d := e.Flush(); d.Empty() != (what == "says nothing new" && next > 1) {
			t.Errorf("a pod %s: delta %+v", what, d)
		}
	}
}
