package clas_test

import (
	"strings"
	"testing"

	pb "github.com/ringfence/ringfence/proto/ringfence/v1"
	"google.golang.org/protobuf/proto"

	"github.com/ringfence/ringfence/libs/clas"
)

// changed gives a copy of a message with a change.
func changed[M proto.Message](m M, change func(M)) M {
	m = proto.CloneOf(m)
	change(m)
	return m
}

func TestMalformedFactsAreRefused(t *testing.T) {
	pod := runningPod("shop", "web", "web", "n1", "10.0.0.1")
	service := apiService(nil)
	rules := func(change func(*pb.RuleSet)) entry {
		return objectFact(ruleSet(changed(webToAPI(tcp(80)).GetRuleSet(), change)))
	}
	ports := func(ports ...*pb.PortRange) entry { return objectFact(pceService("p", ports...)) }
	ranges := func(ranges ...*pb.IpRange) entry { return objectFact(ipList("x", ranges...)) }
	chunk := func(change func(*pb.Provisioned)) entry {
		all := opening(5, 80)
		last := all[len(all)-1]
		return entry{last.subject, changed(last.fact, func(f *pb.Fact) { change(f.GetProvisioned()) })}
	}
	profile := func(change func(*pb.ContainerWorkloadProfile)) entry {
		return profileFact("shop", changed(managed("shop", full, "env=prod"), change))
	}
	sum := strings.Repeat("0", 64)
	cases := []struct {
		fact entry
		want string
	}{
		{podFact(changed(pod, func(p *pb.Pod) { p.Addresses = []string{"10.0.0.1", "10.0.0.999"} })), `pod shop/web: addresses[1]: "10.0.0.999" is not an IP address`},
		{podFact(changed(pod, func(p *pb.Pod) { p.Addresses = []string{"fe80::1%eth0"} })), `pod shop/web: addresses[0]: "fe80::1%eth0" is not an IP address`},
		{podFact(changed(pod, func(p *pb.Pod) { p.Uid = "" })), "pod shop/web: uid: empty"},
		{podFact(changed(pod, func(p *pb.Pod) { p.Ports = []*pb.ContainerPort{{Port: 65536}} })), "pod shop/web: ports[0].port: 65536 is above 65535"},
		{entry{"facts.k8s.pod.shop.web", podFact(runningPod("shop", "api", "", "")).fact}, "pod shop/api: name: the subject is facts.k8s.pod.shop.web"},
		{entry{"facts.k8s.service.shop.web", podFact(pod).fact}, "pod shop/web: name: the subject is facts.k8s.service.shop.web"},
		{entry{"facts.k8s.pod.shop.web", &pb.Fact{Body: &pb.Fact_Pod{Pod: &pb.Pod{}}}}, "pod of subject facts.k8s.pod.shop.web: name: empty"},
		{podFact(changed(pod, func(p *pb.Pod) { p.Uid = "\xff" })), `pod "shop/web": some text is not UTF-8`},
		{serviceFact(changed(service, func(s *pb.Service) { s.ClusterIps = []string{"None"} })), `service shop/api: cluster_ips[0]: "None" is not an IP address`},
		{serviceFact(changed(service, func(s *pb.Service) { s.Ports[0].Protocol = 0 })), "service shop/api: ports[0].protocol: 0 is not 1 to 255"},
		{serviceFact(changed(service, func(s *pb.Service) { s.Ports[1].Port = 0 })), "service shop/api: ports[1].port: 0 is not 1 to 65535"},
		{serviceFact(changed(service, func(s *pb.Service) { s.Ports[0].TargetPort = 70000 })), "service shop/api: ports[0].target_port: 70000 is above 65535"},
		{entry{"facts.k8s.service.shop.x", serviceFact(service).fact}, "service shop/api: name: the subject is facts.k8s.service.shop.x"},
		{nodeFact(&pb.Node{Name: "n1", Addresses: []string{"x"}}), `node n1: addresses[0]: "x" is not an IP address`},
		{entry{"facts.k8s.node._.n1", nodeFact(&pb.Node{Name: "n2"}).fact}, "node _/n2: name: the subject is facts.k8s.node._.n1"},
		{entry{"facts.k8s.namespace._.a", namespaceFact("b").fact}, "namespace _/b: name: the subject is facts.k8s.namespace._.a"},
		{workloadFact(&pb.KubernetesWorkload{Namespace: "shop", Name: "d"}), `an empty token`},
		{entry{"facts.k8s.deployment.shop.d", &pb.Fact{Body: &pb.Fact_KubernetesWorkload{KubernetesWorkload: &pb.KubernetesWorkload{}}}}, "kubernetes workload of subject facts.k8s.deployment.shop.d: kind: empty"},
		{entry{"facts.k8s.job.shop.d", &pb.Fact{Body: &pb.Fact_KubernetesWorkload{KubernetesWorkload: &pb.KubernetesWorkload{Kind: "Deployment", Namespace: "shop", Name: "d"}}}}, "deployment shop/d: name: the subject is"},
		{labelFact("web", "", "web"), "label /orgs/1/labels/web: key: empty"},
		{labelFact("web", "role", ""), "label /orgs/1/labels/web: value: empty"},
		{entry{"facts.pce.label.api", labelFact("web", "role", "web").fact}, "label /orgs/1/labels/web: href: the subject is facts.pce.label.api"},
		{entry{"facts.pce.label.api", &pb.Fact{Body: &pb.Fact_Label{Label: &pb.Label{}}}}, "label of subject facts.pce.label.api: href: empty"},
		{profile(func(p *pb.ContainerWorkloadProfile) { p.EnforcementMode = 0 }), "enforcement_mode: a managed namespace needs one"},
		{profile(func(p *pb.ContainerWorkloadProfile) { p.EnforcementMode = 99 }), "enforcement_mode: 99 is unknown"},
		{profile(func(p *pb.ContainerWorkloadProfile) { p.Labels[0].Key = "" }), "labels[0].key: empty"},
		{profile(func(p *pb.ContainerWorkloadProfile) { p.Labels = append(p.Labels, p.Labels[0]) }), `labels[1].key: "env" is listed twice`},
		{entry{"facts.pce.profile.x", profile(func(*pb.ContainerWorkloadProfile) {}).fact}, "href: the subject is facts.pce.profile.x"},
		{ranges(span("10.0.0.0/33", "")), `ip list /orgs/1/sec_policy/active/ip_lists/x: ranges[0].from_ip: "10.0.0.0/33" is not a CIDR`},
		{ranges(span("10.0.0.1", ""), span("bad", "")), `ranges[1].from_ip: "bad" is not an IP address`},
		{ranges(span("10.0.0.1", "bad")), `ranges[0].to_ip: "bad" is not an IP address`},
		{ranges(span("10.0.0.2", "10.0.0.1")), "ranges[0].to_ip: 10.0.0.1 does not come after 10.0.0.2 in the same family"},
		{ranges(span("10.0.0.2", "fd00::1")), "ranges[0].to_ip: fd00::1 does not come after 10.0.0.2 in the same family"},
		{ranges(span("10.0.0.0/8", "10.0.0.1")), `ranges[0].to_ip: "10.0.0.1" follows the CIDR 10.0.0.0/8`},
		{ports(&pb.PortRange{}), "service /orgs/1/sec_policy/active/services/p: ports[0].protocol: 0 is neither -1 nor 1 to 255"},
		{ports(&pb.PortRange{Protocol: 256}), "ports[0].protocol: 256"},
		{ports(tcp(70000)), "ports[0].port: 70000 is above 65535"},
		{ports(tcpRange(1, 70000)), "ports[0].to_port: 70000 is above 65535"},
		{ports(tcp(1), tcpRange(9, 8)), "ports[1].to_port: 8 is below port 9"},
		{ports(&pb.PortRange{Protocol: 6, IcmpType: new(uint32(8))}), "ports[0].icmp_type: protocol 6 has none"},
		{ports(&pb.PortRange{Protocol: 1, IcmpCode: new(uint32(8))}), "ports[0].icmp_code: 8 without an icmp_type"},
		{ports(&pb.PortRange{Protocol: 1, IcmpType: new(uint32(256))}), "ports[0].icmp_type: 256 is above 255"},
		{ports(&pb.PortRange{Protocol: 1, IcmpType: new(uint32(1)), IcmpCode: new(uint32(256))}), "ports[0].icmp_code: 256 is above 255"},
		{rules(func(s *pb.RuleSet) { s.Href = "" }), "rule set: href: empty"},
		{rules(func(s *pb.RuleSet) { s.Rules[0].Href = "" }), "rule set /orgs/1/sec_policy/active/rule_sets/s: rules[0].href: empty"},
		{rules(func(s *pb.RuleSet) { s.Rules[0].Services = on(tcp(70000)) }), "rule /orgs/1/sec_policy/active/rule_sets/s/sec_rules/1: services[0].port: 70000 is above 65535"},
		{objectFact(&pb.PceObject{Object: &pb.PceObject_IpList{IpList: &pb.IpList{}}}), "ip list: href: empty"},
		{objectFact(&pb.PceObject{Object: &pb.PceObject_Service{Service: &pb.PceService{}}}), "service: href: empty"},
		{objectFact(&pb.PceObject{}), "pce object: object: none of the kinds that this version knows"},
		{entry{"facts.pce.object." + sum, objectFact(webToAPI(tcp(80))).fact}, "rule_sets/s: sha256: the content has " + objectHash(webToAPI(tcp(80))) + ", the subject says " + sum},
		{entry{"facts.pce.label." + objectHash(webToAPI(tcp(80))), objectFact(webToAPI(tcp(80))).fact}, "the fact belongs under facts.pce.object"},
		{chunk(func(p *pb.Provisioned) { p.Chunk = 0 }), "provisioned version 5: chunk: 0, the subject is facts.pce.provisioned.1"},
		{chunk(func(p *pb.Provisioned) { p.Chunks = 1 }), "provisioned version 5: chunk: 1 of 1"},
		{chunk(func(p *pb.Provisioned) { p.Entries[0].Href = "" }), "provisioned version 5: chunk 1: entries[0].href: empty"},
		{chunk(func(p *pb.Provisioned) { p.Entries[0].Sha256 = "0X" }), `chunk 1: entries[0].sha256: "0X" is not one`},
		{chunk(func(p *pb.Provisioned) { p.Entries = append(p.Entries, p.Entries[0]) }), "entries[1].href: /orgs/1/sec_policy/active/rule_sets/s is listed twice"},
		{entry{"facts.pce.label.0", chunk(func(*pb.Provisioned) {}).fact}, "the fact belongs under facts.pce.provisioned"},
		{entry{"facts.ctl.synced.watcher", &pb.Fact{Body: &pb.Fact_Synced{Synced: &pb.Synced{Producer: "pce-bridge"}}}}, `synced mark: producer: "pce-bridge", the subject is facts.ctl.synced.watcher`},
		{entry{"facts.ctl.settings", &pb.Fact{Body: &pb.Fact_Synced{Synced: &pb.Synced{}}}}, "the fact belongs under facts.ctl.synced"},
		{entry{"facts.ctl.link", &pb.Fact{Body: &pb.Fact_Settings{Settings: &pb.Settings{}}}}, "the fact belongs under facts.ctl.settings"},
		{entry{"facts.ctl.settings", &pb.Fact{Body: &pb.Fact_PceLink{PceLink: &pb.PceLink{}}}}, "the fact belongs under facts.ctl.link"},
		{entry{"facts.ctl.settings", &pb.Fact{}}, "fact of subject facts.ctl.settings: body: none that this version knows"},
		{entry{"facts", &pb.Fact{}}, `subject "facts": not facts.<group>.<kind>`},
		{entry{"facts.other.x", &pb.Fact{}}, `subject "facts.other.x": group "other" is not k8s, pce or ctl`},
		{entry{"facts.k8s.pod.x", &pb.Fact{}}, `subject "facts.k8s.pod.x": 1 tokens after the kind, want 2`},
		{entry{"facts.k8s.pod.a.%zz", &pb.Fact{}}, `subject "facts.k8s.pod.a.%zz": token "%zz"`},
	}
	e := clas.New()
	apply(t, e, shop()...)
	apply(t, e, serviceFact(service))
	apply(t, e, opening(1, 80)...)
	before := e.Digest()
	for _, c := range cases {
		at := e.Sequence() + 1
		err := e.Apply(c.fact.subject, at, c.fact.fact)
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: error %v, want one line with %q", c.fact.subject, err, c.want)
		}
		if e.Sequence() != at {
			t.Errorf("%s: sequence %d, want %d", c.fact.subject, e.Sequence(), at)
		}
		if e.Digest() != before {
			t.Fatalf("%s: refused with %v, and changed the policy", c.fact.subject, err)
		}
	}
}

