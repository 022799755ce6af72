package clas_test

import (
	pb "github.com/ringfence/ringfence/proto/ringfence/v1"
	"google.golang.org/protobuf/proto"
)

// malformed is a fact that must be refused, and what is wrong with it.
type malformed struct {
	entry
	what string
}

// malformation spoils a good fact.
type malformation struct {
	what  string
	good  func(*generator) entry
	spoil func(*pb.Fact)
	// lies says that an object stays under the hash of the good one.
	lies bool
}

// malformed gives a fact that must be refused: a good one of the generator's with one thing wrong.
func (g *generator) malformed() malformed {
	bad := pick(g, malformations)
	good := bad.good(g)
	for good.fact.GetGone() != nil {
		good = bad.good(g)
	}
	f := proto.CloneOf(good.fact)
	bad.spoil(f)
	if object := f.GetPceObject(); object != nil && !bad.lies {
		return malformed{objectFact(object), bad.what} // under the hash that the spoiled one has
	}
	return malformed{entry{good.subject, f}, bad.what}
}

const (
	notAnAddress = "10.0.0.256"
	notAPort     = 65536
	notAMode     = pb.EnforcementMode(99)
)

func notARange() *pb.PortRange { return tcp(notAPort) }

// malformations are what must be refused, of every kind of fact.
var malformations = concat(clusterMalformations(), consoleMalformations(), objectMalformations(), otherMalformations())

func concat(lists ...[]malformation) []malformation {
	var out []malformation
	for _, l := range lists {
		out = append(out, l...)
	}
	return out
}

func clusterMalformations() []malformation {
	return []malformation{
		{what: "pod: address", good: (*generator).pod, spoil: func(f *pb.Fact) { f.GetPod().Addresses = append(f.GetPod().Addresses, notAnAddress) }},
		{what: "pod: no uid", good: (*generator).pod, spoil: func(f *pb.Fact) { f.GetPod().Uid = "" }},
		{what: "pod: phase", good: (*generator).pod, spoil: func(f *pb.Fact) { f.GetPod().Phase = 99 }},
		{what: "pod: other subject", good: (*generator).pod, spoil: func(f *pb.Fact) { f.GetPod().Name += "x" }},
		{what: "pod: port", good: (*generator).pod, spoil: func(f *pb.Fact) { f.GetPod().Ports = []*pb.ContainerPort{{Port: notAPort, Protocol: 6}} }},
		{what: "service: cluster ip", good: (*generator).service, spoil: func(f *pb.Fact) { f.GetService().ClusterIps = []string{"None"} }},
		{what: "service: external address", good: (*generator).service, spoil: func(f *pb.Fact) { f.GetService().ExternalAddresses = []string{"lb.example.com"} }},
		{what: "service: protocol", good: (*generator).service, spoil: func(f *pb.Fact) { f.GetService().Ports[0].Protocol = 0 }},
		{what: "service: port", good: (*generator).service, spoil: func(f *pb.Fact) { f.GetService().Ports[0].Port = 0 }},
		{what: "service: target port", good: (*generator).service, spoil: func(f *pb.Fact) { f.GetService().Ports[0].TargetPort = notAPort }},
		{what: "service: node port", good: (*generator).service, spoil: func(f *pb.Fact) { f.GetService().Ports[0].NodePort = notAPort }},
		{what: "service: other subject", good: (*generator).service, spoil: func(f *pb.Fact) { f.GetService().Namespace += "x" }},
		{what: "node: address", good: (*generator).node, spoil: func(f *pb.Fact) { f.GetNode().Addresses = []string{notAnAddress} }},
		{what: "node: other subject", good: (*generator).node, spoil: func(f *pb.Fact) { f.GetNode().Name += "x" }},
		{what: "kubernetes workload: no kind", good: (*generator).workload, spoil: func(f *pb.Fact) { f.GetKubernetesWorkload().Kind = "" }},
		{what: "kubernetes workload: other subject", good: (*generator).workload, spoil: func(f *pb.Fact) { f.GetKubernetesWorkload().Kind = "Job" }},
		{what: "endpoint slice: address", good: (*generator).slice, spoil: func(f *pb.Fact) { f.GetEndpointSlice().Addresses = []string{"a.example.com"} }},
		{what: "endpoint slice: port", good: (*generator).slice, spoil: func(f *pb.Fact) { f.GetEndpointSlice().Ports[0].Port = notAPort }},
		{what: "endpoint slice: no service", good: (*generator).slice, spoil: func(f *pb.Fact) { f.GetEndpointSlice().Service = "" }},
		{what: "endpoint slice: other subject", good: (*generator).slice, spoil: func(f *pb.Fact) { f.GetEndpointSlice().Name += "x" }},
		{what: "label map: other subject", good: (*generator).labelMap, spoil: func(f *pb.Fact) { f.GetLabelMap().Name = "other" }},
		{what: "label map: no key", good: (*generator).labelMap, spoil: func(f *pb.Fact) { f.GetLabelMap().NodeLabelMap = []*pb.LabelMapping{{ToKey: "role"}} }},
		{what: "label map: no key to map to", good: (*generator).labelMap, spoil: func(f *pb.Fact) { f.GetLabelMap().WorkloadLabelMap = []*pb.LabelMapping{{FromKey: "app"}} }},
	}
}

