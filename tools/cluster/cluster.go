// Package cluster is how Ringfence's tools reach a Kubernetes cluster: apply manifests, wait for what they start, run a
// command in a pod, and forward a local port to a pod for as long as it is needed.
//
// It is for the command line, the demo and the end-to-end tests. The services do not use it.
package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/wait"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/remotecommand"
)

// poll is how often a wait looks again.
const poll = 200 * time.Millisecond

// Cluster is a Kubernetes cluster. It is safe for concurrent use.
type Cluster struct {
	Client kubernetes.Interface

	config  *rest.Config
	dynamic dynamic.Interface
	mapper  *restmapper.DeferredDiscoveryRESTMapper
}

// Open reads a kubeconfig as kubectl does: path where it is not empty, else KUBECONFIG, else ~/.kube/config.
// kubeContext chooses a context other than the current one.
func Open(path, kubeContext string) (*Cluster, error) {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = path
	config, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules,
		&clientcmd.ConfigOverrides{CurrentContext: kubeContext}).ClientConfig()
	if err != nil {
		return nil, fmt.Errorf("no cluster to talk to: %w; set KUBECONFIG", err)
	}
	config.QPS, config.Burst = 100, 200
	config.WarningHandler = rest.NoWarnings{}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("kubeconfig of %s: %w", config.Host, err)
	}
	dyn, err := dynamic.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("kubeconfig of %s: %w", config.Host, err)
	}
	return &Cluster{
		Client: client, config: config, dynamic: dyn,
		mapper: restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(client.Discovery())),
	}, nil
}

// Host is the API server's address.
func (c *Cluster) Host() string { return c.config.Host }

// Apply applies every object of a YAML stream, by server-side apply. Field conflicts are taken over.
func (c *Cluster) Apply(ctx context.Context, manifests io.Reader) error {
	return c.eachObject(manifests, func(r dynamic.ResourceInterface, o *unstructured.Unstructured) error {
		_, err := r.Apply(ctx, o.GetName(), o, metav1.ApplyOptions{FieldManager: "ringfence", Force: true})
		return err
	})
}

// Delete deletes every object of a YAML stream; one that is not there is no error. It does not wait.
func (c *Cluster) Delete(ctx context.Context, manifests io.Reader) error {
	policy := metav1.DeletePropagationBackground
	return c.eachObject(manifests, func(r dynamic.ResourceInterface, o *unstructured.Unstructured) error {
		err := r.Delete(ctx, o.GetName(), metav1.DeleteOptions{PropagationPolicy: &policy})
		if apierrors.IsNotFound(err) {
			return nil
		}
		return err
	})
}

func (c *Cluster) eachObject(manifests io.Reader, do func(dynamic.ResourceInterface, *unstructured.Unstructured) error) error {
	decoder := utilyaml.NewYAMLOrJSONDecoder(manifests, 4096)
	for {
		o := &unstructured.Unstructured{}
		if err := decoder.Decode(o); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return fmt.Errorf("manifest: %w", err)
		}
		if len(o.Object) == 0 {
			continue
		}
		kind := o.GroupVersionKind()
		mapping, err := c.mapper.RESTMapping(kind.GroupKind(), kind.Version)
		if err != nil {
			return fmt.Errorf("%s %s: %w", kind.Kind, o.GetName(), err)
		}
		var resource dynamic.ResourceInterface = c.dynamic.Resource(mapping.Resource)
		if mapping.Scope.Name() == meta.RESTScopeNameNamespace {
			resource = c.dynamic.Resource(mapping.Resource).Namespace(o.GetNamespace())
		}
		if err := do(resource, o); err != nil {
			return fmt.Errorf("%s %s/%s: %w", kind.Kind, o.GetNamespace(), o.GetName(), err)
		}
	}
}

// Pods lists the pods of a namespace that a label selector matches and that are neither terminating nor finished.
func (c *Cluster) Pods(ctx context.Context, namespace, selector string) ([]corev1.Pod, error) {
	list, err := c.Client.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{LabelSelector: selector})
	if err != nil {
		return nil, fmt.Errorf("pods %s of namespace %s: %w", selector, namespace, err)
	}
	var pods []corev1.Pod
	for _, pod := range list.Items {
		if pod.DeletionTimestamp == nil && pod.Status.Phase != corev1.PodSucceeded && pod.Status.Phase != corev1.PodFailed {
			pods = append(pods, pod)
		}
	}
	return pods, nil
}

