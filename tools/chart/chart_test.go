package chart_test

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/kube-openapi/pkg/validation/spec"
	"k8s.io/kube-openapi/pkg/validation/strfmt"
	"k8s.io/kube-openapi/pkg/validation/validate"
	"sigs.k8s.io/yaml"

	"github.com/ringfence/ringfence/services/watcher/kubefact"
	"github.com/ringfence/ringfence/tools/chart"
)

var update = flag.Bool("update", false, "write the golden files anew")

const root = "../.."

// required are the values without which the ringfence chart refuses to be rendered.
var required = []string{
	"--set", "pce_url=pce.pce-system.svc:8443",
	"--set", "cluster_id=8c3b8b4e-2f0e-4a55-9b3f-0a6f2f4f6c11",
	"--set-string", "cluster_token=1_0123456789abcdef",
}

// outside are the values of a log on an external cluster to which it moves.
var outside = []string{
	"--set", "nats.mode=external,nats.move=true,storage.persistence.enabled=true",
	"--set", `nats.external.url=tls://a.example:4222\,tls://b.example:4222`,
	"--set", "nats.external.keysSecret=nats-keys,nats.external.caSecret=nats-ca,nats.external.serverName=nats.example",
}

// open are those of a log that asks nobody.
var open = []string{"--set", "security.tokens=false,security.issueCertificate=false"}

// mirrored are those of an embedded log with a mirror.
var mirrored = []string{"--set", "nats.mirror.url=tls://mirror.example:7422,nats.mirror.secret=mirror-link"}

var helm = chart.Helm{Root: root}