func consoleMalformations() []malformation {
	label := func(g *generator) entry { return g.label(pick(g, worldLabels)) }
	dimension := func(*generator) entry { return dimensionFact("d0", "zone") }
	profile := func(g *generator) entry { return g.profile(pick(g, worldSpaces)) }
	return []malformation{
		{what: "label: no key", good: label, spoil: func(f *pb.Fact) { f.GetLabel().Key = "" }},
		{what: "label: no value", good: label, spoil: func(f *pb.Fact) { f.GetLabel().Value = "" }},
		{what: "label: other subject", good: label, spoil: func(f *pb.Fact) { f.GetLabel().Href += "x" }},
		{what: "label dimension: no key", good: dimension, spoil: func(f *pb.Fact) { f.GetLabelDimension().Key = "" }},
		{what: "label dimension: other subject", good: dimension, spoil: func(f *pb.Fact) { f.GetLabelDimension().Href += "x" }},
		{what: "profile: mode", good: profile, spoil: func(f *pb.Fact) { f.GetContainerWorkloadProfile().EnforcementMode = notAMode }},
		{what: "profile: managed without a mode", good: profile, spoil: func(f *pb.Fact) {
			f.GetContainerWorkloadProfile().Managed, f.GetContainerWorkloadProfile().EnforcementMode = true, 0
		}},
		{what: "profile: a key twice", good: profile, spoil: func(f *pb.Fact) {
			f.GetContainerWorkloadProfile().Labels = []*pb.ProfileLabel{{Key: "role"}, {Key: "role"}}
		}},
		{what: "profile: no key", good: profile, spoil: func(f *pb.Fact) { f.GetContainerWorkloadProfile().Labels = []*pb.ProfileLabel{{}} }},
		{what: "profile: other subject", good: profile, spoil: func(f *pb.Fact) { f.GetContainerWorkloadProfile().Href += "x" }},
		{what: "workload: address", good: (*generator).machine, spoil: func(f *pb.Fact) { f.GetPceWorkload().Addresses = []string{notAnAddress} }},
		{what: "workload: mode", good: (*generator).machine, spoil: func(f *pb.Fact) { f.GetPceWorkload().EnforcementMode = notAMode }},
		{what: "workload: other subject", good: (*generator).machine, spoil: func(f *pb.Fact) { f.GetPceWorkload().Href += "x" }},
		{what: "pairing profile: mode", good: (*generator).pairing, spoil: func(f *pb.Fact) { f.GetPairingProfile().EnforcementMode = notAMode }},
		{what: "pairing profile: enabled without a mode", good: (*generator).pairing, spoil: func(f *pb.Fact) {
			f.GetPairingProfile().Enabled, f.GetPairingProfile().EnforcementMode = true, 0
		}},
		{what: "pairing profile: other subject", good: (*generator).pairing, spoil: func(f *pb.Fact) { f.GetPairingProfile().Href += "x" }},
		{what: "acknowledgement: no name", good: (*generator).acknowledgement, spoil: func(f *pb.Fact) { f.GetAcknowledgedWorkload().Name = "" }},
		{what: "acknowledgement: no kind", good: (*generator).acknowledgement, spoil: func(f *pb.Fact) { f.GetAcknowledgedWorkload().Kind = "" }},
		{what: "acknowledgement: other subject", good: (*generator).acknowledgement, spoil: func(f *pb.Fact) { f.GetAcknowledgedWorkload().Href += "x" }},
		{what: "settings: start policy", good: (*generator).settings, spoil: func(f *pb.Fact) { f.GetSettings().StartPolicy = notAMode }},
		{what: "settings: cluster mode", good: (*generator).settings, spoil: func(f *pb.Fact) { f.GetSettings().ClusterMode = "Legacy" }},
		{what: "settings: degraded mode", good: (*generator).settings, spoil: func(f *pb.Fact) { f.GetSettings().DegradedModePolicyFail = 99 }},
	}
}

