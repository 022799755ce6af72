package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v5"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/transport/spdy"
)

// Forward opens a port on loopback that leads to a port of the first ready pod that selector matches, and keeps it open
// over restarts of that pod until ctx ends. It returns the local address once the first connection to a pod stands.
// While no pod is there, connections to the address are refused.
func (c *Cluster) Forward(ctx context.Context, namespace, selector string, port int) (string, error) {
	local, err := freePort(ctx)
	if err != nil {
		return "", err
	}
	ready, failed := make(chan struct{}), make(chan error, 1)
	go c.keepForwarding(ctx, namespace, selector, fmt.Sprintf("%d:%d", local, port), ready, failed)
	select {
	case <-ready:
		return net.JoinHostPort("127.0.0.1", strconv.Itoa(local)), nil
	case err = <-failed:
	case <-ctx.Done():
		err = ctx.Err()
	}
	return "", fmt.Errorf("forward to port %d of pods %s in namespace %s: %w", port, selector, namespace, err)
}

// keepForwarding closes ready once, or gives failed why there will be no forwarding.
func (c *Cluster) keepForwarding(ctx context.Context, namespace, selector, ports string, ready chan<- struct{}, failed chan<- error) {
	pause := backoff.NewExponentialBackOff()
	pause.InitialInterval, pause.MaxInterval = 100*time.Millisecond, 2*time.Second
	for ctx.Err() == nil {
		opened, ended := make(chan struct{}), make(chan struct{})
		var err error
		go func() {
			defer close(ended)
			err = c.forwardOnce(ctx, namespace, selector, ports, opened) // the pod went or is not there yet: look again
		}()
		select {
		case <-opened:
			pause.Reset()
			if ready != nil {
				close(ready)
				ready = nil
			}
			<-ended
		case <-ended:
		}
		if ready != nil && Forbidden(err) {
			failed <- err
			return
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause.NextBackOff()):
		}
	}
}

func (c *Cluster) forwardOnce(ctx context.Context, namespace, selector, ports string, opened chan struct{}) error {
	pods, err := c.Pods(ctx, namespace, selector)
	if err != nil {
		return err
	}
	for i := range pods {
		if !Ready(&pods[i]) {
			continue
		}
		url := c.Client.CoreV1().RESTClient().Post().Resource("pods").Namespace(namespace).Name(pods[i].Name).SubResource("portforward").URL()
		transport, upgrader, err := spdy.RoundTripperFor(c.config)
		if err != nil {
			return fmt.Errorf("port forward: %w", err)
		}
		dialer := spdy.NewDialer(upgrader, &http.Client{Transport: transport}, http.MethodPost, url)
		forwarder, err := portforward.NewOnAddresses(dialer, []string{"127.0.0.1"}, []string{ports}, ctx.Done(), opened, io.Discard, io.Discard)
		if err != nil {
			return fmt.Errorf("port forward: %w", err)
		}
		return forwarder.ForwardPorts()
	}
	return errors.New("no ready pod")
}

// Forbidden says whether the API server refused, which a second try would not change. The upgrade of a connection gives its
// answer as text.
func Forbidden(err error) bool {
	return err != nil && (apierrors.IsForbidden(err) || strings.Contains(err.Error(), "is forbidden"))
}

func freePort(ctx context.Context) (int, error) {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return 0, fmt.Errorf("a free port on loopback: %w", err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}
