package clas_test

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/url"
	"strings"
	"testing"

	pb "github.com/ringfence/ringfence/proto/ringfence/v1"
	"google.golang.org/protobuf/proto"

	"github.com/ringfence/ringfence/libs/clas"
)

// entry is a fact with its subject, as a test writes it.
type entry struct {
	subject string
	fact    *pb.Fact
}

// Subjects and facts of the test's little world. hrefs are short: label "web" has the href /orgs/1/labels/web.

func k8s(kind, namespace, name string) string {
	if namespace == "" {
		namespace = "_"
	}
	return "facts.k8s." + kind + "." + token(namespace) + "." + token(name)
}

func token(s string) string { return strings.ReplaceAll(url.PathEscape(s), ".", "%2E") }

func labelHref(name string) string  { return "/orgs/1/labels/" + name }
func listHref(name string) string   { return "/orgs/1/sec_policy/active/ip_lists/" + name }
func svcHref(name string) string    { return "/orgs/1/sec_policy/active/services/" + name }
func setHref(name string) string    { return "/orgs/1/sec_policy/active/rule_sets/" + name }
func ruleHref(set, n string) string { return setHref(set) + "/sec_rules/" + n }
func denyHref(set, n string) string { return setHref(set) + "/deny_rules/" + n }
func profHref(name string) string {
	return "/orgs/1/container_clusters/c/container_workload_profiles/" + name
}
func groupHref(name string) string { return "/orgs/1/sec_policy/active/label_groups/" + name }
func boundaryHref(name string) string {
	return "/orgs/1/sec_policy/active/enforcement_boundaries/" + name
}
func virtualHref(name string) string { return "/orgs/1/sec_policy/active/virtual_services/" + name }
func machineHref(name string) string { return "/orgs/1/workloads/" + name }
func ackHref(name string) string     { return "/orgs/1/kubernetes_workloads/" + name }
func pairingHref(name string) string { return "/orgs/1/pairing_profiles/" + name }
func dimensionHref(name string) string {
	return "/orgs/1/label_dimensions/" + name
}

func labelFact(name, key, value string) entry {
	return entry{"facts.pce.label." + token(name), &pb.Fact{Body: &pb.Fact_Label{
		Label: &pb.Label{Href: labelHref(name), Key: key, Value: value}}}}
}

func profileFact(name string, p *pb.ContainerWorkloadProfile) entry {
	p = proto.CloneOf(p)
	p.Href = profHref(name)
	return entry{"facts.pce.profile." + token(name), &pb.Fact{Body: &pb.Fact_ContainerWorkloadProfile{ContainerWorkloadProfile: p}}}
}

func podFact(p *pb.Pod) entry {
	return entry{k8s("pod", p.GetNamespace(), p.GetName()), &pb.Fact{Body: &pb.Fact_Pod{Pod: p}}}
}

func serviceFact(s *pb.Service) entry {
	return entry{k8s("service", s.GetNamespace(), s.GetName()), &pb.Fact{Body: &pb.Fact_Service{Service: s}}}
}

func workloadFact(w *pb.KubernetesWorkload) entry {
	return entry{k8s(strings.ToLower(w.GetKind()), w.GetNamespace(), w.GetName()),
		&pb.Fact{Body: &pb.Fact_KubernetesWorkload{KubernetesWorkload: w}}}
}

func nodeFact(n *pb.Node) entry {
	return entry{k8s("node", "", n.GetName()), &pb.Fact{Body: &pb.Fact_Node{Node: n}}}
}

func namespaceFact(name string) entry {
	return entry{k8s("namespace", "", name), &pb.Fact{Body: &pb.Fact_Namespace{Namespace: &pb.Namespace{Name: name}}}}
}

func dimensionFact(name, key string) entry {
	return entry{"facts.pce.label_dimension." + token(name), &pb.Fact{Body: &pb.Fact_LabelDimension{
		LabelDimension: &pb.LabelDimension{Href: dimensionHref(name), Key: key}}}}
}

// machineFact is about a workload of the console itself: a host or a virtual machine.
func machineFact(name string, w *pb.PceWorkload) entry {
	w = proto.CloneOf(w)
	w.Href = machineHref(name)
	return entry{"facts.pce.workload." + token(name), &pb.Fact{Body: &pb.Fact_PceWorkload{PceWorkload: w}}}
}

