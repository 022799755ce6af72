package clas_test

import (
	"fmt"
	"strings"

	pb "github.com/ringfence/ringfence/proto/ringfence/v1"
)

// What the generator writes about the cluster, and about what the console puts into force at once.

// annotations are anything, or what every pod of a kind has.
func (g *generator) annotations() map[string]string {
	if g.chance(35) {
		return map[string]string{"com.illumio.role": pick(g, []string{"web", "api"}), "com.illumio.app": "shop"}
	}
	out := map[string]string{"meta.illumio.other": "x"}
	for _, name := range some(g, worldLabels, 6) {
		key, value, _ := strings.Cut(name, "/")
		if g.chance(5) {
			value = "unheard-of"
		}
		out["com.illumio."+key] = value
	}
	return out
}

// kubernetes are labels that selectors and the LabelMap ask for.
func (g *generator) kubernetes() map[string]string {
	out := map[string]string{"app": pick(g, []string{"x", "y"})}
	if g.chance(40) {
		out["team"] = pick(g, []string{"red", "blue", "green", ""})
	}
	if g.chance(20) {
		out["tier"] = pick(g, []string{"gold", "silver"})
	}
	if g.chance(10) {
		out["pod-template-hash"] = pick(g, []string{"1", "2"})
	}
	return out
}

func (g *generator) profile(namespace string) entry {
	p := &pb.ContainerWorkloadProfile{Namespace: namespace, Managed: g.chance(88), EnforcementMode: g.mode()}
	for _, key := range worldKeys {
		switch n := g.IntN(20); {
		case n < 6:
			p.Labels = append(p.Labels, &pb.ProfileLabel{Key: key, Assignment: labelHref(g.assignable(key))})
		case n < 8:
			p.Labels = append(p.Labels, &pb.ProfileLabel{Key: key, Restricted: true,
				Restriction: []string{labelHref(g.labelName()), labelHref(g.assignable(key))}})
		case n < 9:
			p.Labels = append(p.Labels, &pb.ProfileLabel{Key: key, Restricted: g.chance(50)})
		}
	}
	name := "p-" + namespace
	if g.chance(10) {
		name += "-second"
	}
	return profileFact(name, p)
}

// assignable is mostly a label of the key.
func (g *generator) assignable(key string) string {
	var fits []string
	for _, l := range worldLabels {
		if strings.HasPrefix(l, key+"/") {
			fits = append(fits, labelName(l))
		}
	}
	if g.chance(5) {
		return g.labelName()
	}
	return pick(g, fits)
}

func (g *generator) labelMap() entry {
	m := &pb.LabelMap{Uid: "map"}
	for range g.IntN(4) {
		m.WorkloadLabelMap = append(m.WorkloadLabelMap, g.mapping([]string{"app", "team", "tier", "missing"}))
	}
	for range g.IntN(3) {
		m.NodeLabelMap = append(m.NodeLabelMap, g.mapping([]string{"pool", "rack"}))
	}
	return labelMapFact(m)
}

func (g *generator) mapping(from []string) *pb.LabelMapping {
	return mapping(pick(g, from), pick(g, append(worldKeys, "loc", "nokey")), g.chance(40),
		some(g, []string{"x=web", "y=db", "red=prod", "blue=", "green=eu", "x=shop", "big=api", "big=gold", "east=eu", "=dev"}, 3)...)
}

func (g *generator) pod() entry {
	p := &pb.Pod{Namespace: pick(g, worldSpaces), Name: fmt.Sprintf("p%d", g.IntN(6)), Phase: pb.PodPhase_POD_PHASE_RUNNING,
		Ready: g.chance(50), Labels: g.kubernetes(), Annotations: g.annotations(), HostNetwork: g.chance(6), WithoutSandbox: g.chance(6)}
	p.Uid = fmt.Sprintf("%s%suid%d", p.Namespace, p.Name, g.IntN(3))
	if g.chance(10) {
		p.RuntimeUid = "static-" + p.Uid
	}
	if g.chance(95) {
		p.Node = pick(g, worldNodes)
	}
	if g.chance(90) {
		p.Addresses = []string{pick(g, worldV4)}
	}
	if g.chance(40) {
		p.Addresses = append(p.Addresses, pick(g, worldV6))
	}
	if p.HostNetwork {
		p.Addresses = []string{pick(g, worldNodeIPs)}
	}
	p.Addresses = g.spelled(p.Addresses)
	if g.chance(15) {
		p.Phase = pb.PodPhase(g.IntN(5))
	}
	if g.chance(60) {
		p.Controller = &pb.ObjectRef{Kind: g.controllerKind(), Name: pick(g, []string{"d0", "d1"})}
	}
	if g.chance(60) {
		p.Ports = []*pb.ContainerPort{{Name: "http", Port: g.backendPort(), Protocol: pick(g, []uint32{6, 6, 6, 17})}}
	}
	return podFact(p)
}

func (g *generator) controllerKind() string {
	return pick(g, []string{"Deployment", "Deployment", "Deployment", "StatefulSet"})
}

func (g *generator) workload() entry {
	return workloadFact(&pb.KubernetesWorkload{Namespace: pick(g, worldSpaces), Kind: g.controllerKind(), Name: pick(g, []string{"d0", "d1"}),
		Uid: pick(g, []string{"", "u1", "u2"}), Labels: g.kubernetes(), Annotations: g.annotations()})
}

func serviceUID(namespace, name string, generation int) string {
	return fmt.Sprintf("uid-%s-%s-%d", namespace, name, generation)
}

