package clas_test

import (
	"cmp"
	"maps"
	"slices"

	pb "github.com/ringfence/ringfence/proto/ringfence/v1"

	"github.com/ringfence/ringfence/libs/clas"
)

// Sections 6 and 7: which policy an end has, and what a node is told.

// standings lists the ends that have a policy, pods without a node included: they have none that anybody enforces.
func (o *oracle) standings() []standing {
	var out []standing
	for _, a := range o.actors {
		if s, has := o.standing(a); has {
			out = append(out, s)
		}
	}
	return out
}

// standing gives the policy of an actor, if it has one.
func (o *oracle) standing(a *actor) (standing, bool) {
	switch {
	case a.node != nil:
		mode, _ := o.nodeManaged(a.node)
		return standing{actor: a, mode: mode}, true
	case a.pod == nil:
		return standing{}, false
	}
	out := standing{actor: a, mode: o.profile(a.pod.GetNamespace()).GetEnforcementMode(), own: o.nodeAddresses(a.pod.GetNode())}
	if !o.degraded || o.known(workloadName(a)) {
		return out, true
	}
	if o.settings.GetDisableDegradedMode() {
		return out, false
	}
	if o.likeKnown(a) {
		return out, true
	}
	switch o.settings.GetDegradedModePolicyFail() {
	case pb.DegradedModePolicyFail_DEGRADED_MODE_POLICY_FAIL_COMPUTED:
		return out, true
	case pb.DegradedModePolicyFail_DEGRADED_MODE_POLICY_FAIL_CLOSED:
		out.degraded = pb.DegradedPolicy_DEGRADED_POLICY_CLOSED
		return out, true
	}
	out.degraded = pb.DegradedPolicy_DEGRADED_POLICY_OPEN
	if out.mode != pb.EnforcementMode_ENFORCEMENT_MODE_IDLE {
		out.mode = pb.EnforcementMode_ENFORCEMENT_MODE_VISIBILITY_ONLY
	}
	return out, true
}

// byLabelSet tells whether policy is computed once for each label set, which is the default.
func (o *oracle) byLabelSet() bool {
	return o.settings == nil || o.settings.PolicyLabelSetEnable == nil || o.settings.GetPolicyLabelSetEnable()
}

func (o *oracle) nodeAddresses(name string) []string {
	return o.last[k8s("node", "", name)].fact.GetNode().GetAddresses()
}

// known tells whether the console has acknowledged a workload: namespace, kind in lower case, name.
func (o *oracle) known(workload [3]string) bool {
	return slices.ContainsFunc(o.acks, func(f logged) bool { return acknowledges(f) == workload })
}

// likeKnown tells whether a known workload of the pod's namespace carries the pod's labels.
func (o *oracle) likeKnown(a *actor) bool {
	return slices.ContainsFunc(o.acks, func(f logged) bool {
		name := acknowledges(f)
		return name[0] == a.pod.GetNamespace() &&
			slices.ContainsFunc(o.carriedBy(name), func(labels map[string]string) bool { return maps.Equal(labels, a.labels) })
	})
}

// carriedBy gives the label sets of a workload's object: of its controller, or of its pods where there is no fact of that.
func (o *oracle) carriedBy(workload [3]string) []map[string]string {
	if w := o.last[k8s(workload[1], workload[0], workload[2])].fact.GetKubernetesWorkload(); w != nil {
		return []map[string]string{o.describe(w.GetNamespace(), w.GetLabels(), w.GetAnnotations()).labels}
	}
	var out []map[string]string
	for _, f := range o.pods {
		p := f.fact.GetPod()
		if kind, name := workloadOf(p); workload == [3]string{p.GetNamespace(), kind, name} {
			out = append(out, o.ofPod(p).labels)
		}
	}
	return out
}

// exposed lists the ports at which a pod answers for node ports and load balancers.
func (o *oracle) exposed(p *pb.Pod) []*pb.ExposedPort {
	var out []*pb.ExposedPort
	for _, f := range o.services {
		s := f.fact.GetService()
		if !exposes(s) || !backs(p, s) {
			continue
		}
		for _, port := range s.GetPorts() {
			for _, target := range targetsOn(p, port) {
				if port.GetNodePort() != 0 {
					out = append(out, &pb.ExposedPort{Protocol: port.GetProtocol(), Port: target})
				}
			}
		}
	}
	slices.SortFunc(out, compareExposed)
	return slices.CompactFunc(out, func(a, b *pb.ExposedPort) bool { return compareExposed(a, b) == 0 })
}

func compareExposed(a, b *pb.ExposedPort) int {
	return cmp.Or(cmp.Compare(a.GetProtocol(), b.GetProtocol()), cmp.Compare(a.GetPort(), b.GetPort()))
}

// runtimeUID is how the node's runtime calls the pod.
func runtimeUID(p *pb.Pod) string { return cmp.Or(p.GetRuntimeUid(), p.GetUid()) }

// namespaceNames are those known by a fact or a profile.
func (o *oracle) namespaceNames() []string {
	var out []string
	for _, f := range o.facts {
		out = append(out, f.fact.GetNamespace().GetName(), f.fact.GetContainerWorkloadProfile().GetNamespace())
	}
	slices.Sort(out)
	return slices.DeleteFunc(slices.Compact(out), func(name string) bool { return name == "" })
}

// startPolicy is the mode in namespaces that nobody told of.
func (o *oracle) startPolicy() pb.EnforcementMode {
	if start := o.settings.GetStartPolicy(); start != pb.EnforcementMode_ENFORCEMENT_MODE_UNSPECIFIED {
		return start
	}
	return pb.EnforcementMode_ENFORCEMENT_MODE_VISIBILITY_ONLY
}

// signatures gives the policy of each signature of a namespace's planned pods, where they agree; torn tells whether some do not.
func (o *oracle) signatures(namespace string, policyOf func(*pb.Pod) string) (agreed map[string]string, torn bool) {
	policies := map[string][]string{}
	for _, s := range o.standings() {
		if p := s.actor.pod; p != nil && p.GetNamespace() == namespace && p.GetNode() != "" {
			signature := clas.Signature(namespace, p.GetLabels(), p.GetAnnotations())
			policies[signature] = append(policies[signature], policyOf(p))
		}
	}
	agreed = map[string]string{}
	for signature, of := range policies {
		slices.Sort(of)
		if of = slices.Compact(of); len(of) == 1 {
			agreed[signature] = of[0]
		}
	}
	return agreed, len(agreed) < len(policies)
}
