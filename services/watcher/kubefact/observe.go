package kubefact

import (
	"crypto/sha256"
	"errors"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"google.golang.org/protobuf/proto"

	ringfencev1 "github.com/ringfence/ringfence/proto/ringfence/v1"
)

// MaxSize bounds a fact, in bytes: half of what the log takes in one message.
const MaxSize = 512 << 10

// Digest is of what a fact says of an object, but for its resource version: facts with equal digests say the same.
type Digest [sha256.Size]byte

// Observation is the fact of an object as it is now.
type Observation struct {
	UID             string
	ResourceVersion string
	Fact            *ringfencev1.Fact
	Digest          Digest
}

// Observe gives the fact of an object, nil for one that is no fact: a controller that belongs to another one, an
// EndpointSlice of a Service that selects its pods, a LabelMap of another name than the one that counts. The owners and what
// the log holds decide the controller of pods; see Controller. Errors name the object.
func (ob Observer) Observe(object metav1.Object, owners Owners, known *ringfencev1.ObjectRef) (*Observation, error) {
	key := KeyOf(object)
	fact, err := ob.factOf(object, owners, known)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", key, err)
	}
	if fact == nil {
		return nil, nil
	}
	if key.Name == "" {
		return nil, fmt.Errorf("%s: metadata.name: it has none", key)
	}
	digest, err := DigestOf(fact)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", key, err)
	}
	return &Observation{
		UID: string(object.GetUID()), ResourceVersion: object.GetResourceVersion(), Fact: fact, Digest: digest,
	}, nil
}

// KeyOf names an object. An object of a type that is not watched has an empty kind.
func KeyOf(object metav1.Object) Key {
	return Key{Kind: kindOf(object), Namespace: object.GetNamespace(), Name: object.GetName()}
}

func kindOf(object metav1.Object) string {
	switch object.(type) {
	case *corev1.Namespace:
		return KindNamespace
	case *corev1.Node:
		return KindNode
	case *corev1.Pod:
		return KindPod
	case *corev1.Service:
		return KindService
	case *appsv1.Deployment:
		return KindDeployment
	case *appsv1.StatefulSet:
		return KindStatefulSet
	case *appsv1.DaemonSet:
		return KindDaemonSet
	case *appsv1.ReplicaSet:
		return KindReplicaSet
	case *corev1.ReplicationController:
		return KindReplicationController
	case *batchv1.Job:
		return KindJob
	case *batchv1.CronJob:
		return KindCronJob
	case *discoveryv1.EndpointSlice:
		return KindEndpointSlice
	}
	if isLabelMap(object) {
		return KindLabelMap
	}
	return ""
}

func (ob Observer) factOf(object metav1.Object, owners Owners, known *ringfencev1.ObjectRef) (*ringfencev1.Fact, error) {
	switch o := object.(type) {
	case *corev1.Namespace:
		return &ringfencev1.Fact{Body: &ringfencev1.Fact_Namespace{Namespace: namespace(o)}}, nil
	case *corev1.Node:
		n, err := node(o)
		return &ringfencev1.Fact{Body: &ringfencev1.Fact_Node{Node: n}}, err
	case *corev1.Pod:
		p, err := ob.pod(o, Controller(o, owners, known))
		return &ringfencev1.Fact{Body: &ringfencev1.Fact_Pod{Pod: p}}, err
	case *corev1.Service:
		s, err := ob.service(o)
		return &ringfencev1.Fact{Body: &ringfencev1.Fact_Service{Service: s}}, err
	case *discoveryv1.EndpointSlice:
		if !standsAlone(o, owners) {
			return nil, nil
		}
		s, err := endpointSlice(o)
		return &ringfencev1.Fact{Body: &ringfencev1.Fact_EndpointSlice{EndpointSlice: s}}, err
	case *unstructured.Unstructured:
		if !isLabelMap(o) {
			break
		}
		if o.GetName() != LabelMapName {
			return nil, nil
		}
		m, err := labelMap(o)
		return &ringfencev1.Fact{Body: &ringfencev1.Fact_LabelMap{LabelMap: m}}, err
	}
	template, ok := ob.templateOf(object)
	if !ok {
		return nil, fmt.Errorf("objects of type %T are not facts", object)
	}
	if passesOn(kindOf(object)) && controllerOf(object) != nil {
		return nil, nil
	}
	return &ringfencev1.Fact{Body: &ringfencev1.Fact_KubernetesWorkload{KubernetesWorkload: ob.workload(object, template)}}, nil
}

// DigestOf is the digest of a fact's body, whatever resource version it was seen at and whoever published it.
func DigestOf(fact *ringfencev1.Fact) (Digest, error) {
	body := &ringfencev1.Fact{Body: proto.CloneOf(fact).GetBody()}
	switch b := body.GetBody().(type) {
	case *ringfencev1.Fact_Namespace:
		b.Namespace.ResourceVersion = ""
	case *ringfencev1.Fact_Node:
		b.Node.ResourceVersion = ""
	case *ringfencev1.Fact_Pod:
		b.Pod.ResourceVersion = ""
	case *ringfencev1.Fact_Service:
		b.Service.ResourceVersion = ""
	case *ringfencev1.Fact_KubernetesWorkload:
		b.KubernetesWorkload.ResourceVersion = ""
	case *ringfencev1.Fact_EndpointSlice:
		b.EndpointSlice.ResourceVersion = ""
	case *ringfencev1.Fact_LabelMap:
		b.LabelMap.ResourceVersion = ""
	}
	data, err := proto.MarshalOptions{Deterministic: true}.Marshal(body)
	if err != nil {
		return Digest{}, fmt.Errorf("encode: %w", err)
	}
	if len(data) > MaxSize {
		return Digest{}, fmt.Errorf("%w: %d bytes, the limit is %d", errTooLarge, len(data), MaxSize)
	}
	return sha256.Sum256(data), nil
}

var errTooLarge = errors.New("too large for a fact")
