package kubefact

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	ringfencev1 "github.com/ringfence/ringfence/proto/ringfence/v1"
)

// maxClimb bounds the owner chain. Kubernetes itself builds chains of two: pod, Job, CronJob.
const maxClimb = 4

// Owners finds what objects belong to: the controllers that pass their pods on (ReplicaSets, Jobs,
// ReplicationControllers), and the Services of EndpointSlices.
type Owners interface {
	// Owner gives the object of that name as it is known now, false when there is none.
	Owner(key Key) (metav1.Object, bool)
}

// Controller is the top-level controller of a pod: nil for a bare pod, which is its own workload. A static pod is bare:
// the Node that owns it controls nothing.
//
// An owner that passes pods on but is not known, because it is not there yet or is already gone, ends the chain and is
// named from the reference to it. If the log already holds a controller for the pod (known), that one stays: while a
// Deployment is deleted its ReplicaSet goes before its pods, and these keep their labels until they are gone.
func Controller(pod *corev1.Pod, owners Owners, known *ringfencev1.ObjectRef) *ringfencev1.ObjectRef {
	ref := controllerOf(pod)
	if ref == nil || isNode(ref) {
		return nil
	}
	for range maxClimb {
		key := Key{Kind: subjectKind(ref), Namespace: pod.Namespace, Name: ref.Name}
		if !passesOn(key.Kind) {
			break
		}
		owner, found := owners.Owner(key)
		if !found || owner.GetUID() != ref.UID {
			if known != nil {
				return known
			}
			break
		}
		above := controllerOf(owner)
		if above == nil {
			break
		}
		ref = above
	}
	return &ringfencev1.ObjectRef{Kind: displayKind(ref), Name: ref.Name, Uid: string(ref.UID)}
}

func isNode(ref *metav1.OwnerReference) bool { return ref.Kind == "Node" && ref.APIVersion == "v1" }

// passesOn says whether controllers of a kind pass their pods on to the controller above them.
func passesOn(kind string) bool {
	return kind == KindReplicaSet || kind == KindJob || kind == KindReplicationController
}

func controllerOf(object metav1.Object) *metav1.OwnerReference {
	return metav1.GetControllerOfNoCopy(object)
}

// groups says of which API group each known controller is.
var groups = map[string]string{
	"ReplicaSet": "apps", "Deployment": "apps", "StatefulSet": "apps", "DaemonSet": "apps",
	"Job": "batch", "CronJob": "batch", "ReplicationController": "",
}

// displayKind is the reference's kind; one that only shares its name with a known one is told apart by its group.
func displayKind(ref *metav1.OwnerReference) string {
	group, _, found := strings.Cut(ref.APIVersion, "/")
	if !found {
		group = ""
	}
	if known, ok := groups[ref.Kind]; ok && known != group {
		return ref.Kind + "." + group
	}
	return ref.Kind
}

func subjectKind(ref *metav1.OwnerReference) string { return strings.ToLower(displayKind(ref)) }
