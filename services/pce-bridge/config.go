package pcebridge

import (
	"errors"
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/ringfence/ringfence/libs/eventlog"
	"github.com/ringfence/ringfence/libs/pce"
	"github.com/ringfence/ringfence/libs/service"
	ringfencev1 "github.com/ringfence/ringfence/proto/ringfence/v1"
)

// Config is what pce-bridge can be told. The ranges are those of Illumio's chart; Validate holds them, and Run takes
// whatever it is given.
type Config struct {
	service.Config       `embed:""`
	eventlog.Credentials `embed:"" prefix:"log-"`

	PceURL       string `help:"Address of the console: host:port, or a URL." name:"pce-url" required:""`
	ClusterID    string `help:"Id (UUID) of the container cluster in the console." name:"cluster-id" required:""`
	ClusterToken string `help:"Token that the console gave when the container cluster was made." name:"cluster-token" required:""`
	ClusterCode  string `help:"Pairing key of the cluster's nodes. Without one nodes are not reported as workloads." name:"cluster-code"`
	OrgID        int    `help:"Organisation in the console; the number before the token's underscore where 0." name:"org-id" default:"0"`
	PceAPIKey    string `help:"API key for a console that does not take the cluster's token; policy is read with it, and the cluster is not reported." name:"pce-api-key"`
	PceAPISecret string `help:"Secret of the API key." name:"pce-api-secret"`
	HTTPProxy    string `help:"HTTP proxy on the way to the console, such as http://proxy:3128; that of the environment where empty." name:"http-proxy"`

	ClusterMode      string `help:"What the cluster is in the console." name:"cluster-mode" enum:"clas,legacy,migrateLegacyToClas,migrateClasToLegacy,unpair" default:"clas"`
	ContainerRuntime string `help:"Container runtime that is reported." name:"container-runtime" default:"containerd"`
	ContainerManager string `help:"Container manager that is reported: kubernetes or openshift." name:"container-manager" enum:"kubernetes,openshift" default:"kubernetes"`

	DegradedModePolicyFail string `help:"What a new workload gets while the console is away and no known one is like it: nothing is blocked (open), everything is in full mode (closed), or what the provisioned rules give (computed)." name:"degraded-mode-policy-fail" enum:"open,closed,computed" default:"open"`
	DisableDegradedMode    bool   `help:"Give new workloads no policy while the console is away." name:"disable-degraded-mode"`
	PolicyLabelSetEnable   bool   `help:"Compute policy once for each label set instead of once for each workload." name:"policy-label-set-enable" default:"true" negatable:""`
	NetworkType            string `help:"Whether pods leave the cluster with their node's address (overlay) or their own (flat)." name:"network-type" enum:"overlay,flat" default:"overlay"`
	EnforceNodePortTraffic string `help:"Police what comes in by node ports: always or never." name:"enforce-node-port-traffic" enum:"always,never" default:"always"`
	ReportHostNetwork      bool   `help:"Report workloads whose pods use their node's network, too. They are for looking at: the policy of such pods is their node's." name:"report-host-network-kubernetes-workloads"`
	PairingProfile         string `help:"Name or href of the pairing profile of the cluster's nodes; the only enabled one where empty." name:"pairing-profile"`

	IgnoreCert bool   `help:"Do not verify the console's certificate." name:"ignore-cert"`
	RootCADir  string `help:"Folder of PEM files with authorities to trust beside the system's." name:"root-ca-dir" default:"/etc/pki/tls/ilo_certs"`

	PceAPIPolicyInterval            time.Duration `help:"How often a console without long poll is asked for changes (10s to 1h)." name:"pce-api-policy-interval" default:"30s"`
	PceAPITimeout                   time.Duration `help:"How long one call may take (1m to 2h). A connection on which nothing is heard is given up after a minute all the same." name:"pce-api-timeout" default:"20m"`
	PceAPIMinBackoff                time.Duration `help:"First wait after a failed call (5s to 10m)." name:"pce-api-min-backoff" default:"1m"`
	PceAPIMaxBackoff                time.Duration `help:"Longest wait after failed calls (1m to 20m)." name:"pce-api-max-backoff" default:"4m"`
	LastAppliedPolicyUpdateInterval time.Duration `help:"How often the applied version and the state of workloads are reported (5s at least)." name:"last-applied-policy-update-interval" default:"2m"`
	LinkDownAfter                   time.Duration `help:"Time without an answer after which the console counts as away; three policy intervals, at least 60 s, where 0." name:"link-down-after" default:"0s"`
	FlowWindow                      time.Duration `help:"How long flows are summed before the console is told of them (10s to 1h)." name:"flow-window" default:"10m"`
}

