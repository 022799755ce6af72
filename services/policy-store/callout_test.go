package policystore

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// onEachServer runs a test on the embedded server, and on three of a cluster that asks policy-store by auth callout.
func onEachServer(t *testing.T, test func(*testing.T, *secured)) {
	t.Run("embedded", func(t *testing.T) { test(t, startSecured(t)) })
	t.Run("external", func(t *testing.T) {
		s, _ := startSecuredCluster(t)
		test(t, s)
	})
}

// startSecuredCluster starts three NATS servers with the configuration that policy-store nats-config writes, and a
// policy-store in this process that uses them. Both stop with the test.
func startSecuredCluster(t *testing.T, change ...func(*Config)) (*secured, *natsCluster) {
	t.Helper()
	keys := filepath.Join(t.TempDir(), "keys")
	var rights strings.Builder
	if err := (NATSConfig{Dir: keys}).Write(&rights); err != nil {
		t.Fatal(err)
	}
	c := startClusterWith(t, rights.String())
	s := startSecured(t, append([]func(*Config){func(cfg *Config) {
		cfg.LogURL, cfg.External = c.url(), External{NATSMode: external, Replicas: 3, KeysDir: keys}
	}}, change...)...)
	for _, says := range []string{"ask here about their clients", "the log of an external NATS cluster is in use"} {
		eventually(t, func() error {
			if !strings.Contains(s.said.String(), says) {
				return fmt.Errorf("policy-store does not say %q", says)
			}
			return nil
		})
	}
	return s, c
}

// startClusterWith starts three servers that share a part of their configuration.
func startClusterWith(t *testing.T, shared string) *natsCluster {
	t.Helper()
	const size = 3
	c := &natsCluster{t: t, cmds: make([]*exec.Cmd, size)}
	var routes []string
	for range size {
		c.clients, routes = append(c.clients, freeAddress(t)), append(routes, freeAddress(t))
	}
	dir := t.TempDir()
	for i := range size {
		c.configs = append(c.configs, fmt.Sprintf(`
			server_name: n%d
			listen: %q
			cluster { name: test, listen: %q, routes: [ %s ] }
			jetstream { store_dir: %q, sync_interval: always, max_file_store: 2GB }
			%s`, i, c.clients[i], routes[i], `"nats://`+strings.Join(routes, `", "nats://`)+`"`, filepath.Join(dir, fmt.Sprint(i)), shared))
		c.start(i)
	}
	t.Cleanup(func() {
		for i := range size {
			c.kill(i)
		}
	})
	return c
}
