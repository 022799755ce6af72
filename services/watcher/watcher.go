package watcher

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/ringfence/ringfence/libs/eventlog"
	"github.com/ringfence/ringfence/libs/service"
	"github.com/ringfence/ringfence/services/watcher/authority"
	"github.com/ringfence/ringfence/services/watcher/kubefact"
)

// Config of the watcher.
type Config struct {
	service.Config       `embed:""`
	eventlog.Credentials `embed:"" prefix:"log-"`

	Kubeconfig       string        `help:"Kubeconfig of the cluster; empty inside of it."`
	Namespace        string        `help:"Namespace of the watcher's lease." default:"illumio-system"`
	Identity         string        `help:"Name under which this watcher holds the lease; the host's name where empty."`
	LeaseDuration    time.Duration `help:"How long a watcher that fell silent keeps the lease." default:"15s"`
	IssueCertificate bool          `help:"Issue the certificate of the log, into Secrets and a ConfigMap of the namespace; the authorities are written to --log-ca-file, too."`

	UserAllowedAnnotations []string `help:"Annotations, by their full names, that are kept and reported to the console beside Illumio's own." name:"user-allowed-annotations"`

	ProbeInterval time.Duration `help:"How often the API server is asked whether it answers; LabelMaps that it does not serve are looked for up to twelve times as rarely." default:"5s"`
}

// Validate is called when flags and environment were read.
func (c *Config) Validate() error {
	_, err := c.observer()
	return err
}

func (c *Config) observer() (kubefact.Observer, error) {
	observer, err := kubefact.NewObserver(c.UserAllowedAnnotations)
	if err != nil {
		return kubefact.Observer{}, fmt.Errorf("--user-allowed-annotations: %w", err)
	}
	return observer, nil
}

// Components of the watcher's readiness.
const (
	componentAPI   = "api-server"
	componentCache = "cache"
	componentLog   = "log"
)

var (
	errConnecting = errors.New("connecting")
	errListing    = errors.New("listing the cluster's objects")
)

// Run watches the cluster and writes facts until ctx ends. Errors are of the configuration, or ErrDeposed.
func Run(ctx context.Context, cfg Config) error {
	client, resources, err := connect(cfg.Kubeconfig)
	if err != nil {
		return err
	}
	svc, err := service.Start(ctx, "watcher", cfg.Config, componentAPI, componentCache)
	if err != nil {
		return err
	}
	defer svc.Close()
	return run(ctx, cfg, svc, client, resources)
}

// connect gives clients for the kinds of Kubernetes, and for those that others defined.
func connect(kubeconfig string) (kubernetes.Interface, dynamic.Interface, error) {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return nil, nil, fmt.Errorf("find the API server (kubeconfig %q): %w", kubeconfig, err)
	}
	config.UserAgent = "ringfence-watcher"
	config.WarningHandler = rest.NoWarnings{}
	resources, err := dynamic.NewForConfig(config)
	if err != nil {
		return nil, nil, fmt.Errorf("API server %s: %w", config.Host, err)
	}
	config.ContentType = runtime.ContentTypeProtobuf
	config.AcceptContentTypes = runtime.ContentTypeProtobuf + "," + runtime.ContentTypeJSON
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, nil, fmt.Errorf("API server %s: %w", config.Host, err)
	}
	return client, resources, nil
}

// run is Run with everything around it started.
func run(ctx context.Context, cfg Config, svc *service.Service, client kubernetes.Interface, resources dynamic.Interface) error {
	identity, err := identityOf(cfg)
	if err != nil {
		return err
	}
	observer, err := cfg.observer()
	if err != nil {
		return err
	}
	dirty := newDirtySet()
	cluster, err := newCluster(client, resources, observer, dirty, cfg.ProbeInterval, svc.Log)
	if err != nil {
		return err
	}
	scribe := &scribe{
		cluster: cluster, dirty: dirty, holder: identity, term: cfg.LeaseDuration, log: svc.Log, metrics: newMetrics(svc.Metrics),
		ready: func(err error) { svc.Ready(componentLog, err) },
	}
	election := election{
		client: client, namespace: cfg.Namespace, identity: identity, duration: cfg.LeaseDuration, log: svc.Log,
	}
	issuer := authority.Authority{
		Client: client, Namespace: cfg.Namespace, BundleFile: cfg.CAFile, Metrics: svc.Metrics,
		Log: svc.Log.With().Str("component", "authority").Logger(),
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		probe(ctx, client, cfg.ProbeInterval, func(err error) { svc.Ready(componentAPI, err) })
		return nil
	})
	group.Go(func() error {
		// Nobody may lead before every kind was listed: what is not known yet would be taken for gone.
		svc.Ready(componentCache, errListing)
		ctx, cancel := context.WithCancel(ctx)
		defer cluster.Wait()
		defer cancel()
		if err := cluster.Start(ctx); err != nil {
			return err
		}
		svc.Ready(componentCache, nil)
		return election.Run(ctx, func(ctx context.Context) {
			var issuing sync.WaitGroup
			defer issuing.Wait()
			if cfg.IssueCertificate { // needs nothing of the log, which cannot be reached before
				issuing.Go(func() { issuer.Run(ctx) })
			}
			lead(ctx, svc, cfg, scribe)
		})
	})
	return group.Wait()
}

func identityOf(cfg Config) (string, error) {
	if cfg.Identity != "" {
		return cfg.Identity, nil
	}
	host, err := os.Hostname()
	if err != nil {
		return "", fmt.Errorf("identity: none is set, and the host has no name: %w", err)
	}
	return host, nil
}

// lead writes until ctx ends. A watcher that stands by needs no log to be ready.
func lead(ctx context.Context, svc *service.Service, cfg Config, s *scribe) {
	s.metrics.leader.Set(1)
	defer s.metrics.leader.Set(0)
	defer s.ready(nil)
	s.ready(errConnecting)
	nc, err := eventlog.Dialer{URL: cfg.LogURL, Name: Producer, Credentials: cfg.Credentials, Log: svc.Log}.Dial(ctx)
	if err != nil {
		if ctx.Err() == nil {
			svc.Log.Error().Err(err).Msg("the log cannot be reached")
		}
		return
	}
	defer nc.Close()
	s.nc = nc
	s.Run(ctx)
}
