package pcebridge

import (
	"context"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/ringfence/ringfence/libs/service"
	ringfencev1 "github.com/ringfence/ringfence/proto/ringfence/v1"
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

// The settings that change policy are those that were asked for, and Illumio's defaults where nothing was.
func TestSettings(t *testing.T) {
	good := []string{"--pce-url", "p:1", "--cluster-id", "c", "--cluster-token", "1_a"}
	for _, test := range []struct {
		args []string
		want *ringfencev1.Settings
	}{
		{nil, &ringfencev1.Settings{
			ClusterId: "c", ClusterMode: "clas", DegradedModePolicyFail: ringfencev1.DegradedModePolicyFail_DEGRADED_MODE_POLICY_FAIL_OPEN,
			PolicyLabelSetEnable: proto.Bool(true), NetworkType: ringfencev1.NetworkType_NETWORK_TYPE_OVERLAY, EnforceNodePortTraffic: proto.Bool(true),
		}},
		{[]string{"--cluster-mode=legacy", "--degraded-mode-policy-fail=computed", "--disable-degraded-mode", "--no-policy-label-set-enable", "--network-type=flat", "--enforce-node-port-traffic=never"},
			&ringfencev1.Settings{
				ClusterId: "c", ClusterMode: "legacy", DegradedModePolicyFail: ringfencev1.DegradedModePolicyFail_DEGRADED_MODE_POLICY_FAIL_COMPUTED, DisableDegradedMode: true,
				PolicyLabelSetEnable: proto.Bool(false), NetworkType: ringfencev1.NetworkType_NETWORK_TYPE_FLAT, EnforceNodePortTraffic: proto.Bool(false),
			}},
	} {
		config, code := parse(t, append(good, test.args...)...)
		if diff := cmp.Diff(test.want, config.settings(), protocmp.Transform()); code != 0 || diff != "" {
			t.Errorf("%v: exit code %d, %s", test.args, code, diff)
		}
	}
}

func TestConfigRefusesWhatCannotBe(t *testing.T) {
	good := []string{"--pce-url", "p:1", "--cluster-id", "c", "--cluster-token", "1_a"}
	for _, bad := range []string{"--pce-api-policy-interval=1s", "--pce-api-timeout=1s", "--pce-api-min-backoff=1h", "--pce-api-min-backoff=1s", "--pce-api-max-backoff=30s", "--pce-api-max-backoff=1h",
		"--pce-api-timeout=3h", "--pce-api-policy-interval=2h", "--flow-window=1s", "--pce-api-key=api_1", "--last-applied-policy-update-interval=1s", "--cluster-mode=other", "--degraded-mode-policy-fail=maybe", "--network-type=mesh", "--enforce-node-port-traffic=true"} {
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
