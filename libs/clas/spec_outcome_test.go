package clas_test

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"google.golang.org/protobuf/proto"

	pb "github.com/ringfence/ringfence/proto/ringfence/v1"

	"github.com/ringfence/ringfence/libs/clas"
)

// specOutcomes are about what an enforcer gets: policies, sets, plans, namespaces, and what of it changed last.
var specOutcomes = map[string]func(*specRun){
	"outbound":         func(r *specRun) { r.expectTerms(true) },
	"inbound":          func(r *specRun) { r.expectTerms(false) },
	"mode":             (*specRun).expectMode,
	"same-policy":      func(r *specRun) { r.expectPolicies(1) },
	"other-policies":   func(r *specRun) { r.expectPolicies(len(commaList(r.at.text))) },
	"no-policy":        (*specRun).expectNoPolicy,
	"degraded":         (*specRun).expectDegraded,
	"features":         (*specRun).expectFeatures,
	"policy-workload":  (*specRun).expectPolicyWorkload,
	"warn":             (*specRun).expectWarning,
	"no-warning":       (*specRun).expectNoWarning,
	"plan":             (*specRun).expectPlan,
	"no-plan":          (*specRun).expectNoPlan,
	"planned":          (*specRun).expectPlanned,
	"node-addresses":   (*specRun).expectNodeAddresses,
	"namespaces":       (*specRun).expectNamespaces,
	"start-policy-is":  (*specRun).expectStartPolicy,
	"signature":        (*specRun).expectSignature,
	"same-signature":   func(r *specRun) { r.expectSignatures(1) },
	"other-signatures": func(r *specRun) { r.expectSignatures(len(commaList(r.at.text))) },
	"version":          (*specRun).expectVersion,
	"count":            (*specRun).expectCount,
	"delta":            (*specRun).expectDelta,
}

// policyOf finds the policy of a pod, or of a node where the name is node/NAME.
func (r *specRun) policyOf(name string) *pb.WorkloadPolicy {
	e, known := r.enforcer(name)
	if !known {
		r.stop("%q is neither NAMESPACE/POD nor node/NAME", name)
	}
	return e.policy
}

// expectTerms: outbound|inbound ENDPOINT by RULE: ADDRESS, ... at PORT, ...; ... or nothing: exactly what the rule opens or
// blocks at the endpoint.
func (r *specRun) expectTerms(outbound bool) {
	endpoints, text := r.about()
	name, who, ok := strings.Cut(endpoints[0], " by ")
	if !ok || len(endpoints) != 1 {
		r.stop("want ENDPOINT by RULE")
	}
	want := opened{}
	for group := range strings.SplitSeq(text, ";") {
		if text == "nothing" {
			break
		}
		addresses, ports, _ := strings.Cut(group, " at ")
		for _, a := range commaList(addresses) {
			for _, p := range commaList(ports) {
				want[a] = append(want[a], r.portRange(p))
			}
		}
	}
	got := r.openedBy(r.policyOf(name), r.ruleHref(who), outbound)
	r.check(got.String() == want.String(), "got %s", got)
}

// opened gives the ports that are opened, or blocked, for each member of an address set.
type opened map[string][]*pb.PortRange

// String is the same for equal ports, however they are divided over terms.
func (o opened) String() string {
	var out []string
	for _, member := range slices.Sorted(maps.Keys(o)) {
		for _, p := range merged(o[member]) {
			out = append(out, member+" at "+portText(p))
		}
	}
	return strings.Join(slices.Compact(out), "; ")
}

