package demo

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/ringfence/ringfence/libs/eventlog"
	"github.com/ringfence/ringfence/libs/pce"
	"github.com/ringfence/ringfence/tools/cluster"
	"github.com/ringfence/ringfence/tools/ringfence"
)

// Namespaces that the demo installs into.
const (
	Namespace    = "illumio-system"
	pceNamespace = "pce-system"
)

// Selector of the pods of one of Ringfence's services.
func Selector(service string) string { return "app.kubernetes.io/component=" + service }

// consoleSelector is of the pods of the standalone PCE.
const consoleSelector = "app.kubernetes.io/name=pce"

// Options of a demo.
type Options struct {
	// Root of the repository.
	Root string
	// Kubeconfig of the cluster to use. Empty means the lab, which is then started where it does not run.
	Kubeconfig string
	// Registry from which a cluster other than the lab pulls the images.
	Registry string
	// Unenforced switches off the programming of tables: everything else works, and nothing is blocked.
	Unenforced bool
	// Out is where people read along.
	Out io.Writer
}

// Demo is an installed Ringfence with the sample shop and a way to everything in it. Close it.
type Demo struct {
	Cluster *cluster.Cluster
	Log     *eventlog.Log

	options Options
	console *console
	nodes   []string
	// consolePersists tells that the console keeps its objects when its pod goes.
	consolePersists bool
	started         time.Time
	cancel          context.CancelFunc
	store           *ringfence.Store
}

// say prints a step with the time since the start.
func (d *Demo) say(format string, args ...any) {
	fmt.Fprintf(d.options.Out, "%s %s\n", d.clock(), fmt.Sprintf(format, args...))
}

func (d *Demo) clock() string { return fmt.Sprintf("[%6.1fs]", time.Since(d.started).Seconds()) }

// Open installs everything on the cluster, after removing what an earlier demo left.
func Open(ctx context.Context, options Options) (*Demo, error) {
	ctx, cancel := context.WithCancel(ctx)
	d := &Demo{options: options, started: time.Now(), cancel: cancel}
	for _, step := range []func(context.Context) error{
		d.openCluster, d.removeLeftovers, d.loadImages, d.installConsole, d.installRingfence, d.installShop, d.openLog, d.waitUntilPlanned,
	} {
		if err := step(ctx); err != nil {
			d.Close()
			return nil, err
		}
	}
	return d, nil
}

// Close ends the connections into the cluster. What is installed stays.
func (d *Demo) Close() {
	if d.store != nil {
		d.store.Close()
	}
	d.cancel()
}

func (d *Demo) onLab() bool { return d.options.onLab() }

func (o Options) onLab() bool {
	return o.Kubeconfig == "" || filepath.Clean(o.Kubeconfig) == labKubeconfig(o.Root)
}

// Kubeconfig is the file that leads to the demo's cluster.
func (d *Demo) Kubeconfig() string {
	if d.options.Kubeconfig != "" {
		return d.options.Kubeconfig
	}
	return d.labKubeconfig()
}

func (d *Demo) labKubeconfig() string { return labKubeconfig(d.options.Root) }

func labKubeconfig(root string) string {
	if dir := os.Getenv("RINGFENCE_LAB_DIR"); dir != "" {
		return filepath.Join(dir, "kubeconfig")
	}
	return filepath.Join(root, "out", "lab", "kubeconfig")
}

func (d *Demo) openCluster(ctx context.Context) error {
	kubeconfig := d.options.Kubeconfig
	if kubeconfig == "" {
		d.say("KUBECONFIG is not set: starting the lab, a real Kubernetes with three nodes on this machine")
		if err := d.lab(ctx, "up"); err != nil {
			return err
		}
		kubeconfig = d.labKubeconfig()
	}
	var err error
	if d.Cluster, err = cluster.Open(kubeconfig, ""); err != nil {
		return err
	}
	nodes, err := d.Cluster.Client.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return fmt.Errorf("nodes of the cluster at %s: %w", d.Cluster.Host(), err)
	}
	for i := range nodes.Items {
		d.nodes = append(d.nodes, nodes.Items[i].Name)
	}
	d.say("cluster at %s with nodes %s", d.Cluster.Host(), strings.Join(d.nodes, ", "))
	return nil
}

// lab runs the lab's program and shows what it says.
func (d *Demo) lab(ctx context.Context, args ...string) error {
	return runLab(ctx, d.options.Root, d.options.Out, args...)
}

func runLab(ctx context.Context, root string, out io.Writer, args ...string) error {
	command := exec.CommandContext(ctx, filepath.Join(root, "out", "bin", "lab"), args...)
	command.Stdout, command.Stderr = out, out
	if err := command.Run(); err != nil {
		return fmt.Errorf("lab %s: %w", args[0], err)
	}
	return nil
}

