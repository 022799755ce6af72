package main

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/alecthomas/kong"

	"github.com/ringfence/ringfence/libs/service"
)

// TestEnvironmentOfTheChart reads what the DaemonSet of the chart sets.
func TestEnvironmentOfTheChart(t *testing.T) {
	for name, value := range map[string]string{
		"RINGFENCE_NODE_NAME": "node1", "RINGFENCE_HTTP_ADDRESS": ":9464", "RINGFENCE_CONTAINER_RUNTIME": "crio",
		"RINGFENCE_CRI_SOCKET": "/run/crio/crio.sock", "RINGFENCE_HOST_BASE": "/srv", "RINGFENCE_PROGRAMMING": "false",
		"RINGFENCE_FLOW_INTERVAL": "2s", "RINGFENCE_LOG_LEVEL": "debug",
	} {
		t.Setenv(name, value)
	}
	var c commands
	parser, err := kong.New(&c, kong.DefaultEnvars(service.EnvPrefix), kong.BindTo(t.Context(), (*context.Context)(nil)))
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := parser.Parse(nil)
	if err != nil {
		t.Fatal(err)
	}
	r := c.Run
	if parsed.Command() != "run" || r.NodeName != "node1" || r.HTTPAddress != ":9464" || r.ContainerRuntime != "crio" ||
		r.CRISocket != "/run/crio/crio.sock" || r.HostBase != "/srv" || r.Programming || r.FlowInterval != 2*time.Second || r.LogLevel != "debug" {
		t.Errorf("command %q with %+v", parsed.Command(), r)
	}
}

// TestReleaseWithoutRuntime opens the node for the future even where the runtime cannot say which pods there are.
func TestReleaseWithoutRuntime(t *testing.T) {
	dir := t.TempDir()
	args := []string{"release", "--host-base", dir, "--cri-socket", filepath.Join(dir, "none.sock")}
	if code := service.Execute(t.Context(), "enforcer", "", &commands{}, nil, args); code != service.ExitFailure {
		t.Errorf("exit code %d", code)
	}
	if _, err := os.Stat(filepath.Join(dir, "ringfence", "break-glass")); err != nil {
		t.Error(err)
	}
}

func TestNodeNameIsNeeded(t *testing.T) {
	t.Setenv("RINGFENCE_NODE_NAME", "")
	if code := service.Execute(t.Context(), "enforcer", "", &commands{}, nil, nil); code != service.ExitFailure {
		t.Errorf("exit code %d", code)
	}
}