// merged joins adjacent ranges of one protocol.
func merged(ports []*pb.PortRange) []*pb.PortRange {
	sorted := slices.SortedFunc(slices.Values(ports), func(a, b *pb.PortRange) int {
		return cmp.Or(cmp.Compare(a.GetProtocol(), b.GetProtocol()), cmp.Compare(a.GetPort(), b.GetPort()), cmp.Compare(portText(a), portText(b)))
	})
	var out []*pb.PortRange
	for _, p := range sorted {
		last := &pb.PortRange{}
		if len(out) > 0 {
			last = out[len(out)-1]
		}
		if p.GetPort() > 0 && last.GetPort() > 0 && p.GetProtocol() == last.GetProtocol() && p.GetPort() <= upTo(last)+1 {
			last.ToPort = max(upTo(last), upTo(p))
			continue
		}
		out = append(out, proto.CloneOf(p))
	}
	return out
}

func upTo(p *pb.PortRange) uint32 { return max(p.GetPort(), p.GetToPort()) }

// openedBy reads what a rule opens in a policy, from the list of its kind.
func (r *specRun) openedBy(p *pb.WorkloadPolicy, href string, outbound bool) opened {
	lists := map[string][]*pb.PolicyRule{"allow": p.GetInbound(), "deny": p.GetInboundDeny(), "boundary": p.GetInboundDeny(), "override deny": p.GetInboundOverrideDeny()}
	if outbound {
		lists = map[string][]*pb.PolicyRule{"allow": p.GetOutbound(), "deny": p.GetOutboundDeny(), "boundary": p.GetOutboundDeny(), "override deny": p.GetOutboundOverrideDeny()}
	}
	out := opened{}
	for _, rule := range lists[r.console.kinds[href]] {
		for _, term := range rule.GetTerms() {
			if rule.GetHref() != href {
				continue
			}
			for _, member := range membersOf(r.setByID(term.GetAddressSet())) {
				out[member] = append(out[member], term.GetPorts()...)
			}
		}
	}
	return out
}

func membersOf(s *pb.AddressSet) []string {
	return slices.Concat(s.GetPrefixes(), s.GetFqdns(), addressTexts(s.GetAddresses()))
}

func portText(p *pb.PortRange) string {
	protocol := strconv.Itoa(int(p.GetProtocol()))
	switch {
	case p.IcmpCode != nil:
		return fmt.Sprintf("%s:%d:%d", protocol, p.GetIcmpType(), p.GetIcmpCode())
	case p.IcmpType != nil:
		return fmt.Sprintf("%s:%d", protocol, p.GetIcmpType())
	case p.GetPort() == 0:
		return protocol
	}
	return fmt.Sprintf("%d-%d/%s", p.GetPort(), upTo(p), protocol)
}

// expectMode: mode ENDPOINT[, ENDPOINT]: MODE, of the policy that is enforced.
func (r *specRun) expectMode() {
	endpoints, text := r.about()
	for _, name := range endpoints {
		p := r.policyOf(name)
		r.check(p != nil && p.GetMode() == r.mode(text), "%s has %v", name, p)
	}
}

// expectPolicies: same-policy ENDPOINT, ENDPOINT... or other-policies for all different.
func (r *specRun) expectPolicies(want int) {
	seen := map[string]bool{}
	for _, name := range commaList(r.at.text) {
		p := r.policyOf(name)
		if p == nil {
			r.check(false, "%s has no policy", name)
			return
		}
		seen[p.GetId()] = true
	}
	r.check(len(seen) == want, "%d policies, want %d", len(seen), want)
}

// expectNoPolicy: no-policy ENDPOINT, ...
func (r *specRun) expectNoPolicy() {
	for _, name := range commaList(r.at.text) {
		p := r.policyOf(name)
		r.check(p == nil, "%s has %v", name, p)
	}
}

// expectDegraded: degraded ENDPOINT, ...: open, closed or no.
func (r *specRun) expectDegraded() {
	endpoints, text := r.about()
	want := map[string]pb.DegradedPolicy{"no": 0, "open": 1, "closed": 2}[text]
	for _, name := range endpoints {
		p := r.policyOf(name)
		r.check(p != nil && p.GetDegraded() == want, "%s has %v", name, p)
	}
}

