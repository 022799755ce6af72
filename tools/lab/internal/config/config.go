// Package config renders everything the lab's programs are told: flags of the control plane, configuration files of
// each node, and the first objects of the cluster. It is pure: it reads and writes no file, and the same Cluster
// always gives the same text.
//
// Inside a node every program uses its standard paths (/run/containerd, /var/lib/kubelet, /etc/cni/net.d, …), since
// each node has a mount namespace of its own. Only the control plane uses paths of the lab's folder.
package config

import (
	"bytes"
	"embed"
	"fmt"
	"path/filepath"
	"text/template"

	"github.com/ringfence/ringfence/tools/lab/internal/topology"
)

// Images that the lab brings along. They are imported into every node and never pulled.
const (
	PauseImage   = "ringfence.local/lab/pause:1"
	CoreDNSImage = "ringfence.local/lab/coredns:1.15.0"
)

// Cluster is what the configuration depends on.
type Cluster struct {
	Name        string // topology.LabName
	Dir         string // the lab's folder, absolute
	Bin         string // folder of the programs, absolute
	Nodes       []topology.Node
	NRIRequired bool // containers start only while the NRI plugin "ringfence" is connected
}

// PKI is the folder of certificates and keys.
func (c Cluster) PKI() string { return filepath.Join(c.Dir, "pki") }

// Logs is the folder of the programs' logs.
func (c Cluster) Logs() string { return filepath.Join(c.Dir, "log") }

// Kubeconfig is the path of the kubeconfig for component. The administrator's, "admin", is the one people use.
func (c Cluster) Kubeconfig(component string) string {
	if component == "admin" {
		return filepath.Join(c.Dir, "kubeconfig")
	}
	return filepath.Join(c.Dir, "kubeconfigs", component)
}

// NodeDir is the folder of all state of one node.
func (c Cluster) NodeDir(n topology.Node) string { return filepath.Join(c.Dir, n.Name) }

// ServerInside is the URL of the API server from inside the lab.
func (c Cluster) ServerInside() string {
	return fmt.Sprintf("https://%s:%d", topology.APIHost, topology.APIPort)
}

// EtcdURL is where etcd listens for the API server, in the control plane's network namespace.
const EtcdURL = "http://127.0.0.1:2379"

const etcdPeerURL = "http://127.0.0.1:2380"

// Etcd is the command line of etcd. The lab's data is worth nothing after a power cut, so it does not wait for disks.
func (c Cluster) Etcd() []string {
	return []string{
		filepath.Join(c.Bin, "etcd"),
		"--data-dir=" + filepath.Join(c.Dir, "etcd"),
		"--unsafe-no-fsync",
		"--log-level=warn",
		"--quota-backend-bytes=8589934592",
		"--listen-client-urls=" + EtcdURL,
		"--advertise-client-urls=" + EtcdURL,
		"--listen-peer-urls=" + etcdPeerURL,
		"--initial-advertise-peer-urls=" + etcdPeerURL,
		"--initial-cluster=default=" + etcdPeerURL,
	}
}