func TestSubjectsAreDecoded(t *testing.T) {
	e := clas.New()
	apply(t, e, town()...)
	p := runningPod("prod", "a.b", "web", "n1", "10.0.0.1")
	if subject := podFact(p).subject; subject != "facts.k8s.pod.prod.a%2Eb" {
		t.Fatalf("subject %s", subject)
	}
	before := e.Digest()
	apply(t, e, podFact(p))
	if e.Digest() == before {
		t.Error("the pod is not there")
	}
	apply(t, e, gone(entry{"facts.k8s.pod.prod.%61%2Eb", nil}, "")) // another spelling of the same subject
	if e.Digest() != before {
		t.Error("the pod is still there")
	}
}

func TestRestoreRefusesWhatIsNoSnapshot(t *testing.T) {
	cases := []struct {
		entry *pb.SnapshotEntry
		err   error
		want  string
	}{
		{&pb.SnapshotEntry{Subject: "facts.ctl.link", Sequence: 3, Fact: []byte{0xff}}, nil, "restore: entry 3: fact of subject facts.ctl.link: decode:"},
		{&pb.SnapshotEntry{Subject: "facts.ctl.link", Sequence: 4}, nil, "restore: entry 4: fact of subject facts.ctl.link: body: none"},
		{nil, errTest, "restore: the chunk is torn"},
	}
	for _, c := range cases {
		_, err := clas.Restore(func(yield func(*pb.SnapshotEntry, error) bool) { yield(c.entry, c.err) })
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("error %v, want %q", err, c.want)
		}
	}
}

type testError string

func (e testError) Error() string { return string(e) }

const errTest = testError("the chunk is torn")