func pairingFact(name string, p *pb.PairingProfile) entry {
	p = proto.CloneOf(p)
	p.Href = pairingHref(name)
	return entry{"facts.pce.pairing_profile." + token(name), &pb.Fact{Body: &pb.Fact_PairingProfile{PairingProfile: p}}}
}

// ackFact says that the console knows a Kubernetes workload as the id.
func ackFact(id, namespace, kind, name string) entry {
	return entry{"facts.pce.kubernetes_workload." + token(id), &pb.Fact{Body: &pb.Fact_AcknowledgedWorkload{
		AcknowledgedWorkload: &pb.AcknowledgedWorkload{Href: ackHref(id), Namespace: namespace, Kind: kind, Name: name}}}}
}

func sliceFact(s *pb.EndpointSlice) entry {
	return entry{k8s("endpointslice", s.GetNamespace(), s.GetName()), &pb.Fact{Body: &pb.Fact_EndpointSlice{EndpointSlice: s}}}
}

// labelMapFact is about the LabelMap that counts, the one called default.
func labelMapFact(m *pb.LabelMap) entry {
	m = proto.CloneOf(m)
	m.Name = "default"
	return entry{k8s("labelmap", "", "default"), &pb.Fact{Body: &pb.Fact_LabelMap{LabelMap: m}}}
}

// mapping maps one key; values are written from=to.
func mapping(from, to string, allowCreate bool, values ...string) *pb.LabelMapping {
	m := &pb.LabelMapping{FromKey: from, ToKey: to, AllowCreate: allowCreate}
	for _, v := range values {
		was, is, _ := strings.Cut(v, "=")
		m.ValuesMap = append(m.ValuesMap, &pb.LabelValueMapping{From: was, To: is})
	}
	return m
}

func settingsFact(s *pb.Settings) entry {
	return entry{"facts.ctl.settings", &pb.Fact{Body: &pb.Fact_Settings{Settings: s}}}
}

func linkFact(up bool) entry {
	return entry{"facts.ctl.link", &pb.Fact{Body: &pb.Fact_PceLink{PceLink: &pb.PceLink{Up: up}}}}
}

func gone(e entry, uid string) entry {
	return entry{e.subject, &pb.Fact{Body: &pb.Fact_Gone{Gone: &pb.Gone{Uid: uid}}}}
}

// Objects of the console.

func ruleSet(s *pb.RuleSet) *pb.PceObject {
	return &pb.PceObject{Object: &pb.PceObject_RuleSet{RuleSet: s}}
}

func ipList(name string, ranges ...*pb.IpRange) *pb.PceObject {
	return &pb.PceObject{Object: &pb.PceObject_IpList{IpList: &pb.IpList{Href: listHref(name), Name: name, Ranges: ranges}}}
}

func pceService(name string, ports ...*pb.PortRange) *pb.PceObject {
	return &pb.PceObject{Object: &pb.PceObject_Service{Service: &pb.PceService{Href: svcHref(name), Name: name, Ports: ports}}}
}

// labelGroup gives a group of labels; members are labels, or sub-groups as "group:x".
func labelGroup(name, key string, members ...string) *pb.PceObject {
	g := &pb.LabelGroup{Href: groupHref(name), Name: name, Key: key}
	for _, m := range members {
		if sub, isGroup := strings.CutPrefix(m, "group:"); isGroup {
			g.SubGroups = append(g.SubGroups, groupHref(sub))
		} else {
			g.Labels = append(g.Labels, labelHref(m))
		}
	}
	return &pb.PceObject{Object: &pb.PceObject_LabelGroup{LabelGroup: g}}
}

func boundary(b *pb.EnforcementBoundary) *pb.PceObject {
	return &pb.PceObject{Object: &pb.PceObject_EnforcementBoundary{EnforcementBoundary: b}}
}

func virtualService(v *pb.VirtualService) *pb.PceObject {
	return &pb.PceObject{Object: &pb.PceObject_VirtualService{VirtualService: v}}
}