func objectMalformations() []malformation {
	object := func(make func(*generator) *pb.PceObject) func(*generator) entry {
		return func(g *generator) entry { return objectFact(make(g)) }
	}
	list := object(func(g *generator) *pb.PceObject { return g.ipList("0") })
	service := object(func(g *generator) *pb.PceObject { return pceService("0", g.ports()...) })
	rules := object(func(g *generator) *pb.PceObject {
		set := g.ruleSet("0")
		set.DenyRules = append(set.DenyRules, &pb.DenyRule{Rule: g.rule(denyHref("0", "9"))})
		return ruleSet(set)
	})
	group := object(func(g *generator) *pb.PceObject { return g.labelGroup("0") })
	limit := object(func(g *generator) *pb.PceObject { return g.boundary("0") })
	virtual := object(func(g *generator) *pb.PceObject { return g.virtualService("0") })
	return []malformation{
		{what: "ip list: CIDR", good: list, spoil: func(f *pb.Fact) { f.GetPceObject().GetIpList().Ranges = []*pb.IpRange{span("10.0.0.0/33", "")} }},
		{what: "ip list: range", good: list, spoil: func(f *pb.Fact) { f.GetPceObject().GetIpList().Ranges = []*pb.IpRange{span("10.0.0.2", "10.0.0.1")} }},
		{what: "ip list: no href", good: list, spoil: func(f *pb.Fact) { f.GetPceObject().GetIpList().Href = "" }},
		{what: "service: range", good: service, spoil: func(f *pb.Fact) { f.GetPceObject().GetService().Ports = []*pb.PortRange{tcpRange(9, 8)} }},
		{what: "service: ICMP code alone", good: service, spoil: func(f *pb.Fact) {
			f.GetPceObject().GetService().Ports = []*pb.PortRange{{Protocol: 1, IcmpCode: new(uint32(0))}}
		}},
		{what: "rule set: no href", good: rules, spoil: func(f *pb.Fact) { f.GetPceObject().GetRuleSet().Href = "" }},
		{what: "rule: no href", good: rules, spoil: func(f *pb.Fact) { f.GetPceObject().GetRuleSet().Rules[0].Href = "" }},
		{what: "rule: port", good: rules, spoil: func(f *pb.Fact) { f.GetPceObject().GetRuleSet().Rules[0].Services = on(notARange()) }},
		{what: "deny rule: no href", good: rules, spoil: func(f *pb.Fact) { f.GetPceObject().GetRuleSet().DenyRules[0].Rule.Href = "" }},
		{what: "deny rule: port", good: rules, spoil: func(f *pb.Fact) { f.GetPceObject().GetRuleSet().DenyRules[0].Rule.Services = on(notARange()) }},
		{what: "deny rule: no rule", good: rules, spoil: func(f *pb.Fact) { f.GetPceObject().GetRuleSet().DenyRules[0].Rule = nil }},
		{what: "label group: no href", good: group, spoil: func(f *pb.Fact) { f.GetPceObject().GetLabelGroup().Href = "" }},
		{what: "label group: no key", good: group, spoil: func(f *pb.Fact) { f.GetPceObject().GetLabelGroup().Key = "" }},
		{what: "boundary: no href", good: limit, spoil: func(f *pb.Fact) { f.GetPceObject().GetEnforcementBoundary().Href = "" }},
		{what: "boundary: port", good: limit, spoil: func(f *pb.Fact) { f.GetPceObject().GetEnforcementBoundary().Services = on(notARange()) }},
		{what: "virtual service: no href", good: virtual, spoil: func(f *pb.Fact) { f.GetPceObject().GetVirtualService().Href = "" }},
		{what: "virtual service: port", good: virtual, spoil: func(f *pb.Fact) { f.GetPceObject().GetVirtualService().Services = on(notARange()) }},
		{what: "virtual service: address", good: virtual, spoil: func(f *pb.Fact) {
			f.GetPceObject().GetVirtualService().Addresses = []*pb.VirtualServiceAddress{{Address: notAnAddress}}
		}},
		{what: "virtual service: port of an address", good: virtual, spoil: func(f *pb.Fact) {
			f.GetPceObject().GetVirtualService().Addresses = []*pb.VirtualServiceAddress{{Address: "10.0.0.1", Port: notAPort}}
		}},
		{what: "object of no kind", good: list, spoil: func(f *pb.Fact) { f.GetPceObject().Object = nil }},
	}
}

