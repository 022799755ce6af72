package kubefact

import (
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	ringfencev1 "github.com/ringfence/ringfence/proto/ringfence/v1"
)

// names of the kinds as Kubernetes spells them.
var names = map[string]string{
	KindDeployment: "Deployment", KindStatefulSet: "StatefulSet", KindDaemonSet: "DaemonSet", KindReplicaSet: "ReplicaSet",
	KindReplicationController: "ReplicationController", KindJob: "Job", KindCronJob: "CronJob",
}

// workload is the fact of a controller with the template of its pods.
func (ob Observer) workload(o metav1.Object, template corev1.PodTemplateSpec) *ringfencev1.KubernetesWorkload {
	return &ringfencev1.KubernetesWorkload{
		Namespace: o.GetNamespace(), Kind: names[kindOf(o)], Name: o.GetName(),
		Uid: string(o.GetUID()), ResourceVersion: o.GetResourceVersion(),
		Labels:      labels(o.GetLabels()),
		Annotations: ob.annotations(template.Annotations, o.GetAnnotations()),
		HostNetwork: template.Spec.HostNetwork,
	}
}

// templateOf is the pod template of a controller, false for an object that is none. A CronJob's template carries the
// annotations of its Jobs too.
func (ob Observer) templateOf(object metav1.Object) (corev1.PodTemplateSpec, bool) {
	switch o := object.(type) {
	case *appsv1.Deployment:
		return o.Spec.Template, true
	case *appsv1.StatefulSet:
		return o.Spec.Template, true
	case *appsv1.DaemonSet:
		return o.Spec.Template, true
	case *appsv1.ReplicaSet:
		return o.Spec.Template, true
	case *corev1.ReplicationController:
		if o.Spec.Template == nil {
			return corev1.PodTemplateSpec{}, true
		}
		return *o.Spec.Template, true
	case *batchv1.Job:
		return o.Spec.Template, true
	case *batchv1.CronJob:
		template := o.Spec.JobTemplate.Spec.Template
		template.Annotations = ob.annotations(template.Annotations, o.Spec.JobTemplate.Annotations)
		return template, true
	}
	return corev1.PodTemplateSpec{}, false
}