func objectHref(o *pb.PceObject) string {
	switch x := o.GetObject().(type) {
	case *pb.PceObject_RuleSet:
		return x.RuleSet.GetHref()
	case *pb.PceObject_IpList:
		return x.IpList.GetHref()
	case *pb.PceObject_LabelGroup:
		return x.LabelGroup.GetHref()
	case *pb.PceObject_EnforcementBoundary:
		return x.EnforcementBoundary.GetHref()
	case *pb.PceObject_VirtualService:
		return x.VirtualService.GetHref()
	default:
		return o.GetService().GetHref()
	}
}

func objectHash(o *pb.PceObject) string {
	encoded, err := proto.MarshalOptions{Deterministic: true}.Marshal(o)
	if err != nil {
		panic(err)
	}
	sum := sha256.Sum256(encoded)
	return hex.EncodeToString(sum[:])
}

func objectFact(o *pb.PceObject) entry {
	return entry{"facts.pce.object." + objectHash(o), &pb.Fact{Body: &pb.Fact_PceObject{PceObject: o}}}
}

// provisioned gives the objects and then the manifest in the number of chunks.
func provisioned(version int64, chunks int, objects ...*pb.PceObject) []entry {
	var out []entry
	parts := make([]*pb.Provisioned, chunks)
	for i := range parts {
		parts[i] = &pb.Provisioned{Version: version, Chunk: uint32(i), Chunks: uint32(chunks)}
	}
	for i, o := range objects {
		out = append(out, objectFact(o))
		part := parts[i%chunks]
		part.Entries = append(part.Entries, &pb.ManifestEntry{Href: objectHref(o), Sha256: objectHash(o)})
	}
	for i, part := range parts {
		out = append(out, entry{fmt.Sprintf("facts.pce.provisioned.%d", i), &pb.Fact{Body: &pb.Fact_Provisioned{Provisioned: part}}})
	}
	return out
}

func scope(labels ...string) *pb.Scope { return &pb.Scope{Entries: actors(labels...)} }

// actors reads names: "ams", "!words" for what is not supported, else what actorOf reads.
func actors(names ...string) []*pb.Actor {
	var out []*pb.Actor
	for _, name := range names {
		words, unsupported := strings.CutPrefix(name, "!")
		switch {
		case name == "ams":
			out = append(out, &pb.Actor{Actor: &pb.Actor_AllWorkloads{AllWorkloads: true}})
		case unsupported:
			out = append(out, &pb.Actor{Actor: &pb.Actor_Unsupported{Unsupported: words}})
		default:
			out = append(out, actorOf(name))
		}
	}
	return out
}

// actorOf reads a name: "list:x" is an IP list, "group:x" a label group, "vm:x" a workload of the console, "kw:x" an
// acknowledged workload, "vs:x" a virtual service, "-x" all labels but label x, "-group:x" all but those of group x, and
// anything else a label.
func actorOf(name string) *pb.Actor {
	kind, rest, prefixed := strings.Cut(name, ":")
	excluded, isExcluded := strings.CutPrefix(name, "-")
	switch {
	case prefixed && kind == "list":
		return &pb.Actor{Actor: &pb.Actor_IpList{IpList: listHref(rest)}}
	case prefixed && kind == "group":
		return &pb.Actor{Actor: &pb.Actor_LabelGroup{LabelGroup: groupHref(rest)}}
	case prefixed && kind == "-group":
		return &pb.Actor{Actor: &pb.Actor_ExcludedLabelGroup{ExcludedLabelGroup: groupHref(rest)}}
	case prefixed && kind == "vm":
		return &pb.Actor{Actor: &pb.Actor_Workload{Workload: machineHref(rest)}}
	case prefixed && kind == "kw":
		return &pb.Actor{Actor: &pb.Actor_Workload{Workload: ackHref(rest)}}
	case prefixed && kind == "vs":
		return &pb.Actor{Actor: &pb.Actor_VirtualService{VirtualService: virtualHref(rest)}}
	case isExcluded:
		return &pb.Actor{Actor: &pb.Actor_ExcludedLabel{ExcludedLabel: labelHref(excluded)}}
	}
	return &pb.Actor{Actor: &pb.Actor_Label{Label: labelHref(name)}}
}

