package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ringfence/ringfence/tools/lab/internal/control"
	"github.com/ringfence/ringfence/tools/lab/internal/topology"
)

// program is the lab as people use it: the built command and a folder.
type program struct {
	t    *testing.T
	path string
	dir  string
}

// in is the same lab for a subtest.
func (l *program) in(t *testing.T) *program { return &program{t: t, path: l.path, dir: l.dir} }

// TestLabUpDown brings real labs up and takes them down. It takes root and about a minute, or ten the first time.
func TestLabUpDown(t *testing.T) {
	if os.Getenv("RINGFENCE_LAB_TEST") == "" {
		t.Skip("RINGFENCE_LAB_TEST=1 (as root) brings up a real lab")
	}
	lab := &program{t: t, path: filepath.Join(t.TempDir(), "lab"), dir: filepath.Join(t.TempDir(), "lab")}
	build(t, lab.path, ".")
	t.Cleanup(func() { _, _ = lab.run("down") }) // after a failed test
	lab.mustRun("build")
	before := footprint()

	began := time.Now()
	kubeconfig := lab.mustRun("up", "--beside")
	t.Logf("3 nodes Ready and DNS answering after %s", time.Since(began).Round(100*time.Millisecond))
	if want := filepath.Join(lab.dir, "kubeconfig") + "\n"; kubeconfig != want {
		t.Errorf("lab up printed %q, want %q", kubeconfig, want)
	}
	status := lab.status(control.Up)
	t.Run("network", lab.testNetwork)
	t.Run("nodes", lab.testNodes)
	t.Run("port-forward", lab.testPortForward)
	t.Run("up again", func(t *testing.T) { lab.testUpAgain(t, status) })
	t.Run("second lab", lab.testSecondLab)
	t.Run("restart", lab.testRestart)
	status = lab.status(control.Up)
	namespaces := namespacesOf(status)

	began = time.Now()
	lab.mustRun("down")
	t.Logf("down after %s", time.Since(began).Round(100*time.Millisecond))
	lab.status(control.Down)
	checkNothingLeft(t, lab.dir, namespaces, before)
	t.Run("killed", func(t *testing.T) { lab.testKilled(t, before) })
}

// testNetwork checks every way from pod to pod: by address, by Service and by name, over both families.
func (l *program) testNetwork(t *testing.T) {
	l = l.in(t)
	server := filepath.Join(t.TempDir(), "testserver")
	archive := filepath.Join(t.TempDir(), "testserver.tar")
	build(t, server, "./internal/testserver")
	l.mustRun("pack", "--name", "ringfence.local/lab/testserver:1", "--entrypoint", "/testserver", "-o", archive, server+"=/testserver")
	l.mustRun("load", archive)
	began := time.Now()
	l.mustRun("kubectl", "apply", "-f", "testdata/workloads.yaml")
	l.mustRun("kubectl", "rollout", "status", "--timeout=60s", "deployment/web")
	l.mustRun("kubectl", "rollout", "status", "--timeout=60s", "daemonset/agent")
	t.Logf("3 pods by Deployment and 3 by DaemonSet after %s", time.Since(began).Round(100*time.Millisecond))

	pods := l.pods("app=web")
	if len(pods) != 3 {
		t.Fatalf("%d web pods, want 3", len(pods))
	}
	nodes := map[string]bool{}
	for _, from := range pods {
		nodes[from.node] = true
		for _, to := range pods {
			for i, network := range []string{"tcp4", "tcp6"} {
				want := to.name + " " + from.ips[i]
				if got := l.get(from, network, "http://"+bracket(to.ips[i])+":8080/"); got != want {
					t.Errorf("%s to %s by %s: answer %q, want %q", from.name, to.name, network, got, want)
				}
			}
		}
	}
	if len(nodes) != 3 {
		t.Errorf("the web pods run on %d nodes, want 3", len(nodes))
	}
	for _, to := range pods { // from outside the nodes
		for _, ip := range to.ips {
			out := l.mustRun("exec", "control-plane", server, "get", "tcp", "http://"+bracket(ip)+":8080/")
			if !strings.HasPrefix(out, to.name+" ") || !strings.Contains(out, "200::1") && !strings.Contains(out, "10.200.0.1") {
				t.Errorf("the control plane to %s at %s: answer %q", to.name, ip, out)
			}
		}
	}
	clusterIPs := strings.Fields(l.mustRun("kubectl", "get", "service", "web", "-o", "jsonpath={.spec.clusterIPs[0]} {.spec.clusterIPs[1]}"))
	for _, from := range pods {
		for i, network := range []string{"tcp4", "tcp6"} {
			for _, url := range []string{"http://" + bracket(clusterIPs[i]) + "/", "http://web/", "http://web.default.svc.cluster.local/"} {
				if got := l.get(from, network, url); !strings.HasPrefix(got, "web-") {
					t.Errorf("%s to %s by %s: answer %q, want the name of a web pod", from.name, url, network, got)
				}
			}
		}
		if log := l.mustRun("kubectl", "logs", from.name); log != "serving as "+from.name+"\n" {
			t.Errorf("kubectl logs %s: %q", from.name, log)
		}
	}
	if out, err := l.run("kubectl", "exec", pods[0].name, "--", "/testserver", "get", "tcp4", "http://no.such.name.example/"); err == nil || !strings.Contains(out, "no such host") {
		t.Errorf("a name outside the cluster: %v, %q; want 'no such host'", err, out)
	}
}

