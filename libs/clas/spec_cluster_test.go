package clas_test

import (
	"maps"
	"strconv"
	"strings"

	pb "github.com/ringfence/ringfence/proto/ringfence/v1"
)

// specSteps are the directives that change the world.
var specSteps map[string]func(*specRun)

func init() {
	specSteps = map[string]func(*specRun){}
	maps.Copy(specSteps, specClusterSteps)
	maps.Copy(specSteps, specConsoleSteps)
	maps.Copy(specSteps, specPolicySteps)
}

// specClusterSteps are facts about the objects of the cluster.
var specClusterSteps = map[string]func(*specRun){
	"namespace": (*specRun).writeNamespace,
	"pod":       (*specRun).writePod,
	"workload":  (*specRun).writeWorkload,
	"service":   (*specRun).writeService,
	"endpoints": (*specRun).writeEndpoints,
	"node":      (*specRun).writeNode,
	"label-map": (*specRun).writeLabelMap,
	"settings":  (*specRun).writeSettings,
	"gone":      (*specRun).writeGone,
	"flush":     (*specRun).settle,
}

// writeNamespace: namespace NAME [PROFILE], where the profile is that of the profile directive.
func (r *specRun) writeNamespace() {
	words := strings.Fields(r.at.text)
	if len(words) == 0 {
		r.stop("no name")
	}
	r.write("namespace "+words[0], namespaceFact(words[0]))
	if len(words) > 1 {
		r.writeProfileOf(words[0], words[0], words[1:])
	}
}

// writePod: pod NAMESPACE/NAME with clauses. A pod runs and is ready, and has its name as uid, unless said otherwise.
func (r *specRun) writePod() {
	p := r.phrase("on at labelled annotated of ports phase uid runtime-uid", "host-network without-sandbox not-ready terminating")
	name := r.split(p.one(""), 2)
	m := &pb.Pod{Namespace: name[0], Name: name[1], Uid: p.one(""), Node: p.one("on"), Addresses: p.list("at"),
		Phase: r.phase(p), Ready: !p.has("not-ready"), HostNetwork: p.has("host-network"), Labels: p.pairs("labelled"),
		Annotations: specAnnotations(p.pairs("annotated")), Terminating: p.has("terminating"), RuntimeUid: p.one("runtime-uid"),
		WithoutSandbox: p.has("without-sandbox")}
	if p.has("uid") {
		m.Uid = p.one("uid")
	}
	if p.has("of") {
		of := r.split(p.one("of"), 2)
		m.Controller = &pb.ObjectRef{Kind: of[0], Name: of[1]}
	}
	for name, port := range p.pairs("ports") {
		number, protocol := r.port(port)
		m.Ports = append(m.Ports, &pb.ContainerPort{Name: name, Port: number, Protocol: protocol})
	}
	delete(r.hostNetwork, p.one(""))
	if m.GetHostNetwork() {
		r.hostNetwork[p.one("")] = m.GetNode()
	}
	r.pods[p.one("")] = m
	r.write("pod "+p.one(""), podFact(m))
}

func (r *specRun) phase(p phrase) pb.PodPhase {
	if !p.has("phase") {
		return pb.PodPhase_POD_PHASE_RUNNING
	}
	number, ok := pb.PodPhase_value["POD_PHASE_"+strings.ToUpper(p.one("phase"))]
	if !ok {
		r.stop("no phase %q", p.one("phase"))
	}
	return pb.PodPhase(number)
}

// specAnnotations gives keys without a dot the prefix of label annotations.
func specAnnotations(pairs map[string]string) map[string]string {
	var out map[string]string
	for key, value := range pairs {
		if out == nil {
			out = map[string]string{}
		}
		if !strings.Contains(key, ".") {
			key = "com.illumio." + key
		}
		out[key] = value
	}
	return out
}

// protocols by the names that pages use.
var specProtocols = map[string]uint32{"icmp": 1, "tcp": 6, "udp": 17, "gre": 47, "icmp6": 58, "sctp": 132}

// port reads NUMBER/PROTOCOL.
func (r *specRun) port(text string) (number, protocol uint32) {
	port, name, _ := strings.Cut(text, "/")
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || specProtocols[name] == 0 {
		r.stop("%q is not PORT/PROTOCOL", text)
	}
	return uint32(n), specProtocols[name]
}

// writeWorkload: workload NAMESPACE/KIND/NAME with clauses.
func (r *specRun) writeWorkload() {
	p := r.phrase("labelled annotated uid", "host-network")
	name := r.split(p.one(""), 3)
	r.write("workload "+p.one(""), workloadFact(&pb.KubernetesWorkload{Namespace: name[0], Kind: name[1], Name: name[2], Uid: p.one("uid"),
		Labels: p.pairs("labelled"), Annotations: specAnnotations(p.pairs("annotated")), HostNetwork: p.has("host-network")}))
}

// writeService: service NAMESPACE/NAME with clauses. Its type is ClusterIP unless said otherwise.
func (r *specRun) writeService() {
	p := r.phrase("at ports selects labelled annotated external type named uid", "")
	name := r.split(p.one(""), 2)
	m := &pb.Service{Namespace: name[0], Name: name[1], Uid: "uid-" + name[1], Type: "ClusterIP", ClusterIps: p.list("at"),
		Selector: p.pairs("selects"), Labels: p.pairs("labelled"), Annotations: specAnnotations(p.pairs("annotated")),
		ExternalAddresses: p.list("external"), ExternalName: p.one("named")}
	if p.has("type") {
		m.Type = p.one("type")
	}
	if p.has("uid") {
		m.Uid = strings.TrimPrefix(p.one("uid"), "none")
	}
	for _, port := range p.list("ports") {
		m.Ports = append(m.Ports, r.servicePort(port))
	}
	r.write("service "+p.one(""), serviceFact(m))
}