func template(t *testing.T, name, namespace string, args ...string) string {
	t.Helper()
	out, err := helm.Template(t.Context(), name, namespace, args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestGolden(t *testing.T) {
	for _, c := range []struct {
		golden, chart, namespace string
		args                     []string
	}{
		{"ringfence-default", "ringfence", "illumio-system", required},
		{"ringfence-illumio-values", "ringfence", "illumio-system", []string{"-f", "testdata/illumio-values.yaml"}},
		{"ringfence-own-certificate", "ringfence", "illumio-system", slices.Concat(required, []string{"--set", "security.tlsSecret=log-tls"})},
		{"ringfence-open", "ringfence", "illumio-system", slices.Concat(required, open)},
		{"ringfence-external", "ringfence", "illumio-system", slices.Concat(required, outside)},
		{"pce-default", "pce", "pce-system", nil},
		{"pce-complete", "pce", "pce-system", []string{"-f", "testdata/pce-values.yaml"}},
	} {
		t.Run(c.golden, func(t *testing.T) {
			got := template(t, c.chart, c.namespace, absolute(t, c.args)...)
			path := filepath.Join("testdata", c.golden+".golden.yaml")
			if *update {
				if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(got, "\n")); diff != "" {
				t.Errorf("%s (-want +got), `go test ./chart -update` writes it anew:\n%s", path, diff)
			}
			if again := template(t, c.chart, c.namespace, absolute(t, c.args)...); again != got {
				t.Error("a second rendering differs from the first: under Argo CD it would be applied for ever")
			}
			decode(t, strings.NewReader(got))
		})
	}
}

// absolute makes the paths after -f absolute, because helm may run in another folder.
func absolute(t *testing.T, args []string) []string {
	t.Helper()
	var out []string
	for i, arg := range args {
		if i > 0 && args[i-1] == "-f" {
			path, err := filepath.Abs(arg)
			if err != nil {
				t.Fatal(err)
			}
			arg = path
		}
		out = append(out, arg)
	}
	return out
}

func TestLint(t *testing.T) {
	for _, name := range []string{"ringfence", "pce"} {
		if out, err := helm.Lint(t.Context(), name); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
	}
}

func TestRefusals(t *testing.T) {
	for _, c := range []struct {
		chart string
		args  []string
		says  string
	}{
		{"ringfence", nil, "cluster_token is required"},
		{"ringfence", []string{"--set", "cluster_token=1_a"}, "pce_url is required"},
		{"ringfence", []string{"--set", "cluster_token=1_a,pce_url=pce:8443"}, "cluster_id is required"},
		{"ringfence", []string{"--set", "pce_url=12"}, "/pce_url"},
		{"ringfence", []string{"--set", "pce_url=a b"}, "/pce_url"},
		{"ringfence", []string{"--set", "ignore_cert=maybe"}, "/ignore_cert"},
		{"ringfence", []string{"--set", "pceRootCA=/etc/ca.pem"}, "/pceRootCA"},
		{"ringfence", []string{"--set", "containerRuntime=docker"}, "/containerRuntime"},
		{"ringfence", []string{"--set", "containerManager=nomad"}, "/containerManager"},
		{"ringfence", []string{"--set", "clusterMode=new"}, "/clusterMode"},
		{"ringfence", []string{"--set", "networkType=mesh"}, "/networkType"},
		{"ringfence", []string{"--set", "enforceNodePortTraffic=true"}, "/enforceNodePortTraffic"},
		{"ringfence", []string{"--set-string", "policyLabelSetEnable=true"}, "/policyLabelSetEnable"},
		{"ringfence", []string{"--set", "degradedModePolicyFail=maybe"}, "/degradedModePolicyFail"},
		{"ringfence", []string{"--set-string", "disableDegradedMode=false"}, "/disableDegradedMode"},
		{"ringfence", []string{"--set", "hostBasePath=opt"}, "/hostBasePath"},
		{"ringfence", []string{"--set", "kubelink.pceApiTimeout=59"}, "/kubelink/pceApiTimeout"},
		{"ringfence", []string{"--set", "kubelink.pceApiMinBackoff=601"}, "/kubelink/pceApiMinBackoff"},
		{"ringfence", []string{"--set", "kubelink.pceApiMaxBackoff=30"}, "/kubelink/pceApiMaxBackoff"},
		{"ringfence", []string{"--set", "kubelink.pceApiPolicyInterval=9"}, "/kubelink/pceApiPolicyInterval"},
		{"ringfence", []string{"--set-string", "kubelink.lastAppliedPolicyUpdateInterval=120s"}, "/kubelink/lastAppliedPolicyUpdateInterval"},
		{"ringfence", []string{"--set", "pceBridge.linkDownAfter=90"}, "/pceBridge/linkDownAfter"},
		{"ringfence", []string{"--set", "httpProxy=proxy:3128"}, "/httpProxy"},
		{"ringfence", []string{"--set", "userAllowedAnnotations=team"}, "/userAllowedAnnotations"},
		{"ringfence", append([]string{"--set", "pceApiKey.key=api_1"}, required...), "pceApiKey.secret is required"},
		{"ringfence", []string{"--set", "storage.sizeGi=0"}, "/storage/sizeGi"},
		{"ringfence", []string{"--set", "storage.persistence.size=1"}, "/storage/persistence"},
		{"ringfence", []string{"--set-string", "storage.sizeGi=1Gi"}, "/storage/sizeGi"},
		{"ringfence", []string{"--set", "image.tag=null,image.pullPolicy=Sometimes"}, "/image/pullPolicy"},
		{"ringfence", []string{"--set", "logLevel=loud"}, "/logLevel"},
		{"ringfence", []string{"--set-string", "enforcer.programming=false"}, "/enforcer/programming"},
		{"ringfence", []string{"--set", "enforcer.flowInterval=10"}, "/enforcer/flowInterval"},
		{"ringfence", []string{"--set", "enforcer.programing=false"}, "programing"},
		{"ringfence", []string{"--set-string", "security.issueCertificate=true"}, "/security/issueCertificate"},
		{"ringfence", []string{"--set", "nats.mode=cluster"}, "/nats/mode"},
		{"ringfence", []string{"--set", "nats.external.replicas=2"}, "/nats/external/replicas"},
		{"ringfence", []string{"--set", "nats.external.url=nats://user:secret@a:4222"}, "/nats/external/url"},
		{"ringfence", []string{"--set", "nats.mirror.url=nats://mirror:7422"}, "/nats/mirror/url"},
		{"ringfence", slices.Concat(required, []string{"--set", "nats.mode=external"}), "nats.external.url is required"},
		{"ringfence", slices.Concat(required, []string{"--set", "nats.move=true"}), "nats.external.url is required"},
		{"ringfence", slices.Concat(required, outside, []string{"--set", "storage.persistence.enabled=false"}), "storage.persistence.enabled"},
		{"ringfence", slices.Concat(required, outside, []string{"--set", "security.tokens=false"}), "which is false"},
		{"ringfence", slices.Concat(required, outside, []string{"--set", "nats.external.keysSecret="}), "policy-store nats-config"},
		{"ringfence", slices.Concat(required, outside, []string{"--set", "security.tlsSecret=log-tls"}), "nats.external.caSecret"},
		{"ringfence", slices.Concat(required, outside, mirrored), "mode embedded"},
		{"ringfence", slices.Concat(required, []string{"--set", "nats.mirror.url=tls://mirror:7422"}), "nats.mirror.secret"},
		{"pce", []string{"--set", "apiKey=k"}, "/apiSecret"},
		{"pce", []string{"--set", "apiSecret=s"}, "/apiSecret"},
		{"pce", []string{"--set", "apiKey=k,apiSecret=tooshort"}, "/apiSecret"},
		{"pce", []string{"--set", "logLevel=trace"}, "/logLevel"},
		{"pce", []string{"--set", "requestsAMinute=-1"}, "/requestsAMinute"},
		{"pce", []string{"--set", "tls.crt=c"}, "tls.key is required"},
		{"pce", []string{"--set", "persistence.size=big"}, "/persistence/size"},
		{"pce", []string{"--set", "persistent.enabled=true"}, "persistent"},
	} {
		args := c.args
		if strings.HasPrefix(c.says, "/") && c.chart == "ringfence" {
			args = append(append([]string{}, required...), args...)
		}
		_, err := helm.Template(t.Context(), c.chart, "test", args...)
		if err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s %v: %v, want a refusal that says %q", c.chart, c.args, err, c.says)
		}
	}
}

func TestValuesReachTheServices(t *testing.T) {
	for _, c := range []struct {
		args []string
		has  []string
	}{
		{[]string{"--set", "containerRuntime=crio"}, []string{"/run/crio/crio.sock", "path: /run/crio,"}},
		{[]string{"--set", "containerRuntime=k3s_containerd"}, []string{"/run/k3s/containerd/containerd.sock", "path: /run/k3s/containerd,"}},
		{[]string{"--set", "enforcer.programming=false"}, []string{"RINGFENCE_PROGRAMMING\n              value: \"false\""}},
		{[]string{"--set", "enforcer.flowInterval=2s"}, []string{"RINGFENCE_FLOW_INTERVAL\n              value: \"2s\""}},
		{[]string{"--set", "storage.sizeGi=4"}, []string{"RINGFENCE_STORAGE_GI\n              value: \"4\"", "sizeLimit: 5120Mi"}},
		{[]string{"--set", "storage.persistence.enabled=true,storage.sizeGi=2,storage.persistence.storageClass=fast"},
			[]string{"claimName: policy-store", "kind: PersistentVolumeClaim", "storage: 2560Mi", `storageClassName: "fast"`, "helm.sh/resource-policy: keep"}},
		{[]string{"--set", "storage.persistence.enabled=true,storage.persistence.existingClaim=mine"}, []string{"claimName: mine"}},
		{[]string{"--set", "clusterMode=legacy"}, []string{"RINGFENCE_CLUSTER_MODE\n              value: \"legacy\""}},
		{[]string{"--set", "containerManager=openshift"}, []string{"RINGFENCE_CONTAINER_MANAGER\n              value: \"openshift\""}},
		{[]string{"--set", "networkType=flat"}, []string{"RINGFENCE_NETWORK_TYPE\n              value: \"flat\""}},
		{[]string{"--set", "enforceNodePortTraffic=never"}, []string{"RINGFENCE_ENFORCE_NODE_PORT_TRAFFIC\n              value: \"never\""}},
		{[]string{"--set", "policyLabelSetEnable=false"}, []string{"RINGFENCE_POLICY_LABEL_SET_ENABLE\n              value: \"false\""}},
		{[]string{"--set", "degradedModePolicyFail=closed"}, []string{"RINGFENCE_DEGRADED_MODE_POLICY_FAIL\n              value: \"closed\""}},
		{[]string{"--set", "disableDegradedMode=true"}, []string{"RINGFENCE_DISABLE_DEGRADED_MODE\n              value: \"true\""}},
		{[]string{"--set", "pairingProfile=Cluster nodes"}, []string{"RINGFENCE_PAIRING_PROFILE\n              value: \"Cluster nodes\""}},
		{[]string{"--set", "hostBasePath=/var/lib"}, []string{"path: /var/lib/ringfence,"}},
		{mirrored, []string{"RINGFENCE_MIRROR_URL\n              value: \"tls://mirror.example:7422\"", `secretName: "mirror-link"`, "mountPath: /var/run/ringfence/mirror,"}},
		{slices.Concat(outside, []string{"--set", "nats.mode=embedded"}), // back
			[]string{"RINGFENCE_NATS_MODE\n              value: embedded", "RINGFENCE_NATS_MOVE\n              value: \"true\"", `secretName: "nats-keys"`}},
		{[]string{"--set", "image.registry=registry.example.com/rf,image.tag=v1"}, []string{`"registry.example.com/rf/enforcer:v1"`}},
	} {
		out := template(t, "ringfence", "illumio-system", append(append([]string{}, required...), c.args...)...)
		for _, text := range c.has {
			if !strings.Contains(out, text) {
				t.Errorf("%v: %q is not in what is rendered", c.args, text)
			}
		}
	}
}

// TestLeastPrivilege holds who may do what: only the watcher has a token, and it only reads; only the enforcer is
// privileged.
func TestLeastPrivilege(t *testing.T) {
	pods, roles := 0, 0
	for _, object := range decode(t, strings.NewReader(template(t, "ringfence", "illumio-system", required...))) {
		switch o := object.(type) {
		case *appsv1.Deployment:
			pods++
			checkRestricted(t, o.Name, o.Spec.Template.Spec)
			if token := *o.Spec.Template.Spec.AutomountServiceAccountToken; token != (o.Name == "watcher") {
				t.Errorf("deployment %s: token mounted: %v", o.Name, token)
			}
		case *appsv1.DaemonSet:
			pods++
			if *o.Spec.Template.Spec.AutomountServiceAccountToken || !*o.Spec.Template.Spec.EnableServiceLinks {
				t.Errorf("daemonset %s: it needs service links and no token", o.Name)
			}
		case *corev1.ServiceAccount:
			if *o.AutomountServiceAccountToken != (o.Name == "watcher") {
				t.Errorf("service account %s: automount %v", o.Name, *o.AutomountServiceAccountToken)
			}
		case *rbacv1.Role:
			roles++
			checkNamed(t, o)
		case *rbacv1.ClusterRole:
			for _, rule := range o.Rules {
				if diff := cmp.Diff([]string{"get", "list", "watch"}, rule.Verbs); diff != "" {
					t.Errorf("cluster role %s, %v: %s", o.Name, rule.Resources, diff)
				}
			}
		}
	}
	if pods != 4 || roles != 1 {
		t.Errorf("%d workloads, want 4; %d roles, want the watcher's", pods, roles)
	}
}

// checkNamed wants a right to certain objects alone. Kubernetes cannot restrict creation by name.
func checkNamed(t *testing.T, role *rbacv1.Role) {
	t.Helper()
	for _, rule := range role.Rules {
		if len(rule.ResourceNames) == 0 && !slices.Equal(rule.Verbs, []string{"create"}) {
			t.Errorf("role %s may %v any of %v", role.Name, rule.Verbs, rule.Resources)
		}
	}
}

func checkRestricted(t *testing.T, name string, pod corev1.PodSpec) {
	t.Helper()
	if !*pod.SecurityContext.RunAsNonRoot || pod.SecurityContext.SeccompProfile.Type != corev1.SeccompProfileTypeRuntimeDefault {
		t.Errorf("%s: the pod may run as root or without seccomp", name)
	}
	for _, c := range pod.Containers {
		s := c.SecurityContext
		if *s.AllowPrivilegeEscalation || !*s.ReadOnlyRootFilesystem || len(s.Capabilities.Drop) != 1 || s.Capabilities.Drop[0] != "ALL" {
			t.Errorf("%s: container %s is not restricted", name, c.Name)
		}
	}
}

// TestEnvironmentIsRead asks every program which variables it reads: one that it does not know would be set in vain.
func TestEnvironmentIsRead(t *testing.T) {
	programs := map[string][]string{
		"watcher":      {"./services/watcher/cmd/watcher"},
		"pce-bridge":   {"./services/pce-bridge/cmd/pce-bridge"},
		"policy-store": {"./services/policy-store/cmd/policy-store", "run"},
		"enforcer":     {"./services/enforcer/cmd/enforcer", "run"},
		"pce":          {"./tools/pce/cmd/pce", "serve"},
	}
	for name, env := range environment(t) {
		command := exec.CommandContext(t.Context(), "go", append(append([]string{"run"}, programs[name]...), "--help")...)
		command.Dir = root
		help, err := command.Output()
		if err != nil {
			t.Errorf("%s --help: %v", name, err)
			continue
		}
		for _, variable := range env {
			if !strings.Contains(string(help), "$"+variable+")") && !strings.Contains(string(help), "$"+variable+",") {
				t.Errorf("%s does not read %s, which its chart sets; its help:\n%s", name, variable, help)
			}
		}
	}
}

// environment gives the variables that the charts set for each container.
func environment(t *testing.T) map[string][]string {
	t.Helper()
	env := map[string][]string{}
	add := func(pod corev1.PodSpec) {
		for _, c := range pod.Containers {
			for _, e := range c.Env {
				env[c.Name] = append(env[c.Name], e.Name)
			}
		}
	}
	rendered := template(t, "ringfence", "illumio-system", slices.Concat(required, outside)...) + "\n---\n" +
		template(t, "ringfence", "illumio-system", slices.Concat(required, mirrored)...) + "\n---\n" +
		template(t, "pce", "pce-system", absolute(t, []string{"-f", "testdata/pce-values.yaml"})...)
	for _, object := range decode(t, strings.NewReader(rendered)) {
		switch o := object.(type) {
		case *appsv1.Deployment:
			add(o.Spec.Template.Spec)
		case *appsv1.DaemonSet:
			add(o.Spec.Template.Spec)
		}
	}
	if len(env) != 5 {
		t.Errorf("%d containers, want 5", len(env))
	}
	return env
}

// labelMapSchema reads the definition of LabelMaps and gives the schema of its one version.
func labelMapSchema(t *testing.T) (crd map[string]any, schema *spec.Schema) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(root, "deploy", "helm", "ringfence", "crds", "labelmaps.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var definition struct {
		Spec struct {
			Versions []struct {
				Schema struct {
					Schema *spec.Schema `json:"openAPIV3Schema"`
				} `json:"schema"`
			} `json:"versions"`
		} `json:"spec"`
	}
	if err := errors.Join(yaml.UnmarshalStrict(data, &crd), yaml.Unmarshal(data, &definition)); err != nil {
		t.Fatal(err)
	}
	if n := len(definition.Spec.Versions); n != 1 {
		t.Fatalf("%d versions", n)
	}
	return crd, definition.Spec.Versions[0].Schema.Schema
}