// testNodes checks that one DaemonSet manifest sees each node's own sockets, pods and files.
func (l *program) testNodes(t *testing.T) {
	l = l.in(t)
	agents := l.pods("app=agent")
	for _, a := range agents {
		l.inPod(a, "write", "/var/lib/ringfence/node", a.node)
	}
	seen := map[string]string{}
	for _, a := range agents {
		if got := l.inPod(a, "read", "/var/lib/ringfence/node"); got != a.node {
			t.Errorf("%s: /var/lib/ringfence holds the file of %q", a.node, got)
		}
		l.inPod(a, "dial", "/var/run/nri/nri.sock")
		l.inPod(a, "dial", "/run/containerd/containerd.sock")
		if got := strings.TrimSpace(l.mustRun("exec", a.node, "hostname")); got != a.node {
			t.Errorf("%s calls itself %q", a.node, got)
		}
		own := append(strings.Fields(l.inPod(a, "list", "/run/netns")), strings.TrimSpace(l.inPod(a, "read", "/host/machine-id")))
		if len(own) < 2 {
			t.Errorf("%s: /run/netns shows no pod", a.node)
		}
		for _, thing := range own {
			if other, dup := seen[thing]; dup {
				t.Errorf("%s is seen on %s and on %s", thing, other, a.node)
			}
			seen[thing] = a.node
		}
	}
	if len(agents) != 3 {
		t.Errorf("%d agents, want 3", len(agents))
	}
}

func (l *program) testPortForward(t *testing.T) {
	l = l.in(t)
	pod := l.pods("app=web")[0]
	cmd := l.command("kubectl", "port-forward", "pod/"+pod.name, ":8080")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
	line := make([]byte, 200)
	n, err := out.Read(line)
	if err != nil {
		t.Fatalf("kubectl port-forward: %v", err)
	}
	port := regexp.MustCompile(`127\.0\.0\.1:\d+`).FindString(string(line[:n]))
	resp, err := (&http.Client{Timeout: 10 * time.Second}).Get("http://" + port)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	answer, err := io.ReadAll(resp.Body)
	if !strings.HasPrefix(string(answer), pod.name+" ") {
		t.Errorf("through port-forward: %q, %v; want the answer of %s", answer, err, pod.name)
	}
}

func (l *program) testUpAgain(t *testing.T, before control.Status) {
	l = l.in(t)
	if out := l.mustRunBoth("up", "--beside"); !strings.Contains(out, "The lab is already up: 3 nodes Ready") {
		t.Errorf("lab up of a lab that is up: %q", out)
	}
	pids := func(s control.Status) (pids []int) {
		for _, c := range s.Components {
			pids = append(pids, c.PID)
		}
		return pids
	}
	if after := l.status(control.Up); !slices.Equal(pids(after), pids(before)) {
		t.Errorf("processes changed from %v to %v", pids(before), pids(after))
	}
	if out, err := l.run("up", "--nodes=2"); err == nil || !strings.Contains(out, "run 'lab down' first") {
		t.Errorf("lab up with other settings: %v, %q", err, out)
	}
}

func (l *program) testSecondLab(t *testing.T) {
	l = l.in(t)
	second := &program{t: t, path: l.path, dir: filepath.Join(t.TempDir(), "second")}
	if out, err := second.run("up"); err == nil || !strings.Contains(out, "another lab is up on this machine") {
		t.Errorf("a second lab: %v, %q", err, out)
	}
}