// expectFeatures: features ENDPOINT or plan/NODE: FEATURE, ... or none.
func (r *specRun) expectFeatures() {
	endpoints, text := r.about()
	want := strings.ReplaceAll(text, ",", "")
	for _, name := range endpoints {
		got := []string(nil)
		if node, ok := strings.CutPrefix(name, "plan/"); ok {
			plan, _ := r.engine.Plan(node)
			got = plan.GetFeatures()
		} else {
			got = r.policyOf(name).GetFeatures()
		}
		r.check(strings.Join(got, " ") == strings.TrimPrefix(want, "none"), "%s needs %q", name, got)
	}
}

// expectPolicyWorkload: policy-workload ENDPOINT: NAME of the workload that the policy is for, or none.
func (r *specRun) expectPolicyWorkload() {
	endpoints, text := r.about()
	for _, name := range endpoints {
		got := r.policyOf(name).GetWorkload()
		r.check(strings.EqualFold(got, strings.TrimPrefix(text, "none")), "%s has %q", name, got)
	}
}

// expectWarning: warn WORDS... in the whole policy, or warn ENDPOINT: WORDS in the endpoint's. All words must be in one warning.
func (r *specRun) expectWarning() {
	warnings, words := r.policy.Warnings, r.at.text
	if name, rest, ok := strings.Cut(r.at.text, ": "); ok && !strings.Contains(name, " ") {
		warnings, words = r.policyOf(name).GetWarnings(), rest
	}
	r.check(slices.ContainsFunc(warnings, func(w string) bool {
		for word := range strings.FieldsSeq(words) {
			if !strings.Contains(w, word) {
				return false
			}
		}
		return true
	}), "got %q", warnings)
}

// expectNoWarning: no-warning in the whole policy, or no-warning ENDPOINT, ... in theirs.
func (r *specRun) expectNoWarning() {
	if r.at.text == "" {
		r.check(len(r.policy.Warnings) == 0, "got %q", r.policy.Warnings)
	}
	for _, name := range commaList(r.at.text) {
		got := r.policyOf(name).GetWarnings()
		r.check(len(got) == 0, "%s has %q", name, got)
	}
}

func (r *specRun) planOf(node string) *pb.NodePlan {
	plan, _ := r.engine.Plan(node)
	return plan
}

// expectPlan: plan NODE: NAMESPACE/POD, ... or nobody: exactly the pods of the plan.
func (r *specRun) expectPlan() {
	nodes, text := r.about()
	want := commaList(strings.TrimPrefix(text, "nobody"))
	slices.Sort(want)
	for _, node := range nodes {
		var got []string
		for _, p := range r.planOf(node).GetPods() {
			got = append(got, p.GetNamespace()+"/"+p.GetName())
		}
		slices.Sort(got)
		r.check(r.planOf(node) != nil && slices.Equal(got, want), "the plan of %s has %v", node, got)
	}
}

// expectNoPlan: no-plan NODE, ...
func (r *specRun) expectNoPlan() {
	for _, node := range commaList(r.at.text) {
		r.check(r.planOf(node) == nil, "there is %v", r.planOf(node))
	}
}

// expectPlanned: planned NAMESPACE/POD [uid UID] [at ADDRESS...] [exposed PORT... or nothing].
func (r *specRun) expectPlanned() {
	p := r.phrase("uid at exposed", "")
	_, pod := r.planned(p.one(""))
	if p.has("uid") {
		r.check(pod.GetUid() == p.one("uid"), "it is %v", pod)
	}
	if p.has("at") {
		r.check(slices.Equal(slices.Sorted(slices.Values(pod.GetAddresses())), slices.Sorted(slices.Values(p.list("at")))), "it is %v", pod)
	}
	if p.has("exposed") {
		var want, got []string
		for _, w := range p.list("exposed") {
			if w != "nothing" {
				number, protocol := r.port(w)
				want = append(want, fmt.Sprintf("%d/%d", number, protocol))
			}
		}
		for _, x := range pod.GetExposed() {
			got = append(got, fmt.Sprintf("%d/%d", x.GetPort(), x.GetProtocol()))
		}
		slices.Sort(want)
		slices.Sort(got)
		r.check(pod != nil && slices.Equal(got, want), "it is %v", pod)
	}
}

