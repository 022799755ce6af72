//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"

	policystore "github.com/ringfence/ringfence/services/policy-store"
	"github.com/ringfence/ringfence/tools/cluster"
	"github.com/ringfence/ringfence/tools/demo"
	"github.com/ringfence/ringfence/tools/ringfence"
)

// TestPeopleNeedAKubeconfigAlone installs the chart with a certificate of the administrator's, and looks at the log as people do:
// by RBAC of the real API server, a token that it signs, and a port-forward. The console does not exist; policy-store needs
// none for this.
func TestPeopleNeedAKubeconfigAlone(t *testing.T) {
	kube, kubeconfig := installSecured(t)
	jane := person(t, kubeconfig)
	address := ringfence.Address{Kubeconfig: jane, Namespace: demo.Namespace, Patience: time.Minute}

	// Who may nothing learns what to ask for, right by right as docs/security.md gives them.
	refused(t, address, "is forbidden", "can-i list pods")
	role := documented(t)
	apply(t, kube, role)
	connected(t, address) // authorities in the ConfigMap

	maps := kube.Client.CoreV1().ConfigMaps(demo.Namespace)
	must(t, maps.Delete(t.Context(), ringfence.AuthoritiesName, metav1.DeleteOptions{}))
	refused(t, address, "no ConfigMap "+ringfence.AuthoritiesName, "--log-ca-file")
	address.Kubeconfig = kubeconfig // who may read Secrets has them from there
	connected(t, address)

	apply(t, kube, strings.ReplaceAll(role, "serviceaccounts/token", "serviceaccounts/none"))
	address.Kubeconfig = jane
	file := filepath.Join(t.TempDir(), "ca.crt")
	must(t, os.WriteFile(file, secret(t, kube).Data["ca.crt"], 0o600))
	address.Credentials.CAFile, address.Credentials.ServerName = file, "policy-store"
	refused(t, address, "Authorization Violation", "can-i create serviceaccounts/viewer --subresource=token")

	// The log itself takes no token that was made for the API server.
	address.Credentials.TokenFile = filepath.Join(t.TempDir(), "token")
	answer, err := kube.Client.CoreV1().ServiceAccounts(demo.Namespace).CreateToken(t.Context(), ringfence.Viewer, &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	must(t, err)
	must(t, os.WriteFile(address.Credentials.TokenFile, []byte(answer.Status.Token), 0o600))
	refused(t, address, "Authorization Violation")
}

// connected reaches the log and asks it something. Rights that were given hold a little later.
func connected(t *testing.T, address ringfence.Address) {
	t.Helper()
	store := ask(t, address.Connect)
	defer store.Close()
	if _, err := store.Log.Usage(t.Context()); err != nil {
		t.Error(err)
	}
	if _, err := store.Conn.Request(policystore.StatusSubject, nil, 10*time.Second); err != nil {
		t.Error(err)
	}
	if !store.Conn.TLSRequired() {
		t.Error("the connection is in the clear")
	}
}

// refused wants the words of why. Rights that were taken away hold a little longer.
func refused(t *testing.T, address ringfence.Address, words ...string) {
	t.Helper()
	address.Patience = 10 * time.Second
	refusal := ask(t, func(ctx context.Context) (error, error) {
		store, err := address.Connect(ctx)
		if err == nil {
			store.Close()
			return nil, fmt.Errorf("connected, want %q", words)
		}
		for _, word := range words {
			if !strings.Contains(err.Error(), word) {
				return nil, fmt.Errorf("%w: it does not say %q", err, word)
			}
		}
		return err, nil
	})
	t.Logf("refused: %v", refusal)
}

// installSecured installs the chart with a certificate that the test makes, and waits for policy-store.
func installSecured(t *testing.T) (*cluster.Cluster, string) {
	t.Helper()
	kube, kubeconfig := cleared(t, "policy-store")
	certificate, key := certificate(t)
	apply(t, kube, object(t, &corev1.Secret{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Secret"}, ObjectMeta: metav1.ObjectMeta{Name: secretName, Namespace: demo.Namespace},
		Type: corev1.SecretTypeTLS, Data: map[string][]byte{"tls.crt": certificate, "tls.key": key, "ca.crt": certificate},
	}))
	apply(t, kube, object(t, &corev1.ConfigMap{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "ConfigMap"}, ObjectMeta: metav1.ObjectMeta{Name: ringfence.AuthoritiesName, Namespace: demo.Namespace},
		Data: map[string]string{"ca.crt": string(certificate)},
	}))
	install(t, kubeconfig, "security.tlsSecret="+secretName)
	ready(t, kube, "policy-store")
	return kube, kubeconfig
}