// RemoveAll removes what a demo installed: on the lab the whole lab, on another cluster its releases and namespaces.
func RemoveAll(ctx context.Context, options Options) error {
	if options.onLab() {
		if _, err := os.Stat(labKubeconfig(options.Root)); errors.Is(err, os.ErrNotExist) {
			fmt.Fprintln(options.Out, "nothing to remove: the lab does not run")
			return nil
		}
		return runLab(ctx, options.Root, options.Out, "down")
	}
	d := &Demo{options: options, started: time.Now(), cancel: func() {}}
	if err := d.openCluster(ctx); err != nil {
		return err
	}
	return d.removeLeftovers(ctx)
}

// removeLeftovers uninstalls what an earlier demo installed. Namespaces that it did not make are left alone: only those
// that carry its label go.
func (d *Demo) removeLeftovers(ctx context.Context) error {
	list, err := d.Cluster.Client.CoreV1().Namespaces().List(ctx, metav1.ListOptions{LabelSelector: demoLabel})
	if err != nil {
		return fmt.Errorf("namespaces of an earlier demo: %w", err)
	}
	if len(list.Items) == 0 {
		return nil
	}
	d.say("removing what an earlier demo left")
	for namespace, release := range map[string]string{Namespace: "ringfence", pceNamespace: "pce"} {
		if err := d.helm(ctx, "uninstall", release, "--namespace", namespace, "--ignore-not-found", "--wait", "--timeout", "2m"); err != nil {
			return err
		}
	}
	background := metav1.DeletePropagationBackground
	for i := range list.Items {
		err := d.Cluster.Client.CoreV1().Namespaces().Delete(ctx, list.Items[i].Name, metav1.DeleteOptions{PropagationPolicy: &background})
		if err != nil && !apierrors.IsNotFound(err) {
			return fmt.Errorf("namespace %s: %w", list.Items[i].Name, err)
		}
	}
	err = d.wait(ctx, 2*time.Minute, "the earlier demo's namespaces to go", func(ctx context.Context) (string, bool) {
		list, err := d.Cluster.Client.CoreV1().Namespaces().List(ctx, metav1.ListOptions{LabelSelector: demoLabel})
		if err != nil {
			return err.Error(), false
		}
		return fmt.Sprintf("%d are left", len(list.Items)), len(list.Items) == 0
	})
	if err != nil {
		return err
	}
	return d.removeVolume(ctx)
}

const demoLabel = "ringfence.dev/demo=true"

func (d *Demo) makeNamespace(ctx context.Context, name string) error {
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{
		"ringfence.dev/demo": "true", "pod-security.kubernetes.io/enforce": "privileged",
	}}}
	_, err := d.Cluster.Client.CoreV1().Namespaces().Create(ctx, namespace, metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("namespace %s exists and no demo made it; use a cluster without Ringfence, or remove the namespace first", name)
	}
	if err != nil {
		return fmt.Errorf("namespace %s: %w", name, err)
	}
	return nil
}

func (d *Demo) loadImages(ctx context.Context) error {
	if !d.onLab() {
		if d.options.Registry == "" {
			d.say("the nodes of this cluster must have the images localhost/ringfence/*:dev already (out/images), or IMAGE_REGISTRY names where they are")
		}
		return nil
	}
	archives, err := filepath.Glob(filepath.Join(d.options.Root, "out", "images", "*.tar"))
	if err != nil || len(archives) == 0 {
		return errors.New("no images in out/images; run: make images")
	}
	slices.Sort(archives)
	d.say("loading %d images into the nodes", len(archives))
	var said bytes.Buffer
	if err := runLab(ctx, d.options.Root, &said, append([]string{"load"}, archives...)...); err != nil {
		return fmt.Errorf("%w: %s", err, said.String())
	}
	return nil
}

// imageValues are the chart values that name the images.
func (d *Demo) imageValues() []string {
	if d.options.Registry == "" {
		return nil
	}
	return []string{"--set", "image.registry=" + d.options.Registry}
}

func (d *Demo) helm(ctx context.Context, args ...string) error {
	command := exec.CommandContext(ctx, filepath.Join(d.options.Root, "out", "bin", "helm"), args...)
	command.Env = append(os.Environ(), "KUBECONFIG="+d.Kubeconfig())
	var output bytes.Buffer
	command.Stdout, command.Stderr = &output, &output
	if err := command.Run(); err != nil {
		return fmt.Errorf("helm %s: %w: %s", strings.Join(args[:2], " "), err, strings.TrimSpace(output.String()))
	}
	return nil
}

