package enforcer

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/ringfence/ringfence/libs/eventlog"
	"github.com/ringfence/ringfence/libs/service"
	"github.com/ringfence/ringfence/services/enforcer/cri"
)

// Config is what the enforcer can be told.
type Config struct {
	service.Config       `embed:""`
	eventlog.Credentials `embed:"" prefix:"log-"`
	Runtime              `embed:""`

	NodeName          string        `help:"Name of this node in Kubernetes."`
	Programming       bool          `help:"Program pods. Without it the enforcer reports and changes nothing; for tests." default:"true" negatable:""`
	FlowInterval      time.Duration `help:"How long flows are summed before they are reported." default:"10s"`
	ReconcileInterval time.Duration `help:"How often the runtime is asked for its pods, besides its events." default:"5s"`
	Workers           int           `help:"How many pods are programmed at the same time." default:"3"`
}

// Runtime is what both commands need to find the node's pods.
type Runtime struct {
	ContainerRuntime string `help:"Container runtime of the node: containerd, crio or k3s_containerd." default:"containerd"`
	CRISocket        string `help:"Path of the runtime's CRI socket; by default the usual one of the runtime."`
	HostBase         string `help:"Folder on the node below which ringfence/ holds state and the break-glass file." default:"/opt"`
}

// socket is where the runtime listens.
func (r Runtime) socket() (string, error) {
	if r.CRISocket != "" {
		return r.CRISocket, nil
	}
	return cri.DefaultSocket(r.ContainerRuntime)
}

// breakGlass is the path of the file that opens everything.
func (r Runtime) breakGlass() string { return filepath.Join(r.HostBase, "ringfence", "break-glass") }

// check fills in what depends on other settings and refuses what makes no sense.
func (c *Config) check() error {
	switch {
	case c.NodeName == "":
		return errors.New("the node's name is not set: give --node-name or RINGFENCE_NODE_NAME")
	case c.Workers < 1:
		return errors.New("at least one worker is needed")
	case c.FlowInterval <= 0 || c.ReconcileInterval <= 0:
		return errors.New("intervals must be longer than nothing")
	}
	if c.LogURL == "" || c.LogURL == defaultLogURL {
		c.LogURL = serviceURL(os.Getenv)
	}
	return nil
}

// defaultLogURL names the log's Service by a name that only cluster DNS resolves.
const defaultLogURL = "nats://policy-store:4222"

// serviceURL gives the log's address from the environment that the kubelet sets for Services. The enforcer must not
// depend on cluster DNS: it runs on the node's network, and may be what stands between DNS and its users.
func serviceURL(getenv func(string) string) string {
	host, port := getenv("POLICY_STORE_SERVICE_HOST"), getenv("POLICY_STORE_SERVICE_PORT_NATS")
	if port == "" {
		port = getenv("POLICY_STORE_SERVICE_PORT")
	}
	if host == "" || port == "" {
		return defaultLogURL
	}
	return "nats://" + net.JoinHostPort(host, port)
}
