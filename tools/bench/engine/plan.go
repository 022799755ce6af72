package engine

import (
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/ringfence/ringfence/libs/addresses"
	"github.com/ringfence/ringfence/libs/clas"
	ringfencev1 "github.com/ringfence/ringfence/proto/ringfence/v1"
	"github.com/ringfence/ringfence/tools/bench/workload"
)

// View is what one node needs: its plan, the policies that the plan names, and the address sets that those refer to.
type View struct {
	// Plan is the time to give the plan.
	Plan     time.Duration
	Pods     int
	Policies int
	Sets     int
	Members  int
	// PlanBytes and Bytes are the sizes of the plan and of everything, encoded.
	PlanBytes, Bytes int
}

// Node folds the log and takes node 0's view, which in Calico's workloads has the local pods.
func (b *Bench) Node(log *workload.Log) (View, error) {
	e, err := b.warm(log)
	if err != nil {
		return View{}, err
	}
	return view(e, workload.NodeName(0), b.Runs)
}

func view(e *clas.Engine, node string, runs int) (View, error) {
	whole := e.Policy() // what an enforcer holds of policies and sets comes by windows, not by plans
	policies, sets := map[string]*ringfencev1.WorkloadPolicy{}, map[string]*ringfencev1.AddressSet{}
	for _, p := range whole.Policies {
		policies[p.GetId()] = p
	}
	for _, s := range whole.Sets {
		sets[s.GetId()] = s
	}
	var v View
	for run := range runs {
		start := time.Now()
		plan, found := e.Plan(node)
		if !found {
			return v, fmt.Errorf("node %s: no plan", node)
		}
		next := View{Plan: time.Since(start)}
		next.gather(plan, policies, sets)
		if run == 0 || next.Plan < v.Plan {
			v = next
		}
	}
	return v, nil
}

// gather follows a plan to everything that it refers to.
func (v *View) gather(plan *ringfencev1.NodePlan, policies map[string]*ringfencev1.WorkloadPolicy, sets map[string]*ringfencev1.AddressSet) {
	v.Pods, v.PlanBytes = len(plan.GetPods()), proto.Size(plan)
	v.Bytes = v.PlanBytes
	named, referred := map[string]bool{}, map[string]bool{}
	for _, pod := range plan.GetPods() {
		p := policies[pod.GetPolicy()]
		if named[pod.GetPolicy()] || p == nil {
			continue
		}
		named[pod.GetPolicy()] = true
		v.Policies++
		v.Bytes += proto.Size(p)
		for _, rules := range [][]*ringfencev1.PolicyRule{p.GetInbound(), p.GetOutbound(), p.GetInboundDeny(), p.GetOutboundDeny()} {
			for _, r := range rules {
				for _, t := range r.GetTerms() {
					referred[t.GetAddressSet()] = true
				}
			}
		}
	}
	for id := range referred {
		s := sets[id]
		v.Sets++
		v.Members += addresses.Len(s.GetAddresses()) + len(s.GetPrefixes())
		v.Bytes += proto.Size(s)
	}
}