func (d *Demo) installConsole(ctx context.Context) error {
	d.say("installing the standalone PCE, the console")
	if err := d.makeNamespace(ctx, pceNamespace); err != nil {
		return err
	}
	secret := make([]byte, 32)
	if _, err := rand.Read(secret); err != nil {
		return fmt.Errorf("a secret for the console's API key: %w", err)
	}
	user, password := "api_"+hex.EncodeToString(secret[:8]), hex.EncodeToString(secret[8:])
	// Tests ask the console again and again until it knows what they wait for.
	values := append(d.imageValues(), "--set", "apiKey="+user, "--set", "apiSecret="+password, "--set", "requestsAMinute=0")
	if err := d.provideVolume(ctx); err != nil {
		return err
	}
	if d.consolePersists {
		values = append(values, "--set", "persistence.enabled=true")
	}
	chart := filepath.Join(d.options.Root, "deploy", "helm", "pce")
	if err := d.helm(ctx, append([]string{"install", "pce", chart, "--namespace", pceNamespace, "--wait", "--timeout", "3m"}, values...)...); err != nil {
		return err
	}
	address, err := d.Cluster.Forward(ctx, pceNamespace, consoleSelector, 8443)
	if err != nil {
		return err
	}
	// The port forward ends inside the console's pod, and the console's own certificate authority is new with it.
	client, err := pce.New(pce.Config{URL: address, OrgID: 1, User: user, Secret: password, IgnoreCert: true, Retries: 5})
	if err != nil {
		return err
	}
	d.console = &console{client: client, labels: map[string]string{}}
	if d.console.cluster, err = client.CreateContainerCluster(ctx, pce.ContainerCluster{Name: "demo-" + user[4:12]}); err != nil {
		return err
	}
	return nil
}

// provideVolume sees to it that the console's objects outlive its pod. The lab has no storage classes, so a folder of its
// first node becomes a volume there.
func (d *Demo) provideVolume(ctx context.Context) error {
	if d.onLab() {
		if err := d.lab(ctx, "exec", d.nodes[0], "install", "-d", "-m", "0777", consoleFolder); err != nil {
			return err
		}
		d.consolePersists = true
		return d.Cluster.Apply(ctx, strings.NewReader(fmt.Sprintf(consoleVolume, pceNamespace, consoleFolder, d.nodes[0])))
	}
	classes, err := d.Cluster.Client.StorageV1().StorageClasses().List(ctx, metav1.ListOptions{})
	if err != nil {
		return fmt.Errorf("storage classes: %w", err)
	}
	for i := range classes.Items {
		if classes.Items[i].Annotations["storageclass.kubernetes.io/is-default-class"] == "true" {
			d.consolePersists = true
		}
	}
	return nil
}

const (
	consoleFolder = "/opt/ringfence-demo-pce"
	consoleVolume = `
apiVersion: v1
kind: PersistentVolume
metadata: {name: ringfence-demo-pce}
spec:
  capacity: {storage: 2Gi}
  accessModes: [ReadWriteOnce]
  persistentVolumeReclaimPolicy: Retain
  claimRef: {namespace: %s, name: pce}
  local: {path: %s}
  nodeAffinity: {required: {nodeSelectorTerms: [{matchExpressions: [{key: kubernetes.io/hostname, operator: In, values: [%s]}]}]}}
`
)

func (d *Demo) removeVolume(ctx context.Context) error {
	if !d.onLab() {
		return nil
	}
	err := d.Cluster.Client.CoreV1().PersistentVolumes().Delete(ctx, "ringfence-demo-pce", metav1.DeleteOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("the console's volume: %w", err)
	}
	return d.lab(ctx, "exec", d.nodes[0], "rm", "-rf", consoleFolder)
}

func (d *Demo) installRingfence(ctx context.Context) error {
	d.say("installing Ringfence: watcher, pce-bridge, policy-store, and an enforcer on every node")
	if err := d.makeNamespace(ctx, Namespace); err != nil {
		return err
	}
	ca, err := d.consoleCA(ctx)
	if err != nil {
		return err
	}
	code, err := d.console.pairingKey(ctx)
	if err != nil {
		return err
	}
	values := append(d.imageValues(),
		"--set", "pce_url=pce."+pceNamespace+".svc:8443",
		"--set", "cluster_id="+pce.ID(d.console.cluster.Href),
		"--set", "cluster_token="+d.console.cluster.Token, "--set-string", "cluster_code="+code,
		"--set", "containerRuntime=containerd", "--set", "containerManager=kubernetes", "--set", "clusterMode=clas",
		"--set", "enforcer.flowInterval=2s",
		"--set-file", "pceRootCA="+ca)
	if d.options.Unenforced {
		values = append(values, "--set", "enforcer.programming=false")
	}
	chart := filepath.Join(d.options.Root, "deploy", "helm", "ringfence")
	return d.helm(ctx, append([]string{"install", "ringfence", chart, "--namespace", Namespace, "--wait", "--timeout", "3m"}, values...)...)
}

