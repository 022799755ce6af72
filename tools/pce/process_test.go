package pce_test

import (
	"bufio"
	"context"
	"crypto/x509"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	api "github.com/ringfence/ringfence/libs/pce"
)

const consoleCommand = "github.com/ringfence/ringfence/tools/pce/cmd/pce"

// binaries are the commands that tests run, each built once.
var binaries struct {
	sync.Mutex
	dir string
}

func TestMain(m *testing.M) {
	if os.Getenv(bridgeVariable) != "" {
		os.Exit(runBridge())
	}
	code := m.Run()
	if binaries.dir != "" {
		_ = os.RemoveAll(binaries.dir)
	}
	os.Exit(code)
}

// binary builds a command, unless it is built already, and gives its path.
func binary(t *testing.T, command string) string {
	t.Helper()
	binaries.Lock()
	defer binaries.Unlock()
	var err error
	if binaries.dir == "" {
		if binaries.dir, err = os.MkdirTemp("", "pce-test"); err != nil {
			t.Fatal(err)
		}
	}
	path := filepath.Join(binaries.dir, filepath.Base(command))
	if _, err := os.Stat(path); err == nil {
		return path
	}
	if out, err := exec.Command("go", "build", "-o", path, command).CombinedOutput(); err != nil {
		t.Fatalf("build %s: %v\n%s", command, err, out)
	}
	return path
}

// process is a console of its own.
type process struct {
	*exec.Cmd
	address string
}

// start runs "pce serve" and waits until it says where it serves.
func start(t *testing.T, path, data string, args ...string) *process {
	t.Helper()
	cmd := exec.Command(path, append([]string{"serve", "--data", data, "--listen", "127.0.0.1:0"}, args...)...)
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	lines := bufio.NewScanner(stderr)
	for lines.Scan() {
		if _, after, ok := strings.Cut(lines.Text(), "address="); ok {
			go func() { // keep the pipe empty
				for lines.Scan() {
					continue
				}
			}()
			return &process{Cmd: cmd, address: strings.Fields(after)[0]}
		}
	}
	t.Fatal("the console ended before it served")
	return nil
}

// Whatever was acknowledged is there after kill -9, over TLS, with the credentials and the CA of before.
func TestKillLosesNothingAcknowledged(t *testing.T) {
	path, data := binary(t, consoleCommand), t.TempDir()
	made := initialise(t, path, data)
	if again := initialise(t, path, data); !made.Created || again.Created || again.Cluster != made.Cluster || again.Token != "" {
		t.Fatalf("first %+v, then %+v", made, again)
	}
	ca, err := os.ReadFile(made.CA)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca)
	acknowledged := map[string]bool{}
	for round := range 3 {
		p := start(t, path, data)
		c, err := api.New(api.Config{URL: p.address, OrgID: 1, User: made.Key, Secret: made.Secret, RootCAs: roots, Timeout: 20 * time.Second})
		if err != nil {
			t.Fatal(err)
		}
		labels, err := c.Labels(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		have := map[string]bool{}
		for _, l := range labels {
			have[l.Value] = true
		}
		for value := range acknowledged {
			if !have[value] {
				t.Fatalf("round %d: label %s was acknowledged and is lost", round, value)
			}
		}
		timer := time.AfterFunc(300*time.Millisecond, func() { _ = p.Process.Kill() })
		for i := 0; ; i++ {
			value := fmt.Sprintf("r%d-%d", round, i)
			if _, err := c.CreateLabel(t.Context(), api.Label{Key: "app", Value: value}); err != nil {
				break
			}
			acknowledged[value] = true
		}
		timer.Stop()
		_ = p.Wait()
	}
	if len(acknowledged) == 0 {
		t.Fatal("nothing was acknowledged: the test shows nothing")
	}
	t.Logf("%d edits acknowledged over 3 kills", len(acknowledged))
}

// The key that a chart's Secret presets works, and the console stops in order with a poll open.
func TestPresetKeyAndOrderlyStop(t *testing.T) {
	path := binary(t, consoleCommand)
	p := start(t, path, t.TempDir(), "--insecure-http", "--api-key", "api_chart", "--api-secret", "sixteen-letters!")
	c, err := api.New(api.Config{URL: "http://" + p.address, OrgID: 1, User: "api_chart", Secret: "sixteen-letters!"})
	if err != nil {
		t.Fatal(err)
	}
	cluster, err := c.CreateContainerCluster(t.Context(), api.ContainerCluster{Name: "lab"})
	if err != nil {
		t.Fatal(err)
	}
	id := api.ID(cluster.Href)
	token, err := api.New(api.Config{URL: "http://" + p.address, OrgID: 1, User: id, Secret: cluster.Token})
	if err != nil {
		t.Fatal(err)
	}
	agent := token.Agent(id)
	now, err := agent.WaitForChanges(t.Context(), "", 0)
	if err != nil {
		t.Fatal(err)
	}
	polled := make(chan struct{})
	go func() { // how the poll ends is of no matter here, only that it does
		defer close(polled)
		_, _ = agent.WaitForChanges(context.WithoutCancel(t.Context()), now.Cursor, time.Minute)
	}()
	if err := p.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if err := p.Wait(); err != nil {
		t.Fatalf("the console did not stop in order: %v", err)
	}
	<-polled
	if _, err := net.Dial("tcp", p.address); err == nil {
		t.Fatal("it still listens")
	}
}

func TestBadStartSaysWhy(t *testing.T) {
	path := binary(t, consoleCommand)
	for want, args := range map[string][]string{
		"has no secret; give it with --api-secret": {"--api-key", "api_x"},
		"has 5 characters, want at least 16":       {"--api-key", "api_x", "--api-secret", "short"},
		"TLS certificate /none with key":           {"--tls-cert", "/none"},
	} {
		out, err := exec.CommandContext(t.Context(), path, append([]string{"serve", "--data", t.TempDir(), "--listen", "127.0.0.1:0"}, args...)...).CombinedOutput()
		if err == nil || !strings.Contains(string(out), want) {
			t.Errorf("%v: %v\n%s", args, err, out)
		}
	}
}