func tcp(port uint32) *pb.PortRange { return &pb.PortRange{Protocol: 6, Port: port} }
func tcpRange(from, to uint32) *pb.PortRange {
	return &pb.PortRange{Protocol: 6, Port: from, ToPort: to}
}
func udp(port uint32) *pb.PortRange { return &pb.PortRange{Protocol: 17, Port: port} }

// icmp is a type of ICMP, of all codes or of those given.
func icmp(kind uint32, code ...uint32) *pb.PortRange {
	p := &pb.PortRange{Protocol: 1, IcmpType: new(kind)}
	for _, c := range code {
		p.IcmpCode = new(c)
	}
	return p
}
func allPorts() *pb.PortRange            { return &pb.PortRange{Protocol: -1} }
func span(from, to string) *pb.IpRange   { return &pb.IpRange{FromIp: from, ToIp: to} }
func except(from, to string) *pb.IpRange { return &pb.IpRange{FromIp: from, ToIp: to, Exclusion: true} }
func byHref(service string) *pb.IngressService {
	return &pb.IngressService{Service: &pb.IngressService_Href{Href: svcHref(service)}}
}

func on(ports ...*pb.PortRange) []*pb.IngressService {
	var out []*pb.IngressService
	for _, p := range ports {
		out = append(out, &pb.IngressService{Service: &pb.IngressService_Port{Port: p}})
	}
	return out
}

// apply feeds entries in order, from the engine's sequence on, and fails on any error.
func apply(t testing.TB, e *clas.Engine, entries ...entry) {
	t.Helper()
	for _, x := range entries {
		if err := e.Apply(x.subject, e.Sequence()+1, x.fact); err != nil {
			t.Fatalf("apply %s: %v", x.subject, err)
		}
	}
}

const full = pb.EnforcementMode_ENFORCEMENT_MODE_FULL

// assign gives a managed profile with fixed labels.
func managed(namespace string, mode pb.EnforcementMode, assignments ...string) *pb.ContainerWorkloadProfile {
	p := &pb.ContainerWorkloadProfile{Namespace: namespace, Managed: true, EnforcementMode: mode}
	for _, a := range assignments {
		key, name, _ := strings.Cut(a, "=")
		p.Labels = append(p.Labels, &pb.ProfileLabel{Key: key, Assignment: labelHref(name)})
	}
	return p
}

// runningPod is a bare pod of a role.
func runningPod(namespace, name, role, node string, addresses ...string) *pb.Pod {
	p := &pb.Pod{Namespace: namespace, Name: name, Uid: "uid-" + name, Node: node, Addresses: addresses,
		Phase: pb.PodPhase_POD_PHASE_RUNNING, Labels: map[string]string{"app": name}}
	if role != "" {
		p.Annotations = map[string]string{"com.illumio.role": role}
	}
	return p
}

// shop is a namespace in full enforcement: web and api pods and a database, on two nodes, without rules.
func shop() []entry {
	return []entry{
		labelFact("web", "role", "web"), labelFact("api", "role", "api"), labelFact("db", "role", "db"),
		labelFact("prod", "env", "prod"), labelFact("dev", "env", "dev"), labelFact("shop", "app", "shop"),
		namespaceFact("shop"),
		profileFact("shop", managed("shop", full, "env=prod", "app=shop")),
		nodeFact(&pb.Node{Name: "n1", Addresses: []string{"192.168.0.1"}}),
		nodeFact(&pb.Node{Name: "n2", Addresses: []string{"192.168.0.2"}}),
		podFact(runningPod("shop", "web", "web", "n1", "10.0.0.1", "fd00::1")),
		podFact(runningPod("shop", "api", "api", "n2", "10.0.0.2", "fd00::2")),
		podFact(runningPod("shop", "db", "db", "n2", "10.0.0.3", "fd00::3")),
	}
}

// ask gives the verdict of a connection over TCP.
func ask(t testing.TB, e *clas.Engine, source, destination string, port uint16) clas.Verdict {
	t.Helper()
	x, err := e.Explain(clas.Query{Source: source, Destination: destination, Port: port, Protocol: 6})
	if err != nil {
		t.Fatalf("explain %s -> %s: %v", source, destination, err)
	}
	return x.Verdict
}
