package kubefact_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/protojson"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/kubernetes/scheme"

	ringfencev1 "github.com/ringfence/ringfence/proto/ringfence/v1"
	"github.com/ringfence/ringfence/services/watcher/kubefact"
)

var update = flag.Bool("update", false, "write the golden files anew")

// owners are the objects that a test knows.
type owners map[kubefact.Key]metav1.Object

func (o owners) Owner(key kubefact.Key) (metav1.Object, bool) {
	object, ok := o[key]
	return object, ok
}

// TestGolden observes the first object of each file, the others being its owners.
func TestGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/*.yaml")
	if err != nil || len(files) < 15 {
		t.Fatalf("testdata: %d files, %v", len(files), err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".yaml"), func(t *testing.T) {
			object, known := read(t, file)
			seen, err := kubefact.Observer{}.Observe(object, known, nil)
			if err != nil {
				t.Fatal(err)
			}
			compareGolden(t, strings.TrimSuffix(file, ".yaml")+".golden.json", seen)
			checkTrimmed(t, kubefact.Observer{}, object, known, seen)
		})
	}
}

func compareGolden(t *testing.T, golden string, seen *kubefact.Observation) {
	t.Helper()
	got := "no fact\n"
	if seen != nil {
		raw, err := protojson.Marshal(seen.Fact)
		if err != nil {
			t.Fatal(err)
		}
		var text bytes.Buffer
		if err := json.Indent(&text, raw, "", "  "); err != nil { // protojson varies its own spaces
			t.Fatal(err)
		}
		got = text.String() + "\n"
	}
	if *update {
		if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", golden, diff)
	}
}

func checkTrimmed(t *testing.T, observer kubefact.Observer, object metav1.Object, known owners, seen *kubefact.Observation) {
	t.Helper()
	trimmed, err := observer.Trim(object)
	if err != nil {
		t.Fatal(err)
	}
	again, err := observer.Observe(trimmed.(metav1.Object), known, nil)
	if err != nil {
		t.Fatal(err)
	}
	if (seen == nil) != (again == nil) || seen != nil && seen.Digest != again.Digest {
		t.Errorf("the trimmed object gives another fact: %v, not %v", again, seen)
	}
}

func read(t *testing.T, file string) (metav1.Object, owners) {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var first metav1.Object
	known := owners{}
	decoder := utilyaml.NewYAMLToJSONDecoder(bytes.NewReader(data))
	for {
		var raw runtime.RawExtension
		if err := decoder.Decode(&raw); errors.Is(err, io.EOF) {
			return first, known
		} else if err != nil {
			t.Fatal(err)
		}
		o := decode(t, raw.Raw)
		if first == nil {
			first = o
		}
		known[kubefact.KeyOf(o)] = o
	}
}

// decode gives an object of its type, or of none where it is a custom resource.
func decode(t *testing.T, raw []byte) metav1.Object {
	t.Helper()
	object, _, err := scheme.Codecs.UniversalDeserializer().Decode(raw, nil, nil)
	if runtime.IsNotRegisteredError(err) {
		object, _, err = unstructured.UnstructuredJSONScheme.Decode(raw, nil, nil)
	}
	if err != nil {
		t.Fatal(err)
	}
	return object.(metav1.Object)
}

// TestDigestIgnoresWhatPolicyDoesNotNeed holds when a change is written: not for the resource version alone.
func TestDigestIgnoresWhatPolicyDoesNotNeed(t *testing.T) {
	object, known := read(t, "testdata/pod-of-deployment.yaml")
	pod := object.(*corev1.Pod)
	digest := func() kubefact.Digest {
		seen, err := kubefact.Observer{}.Observe(pod, known, nil)
		if err != nil {
			t.Fatal(err)
		}
		return seen.Digest
	}
	before := digest()
	pod.ResourceVersion = "99"
	pod.Annotations["prometheus.io/scrape"] = "false"
	pod.Status.Message = "all is well"
	pod.Status.Conditions[0].LastProbeTime = metav1.Now()
	if digest() != before {
		t.Error("a change that policy does not need changed the digest")
	}
	pod.Annotations["com.illumio.role"] = "api"
	if digest() == before {
		t.Error("a change of a role left the digest as it was")
	}
}

func TestDigestSurvivesTheLog(t *testing.T) {
	object, known := read(t, "testdata/pod-of-deployment.yaml")
	seen, err := kubefact.Observer{}.Observe(object, known, nil)
	if err != nil {
		t.Fatal(err)
	}
	seen.Fact.Producer, seen.Fact.Counter = "watcher", 12
	if digest, err := kubefact.DigestOf(seen.Fact); err != nil || digest != seen.Digest {
		t.Errorf("digest of the published fact: %x, %v, want %x", digest, err, seen.Digest)
	}
	if seen.Fact.GetProducer() != "watcher" || seen.Fact.GetPod().GetResourceVersion() != "41" {
		t.Error("taking the digest changed the fact")
	}
}

func ref(version, kind, name string) []metav1.OwnerReference {
	controls := true
	return []metav1.OwnerReference{{APIVersion: version, Kind: kind, Name: name, UID: types.UID(name + "-uid"), Controller: &controls}}
}

func TestController(t *testing.T) {
	known := owners{}
	for _, o := range []struct {
		key   kubefact.Key
		uid   types.UID
		above []metav1.OwnerReference
	}{
		{kubefact.Key{Kind: "replicaset", Namespace: "shop", Name: "web-1"}, "web-1-uid", ref("apps/v1", "Deployment", "web")},
		{kubefact.Key{Kind: "replicaset", Namespace: "shop", Name: "alone"}, "alone-uid", nil},
		{kubefact.Key{Kind: "replicaset", Namespace: "shop", Name: "canary-1"}, "canary-1-uid", ref("argoproj.io/v1alpha1", "Rollout", "canary")},
		{kubefact.Key{Kind: "replicaset", Namespace: "shop", Name: "renewed"}, "another-uid", ref("apps/v1", "Deployment", "renewed")},
		{kubefact.Key{Kind: "job", Namespace: "shop", Name: "backup-1"}, "backup-1-uid", ref("batch/v1", "CronJob", "backup")},
		{kubefact.Key{Kind: "replicationcontroller", Namespace: "shop", Name: "app-1"}, "app-1-uid", ref("apps.openshift.io/v1", "DeploymentConfig", "app")},
		{kubefact.Key{Kind: "job", Namespace: "shop", Name: "ring"}, "ring-uid", ref("batch/v1", "Job", "ring")},
	} {
		known[o.key] = &metav1.ObjectMeta{Name: o.key.Name, Namespace: "shop", UID: o.uid, OwnerReferences: o.above}
	}
	held := &ringfencev1.ObjectRef{Kind: "Deployment", Name: "before", Uid: "before-uid"}
	for _, c := range []struct {
		name string
		refs []metav1.OwnerReference
		held *ringfencev1.ObjectRef
		want string
	}{
		{"bare", nil, nil, ""},
		{"bare, though the log knows another", nil, held, ""},
		{"static", ref("v1", "Node", "node1"), nil, ""},
		{"no controller among the owners", []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "ReplicaSet", Name: "web-1"}}, nil, ""},
		{"Deployment", ref("apps/v1", "ReplicaSet", "web-1"), nil, "Deployment web"},
		{"ReplicaSet without Deployment", ref("apps/v1", "ReplicaSet", "alone"), nil, "ReplicaSet alone"},
		{"Rollout", ref("apps/v1", "ReplicaSet", "canary-1"), nil, "Rollout canary"},
		{"CronJob", ref("batch/v1", "Job", "backup-1"), nil, "CronJob backup"},
		{"DeploymentConfig", ref("v1", "ReplicationController", "app-1"), nil, "DeploymentConfig app"},
		{"StatefulSet is final", ref("apps/v1", "StatefulSet", "db"), nil, "StatefulSet db"},
		{"unknown kind", ref("example.com/v1", "Fleet", "f"), nil, "Fleet f"},
		{"known kind of another group", ref("example.com/v1", "Deployment", "d"), nil, "Deployment.example.com d"},
		{"ReplicaSet of another group passes nothing on", ref("example.com/v1", "ReplicaSet", "web-1"), nil, "ReplicaSet.example.com web-1"},
		{"owner not there yet", ref("apps/v1", "ReplicaSet", "late"), nil, "ReplicaSet late"},
		{"owner already gone", ref("apps/v1", "ReplicaSet", "late"), held, "Deployment before"},
		{"owner of that name is another one", ref("apps/v1", "ReplicaSet", "renewed"), nil, "ReplicaSet renewed"},
		{"owner known, the log is wrong", ref("apps/v1", "ReplicaSet", "web-1"), held, "Deployment web"},
		{"a ring ends", ref("batch/v1", "Job", "ring"), nil, "Job ring"},
	} {
		pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p", Namespace: "shop", OwnerReferences: c.refs}}
		got := ""
		if controller := kubefact.Controller(pod, known, c.held); controller != nil {
			got = controller.GetKind() + " " + controller.GetName()
			if uid := controller.GetUid(); uid != controller.GetName()+"-uid" {
				t.Errorf("%s: uid %s", c.name, uid)
			}
		}
		if got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

// A static pod is known to the runtime by its hash. Whoever writes a pod that claims to be one must not take another's name.
func TestRuntimeUID(t *testing.T) {
	const hash = "0123456789abcdef0123456789abcdef"
	annotations := func(mirror bool, hash string) map[string]string {
		a := map[string]string{"kubernetes.io/config.hash": hash, "com.illumio.role": "web"}
		if mirror {
			a["kubernetes.io/config.mirror"] = hash
		}
		return a
	}
	for _, c := range []struct {
		name        string
		annotations map[string]string
		owner       []metav1.OwnerReference
		want        string
	}{
		{"static", annotations(true, hash), ref("v1", "Node", "node1"), hash},
		{"no hash", annotations(true, ""), ref("v1", "Node", "node1"), ""},
		{"no mirror", annotations(false, hash), ref("v1", "Node", "node1"), ""},
		{"not a node's", annotations(true, hash), ref("apps/v1", "ReplicaSet", "web"), ""},
		{"nobody's", annotations(true, hash), nil, ""},
		{"a uid of the API server", annotations(true, "6f1c1b52-3d0c-4c1e-9d5e-0a3f5f3b1c11"), ref("v1", "Node", "node1"), ""},
		{"plain", nil, nil, ""},
	} {
		pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p", Namespace: "shop", Annotations: c.annotations, OwnerReferences: c.owner}}
		seen, err := kubefact.Observer{}.Observe(pod, owners{}, nil)
		if err != nil || seen.Fact.GetPod().GetRuntimeUid() != c.want {
			t.Errorf("%s: %v, %v, want %q", c.name, seen, err, c.want)
			continue
		}
		if len(seen.Fact.GetPod().GetAnnotations()) != len(c.annotations)/2 && c.annotations != nil {
			t.Errorf("%s: annotations %v", c.name, seen.Fact.GetPod().GetAnnotations())
		}
		checkTrimmed(t, kubefact.Observer{}, pod, owners{}, seen)
	}
}

// Slices are facts only where nothing else says who serves a Service.
func TestSlicesOfServicesWithoutASelector(t *testing.T) {
	slice := func(change func(*discoveryv1.EndpointSlice)) *discoveryv1.EndpointSlice {
		s := &discoveryv1.EndpointSlice{
			ObjectMeta:  metav1.ObjectMeta{Namespace: "shop", Name: "db-1", Labels: map[string]string{discoveryv1.LabelServiceName: "db"}},
			AddressType: discoveryv1.AddressTypeIPv4, Endpoints: []discoveryv1.Endpoint{{Addresses: []string{"192.0.2.1"}}},
		}
		if change != nil {
			change(s)
		}
		return s
	}
	key := kubefact.Key{Kind: kubefact.KindService, Namespace: "shop", Name: "db"}
	for name, c := range map[string]struct {
		object *discoveryv1.EndpointSlice
		known  owners
		want   bool
	}{
		"without selector":   {slice(nil), owners{key: &corev1.Service{}}, true},
		"with selector":      {slice(nil), owners{key: &corev1.Service{Spec: corev1.ServiceSpec{Selector: map[string]string{"app": "db"}}}}, false},
		"no Service":         {slice(nil), owners{}, false},
		"Service of another": {slice(func(s *discoveryv1.EndpointSlice) { s.Namespace = "other" }), owners{key: &corev1.Service{}}, false},
		"of no Service":      {slice(func(s *discoveryv1.EndpointSlice) { s.Labels = nil }), owners{key: &corev1.Service{}}, false},
		"of names":           {slice(func(s *discoveryv1.EndpointSlice) { s.AddressType = discoveryv1.AddressTypeFQDN }), owners{key: &corev1.Service{}}, false},
	} {
		seen, err := kubefact.Observer{}.Observe(c.object, c.known, nil)
		if err != nil || (seen != nil) != c.want {
			t.Errorf("%s: %v, %v", name, seen, err)
		}
	}
}

// labelMapWith is a LabelMap with fields beside its name, as JSON.
func labelMapWith(t *testing.T, fields string) metav1.Object {
	return decode(t, []byte(`{"apiVersion":"ic4k.illumio.com/v1alpha1","kind":"LabelMap","metadata":{"name":"default"},`+fields+`}`))
}

func TestRefusals(t *testing.T) {
	meta := metav1.ObjectMeta{Namespace: "shop", Name: "x"}
	number, protocol := int32(70000), corev1.Protocol("IPX")
	slice := func(s discoveryv1.EndpointSlice) *discoveryv1.EndpointSlice {
		s.ObjectMeta = metav1.ObjectMeta{Namespace: "shop", Name: "x", Labels: map[string]string{discoveryv1.LabelServiceName: "db"}}
		return &s
	}
	for _, c := range []struct {
		object metav1.Object
		says   string
	}{
		{&corev1.Pod{ObjectMeta: meta, Status: corev1.PodStatus{PodIPs: []corev1.PodIP{{IP: "10.0.0.1"}, {IP: "10.0.0.256"}}}},
			`pod shop/x: status.podIPs[1]: "10.0.0.256" is not an IP address`},
		{&corev1.Pod{ObjectMeta: meta, Status: corev1.PodStatus{PodIP: "fe80::1%eth0"}},
			`pod shop/x: status.podIPs[0]: "fe80::1%eth0" is not an IP address`},
		{&corev1.Pod{ObjectMeta: meta, Spec: corev1.PodSpec{Containers: []corev1.Container{{}, {Ports: []corev1.ContainerPort{{Name: "a", ContainerPort: 70000}}}}}},
			`pod shop/x: spec.containers[1].ports[0].containerPort: 70000 is not a port`},
		{&corev1.Pod{ObjectMeta: meta, Spec: corev1.PodSpec{Containers: []corev1.Container{{Ports: []corev1.ContainerPort{{Name: "a", ContainerPort: 7, Protocol: "IPX"}}}}}},
			`pod shop/x: spec.containers[0].ports[0].protocol: "IPX" is not TCP, UDP or SCTP`},
		{&corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop"}}, `metadata.name: it has none`},
		{&corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "x", Labels: map[string]string{"a": "\xff"}}}, `pod shop/x: encode: `},
		{&corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "x", Annotations: map[string]string{"com.illumio.role": strings.Repeat("a", kubefact.MaxSize)}}},
			`pod shop/x: too large for a fact: `},
		{&corev1.Service{ObjectMeta: meta, Spec: corev1.ServiceSpec{ClusterIP: "ten"}},
			`service shop/x: spec.clusterIPs[0]: "ten" is not an IP address`},
		{&corev1.Service{ObjectMeta: meta, Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 0}}}},
			`service shop/x: spec.ports[0].port: 0 is not a port`},
		{&corev1.Service{ObjectMeta: meta, Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 1, NodePort: -1}}}},
			`service shop/x: spec.ports[0].nodePort: -1 is not a port`},
		{&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n"}, Status: corev1.NodeStatus{Addresses: []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: "x"}}}},
			`node n: status.addresses[0]: "x" is not an IP address`},
		{&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n"}, Spec: corev1.NodeSpec{PodCIDRs: []string{"10.0.0.0/33"}}},
			`node n: spec.podCIDRs[0]: "10.0.0.0/33" is not a CIDR`},
		{&corev1.Service{ObjectMeta: meta, Spec: corev1.ServiceSpec{ExternalIPs: []string{"192.0.2.1", "edge"}}},
			`service shop/x: spec.externalIPs[1]: "edge" is not an IP address`},
		{&corev1.Service{ObjectMeta: meta, Status: corev1.ServiceStatus{LoadBalancer: corev1.LoadBalancerStatus{Ingress: []corev1.LoadBalancerIngress{{Hostname: "a"}, {IP: "1.2.3"}}}}},
			`service shop/x: status.loadBalancer.ingress[1].ip: "1.2.3" is not an IP address`},
		{slice(discoveryv1.EndpointSlice{Endpoints: []discoveryv1.Endpoint{{}, {Addresses: []string{"192.0.2.1", "x"}}}}),
			`endpointslice shop/x: endpoints[1].addresses[1]: "x" is not an IP address`},
		{slice(discoveryv1.EndpointSlice{Ports: []discoveryv1.EndpointPort{{}, {Port: &number}}}),
			`endpointslice shop/x: ports[1].port: 70000 is not a port`},
		{slice(discoveryv1.EndpointSlice{Ports: []discoveryv1.EndpointPort{{Port: &number, Protocol: &protocol}}}),
			`endpointslice shop/x: ports[0].protocol: "IPX" is not TCP, UDP or SCTP`},
		{labelMapWith(t, `"nodeLabelMap":{}`), `labelmap default: nodeLabelMap: it is not a list`},
		{labelMapWith(t, `"workloadLabelMap":["x"]`), `labelmap default: workloadLabelMap[0]: it is not an object`},
		{labelMapWith(t, `"workloadLabelMap":[{"fromKey":"a","toKey":"b"},{"toKey":"b"}]`), `labelmap default: workloadLabelMap[1].fromKey: it is empty`},
		{labelMapWith(t, `"nodeLabelMap":[{"fromKey":"a","toKey":7}]`), `labelmap default: nodeLabelMap[0].toKey: 7 is not a string`},
		{labelMapWith(t, `"nodeLabelMap":[{"fromKey":"a","toKey":"b","allowCreate":"yes"}]`), `labelmap default: nodeLabelMap[0].allowCreate: yes is neither true nor false`},
		{labelMapWith(t, `"nodeLabelMap":[{"fromKey":"a","toKey":"b","valuesMap":[{"from":"x","to":"y"},{"from":1}]}]`),
			`labelmap default: nodeLabelMap[0].valuesMap[1].from: 1 is not a string`},
		{decode(t, []byte(`{"apiVersion":"example.com/v1","kind":"LabelMap","metadata":{"name":"default"}}`)), `objects of type *unstructured.Unstructured are not facts`},
		{&corev1.Secret{ObjectMeta: meta}, `objects of type *v1.Secret are not facts`},
	} {
		seen, err := kubefact.Observer{}.Observe(c.object, owners{{Kind: kubefact.KindService, Namespace: "shop", Name: "db"}: &corev1.Service{}}, nil)
		if seen != nil || err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%v, %v; want an error that says %s", seen, err, c.says)
		}
		if err != nil && strings.Contains(err.Error(), "\n") {
			t.Errorf("more than one line: %v", err)
		}
	}
}

func TestSubjectsNameOneObject(t *testing.T) {
	for _, key := range []kubefact.Key{
		{Kind: "pod", Namespace: "shop", Name: "web-1"},
		{Kind: "node", Name: "ip-10-0-0-1.ec2.internal"},
		{Kind: "pod", Namespace: "_", Name: "x"},
	} {
		got, err := kubefact.ParseSubject(key.Subject())
		if key.Namespace == "_" { // no Kubernetes namespace may be called that: it stands for none
			key.Namespace = ""
		}
		if err != nil || got != key {
			t.Errorf("%s: %+v, %v, want %+v", key.Subject(), got, err, key)
		}
	}
	for _, subject := range []string{"", "facts.k8s.pod.shop", "facts.pce.pod.shop.x", "facts.k8s.pod.shop.x.y", "facts.k8s.pod.shop.%zz"} {
		if key, err := kubefact.ParseSubject(subject); err == nil {
			t.Errorf("%q gave %+v", subject, key)
		}
	}
}
