package kubefact

import (
	"fmt"
	"net/netip"
	"regexp"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	ringfencev1 "github.com/ringfence/ringfence/proto/ringfence/v1"
)

func namespace(o *corev1.Namespace) *ringfencev1.Namespace {
	return &ringfencev1.Namespace{
		Name: o.Name, Uid: string(o.UID), ResourceVersion: o.ResourceVersion, Labels: labels(o.Labels),
	}
}

func node(o *corev1.Node) (*ringfencev1.Node, error) {
	fact := &ringfencev1.Node{
		Name: o.Name, Uid: string(o.UID), ResourceVersion: o.ResourceVersion, Labels: labels(o.Labels),
		MachineId:        o.Status.NodeInfo.MachineID,
		ContainerRuntime: o.Status.NodeInfo.ContainerRuntimeVersion,
		KubeletVersion:   o.Status.NodeInfo.KubeletVersion,
	}
	for i, a := range o.Status.Addresses {
		if a.Type != corev1.NodeInternalIP && a.Type != corev1.NodeExternalIP {
			continue
		}
		text, err := address(fmt.Sprintf("status.addresses[%d]", i), a.Address)
		if err != nil {
			return nil, err
		}
		fact.Addresses = append(fact.Addresses, text)
	}
	// Cloud providers report the same addresses in changing order.
	slices.Sort(fact.Addresses)
	fact.Addresses = slices.Compact(fact.Addresses)
	for i, cidr := range podCIDRs(o) {
		prefix, err := netip.ParsePrefix(cidr)
		if err != nil {
			return nil, fmt.Errorf("spec.podCIDRs[%d]: %q is not a CIDR", i, cidr)
		}
		fact.PodCidrs = append(fact.PodCidrs, prefix.Masked().String())
	}
	return fact, nil
}

func podCIDRs(o *corev1.Node) []string {
	if len(o.Spec.PodCIDRs) == 0 && o.Spec.PodCIDR != "" {
		return []string{o.Spec.PodCIDR}
	}
	return o.Spec.PodCIDRs
}

var phases = map[corev1.PodPhase]ringfencev1.PodPhase{
	corev1.PodPending:   ringfencev1.PodPhase_POD_PHASE_PENDING,
	corev1.PodRunning:   ringfencev1.PodPhase_POD_PHASE_RUNNING,
	corev1.PodSucceeded: ringfencev1.PodPhase_POD_PHASE_SUCCEEDED,
	corev1.PodFailed:    ringfencev1.PodPhase_POD_PHASE_FAILED,
}

func (ob Observer) pod(o *corev1.Pod, controller *ringfencev1.ObjectRef) (*ringfencev1.Pod, error) {
	fact := &ringfencev1.Pod{
		Namespace: o.Namespace, Name: o.Name, Uid: string(o.UID), ResourceVersion: o.ResourceVersion,
		Node: o.Spec.NodeName, Phase: phases[o.Status.Phase], Ready: ready(o), HostNetwork: o.Spec.HostNetwork,
		Labels: labels(o.Labels), Annotations: ob.annotations(o.Annotations), Controller: controller,
		Terminating: o.DeletionTimestamp != nil, RuntimeUid: runtimeUID(o),
	}
	for i, ip := range podIPs(o) {
		text, err := address(fmt.Sprintf("status.podIPs[%d]", i), ip.IP)
		if err != nil {
			return nil, err
		}
		fact.Addresses = append(fact.Addresses, text)
	}
	// Before it has addresses, a pod without sandbox is nothing that a peer could mistake for another.
	fact.WithoutSandbox = len(fact.Addresses) > 0 && withoutSandbox(o)
	var err error
	fact.Ports, err = containerPorts(o)
	return fact, err
}

// Annotations by which the kubelet marks the mirror of a static pod.
const (
	annotationMirror = corev1.MirrorPodAnnotationKey
	annotationHash   = "kubernetes.io/config.hash"
)

// hashOfConfig is the form in which the kubelet names a static pod by its configuration. It is not the form of the uids of
// the API server: whoever writes a pod with such annotations cannot take the name of another one that way.
var hashOfConfig = regexp.MustCompile(`^[0-9a-f]{32}$`)

// runtimeUID is how the container runtime calls a static pod: the API server gives only its mirror a uid.
func runtimeUID(o *corev1.Pod) string {
	ref := controllerOf(o)
	_, mirror := o.Annotations[annotationMirror]
	if hash := o.Annotations[annotationHash]; mirror && ref != nil && isNode(ref) && hashOfConfig.MatchString(hash) {
		return hash
	}
	return ""
}

// withoutSandbox tells whether the kubelet says so. One that does not know the condition says nothing.
func withoutSandbox(o *corev1.Pod) bool {
	return slices.ContainsFunc(o.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReadyToStartContainers && c.Status == corev1.ConditionFalse
	})
}

func ready(o *corev1.Pod) bool {
	return slices.ContainsFunc(o.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	})
}

func podIPs(o *corev1.Pod) []corev1.PodIP {
	if len(o.Status.PodIPs) == 0 && o.Status.PodIP != "" {
		return []corev1.PodIP{{IP: o.Status.PodIP}}
	}
	return o.Status.PodIPs
}