// servicePort reads [NAME:]PORT[->TARGET]/PROTOCOL[@NODEPORT], where the target is a number or a name.
func (r *specRun) servicePort(text string) *pb.ServicePort {
	rest, nodePort, _ := strings.Cut(text, "@")
	out := &pb.ServicePort{}
	if name, after, named := strings.Cut(rest, ":"); named {
		out.Name, rest = name, after
	}
	ports, protocol, _ := strings.Cut(rest, "/")
	port, target, _ := strings.Cut(ports, "->")
	out.Port, out.Protocol = r.port(port + "/" + protocol)
	if n, err := strconv.ParseUint(target, 10, 16); err == nil {
		out.TargetPort = uint32(n)
	} else {
		out.TargetPortName = target
	}
	if nodePort != "" {
		out.NodePort, _ = r.port(nodePort + "/tcp")
	}
	return out
}

// writeEndpoints: endpoints NAMESPACE/NAME of SERVICE at ADDRESS... ports [NAME:]PORT/PROTOCOL...
func (r *specRun) writeEndpoints() {
	p := r.phrase("of at ports", "")
	name := r.split(p.one(""), 2)
	m := &pb.EndpointSlice{Namespace: name[0], Name: name[1], Service: p.one("of"), Addresses: p.list("at")}
	for _, port := range p.list("ports") {
		s := r.servicePort(port)
		m.Ports = append(m.Ports, &pb.EndpointPort{Name: s.GetName(), Protocol: s.GetProtocol(), Port: s.GetPort()})
	}
	r.write("endpoints "+p.one(""), entry{k8s("endpointslice", name[0], name[1]), &pb.Fact{Body: &pb.Fact_EndpointSlice{EndpointSlice: m}}})
}

// writeNode: node NAME with clauses.
func (r *specRun) writeNode() {
	p := r.phrase("at labelled machine uid", "")
	r.write("node "+p.one(""), nodeFact(&pb.Node{Name: p.one(""), Uid: p.one("uid"), Addresses: p.list("at"), Labels: p.pairs("labelled"),
		MachineId: p.one("machine")}))
}

// writeLabelMap: label-map, with one entry a nested line: workload FROM -> TO [create] [values FROM=TO...], or node.
func (r *specRun) writeLabelMap() {
	m := &pb.LabelMap{Name: "default"}
	directive := r.at
	for _, l := range directive.nested {
		r.at = l
		p := r.phrase("-> values", "create")
		entry := &pb.LabelMapping{FromKey: p.one(""), ToKey: p.one("->"), AllowCreate: p.has("create")}
		for _, pair := range p.list("values") {
			from, to, _ := strings.Cut(pair, "=")
			entry.ValuesMap = append(entry.ValuesMap, &pb.LabelValueMapping{From: from, To: to})
		}
		switch l.verb {
		case "workload":
			m.WorkloadLabelMap = append(m.WorkloadLabelMap, entry)
		case "node":
			m.NodeLabelMap = append(m.NodeLabelMap, entry)
		default:
			r.stop("an entry is for workload or node")
		}
	}
	r.at = directive
	r.write("label-map", entry{k8s("labelmap", "", "default"), &pb.Fact{Body: &pb.Fact_LabelMap{LabelMap: m}}})
}

// writeSettings: settings with clauses. What is not named has its default.
func (r *specRun) writeSettings() {
	p := r.phrase("cluster-mode degraded degraded-mode policy-label-set network node-port-traffic start-policy", "")
	m := &pb.Settings{ClusterId: "c", ClusterMode: p.one("cluster-mode"), DisableDegradedMode: p.one("degraded-mode") == "off"}
	if p.has("degraded") {
		m.DegradedModePolicyFail = pb.DegradedModePolicyFail(r.enum(pb.DegradedModePolicyFail_value, "DEGRADED_MODE_POLICY_FAIL_", p.one("degraded")))
	}
	if p.has("policy-label-set") {
		m.PolicyLabelSetEnable = new(p.one("policy-label-set") == "on")
	}
	if p.has("network") {
		m.NetworkType = pb.NetworkType(r.enum(pb.NetworkType_value, "NETWORK_TYPE_", p.one("network")))
	}
	if p.has("node-port-traffic") {
		m.EnforceNodePortTraffic = new(p.one("node-port-traffic") == "on")
	}
	if p.has("start-policy") {
		m.StartPolicy = r.mode(p.one("start-policy"))
	}
	r.write("settings", entry{"facts.ctl.settings", &pb.Fact{Body: &pb.Fact_Settings{Settings: m}}})
}

func (r *specRun) enum(values map[string]int32, prefix, name string) int32 {
	number, ok := values[prefix+strings.ToUpper(name)]
	if !ok {
		r.stop("%q is no %s", name, strings.ToLower(strings.ReplaceAll(strings.TrimSuffix(prefix, "_"), "_", " ")))
	}
	return number
}

func (r *specRun) mode(name string) pb.EnforcementMode {
	return pb.EnforcementMode(r.enum(pb.EnforcementMode_value, "ENFORCEMENT_MODE_", name))
}

// writeGone: gone DIRECTIVE NAME [uid UID] is the tombstone of what the directive wrote.
func (r *specRun) writeGone() {
	p := r.phrase("uid", "")
	name := strings.Join(p.list(""), " ")
	subject := r.subjects[name]
	if subject == "" {
		r.stop("nothing on this page wrote %q", name)
	}
	if pod, isPod := strings.CutPrefix(name, "pod "); isPod {
		delete(r.hostNetwork, pod)
	}
	r.apply(gone(entry{subject: subject}, p.one("uid")))
}