// APIServer is the command line of kube-apiserver.
func (c Cluster) APIServer() []string {
	pki := func(name string) string { return filepath.Join(c.PKI(), name) }
	return []string{
		filepath.Join(c.Bin, "kube-apiserver"),
		"--etcd-servers=" + EtcdURL,
		"--bind-address=" + topology.APIHost,
		"--advertise-address=" + topology.APIHost,
		fmt.Sprintf("--secure-port=%d", topology.APIPort),
		"--tls-cert-file=" + pki("apiserver.crt"),
		"--tls-private-key-file=" + pki("apiserver.key"),
		"--client-ca-file=" + pki("ca.crt"),
		"--service-account-issuer=https://kubernetes.default.svc",
		"--service-account-key-file=" + pki("serviceaccount.pub"),
		"--service-account-signing-key-file=" + pki("serviceaccount.key"),
		"--service-cluster-ip-range=" + topology.ServiceV4 + "," + topology.ServiceV6,
		"--authorization-mode=Node,RBAC",
		"--enable-admission-plugins=NodeRestriction",
		"--allow-privileged=true",
		"--kubelet-client-certificate=" + pki("kubelet-client.crt"),
		"--kubelet-client-key=" + pki("kubelet-client.key"),
		"--kubelet-certificate-authority=" + pki("ca.crt"),
		"--kubelet-preferred-address-types=InternalIP",
		"--requestheader-client-ca-file=" + pki("ca.crt"),
		"--requestheader-allowed-names=front-proxy-client",
		"--requestheader-username-headers=X-Remote-User",
		"--requestheader-group-headers=X-Remote-Group",
		"--requestheader-extra-headers-prefix=X-Remote-Extra-",
		"--proxy-client-cert-file=" + pki("aggregator.crt"),
		"--proxy-client-key-file=" + pki("aggregator.key"),
		"--endpoint-reconciler-type=lease",
		"--max-requests-inflight=1000",
		"--max-mutating-requests-inflight=500",
		"--profiling=false",
	}
}

// ControllerManager is the command line of kube-controller-manager. Pod subnets are part of the address plan, so it
// does not hand them out.
func (c Cluster) ControllerManager() []string {
	pki := func(name string) string { return filepath.Join(c.PKI(), name) }
	return append(c.controller("kube-controller-manager"),
		"--service-account-private-key-file="+pki("serviceaccount.key"),
		"--root-ca-file="+pki("ca.crt"),
		"--cluster-signing-cert-file="+pki("ca.crt"),
		"--cluster-signing-key-file="+pki("ca.key"),
		"--use-service-account-credentials",
		"--allocate-node-cidrs=false",
	)
}

// Scheduler is the command line of kube-scheduler.
func (c Cluster) Scheduler() []string { return c.controller("kube-scheduler") }

func (c Cluster) controller(program string) []string {
	kubeconfig := c.Kubeconfig(program)
	return []string{
		filepath.Join(c.Bin, program),
		"--kubeconfig=" + kubeconfig,
		"--authentication-kubeconfig=" + kubeconfig,
		"--authorization-kubeconfig=" + kubeconfig,
		"--leader-elect=false",
		"--bind-address=127.0.0.1",
		"--kube-api-qps=2000",
		"--kube-api-burst=4000",
		"--profiling=false",
	}
}

// Containerd is the command line of a node's containerd.
func (c Cluster) Containerd(n topology.Node) []string {
	return []string{filepath.Join(c.Bin, "containerd"), "--config=" + c.file(n, "containerd.toml")}
}

// Kubelet is the command line of a node's kubelet. Housekeeping is slowed down: the lab's CPUs are scarce.
func (c Cluster) Kubelet(n topology.Node) []string {
	return []string{
		filepath.Join(c.Bin, "kubelet"),
		"--config=" + c.file(n, "kubelet.yaml"),
		"--kubeconfig=" + c.Kubeconfig(n.Name),
		"--hostname-override=" + n.Name,
		fmt.Sprintf("--node-ip=%s,%s", n.V4.Addr(), n.V6.Addr()),
		"--housekeeping-interval=30s",
	}
}

// Proxy is the command line of a node's kube-proxy.
func (c Cluster) Proxy(n topology.Node) []string {
	return []string{filepath.Join(c.Bin, "kube-proxy"), "--config=" + c.file(n, "kube-proxy.yaml")}
}

func (c Cluster) file(n topology.Node, name string) string {
	return filepath.Join(c.NodeDir(n), "config", name)
}

// File is a file that the lab writes before it starts the program that reads it.
type File struct {
	Path string // absolute
	Text string
}