// testRestart kills a kubelet and a containerd; both come back and the pods stay.
func (l *program) testRestart(t *testing.T) {
	l = l.in(t)
	pods := l.pods("app=web")
	for _, c := range l.status(control.Up).Components {
		if c.Node == "node1" && (c.Name == "kubelet" || c.Name == "containerd") {
			if err := syscall.Kill(c.PID, syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
		}
	}
	restarted := func() bool {
		var s control.Status
		out, _ := l.run("status", "-o", "json") // its exit code is part of s
		_ = json.Unmarshal([]byte(out), &s)
		back := 0
		for _, c := range s.Components {
			if c.Node == "node1" && (c.Name == "kubelet" || c.Name == "containerd") && c.Restarts > 0 {
				back++
			}
		}
		return s.Healthy() && back == 2
	}
	// A kubelet that is back before its containerd gives up and starts once more: they are back once they stay.
	const stays = 10 * time.Second
	since := time.Now()
	for deadline := time.Now().Add(2 * time.Minute); time.Since(since) < stays; time.Sleep(100 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the killed programs did not come back in two minutes")
		}
		if !restarted() {
			since = time.Now()
		}
	}
	if after := l.pods("app=web"); fmt.Sprint(after) != fmt.Sprint(pods) {
		t.Errorf("the pods changed from %v to %v", pods, after)
	}
}

// testKilled brings up a lab that requires the NRI plugin, and kills its supervisor twice: 'lab up' starts over at the
// same address, and 'lab down' takes down what is left.
func (l *program) testKilled(t *testing.T, before map[string]bool) {
	l = l.in(t)
	l.mustRun("up", "--beside", "--nodes=1", "--nri-required")
	l.mustRun("kubectl", "apply", "-f", "testdata/pause-pod.yaml")
	l.mustRun("kubectl", "wait", "--for=condition=Ready", "--timeout=60s", "pod/tolerated")
	reason := "jsonpath={.status.containerStatuses[0].state.waiting.message}"
	l.mustRun("kubectl", "wait", "--for="+reason, "--timeout=60s", "pod/unguarded")
	if got := l.mustRun("kubectl", "get", "pod", "unguarded", "-o", reason); !strings.Contains(got, `required plugin "ringfence" not present`) {
		t.Errorf("a pod without the required plugin waits for %q", got)
	}
	server := l.status(control.Up).Server
	l.kill()
	l.mustRun("up", "--beside", "--nodes=1") // finds the leftovers and starts over
	status := l.status(control.Up)
	if status.Server != server || status.NRIRequired {
		t.Errorf("the second life is at %s, the first was at %s; NRI required: %t", status.Server, server, status.NRIRequired)
	}
	namespaces := namespacesOf(status)
	l.kill()
	if out := l.mustRunBoth("down"); out != "" {
		t.Errorf("lab down of a killed lab: %q", out)
	}
	checkNothingLeft(t, l.dir, namespaces, before)
}

// pod is a pod as the tests need it: its addresses are IPv4 and IPv6, in this order.
type pod struct {
	name, node string
	ips        []string
}

func (l *program) pods(selector string) []pod {
	l.t.Helper()
	out := l.mustRun("kubectl", "get", "pods", "-l", selector, "-o",
		`jsonpath={range .items[*]}{.metadata.name} {.spec.nodeName} {.status.podIPs[0].ip} {.status.podIPs[1].ip}{"\n"}{end}`)
	var pods []pod
	for line := range strings.Lines(out) {
		if f := strings.Fields(line); len(f) == 4 {
			pods = append(pods, pod{name: f[0], node: f[1], ips: f[2:]})
		}
	}
	return pods
}

// get fetches a URL from inside a pod.
func (l *program) get(from pod, network, url string) string {
	return strings.TrimSpace(l.inPod(from, "get", network, url))
}

func (l *program) inPod(p pod, args ...string) string {
	l.t.Helper()
	return l.mustRun(append([]string{"kubectl", "exec", p.name, "--", "/testserver"}, args...)...)
}

func bracket(ip string) string {
	if strings.Contains(ip, ":") {
		return "[" + ip + "]"
	}
	return ip
}

func (l *program) command(args ...string) *exec.Cmd {
	cmd := exec.Command(l.path, args...)
	cmd.Env = append(os.Environ(), "RINGFENCE_LAB_DIR="+l.dir)
	return cmd
}

// run returns everything that the command printed.
func (l *program) run(args ...string) (string, error) {
	out, err := l.command(args...).CombinedOutput()
	return string(out), err
}