// Upgrade changes values of the installation, such as "clusterMode=legacy", and waits until what they concern runs.
func (d *Demo) Upgrade(ctx context.Context, values ...string) error {
	chart := filepath.Join(d.options.Root, "deploy", "helm", "ringfence")
	args := []string{"upgrade", "ringfence", chart, "--namespace", Namespace, "--reuse-values", "--wait", "--timeout", "3m"}
	for _, v := range values {
		args = append(args, "--set", v)
	}
	return d.helm(ctx, args...)
}

// Console gives the console's client, with the rights of a person, and the demo's cluster in it.
func (d *Demo) Console() (*pce.Client, pce.ContainerCluster) {
	return d.console.client, d.console.cluster
}

// consoleCA writes the certificate of the console's own authority into a file, for the bridge to trust.
func (d *Demo) consoleCA(ctx context.Context) (string, error) {
	pods, err := d.Cluster.Pods(ctx, pceNamespace, consoleSelector)
	if err != nil || len(pods) == 0 {
		return "", fmt.Errorf("the console's pod: %d found, %w", len(pods), err)
	}
	certificate, err := d.Cluster.Exec(ctx, pceNamespace, pods[0].Name, "/pce", "ca", "--data", "/var/lib/pce")
	if err != nil {
		return "", err
	}
	file := filepath.Join(d.options.Root, "out", "pce-ca.pem")
	if err := os.WriteFile(file, certificate, 0o644); err != nil {
		return "", fmt.Errorf("the console's authority: %w", err)
	}
	return file, nil
}

func (d *Demo) installShop(ctx context.Context) error {
	d.say("deploying the sample: web, api and database in namespace shop, ledger in payments, and an intruder")
	for _, namespace := range sampleNamespaces {
		if err := d.makeNamespace(ctx, namespace); err != nil {
			return err
		}
	}
	files, err := filepath.Glob(filepath.Join(d.options.Root, "deploy", "shop", "*.yaml"))
	if err != nil || len(files) == 0 {
		return fmt.Errorf("manifests of the sample in deploy/shop: %d found, %w", len(files), err)
	}
	for _, file := range files {
		manifest, err := os.ReadFile(file)
		if err != nil {
			return fmt.Errorf("the sample: %w", err)
		}
		if d.options.Registry != "" {
			manifest = bytes.ReplaceAll(manifest, []byte("localhost/ringfence/"), []byte(d.options.Registry+"/"))
		}
		if err := d.Cluster.Apply(ctx, bytes.NewReader(manifest)); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	for _, w := range sample {
		replicas := 1
		if w.Name == "web" || w.Name == "api" {
			replicas = 2
		}
		if _, err := d.Cluster.WaitPods(ctx, w.Namespace, w.Selector(), replicas); err != nil {
			return err
		}
	}
	return nil
}

// openLog reaches the log as a person does, with the rights of one.
func (d *Demo) openLog(ctx context.Context) (err error) {
	d.store, err = ringfence.Address{Kubeconfig: d.Kubeconfig(), Namespace: Namespace, Patience: time.Minute}.Connect(ctx)
	if err != nil {
		return err
	}
	d.Log = d.store.Log
	return nil
}

// Reopen opens the log again, as after the loss of its disk, and waits until a policy is published.
func (d *Demo) Reopen(ctx context.Context) error {
	var err error
	if d.Log, err = eventlog.OpenReadOnly(ctx, d.store.Conn); err != nil {
		return err
	}
	return d.waitUntilPlanned(ctx)
}

// NodeCount is how many nodes the cluster has.
func (d *Demo) NodeCount() int { return len(d.nodes) }

// KillProcess kills the one process of a container by its program, on the lab: what is left of the pod, its volumes
// with it, stays.
func (d *Demo) KillProcess(ctx context.Context, program string) error {
	if !d.onLab() {
		return errors.New("killing a container's process needs the lab")
	}
	return d.lab(ctx, "exec", d.nodes[0], "pkill", "-KILL", "-f", "-x", program+".*")
}

// wait asks look until it is content; what it says last becomes part of the error.
func (d *Demo) wait(ctx context.Context, limit time.Duration, what string, look func(context.Context) (string, bool)) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		seen, ok := look(ctx)
		if ok {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waited %s for %s: %s", limit, what, seen)
		case <-tick.C:
		}
	}
}
