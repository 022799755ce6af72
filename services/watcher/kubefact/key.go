package kubefact

import (
	"fmt"
	"strings"

	"github.com/ringfence/ringfence/libs/eventlog"
)

// Kinds of the objects that are watched, as subjects spell them.
const (
	KindNamespace             = "namespace"
	KindNode                  = "node"
	KindPod                   = "pod"
	KindService               = "service"
	KindDeployment            = "deployment"
	KindStatefulSet           = "statefulset"
	KindDaemonSet             = "daemonset"
	KindReplicaSet            = "replicaset"
	KindReplicationController = "replicationcontroller"
	KindJob                   = "job"
	KindCronJob               = "cronjob"
	KindEndpointSlice         = "endpointslice"
	KindLabelMap              = "labelmap"
)

// Key names an object. The namespace of an object of the cluster is empty.
type Key struct {
	Kind, Namespace, Name string
}

// Subject is where the object's facts are in the log.
func (k Key) Subject() string { return eventlog.KubernetesSubject(k.Kind, k.Namespace, k.Name) }

// String names the object for people: pod shop/web-1.
func (k Key) String() string {
	if k.Namespace == "" {
		return k.Kind + " " + k.Name
	}
	return k.Kind + " " + k.Namespace + "/" + k.Name
}

// StoreKey names the object within its kind as client-go's stores do.
func (k Key) StoreKey() string {
	if k.Namespace == "" {
		return k.Name
	}
	return k.Namespace + "/" + k.Name
}

// ParseSubject gives back the key whose subject it is.
func ParseSubject(subject string) (Key, error) {
	tokens := strings.Split(subject, ".")
	if len(tokens) != 5 || tokens[0] != "facts" || tokens[1] != "k8s" {
		return Key{}, fmt.Errorf("subject %q: not of a Kubernetes object", subject)
	}
	var names [3]string
	for i, token := range tokens[2:] {
		if i == 1 && token == "_" {
			continue
		}
		name, err := eventlog.ParseToken(token)
		if err != nil {
			return Key{}, fmt.Errorf("subject %q: %w", subject, err)
		}
		names[i] = name
	}
	return Key{Kind: names[0], Namespace: names[1], Name: names[2]}, nil
}