func (l *program) mustRunBoth(args ...string) string {
	l.t.Helper()
	out, err := l.run(args...)
	if err != nil {
		l.t.Fatalf("lab %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

// mustRun returns the standard output only.
func (l *program) mustRun(args ...string) string {
	l.t.Helper()
	var problems bytes.Buffer
	cmd := l.command(args...)
	cmd.Stderr = &problems
	out, err := cmd.Output()
	if err != nil {
		l.t.Fatalf("lab %s: %v\n%s%s", strings.Join(args, " "), err, out, problems.String())
	}
	return string(out)
}

// status asks for the status and checks that state and exit code are as wanted.
func (l *program) status(want string) control.Status {
	l.t.Helper()
	out, err := l.command("status", "-o", "json").Output()
	var s control.Status
	if parseErr := json.Unmarshal(out, &s); parseErr != nil {
		l.t.Fatalf("lab status: %v, %v\n%s", err, parseErr, out)
	}
	code := 0
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		code = exit.ExitCode()
	}
	if codes := map[string]int{control.Up: 0, control.Down: 3}; s.State != want || code != codes[want] {
		l.t.Fatalf("lab status: %s with exit code %d, want %s with %d\n%s", s.State, code, want, codes[want], out)
	}
	return s
}

func build(t *testing.T, out, pkg string) {
	t.Helper()
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", out, pkg)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off")
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build %s: %v\n%s", pkg, err, text)
	}
}

// footprint tells which of the places exist that Kubernetes and containerd write to when nothing keeps them away.
func footprint() map[string]bool {
	exist := map[string]bool{}
	for _, pattern := range []string{
		"/etc/cni*", "/etc/kubernetes*", "/etc/nri*", "/opt/*", "/var/lib/kube*", "/var/lib/containerd*", "/var/lib/cni*",
		"/var/lib/ringfence*", "/var/lib/calico*", "/var/log/pods*", "/var/log/containers*", "/run/containerd*", "/run/nri*",
		"/run/netns/cni-*", "/run/netns/node*", "/usr/libexec/kubernetes*", "/sys/class/net/lab0", "/sys/class/net/node*", "/sys/class/net/cni0",
	} {
		found, _ := filepath.Glob(pattern) // the patterns are well-formed
		for _, path := range found {
			exist[path] = true
		}
	}
	return exist
}

// kill ends the supervisor as a crash would.
func (l *program) kill() {
	for _, pid := range supervisorsOf(l.dir) {
		_ = syscall.Kill(pid, syscall.SIGKILL) // the second may be gone by the first's end
	}
}

// supervisorsOf lists the processes that run for the lab in dir: every one of them has the folder in its command line.
func supervisorsOf(dir string) []int {
	var pids []int
	lines, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, path := range lines {
		cmdline, _ := os.ReadFile(path) // it may have ended
		var pid int
		if _, err := fmt.Sscanf(path, "/proc/%d/", &pid); err == nil && pid != os.Getpid() && bytes.Contains(cmdline, []byte("--dir="+dir)) {
			pids = append(pids, pid)
		}
	}
	return pids
}

// namespacesOf are the network, mount and PID namespaces of the lab's programs.
func namespacesOf(s control.Status) map[string]bool {
	namespaces := map[string]bool{}
	for _, c := range s.Components {
		for _, kind := range []string{"net", "mnt", "pid"} {
			if link, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/%s", c.PID, kind)); err == nil {
				namespaces[link] = true
			}
		}
	}
	return namespaces
}

// zombie says that the process of the path /proc/PID/ns/KIND has ended; to bury it is up to the machine's init.
func zombie(path string) bool {
	stat, err := os.ReadFile(filepath.Join(filepath.Dir(path), "..", "stat"))
	return err != nil || bytes.Contains(stat, []byte(") Z "))
}

// checkNothingLeft looks for the lab's processes, namespaces, mounts, control groups and files.
func checkNothingLeft(t *testing.T, dir string, namespaces, before map[string]bool) {
	t.Helper()
	if len(namespaces) < 3 {
		t.Errorf("the lab had only the namespaces %v", namespaces)
	}
	links, _ := filepath.Glob("/proc/[0-9]*/ns/*")
	for _, path := range links {
		if link, err := os.Readlink(path); err == nil && namespaces[link] && !zombie(path) {
			t.Errorf("%s is still %s", path, link)
		}
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil || strings.Contains(string(mounts), dir) {
		t.Errorf("mounts of the lab are left (%v):\n%s", err, mounts)
	}
	for _, pattern := range []string{"/sys/fs/cgroup/", "/sys/fs/cgroup/*/"} {
		if groups, _ := filepath.Glob(pattern + topology.LabName(dir)); len(groups) > 0 {
			t.Errorf("control groups are left: %v", groups)
		}
	}
	if _, err := os.Stat(dir); err == nil {
		t.Errorf("the folder %s is left", dir)
	}
	for path := range footprint() {
		if !before[path] {
			t.Errorf("%s was not there before the lab", path)
		}
	}
}
