package kubefact

import (
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// Trim gives an object of the same type that holds only what Observe reads, so that a cache of a large cluster stays
// small. It shares memory with the original. It is a cache.TransformFunc: what it does not know it gives back as it is,
// and trimming twice is trimming once.
func (ob Observer) Trim(object any) (any, error) {
	switch o := object.(type) {
	case *corev1.Namespace:
		return &corev1.Namespace{ObjectMeta: ob.trimMeta(o.ObjectMeta)}, nil
	case *corev1.Node:
		return ob.trimNode(o), nil
	case *corev1.Pod:
		return ob.trimPod(o), nil
	case *corev1.Service:
		return &corev1.Service{ObjectMeta: ob.trimMeta(o.ObjectMeta), Spec: corev1.ServiceSpec{
			Type: o.Spec.Type, ClusterIP: o.Spec.ClusterIP, ClusterIPs: o.Spec.ClusterIPs, Ports: o.Spec.Ports,
			Selector: o.Spec.Selector, ExternalTrafficPolicy: o.Spec.ExternalTrafficPolicy,
			ExternalIPs: o.Spec.ExternalIPs, ExternalName: o.Spec.ExternalName,
		}, Status: corev1.ServiceStatus{LoadBalancer: o.Status.LoadBalancer}}, nil
	case *discoveryv1.EndpointSlice:
		return ob.trimSlice(o), nil
	case *unstructured.Unstructured:
		return trimLabelMap(o), nil
	}
	if controller, ok := object.(metav1.Object); ok {
		return ob.trimController(controller), nil
	}
	return object, nil
}

func (ob Observer) trimMeta(m metav1.ObjectMeta) metav1.ObjectMeta {
	kept := metav1.ObjectMeta{
		Name: m.Name, Namespace: m.Namespace, UID: m.UID, ResourceVersion: m.ResourceVersion,
		Labels: m.Labels, Annotations: ob.annotations(m.Annotations), DeletionTimestamp: m.DeletionTimestamp,
	}
	for _, ref := range m.OwnerReferences {
		if ref.Controller != nil && *ref.Controller {
			kept.OwnerReferences = []metav1.OwnerReference{ref}
			break
		}
	}
	return kept
}

func (ob Observer) trimNode(o *corev1.Node) *corev1.Node {
	return &corev1.Node{
		ObjectMeta: ob.trimMeta(o.ObjectMeta),
		Spec:       corev1.NodeSpec{PodCIDR: o.Spec.PodCIDR, PodCIDRs: o.Spec.PodCIDRs},
		Status: corev1.NodeStatus{Addresses: o.Status.Addresses, NodeInfo: corev1.NodeSystemInfo{
			MachineID:               o.Status.NodeInfo.MachineID,
			ContainerRuntimeVersion: o.Status.NodeInfo.ContainerRuntimeVersion,
			KubeletVersion:          o.Status.NodeInfo.KubeletVersion,
		}},
	}
}

func (ob Observer) trimPod(o *corev1.Pod) *corev1.Pod {
	kept := &corev1.Pod{
		ObjectMeta: ob.trimMeta(o.ObjectMeta),
		Spec: corev1.PodSpec{
			NodeName: o.Spec.NodeName, HostNetwork: o.Spec.HostNetwork,
			Containers: trimContainers(o.Spec.Containers), InitContainers: trimContainers(o.Spec.InitContainers),
		},
		Status: corev1.PodStatus{Phase: o.Status.Phase, PodIP: o.Status.PodIP, PodIPs: o.Status.PodIPs},
	}
	if ready(o) {
		kept.Status.Conditions = append(kept.Status.Conditions, corev1.PodCondition{Type: corev1.PodReady, Status: corev1.ConditionTrue})
	}
	if withoutSandbox(o) {
		kept.Status.Conditions = append(kept.Status.Conditions, corev1.PodCondition{Type: corev1.PodReadyToStartContainers, Status: corev1.ConditionFalse})
	}
	if hash := runtimeUID(o); hash != "" {
		if kept.Annotations == nil {
			kept.Annotations = map[string]string{}
		}
		// As they are: where they are allowed they enter the fact, too.
		kept.Annotations[annotationMirror], kept.Annotations[annotationHash] = o.Annotations[annotationMirror], hash
	}
	return kept
}

// trimSlice keeps the addresses, and the places of their endpoints, so that errors name the right one.
func (ob Observer) trimSlice(o *discoveryv1.EndpointSlice) *discoveryv1.EndpointSlice {
	kept := &discoveryv1.EndpointSlice{
		ObjectMeta: ob.trimMeta(o.ObjectMeta), AddressType: o.AddressType, Ports: o.Ports,
		Endpoints: make([]discoveryv1.Endpoint, len(o.Endpoints)),
	}
	for i, e := range o.Endpoints {
		kept.Endpoints[i].Addresses = e.Addresses
	}
	return kept
}

// trimLabelMap drops most of the metadata. Other objects without a type stay as they are.
func trimLabelMap(o *unstructured.Unstructured) *unstructured.Unstructured {
	if !isLabelMap(o) {
		return o
	}
	kept := &unstructured.Unstructured{Object: map[string]any{}}
	for _, field := range []string{"apiVersion", "kind", nodeLabelMap, workloadLabelMap} {
		if value, ok := o.Object[field]; ok {
			kept.Object[field] = value
		}
	}
	kept.SetNamespace(o.GetNamespace()) // which it has not, where the API server is right
	kept.SetName(o.GetName())
	kept.SetUID(o.GetUID())
	kept.SetResourceVersion(o.GetResourceVersion())
	return kept
}

// trimContainers keeps the named ports, and the place of their containers, so that errors name the right one. A container
// without anything in it still takes a kilobyte, so there are none where no port has a name.
func trimContainers(containers []corev1.Container) []corev1.Container {
	if !slices.ContainsFunc(containers, hasNamedPort) {
		return nil
	}
	kept := make([]corev1.Container, len(containers))
	for i, c := range containers {
		kept[i].RestartPolicy = c.RestartPolicy
		if hasNamedPort(c) {
			kept[i].Ports = c.Ports
		}
	}
	return kept
}

func hasNamedPort(c corev1.Container) bool {
	return slices.ContainsFunc(c.Ports, func(p corev1.ContainerPort) bool { return p.Name != "" })
}

func (ob Observer) trimController(object metav1.Object) any {
	whole, ok := ob.templateOf(object)
	if !ok {
		return object
	}
	template := corev1.PodTemplateSpec{Spec: corev1.PodSpec{HostNetwork: whole.Spec.HostNetwork}}
	template.Annotations = ob.annotations(whole.Annotations)
	switch o := object.(type) {
	case *appsv1.Deployment:
		return &appsv1.Deployment{ObjectMeta: ob.trimMeta(o.ObjectMeta), Spec: appsv1.DeploymentSpec{Template: template}}
	case *appsv1.StatefulSet:
		return &appsv1.StatefulSet{ObjectMeta: ob.trimMeta(o.ObjectMeta), Spec: appsv1.StatefulSetSpec{Template: template}}
	case *appsv1.DaemonSet:
		return &appsv1.DaemonSet{ObjectMeta: ob.trimMeta(o.ObjectMeta), Spec: appsv1.DaemonSetSpec{Template: template}}
	case *appsv1.ReplicaSet:
		return &appsv1.ReplicaSet{ObjectMeta: ob.trimMeta(o.ObjectMeta), Spec: appsv1.ReplicaSetSpec{Template: template}}
	case *corev1.ReplicationController:
		return &corev1.ReplicationController{ObjectMeta: ob.trimMeta(o.ObjectMeta), Spec: corev1.ReplicationControllerSpec{Template: &template}}
	case *batchv1.Job:
		return &batchv1.Job{ObjectMeta: ob.trimMeta(o.ObjectMeta), Spec: batchv1.JobSpec{Template: template}}
	case *batchv1.CronJob:
		job := batchv1.JobTemplateSpec{Spec: batchv1.JobSpec{Template: template}}
		return &batchv1.CronJob{ObjectMeta: ob.trimMeta(o.ObjectMeta), Spec: batchv1.CronJobSpec{JobTemplate: job}}
	}
	return object
}
