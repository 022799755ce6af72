package pce_test

import (
	"bytes"
	"crypto/x509"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	api "github.com/ringfence/ringfence/libs/pce"
)

// prepared is what "pce init -o json" prints.
type prepared struct {
	Key     string `json:"api_key"`
	Secret  string `json:"api_secret"`
	URL     string `json:"pce_url"`
	CA      string `json:"ca_file"`
	Cluster string `json:"cluster_id"`
	Token   string `json:"cluster_token"`
	Code    string `json:"cluster_code"`
	Created bool   `json:"created"`
	RootCA  string `json:"pceRootCA"`
}

func initialise(t *testing.T, path, data string, args ...string) (out prepared) {
	t.Helper()
	text := runInit(t, path, append([]string{"--data", data, "--cluster", "lab", "-o", "json"}, args...)...)
	if err := json.Unmarshal([]byte(text), &out); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	return out
}

// runInit gives what "pce init" prints.
func runInit(t *testing.T, path string, args ...string) string {
	t.Helper()
	var out, said bytes.Buffer
	cmd := exec.CommandContext(t.Context(), path, append([]string{"init"}, args...)...)
	cmd.Stdout, cmd.Stderr = &out, &said
	if err := cmd.Run(); err != nil {
		t.Fatalf("pce init %v: %v\n%s", args, err, &said)
	}
	return out.String()
}

// connect is a client that trusts only the authority of the file.
func connect(t *testing.T, address, ca, user, secret string) *api.Client {
	t.Helper()
	text, err := os.ReadFile(ca)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(text)
	c, err := api.New(api.Config{URL: address, OrgID: 1, User: user, Secret: secret, RootCAs: roots})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// What init prints is what a cluster connects with. A second run shows no secret and changes none; --renew makes new ones.
func TestInit(t *testing.T) {
	path, data := binary(t, consoleCommand), t.TempDir()
	values := filepath.Join(t.TempDir(), "illumio-values.yaml")
	first := initialise(t, path, data, "--host", "pce.example", "--host", "127.0.0.1", "--values", values)
	if !first.Created || first.URL != "pce.example:8443" || len(first.Token) != 66 || len(first.Code) != 64 || first.Secret == "" {
		t.Fatalf("first: %+v", first)
	}
	var chart map[string]string
	text, err := os.ReadFile(values)
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(text, &chart); err != nil {
		t.Fatal(err)
	}
	if chart["pce_url"] != first.URL || chart["cluster_id"] != first.Cluster || chart["cluster_token"] != first.Token ||
		chart["cluster_code"] != first.Code || chart["pceRootCA"] != first.RootCA || !strings.HasPrefix(first.RootCA, "-----BEGIN CERTIFICATE-----") {
		t.Fatalf("values: %v", chart)
	}
	if info, err := os.Stat(values); err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("the values hold secrets and can be read by others (%v)", err)
	}

	again := initialise(t, path, data)
	if again.Created || again.Cluster != first.Cluster || again.Key != first.Key || again.Token+again.Code+again.Secret != "" {
		t.Fatalf("again: %+v", again)
	}
	if out := runInit(t, path, "--data", data, "--cluster", "lab"); !strings.Contains(out, "lab (exists)") || !strings.Contains(out, "--renew cluster-token,cluster-code") {
		t.Fatalf("for people:\n%s", out)
	}
	out, err := exec.CommandContext(t.Context(), path, "init", "--data", data, "--cluster", "lab", "-o", "values").CombinedOutput()
	if err == nil || !strings.Contains(string(out), "make new ones with --renew cluster-token,cluster-code") {
		t.Fatalf("values without secrets: %v\n%s", err, out)
	}

	p := start(t, path, data)
	if _, err := connect(t, p.address, first.CA, first.Cluster, first.Token).Labels(t.Context()); err != nil {
		t.Fatal(err)
	}
	out, err = exec.CommandContext(t.Context(), path, "init", "--data", data).CombinedOutput()
	if err == nil || !strings.Contains(string(out), "another console uses it: ask it with --console") {
		t.Fatalf("beside a console that runs: %v\n%s", err, out)
	}
	_ = p.Process.Kill()
	_ = p.Wait()

	anew := initialise(t, path, data, "--renew", "cluster-token,cluster-code")
	if anew.Cluster != first.Cluster || anew.Token == first.Token || len(anew.Token) != 66 || len(anew.Code) != 64 || anew.Secret != "" {
		t.Fatalf("anew: %+v", anew)
	}
	p = start(t, path, data)
	if _, err := connect(t, p.address, first.CA, first.Cluster, anew.Token).Labels(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := connect(t, p.address, first.CA, first.Cluster, first.Token).Labels(t.Context()); api.KindOf(err) != api.Unauthorized {
		t.Fatalf("the old token: %v", err)
	}
	if _, err := connect(t, p.address, first.CA, first.Key, first.Secret).Labels(t.Context()); err != nil {
		t.Fatalf("the API key was not to be renewed: %v", err)
	}
}

// A console that runs is asked over its API.
func TestInitOfARunningConsole(t *testing.T) {
	path, data := binary(t, consoleCommand), t.TempDir()
	made := initialise(t, path, data, "--cluster", "")
	if made.Cluster != "" || made.Key == "" {
		t.Fatalf("without a cluster: %+v", made)
	}
	p := start(t, path, data)
	ask := func(args ...string) (out prepared) {
		text := runInit(t, path, append([]string{"--console", p.address, "--root-ca", made.CA, "--api-key", made.Key, "--api-secret", made.Secret,
			"--pce-url", "pce.example:443", "--cluster", "far", "-o", "json"}, args...)...)
		if err := json.Unmarshal([]byte(text), &out); err != nil {
			t.Fatalf("%v in %s", err, text)
		}
		return out
	}
	first := ask()
	if !first.Created || first.URL != "pce.example:443" || len(first.Token) != 66 || len(first.Code) != 64 || first.Secret != "" || first.RootCA == "" {
		t.Fatalf("first: %+v", first)
	}
	if _, err := connect(t, p.address, made.CA, first.Cluster, first.Token).Labels(t.Context()); err != nil {
		t.Fatal(err)
	}
	if again := ask(); again.Created || again.Cluster != first.Cluster || again.Token+again.Code != "" {
		t.Fatalf("again: %+v", again)
	}
	if anew := ask("--renew", "cluster-code"); len(anew.Code) != 64 || anew.Code == first.Code || anew.Token != "" {
		t.Fatalf("anew: %+v", anew)
	}
	out, err := exec.CommandContext(t.Context(), path, "init", "--console", p.address, "--root-ca", made.CA, "--api-key", made.Key, "--api-secret", made.Secret,
		"--renew", "cluster-token").CombinedOutput()
	if err == nil || !strings.Contains(string(out), "stop it and run this on its data folder") {
		t.Fatalf("%v\n%s", err, out)
	}
}
