package pcebridge

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ringfence/ringfence/libs/service"
)

// parse reads flags and environment as the command does; code is its exit code.
func parse(t *testing.T, args ...string) (config Config, code int) {
	t.Helper()
	code = service.Execute(t.Context(), "pce-bridge", "", &config, func(context.Context) error { return nil }, args)
	return config, code
}

func TestConfigFromTheChartsEnvironment(t *testing.T) {
	for name, value := range map[string]string{
		"RINGFENCE_PCE_URL": "pce:8443", "RINGFENCE_CLUSTER_ID": "c", "RINGFENCE_CLUSTER_TOKEN": "7_ab", "RINGFENCE_CLUSTER_MODE": "legacy",
		"RINGFENCE_CONTAINER_RUNTIME": "crio", "RINGFENCE_CONTAINER_MANAGER": "openshift", "RINGFENCE_IGNORE_CERT": "false",
		"RINGFENCE_PCE_API_POLICY_INTERVAL": "45s", "RINGFENCE_ROOT_CA_DIR": "/none",
	} {
		t.Setenv(name, value)
	}
	config, code := parse(t)
	if code != 0 || config.PceURL != "pce:8443" || config.ClusterMode != "legacy" || config.ContainerRuntime != "crio" || config.IgnoreCert ||
		config.PceAPIPolicyInterval != 45*time.Second || config.linkDownAfter() != 135*time.Second {
		t.Fatalf("exit code %d, %+v", code, config)
	}
	client, err := config.client()
	if err != nil || client.Org() != "/orgs/7" {
		t.Fatalf("%v %v", client, err)
	}
}

func TestConfigRefusesWhatCannotBe(t *testing.T) {
	good := []string{"--pce-url", "p:1", "--cluster-id", "c", "--cluster-token", "1_a"}
	for _, bad := range []string{"--pce-api-policy-interval=1s", "--pce-api-timeout=1s", "--pce-api-min-backoff=1h", "--pce-api-max-backoff=2s",
		"--last-applied-policy-update-interval=1s", "--cluster-mode=other"} {
		if _, code := parse(t, append(good, bad)...); code != service.ExitUsage {
			t.Errorf("%s: exit code %d", bad, code)
		}
	}
	if _, code := parse(t, good...); code != 0 {
		t.Errorf("the defaults: exit code %d", code)
	}
	if _, code := parse(t, good[:4]...); code != service.ExitUsage {
		t.Errorf("no token: exit code %d", code)
	}
}

func TestAuthorities(t *testing.T) {
	if pool, err := authorities(filepath.Join(t.TempDir(), "none")); pool != nil || err != nil {
		t.Fatalf("no folder: %v %v", pool, err)
	}
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "..data"), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := authorities(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "ca.pem"), []byte("no certificate"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := authorities(dir); err == nil || !strings.Contains(err.Error(), "ca.pem holds no certificate in PEM form") {
		t.Fatal(err)
	}
}