// expectNodeAddresses: node-addresses NODE: ADDRESS, ... or none.
func (r *specRun) expectNodeAddresses() {
	nodes, text := r.about()
	got := r.planOf(nodes[0]).GetNodeAddresses()
	r.check(strings.Join(got, ", ") == strings.TrimPrefix(text, "none"), "got %v", got)
}

// expectNamespaces: namespaces NAME MODE, NAME unmanaged, ... or none: all that are known.
func (r *specRun) expectNamespaces() {
	want := commaList(strings.TrimPrefix(r.at.text, "none"))
	var got []string
	for _, n := range r.policy.Namespaces.GetNamespaces() {
		state := "unmanaged"
		if n.GetManaged() {
			state = strings.ToLower(strings.TrimPrefix(n.GetMode().String(), "ENFORCEMENT_MODE_"))
		}
		got = append(got, n.GetNamespace()+" "+state)
	}
	r.check(slices.Equal(got, want), "got %v", got)
}

// expectStartPolicy: start-policy-is MODE.
func (r *specRun) expectStartPolicy() {
	got := r.policy.Namespaces.GetStartPolicy()
	r.check(got == r.mode(r.at.text), "it is %v", got)
	r.check(r.delta.StartPolicy == got, "the delta says %v", r.delta.StartPolicy)
}

func (r *specRun) signatureOf(name string) (namespace, signature string) {
	p := r.pods[name]
	if p == nil {
		r.stop("the page has no pod %q", name)
	}
	return p.GetNamespace(), clas.Signature(p.GetNamespace(), p.GetLabels(), p.GetAnnotations())
}

// expectSignature: signature NAMESPACE/POD: known, where a pod like it gets the policy that it has, or unknown.
func (r *specRun) expectSignature() {
	pods, text := r.about()
	if text != "known" && text != "unknown" {
		r.stop("a signature is known or unknown")
	}
	for _, name := range pods {
		namespace, signature := r.signatureOf(name)
		got := ""
		for _, n := range r.policy.Namespaces.GetNamespaces() {
			for _, s := range n.GetSignatures() {
				if n.GetNamespace() == namespace && s.GetHash() == signature {
					got = s.GetPolicy()
				}
			}
		}
		if text == "unknown" {
			r.check(got == "", "%s: %s is known", name, signature)
			continue
		}
		r.check(got != "" && got == r.policyOf(name).GetId(), "%s: %s stands for %q", name, signature, got)
	}
}

// expectSignatures: same-signature NAMESPACE/POD, ... or other-signatures for all different. The pods need not run.
func (r *specRun) expectSignatures(want int) {
	seen := map[string]bool{}
	for _, name := range commaList(r.at.text) {
		_, signature := r.signatureOf(name)
		if len(signature) != 16 {
			r.check(false, "%q is not 16 digits", signature)
		}
		seen[signature] = true
	}
	r.check(len(seen) == want, "%d signatures, want %d", len(seen), want)
}

// expectVersion: version NUMBER, of the console's policy in force.
func (r *specRun) expectVersion() {
	want := int64(r.number(r.at.text))
	r.check(r.policy.ProvisionedVersion == want, "it is %d", r.policy.ProvisionedVersion)
	r.check(r.delta.ProvisionedVersion == want, "the delta says %d", r.delta.ProvisionedVersion)
}

// expectCount: count sets N, count policies N, count plans N: of the whole policy.
func (r *specRun) expectCount() {
	words := strings.Fields(r.at.text)
	got, known := map[string]int{"sets": len(r.policy.Sets), "policies": len(r.policy.Policies), "plans": len(r.policy.Plans)}[words[0]]
	if !known || len(words) != 2 {
		r.stop("want sets, policies or plans, and a number")
	}
	r.check(got == int(r.number(words[1])), "there are %d", got)
}
