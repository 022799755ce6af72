package nft

import (
	"fmt"
	"testing"

	"github.com/ringfence/ringfence/services/enforcer/datapath"
	"github.com/ringfence/ringfence/services/enforcer/internal/netnstest"
)

// BenchmarkProgram measures one pod with 50 rules for 10 sets, in milliseconds a pod: a full load with read-back, one
// address more or less in one set, and a policy that did not change.
func BenchmarkProgram(b *testing.B) {
	for _, members := range []int{10, 100, 1000} {
		b.Run(fmt.Sprintf("full/10x%d", members), func(b *testing.B) {
			g := attach(b, netnstest.New(b, "pod"))
			policies := []datapath.Policy{podPolicy(b, members, 0), podPolicy(b, members, 0)}
			policies[1].Inbound = policies[1].Inbound[1:]
			cycle(b, g, policies)
		})
		b.Run(fmt.Sprintf("one address/10x%d", members), func(b *testing.B) {
			cycle(b, attach(b, netnstest.New(b, "pod")), []datapath.Policy{podPolicy(b, members, 0), podPolicy(b, members, 1)})
		})
		b.Run(fmt.Sprintf("unchanged/10x%d", members), func(b *testing.B) {
			cycle(b, attach(b, netnstest.New(b, "pod")), []datapath.Policy{podPolicy(b, members, 0)})
		})
	}
}

func cycle(b *testing.B, g datapath.Guard, policies []datapath.Policy) {
	apply(b, g, policies[0])
	for i := 0; b.Loop(); i++ {
		apply(b, g, policies[(i+1)%len(policies)])
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/1000/float64(b.N), "ms/pod")
}

// podPolicy has 50 rules for 10 sets; the first set has some more members.
func podPolicy(b *testing.B, members, more int) datapath.Policy {
	p := datapath.Policy{Mode: datapath.Full, Node: setOf(b, "node", "10.0.0.1")}
	for s := range 10 {
		n := members
		if s == 0 {
			n += more
		}
		addresses := make([]string, n)
		for i := range addresses {
			addresses[i] = fmt.Sprintf("10.%d.%d.%d", s+1, i/250, i%250)
		}
		set := setOf(b, fmt.Sprintf("set%d", s), addresses...)
		for r := range 5 {
			p.Inbound = append(p.Inbound, allow(fmt.Sprintf("%d%d", s, r), set, tcp(uint32(8000+r), uint32(8000+r))))
		}
	}
	return p
}