// Validate is called when flags and environment were read.
func (c *Config) Validate() error {
	var errs []error
	within := func(name string, value, low, high time.Duration) {
		if value < low || value > high {
			errs = append(errs, fmt.Errorf("--%s: %s is not between %s and %s", name, value, low, high))
		}
	}
	within("pce-api-policy-interval", c.PceAPIPolicyInterval, 10*time.Second, time.Hour)
	within("pce-api-timeout", c.PceAPITimeout, time.Minute, 2*time.Hour)
	within("pce-api-min-backoff", c.PceAPIMinBackoff, 5*time.Second, 10*time.Minute)
	within("pce-api-max-backoff", c.PceAPIMaxBackoff, max(time.Minute, c.PceAPIMinBackoff), 20*time.Minute)
	within("last-applied-policy-update-interval", c.LastAppliedPolicyUpdateInterval, 5*time.Second, 24*time.Hour)
	within("flow-window", c.FlowWindow, 10*time.Second, time.Hour)
	if (c.PceAPIKey == "") != (c.PceAPISecret == "") {
		errs = append(errs, errors.New("--pce-api-key and --pce-api-secret: give both or none"))
	}
	return errors.Join(errs...)
}

// settings are what of the configuration changes policy.
func (c *Config) settings() *ringfencev1.Settings {
	return &ringfencev1.Settings{
		ClusterId: c.ClusterID, ClusterMode: c.ClusterMode,
		DegradedModePolicyFail: degradedModes[c.DegradedModePolicyFail], DisableDegradedMode: c.DisableDegradedMode,
		PolicyLabelSetEnable: proto.Bool(c.PolicyLabelSetEnable), NetworkType: networkTypes[c.NetworkType],
		EnforceNodePortTraffic: proto.Bool(c.EnforceNodePortTraffic == "always"),
	}
}

var degradedModes = map[string]ringfencev1.DegradedModePolicyFail{
	"open":     ringfencev1.DegradedModePolicyFail_DEGRADED_MODE_POLICY_FAIL_OPEN,
	"closed":   ringfencev1.DegradedModePolicyFail_DEGRADED_MODE_POLICY_FAIL_CLOSED,
	"computed": ringfencev1.DegradedModePolicyFail_DEGRADED_MODE_POLICY_FAIL_COMPUTED,
}

var networkTypes = map[string]ringfencev1.NetworkType{
	"overlay": ringfencev1.NetworkType_NETWORK_TYPE_OVERLAY, "flat": ringfencev1.NetworkType_NETWORK_TYPE_FLAT,
}

func (c *Config) linkDownAfter() time.Duration {
	if c.LinkDownAfter > 0 {
		return c.LinkDownAfter
	}
	return max(3*c.PceAPIPolicyInterval, time.Minute)
}

// client makes the console's client from the configuration.
func (c *Config) client() (*pce.Client, error) {
	org, ok := c.OrgID, c.OrgID > 0
	if !ok {
		if org, ok = pce.OrgOfToken(c.ClusterToken); !ok {
			return nil, errors.New("cluster_token does not begin with an organisation's number and an underscore; give --org-id or the right token")
		}
	}
	return pce.New(pce.Config{
		URL: c.PceURL, OrgID: org, User: c.ClusterID, Secret: c.ClusterToken, Cluster: c.ClusterID,
		RootCADir: c.RootCADir, IgnoreCert: c.IgnoreCert, Proxy: c.HTTPProxy, Timeout: c.PceAPITimeout, Retries: 1,
	})
}