// NodeFiles are the configuration files of a node's programs, in the lab's folder.
func (c Cluster) NodeFiles(n topology.Node) ([]File, error) {
	var files []File
	for _, name := range []string{"containerd.toml", "kubelet.yaml", "kube-proxy.yaml"} {
		text, err := c.render(name, n)
		if err != nil {
			return nil, err
		}
		files = append(files, File{Path: c.file(n, name), Text: text})
	}
	return files, nil
}

// NodeEtc are the files that exist in the node's own /etc only.
func (c Cluster) NodeEtc(n topology.Node) ([]File, error) {
	conflist, err := c.render("10-bridge.conflist", n)
	if err != nil {
		return nil, err
	}
	hosts, err := c.render("hosts", n)
	if err != nil {
		return nil, err
	}
	return []File{
		{Path: "/etc/cni/net.d/10-bridge.conflist", Text: conflist},
		{Path: "/etc/hosts", Text: hosts},
		{Path: "/etc/hostname", Text: n.Name + "\n"},
		{Path: "/etc/machine-id", Text: n.MachineID(c.Name) + "\n"},
		{Path: "/etc/resolv.conf", Text: "# The lab has no DNS server but the cluster's own.\n"},
	}, nil
}

// Object is one object of the Kubernetes API and the path to apply it at, on the server side.
type Object struct {
	Path string
	YAML string
}

// DNS are the objects of the cluster DNS: Service kube-system/kube-dns and what stands behind it.
func (c Cluster) DNS() ([]Object, error) {
	const (
		core = "/api/v1/namespaces/kube-system/"
		rbac = "/apis/rbac.authorization.k8s.io/v1/"
	)
	parts := []struct{ file, path string }{
		{"coredns-serviceaccount.yaml", core + "serviceaccounts/coredns"},
		{"coredns-clusterrole.yaml", rbac + "clusterroles/system:coredns"},
		{"coredns-clusterrolebinding.yaml", rbac + "clusterrolebindings/system:coredns"},
		{"coredns-configmap.yaml", core + "configmaps/coredns"},
		{"coredns-deployment.yaml", "/apis/apps/v1/namespaces/kube-system/deployments/coredns"},
		{"coredns-service.yaml", core + "services/kube-dns"},
	}
	objects := make([]Object, 0, len(parts))
	for _, p := range parts {
		text, err := c.render(p.file, topology.Node{})
		if err != nil {
			return nil, err
		}
		objects = append(objects, Object{Path: p.path, YAML: text})
	}
	return objects, nil
}

// NodeObject is the Node object that stands before the kubelet registers, as JSON. It carries the pod subnets of the
// address plan, and the addresses that kube-proxy asks for.
func (c Cluster) NodeObject(n topology.Node) (string, error) { return c.render("node.json", n) }

//go:embed files
var sources embed.FS

var templates = template.Must(template.New("").Option("missingkey=error").ParseFS(sources, "files/*"))

// render fills the template called name. Templates see the cluster, the node and the address plan.
func (c Cluster) render(name string, n topology.Node) (string, error) {
	var out bytes.Buffer
	data := struct {
		Cluster
		Node                                         topology.Node
		PodsV4, PodsV6, DNSV4, DNSV6, Domain         string
		PauseImage, CoreDNSImage, Plugin, Annotation string
	}{c, n, topology.PodsV4, topology.PodsV6, topology.DNSV4, topology.DNSV6, topology.Domain,
		PauseImage, CoreDNSImage, NRIPlugin, TolerateMissingNRI}
	if err := templates.ExecuteTemplate(&out, name, data); err != nil {
		return "", fmt.Errorf("render %s for %s: %w", name, n.Name, err)
	}
	return out.String(), nil
}

const (
	// NRIPlugin is the name under which the enforcer registers with containerd.
	NRIPlugin = "ringfence"
	// TolerateMissingNRI is the pod annotation that lets a pod start without the plugin when it is required.
	TolerateMissingNRI = "ringfence.dev/tolerate-missing-nri"
)
