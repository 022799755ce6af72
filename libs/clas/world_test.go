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

// Subjects and facts of the test's little world. hrefs are short: label "l:web" has the href /orgs/1/labels/web.

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
func profHref(name string) string {
	return "/orgs/1/container_clusters/c/container_workload_profiles/" + name
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

func objectHref(o *pb.PceObject) string {
	switch x := o.GetObject().(type) {
	case *pb.PceObject_RuleSet:
		return x.RuleSet.GetHref()
	case *pb.PceObject_IpList:
		return x.IpList.GetHref()
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

// actors reads names: "ams", "list:x" for an IP list, "!x" for what is not supported, else a label.
func actors(names ...string) []*pb.Actor {
	var out []*pb.Actor
	for _, name := range names {
		list, isList := strings.CutPrefix(name, "list:")
		words, unsupported := strings.CutPrefix(name, "!")
		switch {
		case name == "ams":
			out = append(out, &pb.Actor{Actor: &pb.Actor_AllWorkloads{AllWorkloads: true}})
		case isList:
			out = append(out, &pb.Actor{Actor: &pb.Actor_IpList{IpList: listHref(list)}})
		case unsupported:
			out = append(out, &pb.Actor{Actor: &pb.Actor_Unsupported{Unsupported: words}})
		default:
			out = append(out, &pb.Actor{Actor: &pb.Actor_Label{Label: labelHref(name)}})
		}
	}
	return out
}

func tcp(port uint32) *pb.PortRange { return &pb.PortRange{Protocol: 6, Port: port} }
func tcpRange(from, to uint32) *pb.PortRange {
	return &pb.PortRange{Protocol: 6, Port: from, ToPort: to}
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