func (g *generator) service() entry {
	s := &pb.Service{Namespace: pick(g, worldSpaces), Name: pick(g, []string{"s0", "s1"}), ClusterIps: g.spelled(some(g, worldVIPs, 2)),
		Type: pick(g, []string{"ClusterIP", "ClusterIP", "ClusterIP", "NodePort", "NodePort", "LoadBalancer", "ExternalName"})}
	s.Uid = serviceUID(s.Namespace, s.Name, g.IntN(2))
	if g.chance(4) {
		s.Uid = serviceUID(pick(g, worldSpaces), "s0", 0) // another Service's, too
	}
	if g.chance(68) {
		s.Selector = map[string]string{"app": pick(g, []string{"x", "y"})}
		if g.chance(10) {
			s.Selector["team"] = pick(g, []string{"", "red"})
		}
	}
	if g.chance(40) {
		s.Annotations = g.annotations()
	}
	if g.chance(30) {
		s.Labels = g.kubernetes()
	}
	if s.Type == "LoadBalancer" || g.chance(10) {
		s.ExternalAddresses = some(g, worldOutside, 2)
	}
	if s.Type == "ExternalName" && g.chance(85) || g.chance(3) {
		s.ExternalName = pick(g, worldNames)
	}
	if s.Type == "ExternalName" {
		s.ClusterIps = nil
	}
	for range 1 + g.IntN(2) {
		s.Ports = append(s.Ports, g.servicePort())
	}
	return serviceFact(s)
}

func (g *generator) servicePort() *pb.ServicePort {
	port := &pb.ServicePort{Name: pick(g, []string{"", "web"}), Protocol: pick(g, []uint32{6, 6, 6, 17}), Port: pick(g, worldPorts)}
	switch g.IntN(3) {
	case 0:
		port.TargetPort = pick(g, worldPorts)
	case 1:
		port.TargetPortName = "http"
	}
	if g.chance(60) {
		port.NodePort = pick(g, worldNodePort)
	}
	return port
}

func (g *generator) slice() entry {
	s := &pb.EndpointSlice{Namespace: pick(g, worldSpaces), Name: pick(g, []string{"e0", "e1"}), Uid: pick(g, []string{"", "u1"}),
		Service: pick(g, []string{"s0", "s1"}), Addresses: append(some(g, append(worldOther, worldV4[:3]...), 2), pick(g, worldOther))}
	for range 1 + g.IntN(2) {
		s.Ports = append(s.Ports, &pb.EndpointPort{Name: pick(g, []string{"", "web"}), Protocol: pick(g, []uint32{6, 6, 17}), Port: g.backendPort()})
	}
	return sliceFact(s)
}

// backendPort is rarely 0, which is none.
func (g *generator) backendPort() uint32 {
	if g.chance(3) {
		return 0
	}
	return pick(g, worldPorts)
}

func (g *generator) node() entry {
	n := &pb.Node{Name: pick(g, worldNodes), Uid: pick(g, []string{"", "u1", "u2"}), Addresses: []string{pick(g, worldNodeIPs)},
		MachineId: pick(g, []string{"", "m1", "m2", "m3"}), Labels: map[string]string{"pool": pick(g, []string{"big", "prod", "small"})}}
	if g.chance(30) {
		n.Addresses = some(g, worldNodeIPs, 2)
	}
	if g.chance(50) {
		n.Labels["rack"] = pick(g, []string{"east", "web"})
	}
	return g.orGone(nodeFact(n), 8)
}

func (g *generator) machine() entry {
	mode := g.mode()
	if g.chance(8) {
		mode = pb.EnforcementMode_ENFORCEMENT_MODE_UNSPECIFIED
	}
	return g.orGone(machineFact(fmt.Sprintf("v%d", g.IntN(4)), &pb.PceWorkload{Name: "a machine", Addresses: g.spelled(some(g, worldMachines, 2)),
		Labels: g.labelHrefs(4), EnforcementMode: mode, Managed: g.chance(50), MachineId: pick(g, []string{"", "", "m1", "m2", "m3"})}), 10)
}

func (g *generator) pairing() entry {
	return g.orGone(pairingFact(pick(g, []string{"0", "1"}), &pb.PairingProfile{Name: "nodes", Enabled: g.chance(75), EnforcementMode: g.mode(),
		Labels: g.labelHrefs(4)}), 15)
}

// acknowledgement is mostly of something that exists, under one of few hrefs, so that rules name it.
func (g *generator) acknowledgement() entry {
	id, kind, name := g.IntN(6), g.controllerKind(), pick(g, []string{"d0", "d1"})
	switch {
	case id == 5:
		kind, name = "Service", pick(g, []string{"s0", "s1"})
	case g.chance(35):
		kind, name = "Pod", fmt.Sprintf("p%d", g.IntN(6))
	}
	return g.orGone(ackFact(fmt.Sprint(id), pick(g, worldSpaces), kind, name), 10)
}

func (g *generator) settings() entry {
	s := &pb.Settings{ClusterId: "c", ClusterMode: pick(g, []string{"", "clas", "legacy", "legacy", "migrateClasToLegacy", "unpair"}),
		DegradedModePolicyFail: pb.DegradedModePolicyFail(g.IntN(4)), DisableDegradedMode: g.chance(20),
		NetworkType: pb.NetworkType(g.IntN(3)), StartPolicy: pb.EnforcementMode(g.IntN(5))}
	if g.chance(60) {
		s.PolicyLabelSetEnable = new(g.chance(50))
	}
	if g.chance(30) {
		s.EnforceNodePortTraffic = new(g.chance(50))
	}
	return g.orGone(settingsFact(s), 10)
}