// TestLabelMapDefinition holds the definition of LabelMaps: it is what the watcher looks for, and takes what the watcher
// takes. What the API server refuses for its author to see is better than what the watcher refuses in its log.
func TestLabelMapDefinition(t *testing.T) {
	crd, schema := labelMapSchema(t)
	resource := kubefact.LabelMapResource
	for path, want := range map[string]string{
		"apiVersion": "apiextensions.k8s.io/v1", "metadata.name": resource.Resource + "." + resource.Group, "spec.group": resource.Group,
		"spec.scope": "Cluster", "spec.names.kind": "LabelMap", "spec.names.plural": resource.Resource,
	} {
		if got, _, err := unstructured.NestedString(crd, strings.Split(path, ".")...); err != nil || got != want {
			t.Errorf("%s: %q, %v, want %q", path, got, err, want)
		}
	}
	validator := validate.NewSchemaValidator(schema, nil, "", strfmt.Default)
	for _, c := range []struct {
		fields string
		fine   bool
	}{
		{``, true},
		{`nodeLabelMap: [{fromKey: topology.kubernetes.io/zone, toKey: loc, allowCreate: true, valuesMap: [{from: eu-1a, to: Frankfurt}]}]`, true},
		{`workloadLabelMap: [{fromKey: app, toKey: app}, {fromKey: tier, toKey: role, valuesMap: [{from: "", to: none}]}]`, true},
		{`workloadLabelMap: [{toKey: app}]`, false},
		{`workloadLabelMap: [{fromKey: "", toKey: app}]`, false},
		{`workloadLabelMap: [{fromKey: app, toKey: 7}]`, false},
		{`workloadLabelMap: {fromKey: app}`, false},
		{`workloadLabelMap: [app]`, false},
		{`nodeLabelMap: [{fromKey: app, toKey: app, allowCreate: "yes"}]`, false},
		{`nodeLabelMap: [{fromKey: app, toKey: app, valuesMap: [{from: 1, to: a}]}]`, false},
	} {
		var object map[string]any
		if err := yaml.Unmarshal([]byte("{apiVersion: ic4k.illumio.com/v1alpha1, kind: LabelMap, metadata: {name: default}}"), &object); err != nil {
			t.Fatal(err)
		}
		var fields map[string]any
		if err := yaml.Unmarshal([]byte(c.fields), &fields); err != nil {
			t.Fatal(err)
		}
		maps.Copy(object, fields)
		if result := validator.Validate(object); result.IsValid() != c.fine {
			t.Errorf("%s: the definition says %v", c.fields, result.Errors)
		}
		if seen, err := (kubefact.Observer{}).Observe(&unstructured.Unstructured{Object: object}, nil, nil); (err == nil && seen != nil) != c.fine {
			t.Errorf("%s: the watcher says %v, %v", c.fields, seen, err)
		}
	}
	rules, _, err := unstructured.NestedSlice(crd, "spec", "versions")
	if err != nil || !strings.Contains(fmt.Sprint(rules), "self.metadata.name == 'default'") {
		t.Errorf("a LabelMap of another name, which would count for nothing, is taken: %v", err)
	}
}