// Ready tells whether a pod's condition Ready is true.
func Ready(pod *corev1.Pod) bool {
	for _, condition := range pod.Status.Conditions {
		if condition.Type == corev1.PodReady {
			return condition.Status == corev1.ConditionTrue
		}
	}
	return false
}

// WaitPods waits until exactly count pods match and all of them are ready, and returns them.
func (c *Cluster) WaitPods(ctx context.Context, namespace, selector string, count int) ([]corev1.Pod, error) {
	var pods []corev1.Pod
	err := wait.PollUntilContextCancel(ctx, poll, true, func(ctx context.Context) (bool, error) {
		var err error
		if pods, err = c.Pods(ctx, namespace, selector); err != nil {
			return false, nil //nolint:nilerr // the API server may be away for a moment: the context bounds the wait
		}
		for i := range pods {
			if !Ready(&pods[i]) {
				return false, nil
			}
		}
		return len(pods) == count, nil
	})
	if err != nil {
		return nil, fmt.Errorf("%d ready pods %s in namespace %s: %w; there are: %s", count, selector, namespace, err, describe(pods))
	}
	return pods, nil
}

// WaitGone waits until no pod matches, terminating ones included.
func (c *Cluster) WaitGone(ctx context.Context, namespace, selector string) error {
	err := wait.PollUntilContextCancel(ctx, poll, true, func(ctx context.Context) (bool, error) {
		list, err := c.Client.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{LabelSelector: selector})
		return err == nil && len(list.Items) == 0, nil
	})
	if err != nil {
		return fmt.Errorf("pods %s of namespace %s are still there: %w", selector, namespace, err)
	}
	return nil
}

// Scale sets the replicas of a Deployment.
func (c *Cluster) Scale(ctx context.Context, namespace, deployment string, replicas int32) error {
	deployments := c.Client.AppsV1().Deployments(namespace)
	scale, err := deployments.GetScale(ctx, deployment, metav1.GetOptions{})
	if err != nil {
		return fmt.Errorf("scale of deployment %s/%s: %w", namespace, deployment, err)
	}
	scale.Spec.Replicas = replicas
	if _, err = deployments.UpdateScale(ctx, deployment, scale, metav1.UpdateOptions{}); err != nil {
		return fmt.Errorf("scale deployment %s/%s to %d: %w", namespace, deployment, replicas, err)
	}
	return nil
}

// Exec runs a command in a pod's first container and returns its standard output. An error carries standard error.
func (c *Cluster) Exec(ctx context.Context, namespace, pod string, command ...string) ([]byte, error) {
	request := c.Client.CoreV1().RESTClient().Post().Resource("pods").Namespace(namespace).Name(pod).SubResource("exec").
		VersionedParams(&corev1.PodExecOptions{Command: command, Stdout: true, Stderr: true}, scheme.ParameterCodec)
	executor, err := remotecommand.NewWebSocketExecutor(c.config, "GET", request.URL().String())
	if err != nil {
		return nil, fmt.Errorf("exec in pod %s/%s: %w", namespace, pod, err)
	}
	var stdout, stderr strings.Builder
	if err := executor.StreamWithContext(ctx, remotecommand.StreamOptions{Stdout: &stdout, Stderr: &stderr}); err != nil {
		return nil, fmt.Errorf("exec %s in pod %s/%s: %w: %s", command[0], namespace, pod, err, strings.TrimSpace(stderr.String()))
	}
	return []byte(stdout.String()), nil
}

func describe(pods []corev1.Pod) string {
	if len(pods) == 0 {
		return "none"
	}
	var lines []string
	for i := range pods {
		pod := &pods[i]
		line := fmt.Sprintf("%s %s ready=%t", pod.Name, pod.Status.Phase, Ready(pod))
		for _, status := range pod.Status.ContainerStatuses {
			if status.State.Waiting != nil {
				line += " " + status.State.Waiting.Reason + ": " + status.State.Waiting.Message
			}
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, "; ")
}