// containerPorts gives the named ports, those of sidecars (init containers that keep running) included, because a
// Service may name them.
func containerPorts(o *corev1.Pod) ([]*ringfencev1.ContainerPort, error) {
	named, err := namedPorts(nil, "spec.containers", o.Spec.Containers, func(corev1.Container) bool { return true })
	if err != nil {
		return nil, err
	}
	return namedPorts(named, "spec.initContainers", o.Spec.InitContainers, isSidecar)
}

func isSidecar(c corev1.Container) bool {
	return c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways
}

// namedPorts appends the named ports of those containers that serve.
func namedPorts(to []*ringfencev1.ContainerPort, list string, containers []corev1.Container, serves func(corev1.Container) bool) ([]*ringfencev1.ContainerPort, error) {
	for i, c := range containers {
		if !serves(c) {
			continue
		}
		for j, p := range c.Ports {
			if p.Name == "" {
				continue
			}
			converted, err := containerPort(fmt.Sprintf("%s[%d].ports[%d]", list, i, j), p)
			if err != nil {
				return nil, err
			}
			to = append(to, converted)
		}
	}
	return to, nil
}

func containerPort(field string, p corev1.ContainerPort) (*ringfencev1.ContainerPort, error) {
	number, err := port(field+".containerPort", p.ContainerPort, false)
	if err != nil {
		return nil, err
	}
	proto, err := protocol(field+".protocol", p.Protocol)
	if err != nil {
		return nil, err
	}
	return &ringfencev1.ContainerPort{Name: p.Name, Port: number, Protocol: proto}, nil
}

func (ob Observer) service(o *corev1.Service) (*ringfencev1.Service, error) {
	fact := &ringfencev1.Service{
		Namespace: o.Namespace, Name: o.Name, Uid: string(o.UID), ResourceVersion: o.ResourceVersion,
		Type: string(o.Spec.Type), Selector: labels(o.Spec.Selector), Labels: labels(o.Labels),
		Annotations: ob.annotations(o.Annotations), ExternalTrafficPolicy: string(o.Spec.ExternalTrafficPolicy),
	}
	if fact.Type == "" {
		fact.Type = string(corev1.ServiceTypeClusterIP)
	}
	for i, ip := range clusterIPs(o) {
		text, err := address(fmt.Sprintf("spec.clusterIPs[%d]", i), ip)
		if err != nil {
			return nil, err
		}
		fact.ClusterIps = append(fact.ClusterIps, text)
	}
	var err error
	if fact.ExternalAddresses, err = externalAddresses(o); err != nil {
		return nil, err
	}
	if o.Spec.Type == corev1.ServiceTypeExternalName {
		fact.ExternalName = o.Spec.ExternalName
	}
	for i, p := range o.Spec.Ports {
		converted, err := servicePort(fmt.Sprintf("spec.ports[%d]", i), p)
		if err != nil {
			return nil, err
		}
		fact.Ports = append(fact.Ports, converted)
	}
	return fact, nil
}

// clusterIPs is empty for a headless Service, and for one that has none yet.
func clusterIPs(o *corev1.Service) []string {
	all := o.Spec.ClusterIPs
	if len(all) == 0 {
		all = []string{o.Spec.ClusterIP}
	}
	return slices.DeleteFunc(slices.Clone(all), func(ip string) bool { return ip == "" || ip == corev1.ClusterIPNone })
}

// externalAddresses are those of the load balancer and the external IPs. A load balancer with a name has none.
func externalAddresses(o *corev1.Service) ([]string, error) {
	var all []string
	for i, ingress := range o.Status.LoadBalancer.Ingress {
		if ingress.IP == "" {
			continue
		}
		a, err := address(fmt.Sprintf("status.loadBalancer.ingress[%d].ip", i), ingress.IP)
		if err != nil {
			return nil, err
		}
		all = append(all, a)
	}
	for i, ip := range o.Spec.ExternalIPs {
		a, err := address(fmt.Sprintf("spec.externalIPs[%d]", i), ip)
		if err != nil {
			return nil, err
		}
		all = append(all, a)
	}
	slices.Sort(all)
	return slices.Compact(all), nil
}

func servicePort(field string, p corev1.ServicePort) (*ringfencev1.ServicePort, error) {
	fact := &ringfencev1.ServicePort{Name: p.Name}
	var err error
	if fact.Protocol, err = protocol(field+".protocol", p.Protocol); err != nil {
		return nil, err
	}
	if fact.Port, err = port(field+".port", p.Port, false); err != nil {
		return nil, err
	}
	if fact.NodePort, err = port(field+".nodePort", p.NodePort, true); err != nil {
		return nil, err
	}
	if p.TargetPort.Type == intstr.String {
		fact.TargetPortName = p.TargetPort.StrVal
		return fact, nil
	}
	if fact.TargetPort, err = port(field+".targetPort", p.TargetPort.IntVal, true); err != nil {
		return nil, err
	}
	if fact.TargetPort == 0 { // not given: the port itself
		fact.TargetPort = fact.Port
	}
	return fact, nil
}