func otherMalformations() []malformation {
	chunk := func(g *generator) entry {
		all := provisioned(1<<40, 2, g.ipList("0"), g.boundary("0"))
		return all[len(all)-1]
	}
	link := func(*generator) entry { return linkFact(true) }
	group := func(g *generator) entry { return objectFact(g.labelGroup("0")) }
	return []malformation{
		{what: "object: other hash", good: group, spoil: func(f *pb.Fact) { f.GetPceObject().GetLabelGroup().Name += "x" }, lies: true},
		{what: "object: another fact", good: group, spoil: func(f *pb.Fact) { f.Body = &pb.Fact_PceLink{PceLink: &pb.PceLink{}} }},
		{what: "version: chunk", good: chunk, spoil: func(f *pb.Fact) { f.GetProvisioned().Chunks = 1 }},
		{what: "version: no href", good: chunk, spoil: func(f *pb.Fact) { f.GetProvisioned().Entries[0].Href = "" }},
		{what: "version: hash", good: chunk, spoil: func(f *pb.Fact) { f.GetProvisioned().Entries[0].Sha256 = "0X" }},
		{what: "version: an object twice", good: chunk, spoil: func(f *pb.Fact) {
			f.GetProvisioned().Entries = append(f.GetProvisioned().Entries, f.GetProvisioned().Entries[0])
		}},
		{what: "no body", good: link, spoil: func(f *pb.Fact) { f.Body = nil }},
		{what: "synced: other subject", good: link, spoil: func(f *pb.Fact) { f.Body = &pb.Fact_Synced{Synced: &pb.Synced{Producer: "watcher"}} }},
		{what: "settings: other subject", good: link, spoil: func(f *pb.Fact) { f.Body = &pb.Fact_Settings{Settings: &pb.Settings{}} }},
		{what: "not UTF-8", good: (*generator).pod, spoil: func(f *pb.Fact) { f.GetPod().Uid = "\xff" }},
	}
}
