package ringfence

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"

	"github.com/ringfence/ringfence/libs/eventlog"
	"github.com/ringfence/ringfence/libs/identity"
	"github.com/ringfence/ringfence/tools/cluster"
)

// Where the chart puts policy-store.
const (
	Namespace     = "illumio-system"
	StoreSelector = "app.kubernetes.io/component=policy-store"
	StorePort     = 4222
)

// Address says how to reach a cluster's log.
type Address struct {
	// Server is the URL of the log's server. Where it is empty, the log is reached by a port-forward to policy-store.
	Server string
	// Kubeconfig and Context choose the cluster as kubectl does; Namespace is the one that policy-store runs in.
	Kubeconfig string
	Context    string
	Namespace  string
	// Patience bounds how long connecting may take.
	Patience time.Duration
	// Credentials prove who asks, and say whom to believe; zero for a log that asks nobody.
	Credentials eventlog.Credentials
}

// Store is a connection to a cluster's log.
type Store struct {
	Log *eventlog.Log
	// Conn serves what is not in the log, such as queries.
	Conn *nats.Conn

	stop context.CancelFunc
}

// lastError remembers what the dialer said of its last attempt.
type lastError struct {
	mu   sync.Mutex
	text string
}

// Write takes a line of zerolog's.
func (l *lastError) Write(line []byte) (int, error) {
	var said struct {
		Error string `json:"error"`
	}
	if json.Unmarshal(line, &said) == nil && said.Error != "" {
		l.mu.Lock()
		l.text = said.Error
		l.mu.Unlock()
	}
	return len(line), nil
}

// because adds what was remembered.
func (l *lastError) because(err error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.text == "" {
		return err
	}
	return fmt.Errorf("%w (%s)", err, l.text)
}

// Connect reaches the log. The connection, and the port-forward under it, last until Close or until ctx ends.
func (a Address) Connect(ctx context.Context) (*Store, error) {
	ctx, stop := context.WithCancelCause(ctx)
	impatient := time.AfterFunc(a.Patience, func() { stop(errImpatient) })
	store, err := a.connect(ctx)
	if !impatient.Stop() && err == nil {
		store.Conn.Close()
		err = context.Cause(ctx)
	}
	if err != nil {
		err = a.advise(err, errors.Is(context.Cause(ctx), errImpatient))
		stop(err)
		return nil, err
	}
	store.stop = func() { stop(context.Canceled) }
	return store, nil
}

func (a Address) connect(ctx context.Context) (*Store, error) {
	d, untold, err := a.dialer(ctx)
	if err != nil {
		return nil, err
	}
	last := &lastError{}
	d.Log = zerolog.New(last)
	nc, err := d.Dial(ctx)
	if err != nil {
		if err = last.because(err); untold != nil && refused(err) {
			err = fmt.Errorf("%w; %w", err, untold)
		}
		return nil, err
	}
	log, err := eventlog.OpenReadOnly(ctx, nc)
	if err != nil {
		nc.Close()
		return nil, err
	}
	return &Store{Log: log, Conn: nc}, nil
}

// dialer says where the log is, whom to believe that it is the log, and as whom to dial. What it could not learn to say
// who asks is untold: a log that asks nobody does not mind.
func (a Address) dialer(ctx context.Context) (d eventlog.Dialer, untold, err error) {
	d = eventlog.Dialer{URL: a.Server, Name: "ringfence", Credentials: a.Credentials}
	if d.Credentials.TokenFile != "" {
		if err := a.readToken(&d); err != nil {
			return d, nil, err
		}
	}
	if a.Server != "" && a.Kubeconfig == "" && a.Context == "" {
		return d, nil, nil
	}
	kube, err := cluster.Open(a.Kubeconfig, a.Context)
	if err != nil {
		return d, nil, err
	}
	if a.Server == "" {
		if err := a.within(ctx, kube, &d); err != nil {
			return d, nil, err
		}
	}
	if d.Credentials.Token == "" {
		untold, err = a.identify(ctx, kube, &d)
	}
	return d, untold, err
}

// readToken reads the token once, for the inbox of a viewer is bound to it.
func (a Address) readToken(d *eventlog.Dialer) error {
	token, err := os.ReadFile(d.Credentials.TokenFile)
	if err != nil {
		return fmt.Errorf("the token: %w", err)
	}
	d.Credentials.TokenFile, d.Credentials.Token = "", strings.TrimSpace(string(token))
	d.Name = eventlog.ViewerName(identity.Fingerprint(d.Credentials.Token))
	return nil
}

// within finds the log within a cluster, and opens a port on this machine that leads to it.
func (a Address) within(ctx context.Context, kube *cluster.Cluster, d *eventlog.Dialer) error {
	pods, err := kube.Pods(ctx, a.Namespace, StoreSelector)
	if err != nil {
		return allowed(err, a.Namespace, "list pods")
	}
	if len(pods) == 0 {
		return fmt.Errorf("no pod %s in namespace %s of %s: %w", StoreSelector, a.Namespace, kube.Host(), errNoStore)
	}
	if d.Credentials.CAFile == "" {
		if d.Credentials.CA, err = a.authorities(ctx, kube, pods[0].Spec.Volumes); err != nil {
			return err
		}
	}
	local, err := kube.Forward(ctx, a.Namespace, StoreSelector, StorePort)
	if err != nil {
		return allowed(err, a.Namespace, "create pods --subresource=portforward")
	}
	d.URL = "nats://" + local
	return nil
}

var (
	errNoStore   = errors.New("is Ringfence installed there? choose another with --namespace or --context")
	errImpatient = errors.New("no answer in time")
)

// advise adds to an error what to do next.
func (a Address) advise(err error, late bool) error {
	switch {
	case errors.Is(err, errNoStore), errors.Is(err, errNotAllowed), errors.Is(err, errNoAuthority):
		return err
	case refused(err):
		return fmt.Errorf("%w; the log asks who you are: kubectl -n %s create token viewer --audience ringfence > token, then --log-token-file token", err, a.Namespace)
	case strings.Contains(err.Error(), "x509: "):
		return fmt.Errorf("%w; whom to believe that it is the log is in ConfigMap %s or in --log-ca-file", err, AuthoritiesName)
	case a.Server != "":
		return fmt.Errorf("no log at %s within %s: %w; is policy-store running there?", a.Server, a.Patience, err)
	case late:
		return fmt.Errorf("no ready policy-store within %s: %w; look with: kubectl -n %s get pods", a.Patience, err, a.Namespace)
	}
	return fmt.Errorf("%w; or name the log's server with --server", err)
}

// refused says whether the log refused who asks. It is told as text, for the dialer logged it.
func refused(err error) bool {
	return strings.Contains(strings.ToLower(err.Error()), nats.ErrAuthorization.Error())
}

// Close ends the connection and the port-forward.
func (s *Store) Close() {
	s.Conn.Close()
	s.stop()
}