// TestShop holds what the demo relies on: whose annotation says which role, and that the pods meet the restricted
// standard.
func TestShop(t *testing.T) {
	file, err := os.Open(filepath.Join(root, "deploy", "shop", "shop.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	roles := map[string]int32{}
	for _, object := range decode(t, file) {
		switch o := object.(type) {
		case *appsv1.Deployment:
			checkRestricted(t, o.Name, o.Spec.Template.Spec)
			roles[o.Namespace+"/"+o.Annotations["com.illumio.role"]] = *o.Spec.Replicas
			if o.Spec.Template.Spec.Containers[0].ReadinessProbe == nil {
				t.Errorf("deployment %s has no readiness probe", o.Name)
			}
		case *corev1.Pod:
			checkRestricted(t, o.Name, o.Spec)
			roles[o.Namespace+"/"+o.Annotations["com.illumio.role"]] = 1
		}
	}
	want := map[string]int32{"shop/web": 2, "shop/api": 2, "shop/database": 1, "payments/ledger": 1, "intruder/intruder": 1}
	if diff := cmp.Diff(want, roles); diff != "" {
		t.Errorf("pods by role (-want +got):\n%s", diff)
	}
}

// decode reads the objects of a YAML stream and refuses fields that their types do not have.
func decode(t *testing.T, manifests io.Reader) []runtime.Object {
	t.Helper()
	decoder := utilyaml.NewYAMLToJSONDecoder(manifests)
	var objects []runtime.Object
	for {
		var raw runtime.RawExtension
		if err := decoder.Decode(&raw); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		if len(raw.Raw) == 0 || string(raw.Raw) == "null" {
			continue
		}
		object, kind, err := scheme.Codecs.UniversalDeserializer().Decode(raw.Raw, nil, nil)
		if err != nil {
			t.Fatalf("%s: %v", raw.Raw, err)
		}
		typed, err := scheme.Scheme.New(*kind)
		if err != nil {
			t.Fatal(err)
		}
		if err := yaml.UnmarshalStrict(raw.Raw, typed); err != nil {
			t.Errorf("%s: %v\n%s", kind.Kind, err, raw.Raw)
		}
		objects = append(objects, object)
	}
	if len(objects) == 0 {
		t.Fatal("no objects")
	}
	return objects
}