// cleared gives the cluster, the lab's with some images where none is named, without an earlier installation. What is installed
// goes with the test.
func cleared(t *testing.T, images ...string) (*cluster.Cluster, string) {
	t.Helper()
	o := options(t)
	kubeconfig, onLab := o.Kubeconfig, o.Kubeconfig == ""
	if onLab {
		kubeconfig = filepath.Join(o.Root, "out", "lab", "kubeconfig")
		if dir := os.Getenv("RINGFENCE_LAB_DIR"); dir != "" {
			kubeconfig = filepath.Join(dir, "kubeconfig")
		}
		program(t, kubeconfig, "lab", "up")
		for _, image := range images {
			program(t, kubeconfig, "lab", "load", filepath.Join(o.Root, "out", "images", image+".tar"))
		}
	}
	kube, err := cluster.Open(kubeconfig, "")
	must(t, err)
	remove := func() {
		program(t, kubeconfig, "helm", "uninstall", "ringfence", "--namespace", demo.Namespace, "--ignore-not-found", "--wait", "--timeout", "3m")
		must(t, kube.Delete(context.WithoutCancel(t.Context()), strings.NewReader(documented(t)+issued)))
	}
	remove() // what the story, or an earlier run, left
	t.Cleanup(remove)
	apply(t, kube, fmt.Sprintf("apiVersion: v1\nkind: Namespace\nmetadata:\n  name: %s\n  labels: {pod-security.kubernetes.io/enforce: privileged}\n", demo.Namespace))
	return kube, kubeconfig
}

// issued is what the watcher made for the log's certificate, which stays when the release goes.
var issued = fmt.Sprintf(`
---
{apiVersion: v1, kind: Secret, metadata: {namespace: %[1]s, name: ringfence-ca}}
---
{apiVersion: v1, kind: Secret, metadata: {namespace: %[1]s, name: ringfence-log-tls}}
---
{apiVersion: v1, kind: ConfigMap, metadata: {namespace: %[1]s, name: ringfence-ca}}
`, demo.Namespace)

// install installs the chart with a console that does not exist.
func install(t *testing.T, kubeconfig string, values ...string) {
	t.Helper()
	o := options(t)
	args := []string{"install", "ringfence", filepath.Join(o.Root, "deploy", "helm", "ringfence"), "--namespace", demo.Namespace}
	for _, value := range append(values, "pce_url=console.invalid:8443", "cluster_id=none", "cluster_token=none") {
		args = append(args, "--set", value)
	}
	if o.Registry != "" {
		args = append(args, "--set", "image.registry="+o.Registry)
	}
	program(t, kubeconfig, "helm", args...)
}

// ready waits for a pod of each component.
func ready(t *testing.T, kube *cluster.Cluster, components ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	for _, component := range components {
		_, err := kube.WaitPods(ctx, demo.Namespace, demo.Selector(component), 1)
		must(t, err)
	}
}

const secretName = "log-of-the-test"

func secret(t *testing.T, kube *cluster.Cluster) *corev1.Secret {
	t.Helper()
	s, err := kube.Client.CoreV1().Secrets(demo.Namespace).Get(t.Context(), secretName, metav1.GetOptions{})
	must(t, err)
	return s
}

// program runs one of out/bin.
func program(t *testing.T, kubeconfig, name string, args ...string) {
	t.Helper()
	command := exec.Command(filepath.Join(root, "out", "bin", name), args...)
	command.Env = append(os.Environ(), "KUBECONFIG="+kubeconfig)
	if output, err := command.CombinedOutput(); err != nil {
		t.Fatalf("%s %s: %v: %s", name, args[0], err, output)
	}
}

func apply(t *testing.T, kube *cluster.Cluster, manifests string) {
	t.Helper()
	must(t, kube.Apply(t.Context(), strings.NewReader(manifests)))
}

func object(t *testing.T, o any) string {
	t.Helper()
	text, err := json.Marshal(o)
	must(t, err)
	return string(text)
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// person writes a kubeconfig for somebody of the group of docs/security.md, whom no other rule knows.
func person(t *testing.T, kubeconfig string) string {
	t.Helper()
	config, err := clientcmd.LoadFromFile(kubeconfig)
	must(t, err)
	config.AuthInfos[config.Contexts[config.CurrentContext].AuthInfo].Impersonate = "jane"
	config.AuthInfos[config.Contexts[config.CurrentContext].AuthInfo].ImpersonateGroups = []string{"ringfence-viewers"}
	name := filepath.Join(t.TempDir(), "kubeconfig")
	must(t, clientcmd.WriteToFile(*config, name))
	return name
}

// documented is the role that docs/security.md gives people.
func documented(t *testing.T) string {
	t.Helper()
	page, err := os.ReadFile(filepath.Join(root, "docs", "security.md"))
	must(t, err)
	_, block, found := bytes.Cut(page, []byte("```yaml\n"))
	block, _, ended := bytes.Cut(block, []byte("```"))
	if !found || !ended || !bytes.Contains(block, []byte("kind: RoleBinding")) {
		t.Fatal("docs/security.md has no role for people")
	}
	return string(block)
}

// certificate makes one for policy-store that is its own authority.
func certificate(t *testing.T) (certificate, key []byte) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "policy-store"}, DNSNames: []string{"policy-store"},
		NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	must(t, err)
	encoded, err := x509.MarshalPKCS8PrivateKey(private)
	must(t, err)
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: encoded})
}
